"""A model, or a verdict, as a page: one sentence, a table, and pictures."""

from functools import partial
from pathlib import Path

from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.problem import Problem
from engine.judging.evidence import Evidence
from engine.judging.intervals import slices_of
from engine.learning.challenge import Trial
from engine.model.runtime import Predictor
from engine.reports import plots
from engine.reports.kinds import SHOWN, Said, figures_of, side_by_side
from engine.reports.metrics import figure
from engine.reports.page import grid, picture, pictures, write_page
from engine.tables.table import Table


def write_card(path: Path, problem: Problem, artifact: Artifact, *, judged: Table) -> None:
    """Write the page of a model that was just trained: its figures on the test rows, and on these
    rows, which it has not seen, whether it keeps what it says."""
    card = artifact.card
    what = SHOWN[problem.target.kind].promised
    holds = f"and how its {what} hold"
    if card.shortfall is not None:
        holds = f"whose {what} do not hold: {card.shortfall}"
    tested = {
        label: wanted for label, wanted in figures_of(artifact).items() if wanted[0] == "test"
    }
    rows = [(label, figure(artifact, wanted)) for label, wanted in tested.items()]
    write_page(
        path,
        title=f"{problem.name} {card.version}",
        heading=f"{problem.title}: {card.algorithm} {card.version}, {holds}",
        sentences=(
            f"Trained {card.trained_at} on {card.data['source']}: {card.data['fitted']:,} rows "
            f"learned from, {card.calibration['rows']:,} calibrate ({card.calibration['method']}), "
            f"{len(judged):,} judge. Target: {card.target}, {card.target_unit}.",
        ),
        body=grid(("", "on test rows"), rows) + _portrait(problem, artifact, judged),
    )


def _portrait(problem: Problem, artifact: Artifact, judged: Table) -> str:
    predictor = Predictor(artifact.graph, artifact.calibration)
    values, interval = predictor.predict(judged.rows, DEFAULT_CONFIDENCE)
    sliced = slices_of(problem.schema.names, problem.slices, judged.rows)
    said = Said(values, interval, judged.target, sliced, artifact.calibration.rows)
    return SHOWN[problem.target.kind].portrait(said)


def write_report(path: Path, problem: Problem, trial: Trial, *, champion: Artifact) -> None:
    """Write the page of one trial."""
    verdict, card = trial.verdict, trial.challenger.card
    rows = [("✓" if c.passed else "✗", c.name, c.figure, c.rule) for c in verdict.checks]
    write_page(
        path,
        title=f"{problem.name} {card.version}",
        heading="Promote the challenger" if verdict.promote else "Keep the champion",
        sentences=(
            verdict.sentence,
            f"{problem.title}: challenger {card.version} ({card.algorithm}) against champion "
            f"{champion.card.version} ({champion.card.algorithm}), {card.trained_at}, "
            f"data: {card.data['source']}.",
        ),
        body=grid(("", "check", "found", "asked for"), rows)
        + ("" if trial.evidence is None else _comparison(trial.evidence)),
    )


def _comparison(evidence: Evidence) -> str:
    figures, shown, measure = side_by_side(evidence), SHOWN[evidence.kind], evidence.kind.measure
    rows = [(name, old, new) for name, (old, new) in figures.items()]
    old, new = (measure.loss(one.values, evidence.truth) for one in evidence.sides)
    gain = picture(partial(plots.draw_gain, gain=old - new, loss_name=measure.loss_name))
    drawn = pictures(shown.kept_words, gain, shown.kept(evidence))
    return grid(("", *evidence.named), rows) + drawn
