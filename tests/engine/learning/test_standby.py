"""Where intervals break, a copy with newer calibration that stood by takes over at the next run."""

from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest

from engine.assemble import open_records
from engine.domain import history
from engine.domain.artifact import Artifact
from engine.domain.history import Action
from engine.domain.ports import Records
from engine.domain.record import CHAMPION, RecordQuery
from engine.domain.times import written
from engine.domain.traffic import SHADOW, VariantRequest
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.learning.recalibrate import WINDOW
from engine.learning.standby import FRESH, Night, Post
from engine.settings import Settings
from engine.watching.controller import RolloutController
from engine.watching.rollout import ROLL_BACK, STAGES, under_way
from problems.housing import HOUSING
from tests.callers import (
    CANDIDATE,
    STEPS,
    Callers,
    actions,
    look,
)
from tests.cli.test_retrain import retrain_here

PROMOTED, KEPT = 0, 10
RISEN = 1.6
COPY, RELEASE = Version.parse("v1.0.1-rc.1"), Version.parse("v1.0.1")


def night(controller: RolloutController, records: Records) -> Night:
    return Post(
        HOUSING, controller.champion, controller.artifacts, "tests", written(datetime.now(UTC))
    ).watch(records)


def champion(controller: RolloutController) -> str:
    return str(history.champion(controller.champion.history()))


def test_a_copy_that_covers_far_more_takes_over(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    """It has learned from one day of a market that has risen, and both are tried on the next."""
    callers.ask(WINDOW, market_times=RISEN)
    assert night(controller, records).told == (
        f"{COPY} stands by, calibrated by the newest {WINDOW} outcomes",
    )
    callers.ask(WINDOW, market_times=RISEN)
    found = night(controller, records)
    assert found.is_replaced
    assert found.told[0].startswith(
        f"{RELEASE} replaces v1.0.0 at once: of {WINDOW} outcomes v1.0.0's intervals, which claim "
    )
    past = controller.champion.history()
    assert champion(controller) == str(RELEASE)
    assert [event.action for event in past] == [
        "trained",
        Action.STANDS_BY,
        "promoted",
        Action.STANDS_BY,
    ]
    assert past[2].challenger == COPY
    assert history.attempts(past) == 0


def test_it_answers_as_the_champion_with_other_intervals_at_every_level(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    callers.ask(WINDOW, market_times=RISEN)
    night(controller, records)
    old, new = (
        controller.artifacts.load("housing", Version.parse(v)) for v in ("v1.0.0", str(COPY))
    )
    assert np.array_equal(old.golden.values, new.golden.values)
    assert new.graph == old.graph
    assert (new.golden.upper > old.golden.upper).all()
    assert new.card.calibration["rows"] == WINDOW
    assert new.calibration.highest_confidence == old.calibration.highest_confidence


def test_while_the_champion_holds_copies_come_and_go(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    for rows in (WINDOW, FRESH, FRESH):
        callers.ask(rows)
        assert not night(controller, records).is_replaced
    assert actions(controller) == ["trained", *[Action.STANDS_BY] * 3]
    assert champion(controller) == "v1.0.0"


def test_a_copy_stays_until_it_has_seen_enough(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    for rows, said in (
        (0, f"0 outcomes are known, a copy that stands by takes {WINDOW}"),
        (WINDOW, f"{COPY} stands by, calibrated by the newest {WINDOW} outcomes"),
        (FRESH - 1, f"{COPY} stands by, {FRESH - 1} of {FRESH} outcomes are new"),
        (1, f"v1.0.1-rc.2 stands by, calibrated by the newest {WINDOW} outcomes"),
    ):
        if rows:
            callers.ask(rows)
        assert night(controller, records).told == (said,)


def test_nothing_that_it_learned_from_speaks_for_it(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    callers.ask(3 * WINDOW, market_times=RISEN)
    night(controller, records)
    assert not night(controller, records).is_replaced


def test_rows_of_a_few_units_are_no_evidence_and_somebody_is_told(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    for _ in range(2):
        callers.ask(WINDOW, market_times=RISEN, unit="shop")
        found = night(controller, records)
    assert not found.is_replaced
    assert found.told[0].startswith(f"{COPY} cannot be compared: it takes outcomes of 50 units")
    assert found.told[0].endswith(f"and {WINDOW} are of 1")


def test_a_copy_that_is_gone_is_passed_over(
    settings: Settings, controller: RolloutController, records: Records, callers: Callers
) -> None:
    callers.ask(WINDOW, market_times=RISEN)
    night(controller, records)
    next(settings.data_dir.glob(f"models/**/{COPY}*")).unlink()
    callers.ask(WINDOW, market_times=RISEN)
    found = night(controller, records)
    assert not found.is_replaced
    assert "stands by, calibrated" in found.told[-1]


def test_each_question_counts_once_whoever_else_was_asked_it(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    known = controller.artifacts.versions("housing")
    set_variants(
        controller.champion, known, [VariantRequest(CANDIDATE, SHADOW)], who="somebody", why="mine"
    )
    callers.ask(FRESH)
    asked = [one.record for one in records.read(RecordQuery("housing"))]
    assert {record.variant for record in asked} == {CHAMPION, SHADOW}
    assert night(controller, records).told == (
        f"{FRESH} outcomes are known, a copy that stands by takes {WINDOW}",
    )


def test_a_rollout_goes_on_at_its_stage_with_its_callers_beside_the_new_champion(
    settings: Settings, controller: RolloutController, records: Records, callers: Callers
) -> None:
    callers.ask(WINDOW, market_times=RISEN)
    night(controller, records)
    controller.start(CANDIDATE, "it passed the gate", revision=2)
    callers.ask(600, sold=False)
    assert look(controller, records).to == STAGES[2]
    before = controller.champion.history()[-1]
    callers.ask(WINDOW, market_times=RISEN)
    done = retrain_here(settings, "--rollout")
    past = controller.champion.history()
    found = under_way(past)
    assert done.returncode == PROMOTED, done.stdout + done.stderr
    assert f"{RELEASE} replaces v1.0.0 at once" in done.stdout
    assert champion(controller) == str(RELEASE)
    assert past[-1].traffic == before.traffic
    assert found is not None
    assert (found.candidate, found.stage.action, found.since) == (CANDIDATE, STEPS[2], before.at)


def test_what_is_shown_to_be_worse_goes_back_whoever_took_over_meanwhile(
    settings: Settings, controller: RolloutController, records: Records, callers: Callers
) -> None:
    """Answers of the champion before the copy, which has its trees, count beside the candidate."""
    callers.ask(WINDOW, market_times=RISEN)
    night(controller, records)
    controller.start(CANDIDATE, "it passed the gate", revision=2)
    callers.ask(60, candidate_times=4.0, market_times=RISEN)
    copy = controller.artifacts.load("housing", COPY).named(RELEASE)
    controller.artifacts.save(copy)
    past = controller.champion.history()
    controller.champion.move(
        "promoted", RELEASE, who="tests", why="", after=len(past), traffic=past[-1].traffic
    )
    step = look(controller, records)
    assert step.move == ROLL_BACK, step.reason
    assert "60 units" in step.reason


def test_the_script_without_training_only_looks_after_intervals(
    settings: Settings, artifacts: list[Artifact], controller: RolloutController
) -> None:
    done = []
    for _ in range(2):
        with closing(open_records(settings)) as opened:
            Callers(controller, opened, artifacts[:1]).ask(WINDOW, market_times=RISEN)
        done.append(retrain_here(settings, "--rollout", "--recalibrate"))
    assert [one.returncode for one in done] == [KEPT, PROMOTED], done[-1].stderr
    assert actions(controller) == ["trained", Action.STANDS_BY, "promoted", Action.STANDS_BY]


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (
            ("--recalibrate", "--since", "2026-01-01"),
            2,
            "always uses the newest records",
        ),
        (("--data", "nowhere.csv"), 1, "nowhere.csv does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_changes(
    settings: Settings, arguments: tuple[str, ...], code: int, reason: str
) -> None:
    done = retrain_here(settings, "--rollout", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in done.stderr
