"""The prediction problems this service knows, by name."""

from problems.housing import HOUSING

PROBLEMS = {HOUSING.name: HOUSING}
