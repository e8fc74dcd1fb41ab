"""What every store refuses of the outcomes that are reported, in the same words."""

from collections.abc import Collection, Mapping, Sequence

from engine.domain.errors import OutcomeConflict, UnknownPrediction
from engine.domain.record import Outcome

_SHOWN, _SHOWN_LETTERS = 3, 60


def first_of_each(outcomes: Sequence[Outcome]) -> dict[str, Outcome]:
    """By prediction, ordered by its id: writers that meet wait for each other in one order."""
    firsts: dict[str, Outcome] = {}
    for outcome in outcomes:
        firsts.setdefault(outcome.prediction_id, outcome)
    return dict(sorted(firsts.items()))


def refuse_unknown(outcomes: Sequence[Outcome], known: Collection[str]) -> None:
    rows = [row for row, one in enumerate(outcomes) if one.prediction_id not in known]
    if rows:
        raise UnknownPrediction(f"no prediction was recorded as {_named(outcomes, rows)}")


def refuse_conflicts(outcomes: Sequence[Outcome], actuals: Mapping[str, float]) -> None:
    """`actuals` is what each prediction has, the first of these outcomes at least."""
    rows = [row for row, one in enumerate(outcomes) if one.actual != actuals[one.prediction_id]]
    if rows:
        raise OutcomeConflict(f"another outcome was reported for {_named(outcomes, rows)}")


def _named(outcomes: Sequence[Outcome], rows: Sequence[int]) -> str:
    shown = [
        f"{outcomes[row].prediction_id[:_SHOWN_LETTERS]!r} (row {row})" for row in rows[:_SHOWN]
    ]
    more = f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{', '.join(shown)}{more}; {len(rows)} of {len(outcomes)} were refused"
