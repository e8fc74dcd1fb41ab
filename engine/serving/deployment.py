"""What is live for a problem: the champion, the variants that answer some units, the shadows."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.domain.answer import AnswerPart
from engine.domain.errors import ModelNotReady
from engine.domain.prediction import Prediction
from engine.domain.record import CHAMPION, DEGRADED, FALLBACK, PINNED
from engine.domain.schema import Matrix
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import Version
from engine.model.model import Model

_LONGEST_ERROR = 500


@dataclass(frozen=True, eq=False)
class VariantModel:
    """A version in its place; one that could not be loaded says why."""

    version: Version
    variant: str
    model: Model | None
    refusal: str = ""

    @cached_property
    def name(self) -> str:
        return str(self.version)

    def predict(self, rows: Matrix, confidence: float) -> Prediction:
        """Raises ModelNotReady when there is no model, and whatever the model raises."""
        if self.model is None:
            raise ModelNotReady(self.refusal)
        if self.variant == DEGRADED:
            return self.model.predict_widely(rows, confidence)
        return self.model.predict(rows, confidence)


@dataclass(frozen=True, eq=False)
class Deployment:
    """Frozen: a change of the champion or of the traffic makes a new deployment."""

    champion: VariantModel
    variants: tuple[VariantModel, ...] = ()
    traffic: Traffic = ALONE

    @classmethod
    def pinned(cls, model: Model) -> "Deployment":
        """One version that the caller named; nobody else is asked."""
        return cls(VariantModel(Version.parse(model.card.version), PINNED, model))

    @cached_property
    def serves_variants(self) -> bool:
        return self.traffic.serves_variants

    @cached_property
    def shadows(self) -> tuple[VariantModel, ...]:
        shadows = {variant.version for variant in self.traffic.shadows}
        return tuple(arm for arm in self.variants if arm.version in shadows)

    @property
    def refusals(self) -> list[str]:
        return [f"variant {arm.version}: {arm.refusal}" for arm in self.variants if arm.refusal]

    @cached_property
    def inline_rows(self) -> int:
        """How many rows may be answered on the event loop, whoever answers; shadows do not."""
        answering = [arm for arm in self.variants if arm not in self.shadows]
        models = [arm.model for arm in (self.champion, *answering)]
        return min(model.inline_rows for model in models if model is not None)

    def infer(self, rows: Matrix, units: Sequence[bytes], confidence: float) -> list[AnswerPart]:
        """Ask each row's own version; the champion answers for a variant that fails.

        `units` has one item a row, or is empty where only the champion answers. What the champion
        raises, this raises; nothing else.
        """
        parts = []
        for arm, places in self._assigned(len(rows), units):
            part = asked(arm, rows, places, confidence=confidence)
            parts.append(part)
            if part.error is not None:
                fallback = VariantModel(self.champion.version, FALLBACK, self.champion.model)
                parts.append(_answered(fallback, rows, places, confidence=confidence))
        return parts

    def infer_degraded(self, rows: Matrix, confidence: float) -> list[AnswerPart]:
        """The champion's answer to the fallback rows; variants are not asked, because nothing can
        be learned from these rows."""
        arm = VariantModel(self.champion.version, DEGRADED, self.champion.model)
        return [_answered(arm, rows, np.arange(len(rows)), confidence=confidence)]

    def _assigned(
        self, n: int, units: Sequence[bytes]
    ) -> Iterable[tuple[VariantModel, NDArray[np.intp]]]:
        if not units:
            return [(self.champion, np.arange(n))]
        arms = {arm.version: arm for arm in self.variants}
        places: dict[VariantModel, list[int]] = {}
        for place, owner in enumerate(map(self.traffic.version_for, units)):
            arm = self.champion if owner is None else arms[owner]
            places.setdefault(arm, []).append(place)
        return [(arm, np.array(mine)) for arm, mine in places.items()]


def _answered(
    arm: VariantModel, rows: Matrix, places: NDArray[np.intp], *, confidence: float
) -> AnswerPart:
    start = time.perf_counter()
    prediction = arm.predict(rows[places] if len(places) < len(rows) else rows, confidence)
    return AnswerPart(arm.name, arm.variant, places, prediction, time.perf_counter() - start)


def asked(
    arm: VariantModel, rows: Matrix, places: NDArray[np.intp], *, confidence: float
) -> AnswerPart:
    """Like `_answered`; a variant that fails, for whatever reason, says so instead of raising."""
    if arm.variant in {CHAMPION, PINNED}:
        return _answered(arm, rows, places, confidence=confidence)
    try:
        part = _answered(arm, rows, places, confidence=confidence)
        _refuse_nonsense(part.prediction)
        return part
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        return AnswerPart(arm.name, arm.variant, places, None, 0.0, reason)


def _refuse_nonsense(prediction: Prediction | None) -> None:
    """Raises ValueError for an answer that is not finite; a graph may compute anything."""
    if prediction is not None:
        interval = prediction.interval
        if not np.isfinite([prediction.values, interval.lower, interval.upper]).all():
            raise ValueError("an answer that is no number")
