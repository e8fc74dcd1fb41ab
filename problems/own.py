"""A problem that somebody's own table declared, without a line of Python."""

from engine.domain.artifact import ModelCard
from engine.domain.problem import Problem


def problem_of(card: ModelCard) -> Problem:
    """The problem a model's card declares."""
    raise NotImplementedError
