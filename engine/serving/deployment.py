"""What is live for a problem: the champion, the variants that answer some units, the shadows."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.domain.errors import ModelNotReady
from engine.domain.prediction import Interval, Prediction
from engine.domain.record import CHAMPION, DEGRADED, FALLBACK, PINNED, Record
from engine.domain.schema import Matrix, Row
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import Version
from engine.model.model import Model

LONGEST_ERROR = 500


@dataclass(frozen=True, eq=False)
class Arm:
    """A version in its place; one that could not be loaded says why."""

    version: Version
    variant: str
    model: Model | None
    refusal: str = ""

    def predict(self, rows: Matrix, confidence: float) -> Prediction:
        """Raises ModelNotReady when there is no model, and whatever the model raises."""
        if self.model is None:
            raise ModelNotReady(self.refusal)
        if self.variant == DEGRADED:
            return self.model.predict_widely(rows, confidence)
        return self.model.predict(rows, confidence)


@dataclass(frozen=True, eq=False)
class Part:
    """What one version said of some rows of a request; `seconds` is what the model took."""

    version: Version
    variant: str
    places: NDArray[np.intp]
    prediction: Prediction | None
    seconds: float
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Deployment:
    """Frozen: a change of the champion or of the traffic makes another one."""

    champion: Arm
    variants: tuple[Arm, ...] = ()
    traffic: Traffic = ALONE

    @classmethod
    def pinned(cls, model: Model) -> "Deployment":
        """One version that the caller named; nobody else is asked."""
        return cls(Arm(Version.parse(model.card.version), PINNED, model))

    @cached_property
    def shadows(self) -> tuple[Arm, ...]:
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

    def infer(self, rows: Matrix, units: Sequence[bytes], confidence: float) -> list[Part]:
        """Ask each row's own version; the champion answers for a variant that fails.

        `units` has one item a row, or is empty where only the champion answers. What the champion
        raises, this raises; nothing else.
        """
        parts = []
        for arm, places in self._assigned(len(rows), units):
            part = asked(arm, rows, places, confidence)
            parts.append(part)
            if part.error is not None:
                fallback = Arm(self.champion.version, FALLBACK, self.champion.model)
                parts.append(answered(fallback, rows, places, confidence))
        return parts

    def infer_degraded(self, rows: Matrix, confidence: float) -> list[Part]:
        """The champion's answer to rows that only stand in for the features; no variant is asked
        what nothing can be learned from."""
        arm = Arm(self.champion.version, DEGRADED, self.champion.model)
        return [answered(arm, rows, np.arange(len(rows)), confidence)]

    def _assigned(self, n: int, units: Sequence[bytes]) -> Iterable[tuple[Arm, NDArray[np.intp]]]:
        if not units:
            return [(self.champion, np.arange(n))]
        arms = {arm.version: arm for arm in self.variants}
        places: dict[Arm, list[int]] = {}
        for place, owner in enumerate(map(self.traffic.version_for, units)):
            arm = self.champion if owner is None else arms[owner]
            places.setdefault(arm, []).append(place)
        return [(arm, np.array(mine)) for arm, mine in places.items()]


def answered(arm: Arm, rows: Matrix, places: NDArray[np.intp], confidence: float) -> Part:
    start = time.perf_counter()
    prediction = arm.predict(rows[places] if len(places) < len(rows) else rows, confidence)
    return Part(arm.version, arm.variant, places, prediction, time.perf_counter() - start)


def asked(arm: Arm, rows: Matrix, places: NDArray[np.intp], confidence: float) -> Part:
    """Like `answered`; a variant that fails, for whatever reason, says so instead of raising."""
    if arm.variant in {CHAMPION, PINNED}:
        return answered(arm, rows, places, confidence)
    try:
        part = answered(arm, rows, places, confidence)
        refuse_nonsense(part.prediction)
        return part
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:LONGEST_ERROR]
        return Part(arm.version, arm.variant, places, None, 0.0, reason)


def refuse_nonsense(prediction: Prediction | None) -> None:
    """Raises ValueError for an answer that is no number; a graph can hold anything."""
    if prediction is not None:
        interval = prediction.interval
        if not np.isfinite([prediction.values, interval.lower, interval.upper]).all():
            raise ValueError("an answer that is no number")


@dataclass(frozen=True, eq=False)
class Answered:
    """A request with what was said about it, in columns."""

    problem: str
    ids: Sequence[str]
    at: str
    rows: Sequence[Row]
    parts: Sequence[Part]
    confidence: float
    request_id: str
    caller: str | None
    units: Sequence[str | None]
    """What each row was assigned by, where the caller named it."""
    notes: Sequence[Sequence[str]]
    """What is to be said of each row, whoever answers it."""

    def __len__(self) -> int:
        return sum(len(part.places) for part in self.parts)

    @property
    def prediction(self) -> Prediction:
        """The answers of all parts, in the order of the rows."""
        found = self._joined
        if not any(self.notes):
            return found
        warnings = [[*note, *said] for note, said in zip(self.notes, found.warnings, strict=True)]
        return replace(found, warnings=warnings)

    @property
    def _joined(self) -> Prediction:
        done = [(part, part.prediction) for part in self.parts if part.prediction is not None]
        if len(done) == 1:
            return done[0][1]
        values, lower, upper = np.empty((3, len(self.ids)))
        warnings: list[list[str]] = [[] for _ in self.ids]
        for part, said in done:
            values[part.places] = said.values
            lower[part.places], upper[part.places] = said.interval.lower, said.interval.upper
            for place, found in zip(part.places, said.warnings, strict=True):
                warnings[place] = found
        return Prediction(values, Interval(lower, upper, self.confidence), warnings)

    @property
    def versions(self) -> list[str]:
        """The version that answered each row."""
        if len(self.parts) == 1:
            return [str(self.parts[0].version)] * len(self.ids)
        versions = [""] * len(self.ids)
        for part in self.parts:
            for place in part.places if part.prediction is not None else ():
                versions[place] = str(part.version)
        return versions

    def records(self) -> list[Record]:
        return [record for part in self.parts for record in self._records_of(part)]

    def _records_of(self, part: Part) -> Iterable[Record]:
        said, nothing = part.prediction, [None] * len(part.places)
        values = nothing if said is None else said.values.tolist()
        lower = nothing if said is None else said.interval.lower.tolist()
        upper = nothing if said is None else said.interval.upper.tolist()
        alone = len(self.rows) == 1 and said is not None
        for number, place in enumerate(part.places):
            yield Record(
                id=self.ids[place],
                at=self.at,
                problem=self.problem,
                version=str(part.version),
                variant=part.variant,
                row=self.rows[place],
                value=values[number],
                lower=lower[number],
                upper=upper[number],
                level=self.confidence,
                request_id=self.request_id,
                caller=self.caller,
                unit=self.units[place],
                latency_us=round(1e6 * part.seconds, 1) if alone else None,
                error=part.error,
            )
