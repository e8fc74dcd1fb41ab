"""What a variant or a shadow does wrong stays with it."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from engine.domain.answer import AnsweredRows
from engine.domain.artifact import Artifact
from engine.domain.prediction import Prediction
from engine.domain.record import CHAMPION
from engine.domain.schema import Matrix
from engine.domain.traffic import ALONE, CANARY, SHADOW, VariantRequest
from engine.domain.version import Version
from engine.model.model import Model, serve
from engine.serving.deployment import Deployment, VariantModel
from engine.serving.shadow import MOST_WAITING_ROWS, ShadowRequest, Shadows
from problems.housing import HOUSING
from tests.conftest import HOUSE
from tests.replies import answer_of

FIRST, SECOND = map(Version.parse, ("v1.1.0-rc.1", "v1.1.0-rc.2"))
ROWS = HOUSING.schema.encode([HOUSE] * 100)


@pytest.fixture(scope="module")
def model(artifacts: list[Artifact]) -> Model:
    return serve(artifacts[0], HOUSING, loaded_at="")


@dataclass(frozen=True, eq=False)
class Nonsense(VariantModel):
    """Answers every second row with no number."""

    def predict(self, rows: Matrix, confidence: float) -> Prediction:
        said = super().predict(rows, confidence)
        return replace(said, values=np.where(np.arange(len(rows)) % 2, said.values, np.nan))


@dataclass(frozen=True, eq=False)
class Stuck(VariantModel):
    """Does not answer before it is let go."""

    let_go: threading.Event = field(default_factory=threading.Event)
    is_asked: threading.Event = field(default_factory=threading.Event)

    def predict(self, rows: Matrix, confidence: float) -> Prediction:
        self.is_asked.set()
        self.let_go.wait()
        return super().predict(rows, confidence)


def question(model: Model, *shadows: VariantModel) -> ShadowRequest:
    deployment = Deployment(VariantModel(Version.parse("v1.0.0"), CHAMPION, model))
    blank = [0.0] * len(ROWS)
    answer = replace(
        answer_of(blank, blank, blank).answered,
        problem="housing",
        rows=[HOUSE] * len(ROWS),
        parts=deployment.infer(ROWS, [], 0.9),
    )
    return ShadowRequest(shadows, answer, ROWS)


def test_an_answer_that_is_no_number_never_reaches_a_caller(model: Model) -> None:
    traffic = ALONE.changed([VariantRequest(FIRST, CANARY, 0.5)], "s")
    champion = VariantModel(Version.parse("v1.0.0"), CHAMPION, model)
    deployment = Deployment(champion, (Nonsense(FIRST, CANARY, model),), traffic)
    units = [f"user {number}".encode() for number in range(len(ROWS))]
    parts = deployment.infer(ROWS, units, 0.9)
    answered = replace(question(model).answer, parts=parts)
    failed = [part for part in parts if part.error]
    assert len(failed) == 1
    assert "no number" in (failed[0].error or "")
    assert np.isfinite(answered.prediction.values).all()
    assert set(answered.versions) == {"v1.0.0"}
    variants = Counter(one.variant for block in answered.blocks() for one in block.records())
    assert variants["canary"] == variants["fallback"] == 100 - variants["champion"] > 0


def test_a_shadow_that_is_slow_takes_no_answer_off_the_event_loop(model: Model) -> None:
    slow = replace(model, inline_rows=0)
    champion = VariantModel(Version.parse("v1.0.0"), CHAMPION, model)
    for mode, share, rows in ((SHADOW, 0.0, model.inline_rows), (CANARY, 0.5, 0)):
        traffic = ALONE.changed([VariantRequest(FIRST, mode, share)], "s")
        deployment = Deployment(champion, (VariantModel(FIRST, mode, slow),), traffic)
        assert deployment.inline_rows == rows


@pytest.fixture
def kept() -> list[AnsweredRows]:
    return []


@pytest.fixture
def skipped() -> Counter[Version]:
    return Counter()


@pytest.fixture
def shadows(kept: list[AnsweredRows], skipped: Counter[Version]) -> Iterator[Shadows]:
    def skip(problem: str, arm: VariantModel, rows: int) -> None:
        skipped[arm.version] += rows

    running = Shadows(keep=kept.append, skip=skip)
    yield running
    running.close()


def test_a_shadow_that_hangs_holds_up_no_other_and_its_queue_is_bounded(
    model: Model, shadows: Shadows, kept: list[AnsweredRows], skipped: Counter[Version]
) -> None:
    stuck = Stuck(FIRST, SHADOW, model)
    asked = question(model, stuck, VariantModel(SECOND, SHADOW, model))
    questions = 3 * MOST_WAITING_ROWS // len(ROWS)
    for _ in range(questions):
        shadows.ask(asked)
        time.sleep(0.001)
    for _ in range(200):
        if len(kept) + skipped[SECOND] // len(ROWS) == questions:
            break
        time.sleep(0.02)
    assert {part.version for one in kept for part in one.parts} == {str(SECOND)}
    assert len(kept) > questions // 2
    assert skipped[FIRST] == questions * len(ROWS) - MOST_WAITING_ROWS - len(ROWS)
    stuck.let_go.set()


def test_ending_does_not_wait_for_a_shadow_that_hangs(
    model: Model, shadows: Shadows, skipped: Counter[Version]
) -> None:
    stuck = Stuck(FIRST, SHADOW, model)
    for _ in range(3):
        shadows.ask(question(model, stuck))
    assert stuck.is_asked.wait(30)
    start = time.perf_counter()
    shadows.close()
    assert time.perf_counter() - start < 2
    assert skipped[FIRST] == 2 * len(ROWS)
    stuck.let_go.set()
