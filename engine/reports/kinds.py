"""What is shown of a model of each kind of target: its figures, its pictures, its words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from engine.domain.artifact import Artifact
from engine.domain.kinds import POSITIVE, REAL, ByKind, TargetKind
from engine.domain.prediction import Interval
from engine.domain.schema import Target, Vector
from engine.judging.evidence import Evidence, ModelAnswers
from engine.reports import metrics, plots
from engine.reports.page import picture, pictures

_PROMISE = "whether what is said holds on rows it has not seen"
_Sliced = Mapping[str, Vector]


@dataclass(frozen=True)
class Said:
    """What a model says of n judged rows, with their truth (n,) and by what they are sliced."""

    values: Vector
    interval: Interval
    truth: Vector
    sliced: _Sliced
    calibration_rows: int


@dataclass(frozen=True)
class _Shown:
    """figures: label to part of the data, figure and form. side: what a person compares of one
    side of the evidence. portrait: pictures of one model; kept: a picture of whether both sides
    keep what they say, and its words. promised: what holds or does not. title: over the table of
    candidates. chosen_by: what they are compared by. aim: what a target asks for, in words."""

    figures: Mapping[str, tuple[str, str, str]]
    side: Callable[[Evidence, ModelAnswers], dict[str, str]]
    portrait: Callable[[Said], str]
    kept: Callable[[Evidence], str]
    kept_words: str
    promised: str
    title: Callable[[Target], str]
    chosen_by: str
    aim: Callable[[Target], str]


def figures_of(artifact: Artifact) -> dict[str, tuple[str, str, str]]:
    """The figures of the kind that this model has."""
    known = artifact.card.metrics["test"]
    wanted = SHOWN[artifact.card.target_kind].figures
    return {label: one for label, one in wanted.items() if label != "MAPE" or "mape" in known}


def side_by_side(evidence: Evidence) -> dict[str, tuple[str, str]]:
    """What a person compares: a figure's name to the champion's and the challenger's."""
    old, new = (SHOWN[evidence.kind].side(evidence, side) for side in evidence.sides)
    return {name: (old[name], new[name]) for name in old}


def _portrait_of_intervals(said: Said, *, is_log: bool) -> str:
    sliced = {"predicted": said.values, **said.sliced}
    found = plots.coverage({"the model": said.interval}, said.truth, sliced)
    drawn = partial(plots.draw_predictions, values=said.values, truth=said.truth, is_log=is_log)
    return pictures(
        _PROMISE,
        picture(drawn),
        picture(partial(plots.draw_coverage, found=found), plots.height_of(found)),
    )


def _portrait_of_probabilities(said: Said) -> str:
    chances = {"the model": (said.values, said.calibration_rows)}
    return pictures(
        _PROMISE,
        picture(partial(plots.draw_reliability, sides=chances, truth=said.truth)),
        picture(partial(plots.draw_probabilities, values=said.values, truth=said.truth)),
    )


def _kept_intervals(evidence: Evidence) -> str:
    sides = {name: one.interval for name, one in evidence.named.items()}
    found = plots.coverage(sides, evidence.truth, evidence.slices)
    return picture(partial(plots.draw_coverage, found=found), plots.height_of(found))


def _kept_probabilities(evidence: Evidence) -> str:
    chances = {n: (one.values, one.calibration_rows) for n, one in evidence.named.items()}
    return picture(partial(plots.draw_reliability, sides=chances, truth=evidence.truth))


def _aim_of_event(target: Target) -> str:
    happens, other = ("1", "0") if target.labels is None else target.labels[::-1]
    swap = "" if target.labels is None else " (--positive swaps them)"
    return f"the probability of {happens!r}, not {other!r}{swap}"


def _shown_of_quantity(kind: TargetKind, aim: str) -> _Shown:
    return _Shown(
        figures=metrics.FIGURES,
        side=metrics.of_quantity,
        portrait=partial(_portrait_of_intervals, is_log=kind.measure.is_log),
        kept=_kept_intervals,
        kept_words="paired errors, and coverage by slice",
        promised="intervals",
        title=lambda target: f"on test rows, {target.unit}; intervals at 90 % where not said",
        chosen_by=kind.measure.loss_name,
        aim=lambda target: aim,
    )


SHOWN = ByKind(
    positive=_shown_of_quantity(POSITIVE, "a positive number, judged by its ratio to the truth"),
    real=_shown_of_quantity(REAL, "a number, judged by its distance from the truth"),
    binary=_Shown(
        figures=metrics.EVENT_FIGURES,
        side=metrics.of_event,
        portrait=_portrait_of_probabilities,
        kept=_kept_probabilities,
        kept_words="paired losses, and reliability",
        promised="probabilities",
        title=lambda target: f"on test rows, probability of {target.name}",
        chosen_by="Brier score",
        aim=_aim_of_event,
    ),
)
