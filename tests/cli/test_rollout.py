"""A roll-out that drives itself: step by step while nothing is worse, back at once when it is."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.server import ROOT
from engine.assemble import open_stores
from engine.domain import history
from engine.domain.errors import InvalidTraffic
from engine.domain.ports import Records
from engine.domain.record import CHAMPION, RecordQuery
from engine.domain.traffic import SHADOW, TEST, VariantRequest
from engine.domain.variants import set_variants
from engine.domain.version import Version
from engine.settings import Settings
from engine.watching.controller import RolloutController, refuse_beside_others
from engine.watching.rollout import ADVANCE, ROLL_BACK, STAY, under_way
from retrain import retrain
from tests.blocks import put
from tests.callers import (
    CANDIDATE,
    STEPS,
    Callers,
    actions,
    look,
)
from tests.cli.test_retrain import environment, sales
from tests.scripts import Done, run_here, run_process

KEPT, PROMOTED, FAILED, MISUSED = 10, 0, 1, 2
ENOUGH = 1_200
QUESTION = RecordQuery("housing")
FUTURE_SECONDS = 300


@pytest.mark.slow
def test_a_candidate_that_is_no_worse_becomes_champion_step_by_step(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    for rows in (100 * 60, 100 * 70, ENOUGH * 3, ENOUGH * 2):
        callers.ask(rows)
        while (step := look(controller, records)).move == STAY:
            assert "looks worse, not shown yet" in step.reason
            callers.ask(rows)
        assert step.move == ADVANCE, step.reason
    past = controller.champion.history()
    assert actions(controller) == ["trained", *STEPS, "promoted"]
    assert str(history.champion(past)) == "v1.1.0"
    assert past[-1].challenger == CANDIDATE
    assert history.traffic(past).variants == ()
    assert all("nothing is worse" in event.why for event in past[2:])
    assert history.attempts(past[:-1]) == 1
    assert controller.artifacts.load("housing", Version.parse("v1.1.0")).card.version == "v1.1.0"


def test_without_enough_callers_it_stays_where_it_is(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    callers.ask(60)
    step = look(controller, records)
    assert step.move == STAY
    assert "60 of 500 units" in step.reason
    assert actions(controller) == ["trained", "rollout shadow"]


def test_without_outcomes_it_goes_on_and_says_so(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    callers.ask(600, sold=False)
    step = look(controller, records)
    assert step.move == ADVANCE
    assert "no outcomes" in step.reason


@pytest.mark.parametrize("stages", [[STEPS[0]], [STEPS[0], STEPS[2]]])
def test_a_candidate_that_is_shown_to_be_worse_is_rolled_back_at_once(
    controller: RolloutController, records: Records, callers: Callers, stages: list[str]
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    for _ in stages[1:]:
        callers.ask(ENOUGH, sold=False)
        look(controller, records)
    callers.ask(ENOUGH * 3, candidate_times=1.5)
    step = look(controller, records)
    past = controller.champion.history()
    assert step.move == ROLL_BACK, step.reason
    assert "higher" in step.reason
    assert actions(controller) == ["trained", *stages, "rollout stopped"]
    assert str(history.champion(past)) == "v1.0.0"
    assert history.traffic(past).variants == ()
    assert under_way(past) is None


def test_a_candidate_that_fails_is_rolled_back(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    callers.ask(100)
    champions = [j.record for j in records.read(QUESTION) if j.record.variant == CHAMPION][:3]
    for number, record in enumerate(champions):
        asked = replace(record, id=f"failed-{number}")
        silent = replace(asked, value=None, lower=None, upper=None, error="it cannot")
        shadow = replace(silent, version=str(CANDIDATE), variant=SHADOW)
        put(records, [asked, shadow])
    step = look(controller, records)
    assert step.move == ROLL_BACK
    assert "3 of 103 predictions failed" in step.reason


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_text("?")])
def test_a_candidate_that_cannot_be_loaded_any_more_is_rolled_back(
    settings: Settings,
    controller: RolloutController,
    records: Records,
    damage: Callable[[Path], object],
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    damage(next(settings.data_dir.glob(f"models/**/{CANDIDATE}*")))
    step = look(controller, records)
    assert step.move == ROLL_BACK
    assert "it cannot be loaded" in step.reason
    assert history.traffic(controller.champion.history()).variants == ()


def test_records_of_the_future_take_nobody_further(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    """They would count at the next stage, too, which begins by the clock of the look."""
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    callers.ask(ENOUGH)
    step = look(controller, records, clock_behind=FUTURE_SECONDS)
    assert step.move == STAY
    assert "set the clocks" in step.reason
    assert look(controller, records).move == ADVANCE


def test_harm_is_rolled_back_whatever_the_clocks_say(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    callers.ask(ENOUGH, candidate_times=1.5)
    assert look(controller, records, clock_behind=FUTURE_SECONDS).move == ROLL_BACK


def test_traffic_set_by_hand_ends_a_roll_out_and_is_not_overruled_by_one(
    controller: RolloutController,
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    known = controller.artifacts.versions("housing")
    set_variants(
        controller.champion,
        known,
        [VariantRequest(CANDIDATE, TEST, 0.5)],
        who="somebody",
        why="mine",
    )
    past = controller.champion.history()
    assert under_way(past) is None
    with pytest.raises(InvalidTraffic, match=r"python -m cli deployment clear"):
        refuse_beside_others(past)


def test_a_release_that_a_crash_left_behind_is_passed_over(
    controller: RolloutController, records: Records, callers: Callers
) -> None:
    """Killed after the release was written and before its event: the next look takes the next."""
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    for rows in (ENOUGH, ENOUGH * 3):
        callers.ask(rows, sold=False)
        look(controller, records)
    left = controller.artifacts.load("housing", CANDIDATE).named(Version.parse("v1.1.0"))
    controller.artifacts.save(left)
    callers.ask(ENOUGH * 2, sold=False)
    assert look(controller, records).move == ADVANCE
    assert str(history.champion(controller.champion.history())) == "v1.2.0"


def run(settings: Settings, *arguments: str) -> Done:
    return run_process("retrain", "--rollout", *arguments, environment=environment(settings))


@pytest.mark.slow
def test_the_script_starts_with_a_shadow_and_goes_on_at_the_next_run(settings: Settings) -> None:
    first = run(settings, "--data", sales(settings.data_dir, change=1.6))
    second = run(settings)
    past = open_stores(settings, "housing").champion.history()
    assert (first.returncode, second.returncode) == (KEPT, KEPT), first.stderr + second.stderr
    assert "is a shadow now" in first.stdout
    assert "stay - shadow: 0 of 500 units" in second.stdout
    assert [event.action for event in past] == ["trained", "rollout shadow"]
    assert 0 < judged_agreement(settings, past[-1].challenger) < 1


def judged_agreement(settings: Settings, candidate: Version | None) -> float:
    assert candidate is not None
    artifact = open_stores(settings, "housing").artifacts.load("housing", candidate)
    return artifact.card.metrics["judged"]["agreement"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--dry-run",), "--rollout cannot be used with --dry-run"),
        (("--yes-major",), "--rollout cannot be used with --yes-major"),
    ],
)
def test_the_script_refuses_what_does_not_go_together(
    settings: Settings, arguments: tuple[str, ...], reason: str
) -> None:
    done = run_here(retrain, "--rollout", *arguments, environment=environment(settings))
    assert done.returncode == MISUSED
    assert reason in done.stderr


@pytest.mark.load
def test_killed_at_any_moment_it_is_at_one_stage_or_the_next(
    settings: Settings, controller: RolloutController, records: Records, callers: Callers
) -> None:
    controller.start(CANDIDATE, "it passed the gate", revision=1)
    rng = np.random.default_rng(3)
    for _ in range(3):
        callers.ask(100 * 70, sold=False)
        before = len(actions(controller))
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "retrain.py"), "--rollout"],
            env=environment(settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(float(rng.uniform(0.4, 1.6)))
        process.kill()
        process.wait()
        assert len(actions(controller)) in {before, before + 1}
        if under_way(controller.champion.history()) is None:
            break
    while under_way(controller.champion.history()) is not None:
        callers.ask(100 * 70, sold=False)
        look(controller, records)
    assert actions(controller) == ["trained", *STEPS, "promoted"]
    assert controller.champion.load().card.version in {"v1.1.0", "v1.2.0"}
