"""Where intervals break, a copy with newer calibration that stood by takes over at the next run."""

import subprocess
from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest

from engine.assemble import open_records
from engine.domain import history
from engine.domain.arrange import arrange
from engine.domain.artifact import Artifact
from engine.domain.history import STANDS_BY
from engine.domain.ports import Records
from engine.domain.record import CHAMPION, Question
from engine.domain.times import written
from engine.domain.traffic import SHADOW, Wish
from engine.domain.version import Version
from engine.learning.recalibrate import WINDOW
from engine.learning.standby import FEWEST, Post
from engine.settings import Settings
from engine.watching.rollout import under_way
from engine.watching.steer import Helm
from problems.housing import HOUSING
from tests.test_rollout import (
    CANDIDATE,
    KEPT,
    PROMOTED,
    STEPS,
    Callers,
    actions,
    callers,
    helm,
    records,
    run,
)

__all__ = ["callers", "helm", "records"]
RISEN = 1.6
COPY, RELEASE = Version.parse("v1.0.1-rc.1"), Version.parse("v1.0.1")


@pytest.fixture
def post(helm: Helm) -> Post:
    return post_at(helm)


def post_at(helm: Helm) -> Post:
    return Post(HOUSING, helm.champion, helm.artifacts, "tests", written(datetime.now(UTC)))


def champion(helm: Helm) -> str:
    return str(history.champion(helm.champion.history()))


def test_a_copy_that_covers_far_more_takes_over(
    helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    """It has learned from one day of a market that has risen, and both are tried on the next."""
    callers.ask(WINDOW, market_times=RISEN)
    said = post.renew(records)
    assert said == f"{COPY} stands by, calibrated by the newest {WINDOW} outcomes"
    callers.ask(WINDOW, market_times=RISEN)
    relieved = post.relieve(records)
    assert relieved is not None
    assert relieved.startswith(f"{RELEASE} replaces v1.0.0 at once: of {WINDOW} outcomes ")
    assert champion(helm) == str(RELEASE)
    assert helm.champion.history()[-1].challenger == COPY
    assert history.attempts(helm.champion.history()) == 0


def test_it_answers_as_the_champion_with_intervals_that_hold(
    helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    callers.ask(WINDOW, market_times=RISEN)
    post.renew(records)
    old, new = (helm.artifacts.load("housing", Version.parse(v)) for v in ("v1.0.0", str(COPY)))
    assert np.array_equal(old.golden.values, new.golden.values)
    assert new.graph == old.graph
    assert (new.golden.upper > old.golden.upper).all()
    assert new.card.calibration["rows"] == WINDOW


def test_while_the_champion_holds_copies_come_and_go(
    helm: Helm, records: Records, callers: Callers
) -> None:
    for _ in range(3):
        callers.ask(FEWEST)
        assert post_at(helm).relieve(records) is None
        assert post_at(helm).renew(records) is not None
    assert actions(helm) == ["trained", *[STANDS_BY] * 3]
    assert champion(helm) == "v1.0.0"


def test_a_copy_stays_until_it_has_seen_enough(
    helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    assert post.renew(records) == "0 outcomes are known, a copy that stands by takes 100"
    callers.ask(FEWEST)
    assert post.renew(records) is not None
    callers.ask(FEWEST - 1)
    assert post.renew(records) is None
    callers.ask(1)
    assert post.renew(records) is not None


def test_nothing_that_it_learned_from_speaks_for_it(
    helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    callers.ask(5 * WINDOW, market_times=RISEN)
    post.renew(records)
    assert post.relieve(records) is None


def test_a_copy_that_is_gone_is_passed_over(
    settings: Settings, helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    callers.ask(WINDOW, market_times=RISEN)
    post.renew(records)
    next(settings.data_dir.glob(f"models/**/{COPY}*")).unlink()
    callers.ask(WINDOW, market_times=RISEN)
    assert post.relieve(records) is None
    assert post.renew(records) is not None


def test_shadows_and_other_peoples_failures_are_no_evidence(
    helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    """Each question counts once, whoever else was asked it."""
    known = helm.artifacts.versions("housing")
    arrange(helm.champion, known, [Wish(CANDIDATE, SHADOW)], who="somebody", why="mine")
    callers.ask(FEWEST)
    asked = [one.record for one in records.read(Question("housing"))]
    assert {record.variant for record in asked} == {CHAMPION, SHADOW}
    assert post.renew(records) == f"{COPY} stands by, calibrated by the newest {FEWEST} outcomes"


def test_a_rollout_goes_on_at_its_stage_beside_the_new_champion(
    settings: Settings, helm: Helm, records: Records, callers: Callers, post: Post
) -> None:
    callers.ask(WINDOW, market_times=RISEN)
    post.renew(records)
    helm.start(CANDIDATE, "it passed the gate", revision=2)
    callers.ask(WINDOW, market_times=RISEN)
    done = run(settings)
    past = helm.champion.history()
    found = under_way(past)
    assert done.returncode == PROMOTED, done.stdout + done.stderr
    assert f"{RELEASE} replaces v1.0.0 at once" in done.stdout
    assert "stands by" in done.stdout.splitlines()[-1]
    expected = ["trained", STANDS_BY, STEPS[0], "promoted", STEPS[0], STANDS_BY]
    assert [event.action for event in past] == expected
    assert found is not None
    assert (found.candidate, found.stage.action) == (CANDIDATE, STEPS[0])
    assert champion(helm) == str(RELEASE)


def test_the_script_without_training_only_looks_after_intervals(
    settings: Settings, artifacts: list[Artifact], helm: Helm
) -> None:
    def night() -> subprocess.CompletedProcess[str]:
        with closing(open_records(settings)) as opened:
            Callers(helm, opened, artifacts[:1]).ask(WINDOW, market_times=RISEN)
        return run(settings, "--recalibrate")

    done = [night(), night()]
    assert [one.returncode for one in done] == [KEPT, PROMOTED], done[-1].stderr
    assert [event.action for event in helm.champion.history()] == [
        "trained",
        STANDS_BY,
        "promoted",
        STANDS_BY,
    ]
