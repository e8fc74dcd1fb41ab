"""Events end to end: a table with holes and names becomes probabilities that hold."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special

from engine.assemble import open_records, open_stores
from engine.domain.artifact import Artifact
from engine.domain.columns import Category, Number
from engine.domain.contract import same_contract
from engine.domain.effort import BEST, FAST
from engine.domain.errors import NothingToJudge, UnusableTable
from engine.domain.kinds import BINARY, REAL
from engine.domain.problem import Problem
from engine.domain.record import DEGRADED, Outcome, Record
from engine.domain.schema import Schema, Target
from engine.domain.version import FIRST, Version
from engine.judging.intervals import covered
from engine.judging.probabilities import skill
from engine.learning.bins import coded, edges_of
from engine.learning.challenge import challenge
from engine.learning.compile import Ensembles, compile_graph, disagreement
from engine.learning.estimators import CANDIDATES, Candidate
from engine.learning.parity import ensembles_of
from engine.learning.recalibrate import recalibrate
from engine.learning.refuse import refuse_unlearnable
from engine.learning.train import Origin, train_all
from engine.model.runtime import run
from engine.reports.console import console
from engine.reports.models import write_card, write_report
from engine.reports.terminal import progress, show_candidates
from engine.tables.recorded import Sources, gathered
from engine.tables.split import split
from engine.tables.table import Table, check, row_hashes
from tests.blocks import put
from tests.conftest import empty_settings

COLUMNS = (
    Number("age", "years", "Age.", 0, 120, 40),
    Number("visits", "visits", "A month.", 0, 1000, 3, is_whole=True, may_be_missing=True),
    Category("plan", "What is paid for.", ("free", "paid", "trial"), "paid", may_be_missing=True),
    Category("land", "Where.", ("DE", "FR", "US"), "US"),
)
LEAVING = Problem(
    name="leaving",
    title="Who leaves",
    schema=Schema(COLUMNS),
    target=Target("leaves", "probability", "Leaves.", 0, 1, BINARY, ("stays", "goes")),
    contracts=(),
    simulate=None,
    slices=("age", "visits"),
    layouts={},
)
GAIN = replace(
    LEAVING, name="gain", title="Gain", target=Target("gain", "EUR", "Gain.", -1e6, 1e6, REAL)
)
ORIGIN = Origin(FIRST, "2026-01-01T00:00:00Z", seed=0)
OFTEN, SELDOM = -1.0, -4.1
"""Log-odds of an average row: 3 in 10 happen, 3 in 100."""


def drawn(rows: int, seed: int, level: float = OFTEN) -> tuple[pd.DataFrame, Any]:
    """A table with holes and an undeclared plan, and the log-odds that made it."""
    rng = np.random.default_rng(seed)
    age, visits = rng.uniform(18, 90, rows).round(1), rng.poisson(4, rows).astype(float)
    plan = rng.choice(["free", "paid", "trial", "odd"], rows, p=[0.4, 0.4, 0.17, 0.03])
    odds = level + 0.03 * (age - 50) - 0.3 * (visits - 4) + 1.5 * (plan == "trial")
    goes = rng.random(rows) < special.expit(odds)
    frame = pd.DataFrame(
        {
            "age": age,
            "visits": np.where(rng.random(rows) < 0.1, np.nan, visits),
            "plan": np.where(rng.random(rows) < 0.05, np.array(None), plan),
            "land": rng.choice(["DE", "FR", "US"], rows),
            "leaves": np.where(goes, "goes", "stays"),
            "gain": 1_000 * odds + 800 * rng.standard_t(5, rows),
        }
    )
    return frame, odds


def table(rows: int, seed: int, level: float = OFTEN, problem: Problem = LEAVING) -> Table:
    return check(problem, drawn(rows, seed, level)[0], "drawn")[0]


def trained(problem: Problem, learned: Table) -> list[Artifact]:
    return train_all(problem, learned, split(learned, 0), origin=ORIGIN, progress=progress)


def sorted_by_name(artifacts: list[Artifact]) -> list[Artifact]:
    return sorted(artifacts, key=lambda artifact: artifact.card.algorithm)


@pytest.fixture(scope="module")
def leaving() -> list[Artifact]:
    """HistGradientBoosting and RandomForest."""
    return sorted_by_name(trained(LEAVING, table(2_000, 1)))


@pytest.fixture(scope="module")
def gain() -> list[Artifact]:
    return sorted_by_name(trained(GAIN, table(1_500, 1, problem=GAIN)))


@pytest.mark.parametrize("candidate", [0, 1])
def test_probabilities_hold_on_rows_nobody_has_seen(
    leaving: list[Artifact], candidate: int
) -> None:
    """Means over fifths of 20,000 rows: calibration rows are 400, so a fifth's rate is known to
    sqrt(p(1-p)/80), and isotonic pooling moves its borders; four of these are allowed."""
    artifact, fresh = leaving[candidate], table(20_000, 2)
    values = artifact.calibration.values(run(artifact.graph, fresh.rows))
    assert ((values > 0) & (values < 1)).all()
    part = np.searchsorted(np.quantile(values, (0.2, 0.4, 0.6, 0.8)), values)
    rows_a_part = artifact.card.calibration["rows"] / 5
    for number in np.unique(part):
        said, happened = values[part == number].mean(), fresh.target[part == number].mean()
        assert abs(said - happened) < 4 * (said * (1 - said) / rows_a_part) ** 0.5


@pytest.mark.parametrize("candidate", [0, 1])
def test_the_graph_and_its_source_agree_where_cells_are_missing(
    leaving: list[Artifact], gain: list[Artifact], candidate: int
) -> None:
    """In all columns, those included that had no hole in training; forests are the known trap."""
    rng = np.random.default_rng(0)
    for artifact in (leaving[candidate], gain[candidate]):
        rows = table(3_000, 3).rows
        rows = np.where(rng.random(rows.shape) < 0.4, np.nan, rows)
        rows[0] = np.nan
        unit = 1.0 if artifact.card.target_kind == BINARY else 1e4
        assert disagreement(ensembles_of(artifact), artifact.graph, rows, unit=unit) < 1e-12


@pytest.mark.parametrize("candidate", [*CANDIDATES[FAST], *CANDIDATES[BEST]])
def test_every_tree_takes_the_branch_of_its_source_for_nan(candidate: Candidate) -> None:
    """Missing cells carry the signal here, so trees split on them, and an infinite threshold says
    "missing or not": the whole answer hangs on the branch."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(1_500, 3))
    rows[rng.random(rows.shape) < 0.3] = np.nan
    target = 5.0 * np.isnan(rows[:, 0]) + np.nan_to_num(rows[:, 1]) + rng.normal(0, 0.1, 1_500)
    steps = (target[:, None] <= np.quantile(target, (0.2, 0.5, 0.8))).astype(float)
    edges = edges_of(rows)
    codes = coded(rows, edges)
    source = Ensembles(
        [one.fit(codes, target) for one in candidate.members(0)],
        [one.fit(codes, np.abs(target)) for one in candidate.size.spread(0)],
        candidate.size.shape(0).fit(codes, steps),
        edges,
    )
    graph = compile_graph(source)
    assert disagreement(source, graph, rows) < 1e-12
    answers = run(graph, np.array([[np.nan, 0.0, 0.0], [0.0, 0.0, 0.0]])).location
    assert answers[0] - answers[1] > 4


def test_the_card_says_how_good_the_probabilities_are(leaving: list[Artifact]) -> None:
    card = leaving[0].card
    assert card.calibration == {"method": "inductive Venn-Abers", "rows": 400}
    assert card.target_kind == BINARY
    for part in ("train", "calibration", "test"):
        assert set(card.metrics[part]) == {
            *("log_loss", "brier", "skill", "ece", "auc", "base_rate"),
            *("mean_width", "worst_slice_calibration_error"),
        }
    assert 0.1 < card.metrics["test"]["skill"] < 0.5
    assert card.features[2].categories == ("free", "paid", "trial")
    assert card.features[1].low == 0
    assert card.profile["visits"]["missing"][0] == pytest.approx(0.1, abs=0.03)


def test_a_model_of_an_event_is_kept_and_loaded(leaving: list[Artifact], tmp_path: Path) -> None:
    stores = open_stores(empty_settings(tmp_path, serve=("leaving",)), "leaving")
    stores.artifacts.save(leaving[0])
    loaded = stores.artifacts.load("leaving", FIRST)
    rows = table(200, 4).rows
    before, after = (one.calibration.values(run(one.graph, rows)) for one in (leaving[0], loaded))
    assert np.array_equal(before, after)


def test_three_percent_of_four_thousand_rows_are_enough_for_honest_probabilities() -> None:
    """Better than the base rate on rows nobody has seen, the mean within what 100 events of
    calibration leave open."""
    best = trained(LEAVING, table(4_000, 5, SELDOM))[0]
    fresh = table(30_000, 6, SELDOM)
    values = best.calibration.values(run(best.graph, fresh.rows))
    rate = fresh.target.mean()
    assert 0.02 < rate < 0.06
    assert skill(float(((values - fresh.target) ** 2).mean()), fresh.target) > 0
    events = best.card.calibration["rows"] * rate
    assert abs(values.mean() / rate - 1) < 4 / events**0.5


def test_rows_are_read_as_the_schema_says() -> None:
    frame, _ = drawn(300, 7)
    frame = frame.astype(object)
    frame.loc[0, "plan"] = "  "
    frame.loc[1, "visits"] = "many"
    frame.loc[2, "land"] = None
    frame.loc[3, "leaves"] = "maybe"
    frame.loc[4, "land"] = "Atlantis"
    frame.loc[5, ["leaves", "visits"]] = [1, 2.5]
    frame.loc[6, "leaves"] = True
    frame.loc[7, "leaves"] = "0"
    read, rejected = check(LEAVING, frame, "read")
    assert rejected.report[["row", "column", "rule"]].to_numpy().tolist() == [
        [2, "visits", "must be a number"],
        [3, "land", "must not be missing"],
        [4, "leaves", "must be stays or goes, or 0 or 1"],
        [6, "visits", "must be a whole number"],
    ]
    assert len(read) == 296
    assert np.isnan(read.rows[0, 2])
    assert np.isnan(read.rows[1, 3])
    assert read.target[2:4].tolist() == [1.0, 0.0]
    unknown = (frame["plan"] == "odd").drop(index=[1, 2, 3, 5]).sum()
    assert rejected.unknown == {"plan": unknown, "land": 1}


def test_equal_rows_with_holes_are_equal_whatever_their_nan_is_made_of() -> None:
    read = table(300, 8)
    other = replace(read, rows=np.where(np.isnan(read.rows), -np.float64("nan"), read.rows))
    assert read.rows.tobytes() != other.rows.tobytes()
    assert np.array_equal(row_hashes(read), row_hashes(other))
    assert read.fingerprint == other.fingerprint
    assert len(np.unique(row_hashes(read))) == len(np.unique(read.groups))


def spoiled(**columns: Any) -> pd.DataFrame:
    return drawn(400, 9)[0].assign(**columns)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (spoiled(visits=np.nan), "visits is missing in every row; fill it, or take it out"),
        (spoiled(leaves="stays"), "one class only, leaves is stays in all rows; add rows of"),
        (
            spoiled(leaves=np.where(np.arange(400) < 49, "goes", "stays")),
            "class imbalance, leaves is goes in 49 of 400 rows, and probabilities need 50",
        ),
        (
            spoiled(leaves=np.where(np.arange(400) < 12, "stays", "goes")),
            "class imbalance, leaves is stays in 12 of 400 rows",
        ),
    ],
)
def test_what_cannot_be_learned_from_says_why_and_what_to_do(
    frame: pd.DataFrame, reason: str
) -> None:
    read, rejected = check(LEAVING, frame, "spoiled")
    with pytest.raises(UnusableTable, match=reason):
        refuse_unlearnable(LEAVING, read, rejected, max_bad_share=0.05)


def test_a_part_without_events_and_a_part_without_a_column_are_refused() -> None:
    """By time: what is rare or new stands in the newest rows alone."""
    late = np.where(np.arange(600) < 540, "stays", "goes")
    new = np.where(np.arange(600) < 500, np.nan, 3.0)
    frame = drawn(600, 10)[0].assign(time=np.arange(600))
    for changed, reason in (
        (frame.assign(leaves=late), "class imbalance, the part that learns has 0 rows"),
        (frame.assign(visits=new), "visits is missing in every row of a part that is learned from"),
    ):
        read = check(LEAVING, changed, "by time")[0]
        with pytest.raises(UnusableTable, match=reason):
            trained(LEAVING, read)


def test_a_table_that_knows_nothing_is_refused() -> None:
    frame = drawn(1_000, 11)[0]
    frame["leaves"] = np.random.default_rng(0).permutation(frame["leaves"])
    with pytest.raises(UnusableTable, match="worse than one value for all rows"):
        trained(LEAVING, check(LEAVING, frame, "noise")[0])


@pytest.mark.parametrize("candidate", [0, 1])
def test_intervals_of_a_target_with_both_signs_cover(gain: list[Artifact], candidate: int) -> None:
    """Beta distributed, given the calibration rows: four standard deviations of it."""
    artifact, fresh = gain[candidate], table(20_000, 12, problem=GAIN)
    outputs = run(artifact.graph, fresh.rows)
    rows = artifact.card.calibration["rows"]
    assert (fresh.target < 0).any()
    for level in (0.5, 0.8, 0.9, 0.99):
        hits = covered(artifact.calibration.interval(outputs, level), fresh.target).mean()
        assert abs(hits - level) < 2 / (rows + 1) + 4 * (level * (1 - level) / rows) ** 0.5
    errors = artifact.calibration.values(outputs) - fresh.target
    assert 1 - (errors**2).sum() / ((fresh.target - fresh.target.mean()) ** 2).sum() > 0.4
    assert "mape" not in artifact.card.metrics["test"]
    assert set(artifact.card.metrics["cross_fitted"]) == {"error", "skill"}


def test_candidates_are_shown_by_the_figures_of_their_kind(
    leaving: list[Artifact], gain: list[Artifact]
) -> None:
    for problem, artifacts, words, not_there in (
        (LEAVING, leaving, ("log loss", "Brier", "AUC", "base rate"), "Winkler"),
        (GAIN, gain, ("R2", "Winkler", "lower cross-fitted |error|"), "MAPE"),
    ):
        with console.capture() as captured:
            show_candidates(problem, artifacts)
        assert all(word in captured.get() for word in words)
        assert not_there not in captured.get()


def test_a_new_model_has_a_page_with_a_picture(
    leaving: list[Artifact], gain: list[Artifact], tmp_path: Path
) -> None:
    for problem, artifact in ((LEAVING, leaving[0]), (GAIN, gain[0])):
        path = tmp_path / "reports" / f"{problem.name}.html"
        write_card(path, problem, artifact, judged=table(600, 13, problem=problem))
        page = path.read_text()
        assert "on test rows" in page
        assert " train<" not in page
        assert "data:image/png;base64," in page
        assert "http" not in page
        assert problem.title in page


def test_a_challenger_is_judged_by_log_loss_and_has_a_page(
    leaving: list[Artifact], tmp_path: Path
) -> None:
    """The world turned round: whoever learned from the new rows knows better."""
    frame = drawn(1_200, 14)[0]
    turned = frame.assign(leaves=np.where(frame["leaves"] == "goes", "stays", "goes"))
    new = check(LEAVING, turned, "turned")[0]
    origin = replace(ORIGIN, version=Version.parse("v1.1.0-rc.1"))
    trial = challenge(LEAVING, new, leaving[0], origin=origin, attempt=1, progress=progress)
    assert trial.verdict.promote, trial.verdict.sentence
    assert "mean log loss" in trial.verdict.sentence
    assert {check.name for check in trial.verdict.checks} >= {"Brier", "calibration", "slices"}
    write_report(tmp_path / "page.html", LEAVING, trial, champion=leaving[0])
    page = (tmp_path / "page.html").read_text()
    assert "<h1>Promote the challenger</h1>" in page
    assert "paired losses, and reliability" in page


def test_new_rows_recalibrate_probabilities_by_the_same_trees(leaving: list[Artifact]) -> None:
    new = table(3_000, 15, OFTEN + 1.0)
    origin = replace(ORIGIN, version=Version.parse("v1.0.1-rc.1"))
    trial = recalibrate(
        LEAVING, new, leaving[0], origin=origin, attempt=1, allows_other_library=False
    )
    after = trial.challenger
    assert trial.verdict.promote, trial.verdict.sentence
    assert after.graph == leaving[0].graph
    assert 2_300 < after.card.calibration["rows"] <= 2_400
    assert np.array_equal(
        after.golden.values, after.calibration.values(run(after.graph, after.golden.rows))
    )
    fresh = table(5_000, 16, OFTEN + 1.0)
    off_before, off_after = (
        abs(float(one.calibration.values(run(one.graph, fresh.rows)).mean() - fresh.target.mean()))
        for one in (leaving[0], after)
    )
    rate = fresh.target.mean()
    chance = (rate * (1 - rate) * (1 / after.card.calibration["rows"] + 1 / 5_000)) ** 0.5
    assert off_after < 4 * chance < off_before


def test_rows_without_events_do_not_judge(leaving: list[Artifact]) -> None:
    rare = table(1_500, 17, SELDOM - 2)
    with pytest.raises(NothingToJudge, match=r"judge leaves, [01] of the rarer class, too few"):
        challenge(LEAVING, rare, leaving[0], origin=ORIGIN, attempt=1, progress=progress)


def test_other_categories_or_another_kind_are_another_contract(leaving: list[Artifact]) -> None:
    card = leaving[0].card
    more = replace(COLUMNS[2], categories=("free", "paid", "trial", "odd"))
    changed = replace(LEAVING, schema=Schema((*COLUMNS[:2], more, COLUMNS[3])))
    assert same_contract(LEAVING, card)
    assert not same_contract(changed, card)
    assert not same_contract(replace(LEAVING, target=replace(LEAVING.target, kind=REAL)), card)


def test_answers_about_a_fallback_row_are_not_learned_from(tmp_path: Path) -> None:
    settings = empty_settings(tmp_path, serve=("leaving",))
    settings.data_dir.mkdir(parents=True)
    row = {"age": 30, "land": "US"}
    told = [
        Record(
            f"asked-{number}",
            f"2026-11-0{number}T00:00:00.000Z",
            "leaving",
            "v1.0.0",
            variant,
            row,
            value=0.3,
            lower=0.2,
            upper=0.4,
            level=0.9,
            request_id="r",
        )
        for number, variant in ((1, "champion"), (2, DEGRADED))
    ]
    with closing(open_records(settings)) as records:
        put(records, told)
        known = "2026-11-05T00:00:00.000Z"
        records.label("leaving", [Outcome(one.id, 1.0, known) for one in told])
        found = gathered(LEAVING, Sources((), None, records), major=1)
    assert len(found.frame) == 1
    assert "1 with outcomes of 1" in found.summary
    read, rejected = check(LEAVING, found.frame, found.source)
    assert rejected.rows == 0
    assert np.isnan(read.rows[0, 1:3]).all()
    assert read.target.tolist() == [1.0]
