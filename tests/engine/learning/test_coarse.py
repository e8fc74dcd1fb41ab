"""Tables of few different values: that rows are equal means nothing, and chooses no outcome."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.domain.artifact import Artifact
from engine.domain.columns import Category
from engine.domain.effort import FAST
from engine.domain.kinds import BINARY
from engine.domain.problem import Problem
from engine.domain.schema import Schema, Target
from engine.domain.version import FIRST
from engine.learning.challenge import fresh_rows, unseen
from engine.learning.kinds import LEARNERS
from engine.learning.train import Origin, train
from engine.tables.split import split
from engine.tables.table import Table, check, row_hashes
from problems.housing import HOUSING, simulate

NAMES = tuple("abcdef")
WEIGHTS = np.array([1.2, -0.9, 0.7, 0.5, -0.6, 0.4])
YES_NO = ("no", "yes")
COARSE = Problem(
    name="coarse",
    title="Six questions, yes or no",
    schema=Schema(tuple(Category(name, "An answer.", YES_NO, "no") for name in NAMES)),
    target=Target("left", "event", "1 when they left.", 0, 1, BINARY),
    contracts=(),
    simulate=None,
    slices=(),
    layouts={},
)


def drawn(rows: int, seed: int) -> tuple[pd.DataFrame, Any]:
    """Answers, and how likely each row is to leave."""
    rng = np.random.default_rng(seed)
    answers = rng.integers(0, 2, (rows, len(NAMES)))
    chance = 1 / (1 + np.exp(1.4 - answers @ WEIGHTS))
    frame = pd.DataFrame(answers, columns=list(NAMES)).replace({0: "no", 1: "yes"})
    return frame.assign(left=(rng.random(rows) < chance).astype(float)), chance


def coarse(rows: int, seed: int) -> Table:
    return check(COARSE, drawn(rows, seed)[0], "answers")[0]


@pytest.fixture(scope="module")
def champion() -> Artifact:
    table = coarse(4_000, 1)
    origin = Origin(FIRST, "2026-01-01T00:00:00.000Z", seed=1)
    parts = split(table, 1)
    first = LEARNERS[BINARY].candidates[FAST][0]
    return train(COARSE, table, parts, candidate=first, origin=origin, tell=lambda step: None)


def test_what_few_values_say_is_learned(champion: Artifact) -> None:
    """The test rows' skill is that of the truth, but for chance (800 rows) and for what a model
    loses that must learn 64 cells from 2,900 rows."""
    chance = drawn(4_000, 1)[1]
    best = 1 - (chance * (1 - chance)).mean() / (chance.mean() * (1 - chance.mean()))
    assert champion.card.metrics["test"]["skill"] > best - 0.08


def test_the_rows_that_judge_leave_as_often_as_all_do(champion: Artifact) -> None:
    """Old rows and new ones in one table: as many judge as are new, whatever became of them."""
    both = pd.concat([drawn(4_000, 1)[0], drawn(3_000, 2)[0]], ignore_index=True)
    table = check(COARSE, both, "answers")[0]
    rest, judged = unseen(table, champion, seed=3)
    rate = table.target.mean()
    for rows in (rest, judged):
        spread = (rate * (1 - rate) / len(rows)) ** 0.5
        assert abs(table.target[rows].mean() - rate) < 4 * spread
    assert len(fresh_rows(table, champion)) == 7_000 - len(champion.seen)


def test_of_new_rows_alone_those_that_are_left_leave_as_often_as_their_likes(
    champion: Artifact,
) -> None:
    """Each cell loses as many rows as the champion has seen of it, the oldest."""
    few = replace(champion, seen=champion.seen[::4])
    frame, chance = drawn(6_000, 4)
    table = check(COARSE, frame, "answers")[0]
    fresh = fresh_rows(table, few)
    expected, spread = chance[fresh].mean(), (chance * (1 - chance))[fresh].sum() ** 0.5
    assert 0 < len(fresh) < len(table)
    assert abs(table.target[fresh].mean() - expected) < 4 * spread / len(fresh)


def test_copies_of_a_row_are_on_one_side_where_rows_can_be_told_apart() -> None:
    once = pd.DataFrame(simulate(1_000, 5))
    twice = check(HOUSING, pd.concat([once, once], ignore_index=True), "twice")[0]
    parts = split(twice, 1)
    numbers = row_hashes(twice)
    assert not np.isin(numbers[parts.test], numbers[parts.fit]).any()
    assert len(np.unique(coarse(1_000, 1).groups)) == 1_000
