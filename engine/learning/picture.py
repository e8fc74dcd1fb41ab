"""A verdict as a page: one sentence, a table, a picture; one HTML file that needs nothing else."""

import base64
import io
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from engine.domain.artifact import Artifact
from engine.domain.problem import Problem
from engine.learning.challenge import Trial, side_by_side
from engine.learning.evaluate import covered, slice_coverage
from engine.learning.promote import Evidence, loss

COLOURS = {"champion": "#7a8793", "challenger": "#1b6ca8"}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
td,th{{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ddd}}
img{{max-width:100%}}</style>
<h1>{sentence}</h1>
<p>{facts}</p>
<table><tr><th></th><th>check</th><th>found</th><th>asked for</th></tr>{rows}</table>
{comparison}
</html>
"""


def write_report(path: Path, problem: Problem, trial: Trial, champion: Artifact) -> None:
    """Write the page of one trial."""
    verdict, card = trial.verdict, trial.challenger.card
    facts = (
        f"{problem.title}: challenger {card.version} ({card.algorithm}) against champion "
        f"{champion.card.version} ({champion.card.algorithm}), {card.trained_at}, "
        f"data: {card.data['source']}."
    )
    rows = "".join(
        f"<tr><td>{'✓' if check.passed else '✗'}</td><td>{escape(check.name)}</td>"
        f"<td>{escape(check.figure)}</td><td>{escape(check.rule)}</td></tr>"
        for check in verdict.checks
    )
    page = PAGE.format(
        title=escape(f"{problem.name} {card.version}"),
        sentence=escape(verdict.sentence),
        facts=escape(facts),
        rows=rows,
        comparison="" if trial.evidence is None else comparison(trial.evidence),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page)


def comparison(evidence: Evidence) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{old}</td><td>{new}</td></tr>"
        for name, (old, new) in side_by_side(evidence).items()
    )
    heading = "<tr><th></th><th>champion</th><th>challenger</th></tr>"
    return f"<table>{heading}{rows}</table>{as_image(draw(evidence))}"


def as_image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="paired errors, and coverage by slice" src="data:image/png;base64,{data}">'


def draw(evidence: Evidence) -> Figure:
    figure = Figure(figsize=(11, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_errors(left, evidence)
    draw_coverage(right, evidence)
    return figure


def draw_errors(axes: Any, evidence: Evidence) -> None:
    """How much lower the challenger's loss is on each row; its mean decides."""
    old = loss(evidence.champion.values, evidence.truth)
    gain = old - loss(evidence.challenger.values, evidence.truth)
    widest = float(np.quantile(np.abs(gain), 0.99)) or 1.0
    axes.hist(gain.clip(-widest, widest), bins=60, color=COLOURS["challenger"], alpha=0.8)
    axes.axvline(0, color="black", linewidth=1)
    axes.axvline(gain.mean(), color="#c0392b", label=f"mean {gain.mean():+.4f}")
    axes.set_title(f"|log error|: champion - challenger, {len(gain):,} rows")
    axes.set_xlabel("right of 0: the challenger is closer")
    axes.legend()


def draw_coverage(axes: Any, evidence: Evidence) -> None:
    """Coverage in each slice, with the spread that chance alone gives a slice of its size."""
    predicted = np.sqrt(evidence.champion.values * evidence.challenger.values)
    sliced = {"predicted": predicted, **evidence.sliced}
    level = evidence.challenger.interval.confidence
    sides = {"champion": evidence.champion, "challenger": evidence.challenger}
    for offset, (name, answers) in enumerate(sides.items()):
        shares = slice_coverage(covered(answers.interval, evidence.truth), sliced)
        places = np.arange(len(shares)) + 0.25 * offset
        axes.plot(list(shares.values()), places, "o", color=COLOURS[name], label=name)
        axes.set_yticks(np.arange(len(shares)), list(shares))
    chance = 2 * (level * (1 - level) / max(len(evidence.truth) / 5, 1)) ** 0.5
    axes.axvspan(level - chance, level + chance, color="#cccccc", alpha=0.5)
    axes.set_title(f"coverage of {level:.0%} intervals by slice (grey: chance)")
    axes.legend()
