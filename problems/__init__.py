"""The prediction problems this service knows, by name."""

from collections.abc import Callable

from engine.domain.artifact import ModelCard
from engine.domain.errors import InvalidSetting, ServiceError
from engine.domain.problem import Problem
from problems.basket import BASKET
from problems.churn import CHURN
from problems.declared import problem_of
from problems.housing import HOUSING
from problems.purchase import PURCHASE

PROBLEMS = {problem.name: problem for problem in (HOUSING, CHURN, PURCHASE, BASKET)}


def named(name: str, card_of: Callable[[str], ModelCard]) -> Problem:
    """A problem of ours, or the one that somebody's table declared: its champion's card has it.

    Raises InvalidSetting, with the way out, when there is neither.
    """
    if name in PROBLEMS:
        return PROBLEMS[name]
    try:
        card = card_of(name)
    except ServiceError as error:
        ours = ", ".join(PROBLEMS)
        way_out = f"train one of your own: train_model.py --data FILE --target COLUMN --name {name}"
        raise InvalidSetting(f"no problem {name} ({error}); there are {ours}; {way_out}") from error
    return problem_of(card)
