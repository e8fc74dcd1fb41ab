"""The prediction problems this service knows, by name."""

from problems.housing import HOUSING

DEFAULT = HOUSING
PROBLEMS = {problem.name: problem for problem in (HOUSING,)}
