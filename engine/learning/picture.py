"""A model, or a verdict, as a page: one sentence, a table, a picture; one HTML file that needs
nothing else."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from engine.domain.artifact import Artifact
from engine.domain.conformal import DEFAULT_CONFIDENCE
from engine.domain.loss import loss
from engine.domain.problem import Problem
from engine.domain.schema import BINARY
from engine.learning import plots
from engine.learning.challenge import Trial
from engine.learning.compile import run
from engine.learning.data import Table
from engine.learning.evaluate import slices_of
from engine.learning.evidence import Evidence
from engine.learning.figures import figure, figures_of, side_by_side

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td,th{{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ddd}}
img{{max-width:100%}}</style>
<h1>{heading}</h1>
{sentences}
{body}
</html>
"""


def write_card(path: Path, problem: Problem, artifact: Artifact, judged: Table) -> None:
    """Write the page of a model that was just trained: its figures on the test rows, and on these
    rows, which it has not seen, whether it keeps what it says."""
    card = artifact.card
    what = "probabilities" if problem.target.kind == BINARY else "intervals"
    holds = f"and how its {what} hold"
    if card.shortfall is not None:
        holds = f"whose {what} do not hold: {card.shortfall}"
    tested = {
        label: wanted for label, wanted in figures_of(artifact).items() if wanted[0] == "test"
    }
    rows = [(label, figure(artifact, wanted)) for label, wanted in tested.items()]
    write(
        path,
        title=f"{problem.name} {card.version}",
        heading=f"{problem.title}: {card.algorithm} {card.version}, {holds}",
        sentences=(
            f"Trained {card.trained_at} on {card.data['source']}: {card.data['fitted']:,} rows "
            f"learned from, {card.calibration['rows']:,} calibrate ({card.calibration['method']}), "
            f"{len(judged):,} judge. Target: {card.target}, {card.target_unit}.",
        ),
        body=grid(("", "on test rows"), rows) + portrait(problem, artifact, judged),
    )


def portrait(problem: Problem, artifact: Artifact, judged: Table) -> str:
    outputs, truth, kind = run(artifact.graph, judged.rows), judged.target, problem.target.kind
    values, interval = artifact.calibration.predict(outputs, DEFAULT_CONFIDENCE)
    drawing, left, right = plots.pair()
    if kind == BINARY:
        chances = {"the model": (values, artifact.calibration.rows)}
        plots.draw_reliability(left, chances, truth)
        plots.draw_probabilities(right, values, truth)
    else:
        sliced = slices_of(problem.schema.names, problem.slices, judged.rows)
        plots.draw_predictions(left, values, truth, kind)
        sides = {"the model": (values, interval)}
        plots.draw_coverage(right, sides, truth, {"predicted": values, **sliced})
    return plots.as_image(drawing, "whether what is said holds on rows it has not seen")


def write_report(path: Path, problem: Problem, trial: Trial, champion: Artifact) -> None:
    """Write the page of one trial."""
    verdict, card = trial.verdict, trial.challenger.card
    rows = [("✓" if c.passed else "✗", c.name, c.figure, c.rule) for c in verdict.checks]
    write(
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
        + ("" if trial.evidence is None else comparison(trial.evidence)),
    )


def write(path: Path, *, title: str, heading: str, sentences: Sequence[str], body: str) -> None:
    page = PAGE.format(
        title=escape(title),
        heading=escape(heading),
        sentences="\n".join(f"<p>{escape(sentence)}</p>" for sentence in sentences),
        body=body,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def grid(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(headings, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def comparison(evidence: Evidence) -> str:
    figures = side_by_side(evidence)
    rows = [(name, old, new) for name, (old, new) in figures.items()]
    drawing, left, right = plots.pair()
    old, new = (loss(evidence.kind, one.values, evidence.truth) for one in evidence.sides)
    plots.draw_gain(left, old - new, evidence.kind)
    names = ("champion", "challenger")
    answers = dict(zip(names, evidence.sides, strict=True))
    if evidence.kind == BINARY:
        words = "paired losses, and reliability"
        chances = {name: (one.values, one.calibration_rows) for name, one in answers.items()}
        plots.draw_reliability(right, chances, evidence.truth)
    else:
        words = "paired errors, and coverage by slice"
        sides = {name: (one.values, one.interval) for name, one in answers.items()}
        plots.draw_coverage(right, sides, evidence.truth, evidence.slices)
    return grid(("", *names), rows) + plots.as_image(drawing, words)
