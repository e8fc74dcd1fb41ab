"""What is said about one request, in columns: the reply shows it, the records keep it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.domain.prediction import DEFAULT_THRESHOLD, Interval, Prediction
from engine.domain.record import RecordBlock, row_id
from engine.domain.rows import some, some_rows
from engine.domain.schema import Row


@dataclass(frozen=True, eq=False)
class AnswerPart:
    """What one version said of the rows at some places of a request, or why it failed to; `seconds`
    is what the model took."""

    version: str
    variant: str
    places: NDArray[np.intp]
    prediction: Prediction | None
    seconds: float
    error: str | None = None


class About(TypedDict):
    """Where one row's prediction comes from, and what speaks against it."""

    prediction_id: str
    model_version: str
    warnings: list[str]


@dataclass(frozen=True, eq=False)
class Answer:
    """A request of n rows and what was said about it, part by part.

    The id of a row is `id` and the number of the row. `notes` are the warnings on each row,
    whichever version answers it; `units` what each row was assigned by, where the caller named it.
    From `threshold` on an event is predicted, where the request names no other. `place_of` tells
    where a version is kept, `elapsed_ms` how long the request has taken until now.
    """

    problem: str
    id: str
    predicted_at: str
    rows: Sequence[Row]
    units: Sequence[str | None]
    notes: Sequence[list[str]]
    parts: Sequence[AnswerPart]
    confidence: float
    request_id: str
    caller: str | None
    place_of: Callable[[str], str]
    elapsed_ms: Callable[[], float]
    is_degraded: bool = False
    threshold: float = DEFAULT_THRESHOLD

    def __len__(self) -> int:
        return sum(len(part.places) for part in self.parts)

    @cached_property
    def ids(self) -> list[str]:
        """One a row."""
        return [row_id(self.id, number) for number in range(len(self.rows))]

    @cached_property
    def prediction(self) -> Prediction:
        """Values, bounds and warnings of all parts, in the order of the rows."""
        done = [(part, part.prediction) for part in self.parts if part.prediction is not None]
        if len(done) == 1:
            said = done[0][1]
            values, interval, warnings = said.values, said.interval, said.warnings
        else:
            values, lower, upper = np.empty((3, len(self.ids)))
            interval = Interval(lower, upper, self.confidence)
            warnings = [[] for _ in self.ids]
            for part, said in done:
                values[part.places] = said.values
                lower[part.places] = said.interval.lower
                upper[part.places] = said.interval.upper
                for place, found in zip(part.places, said.warnings, strict=True):
                    warnings[place] = found
        if any(self.notes):
            warnings = [[*note, *said] for note, said in zip(self.notes, warnings, strict=True)]
        return Prediction(values, interval, warnings)

    @cached_property
    def versions(self) -> list[str]:
        """The version that answered each row."""
        if len(self.parts) == 1:
            return [self.parts[0].version] * len(self.ids)
        versions = [""] * len(self.ids)
        for part in self.parts:
            for place in part.places if part.prediction is not None else ():
                versions[place] = part.version
        return versions

    def told(self) -> list[About]:
        """One item a row."""
        rows = zip(self.ids, self.versions, self.prediction.warnings, strict=True)
        return [
            {"prediction_id": prediction_id, "model_version": version, "warnings": warnings}
            for prediction_id, version, warnings in rows
        ]

    def blocks(self) -> list[RecordBlock]:
        """What is kept of it: one block a part."""
        return [self._block_of(part) for part in self.parts]

    def _block_of(self, part: AnswerPart) -> RecordBlock:
        said, n = part.prediction, len(part.places)
        is_whole, is_alone = n == len(self.rows), len(self.rows) == 1 and said is not None
        return RecordBlock(
            id=self.id,
            at=self.predicted_at,
            problem=self.problem,
            version=part.version,
            variant=part.variant,
            level=self.confidence,
            numbers=part.places,
            rows=self.rows if is_whole else some_rows(self.rows, part.places),
            values=None if said is None else said.values,
            lower=None if said is None else said.interval.lower,
            upper=None if said is None else said.interval.upper,
            request_ids=[self.request_id] * n,
            callers=[self.caller] * n,
            units=self.units if is_whole else some(self.units, part.places),
            latency_us=round(1e6 * part.seconds, 1) if is_alone else None,
            error=part.error,
        )
