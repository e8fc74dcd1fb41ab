"""What is said about rows, in columns: the replies show it, the records keep it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.domain.prediction import DEFAULT_THRESHOLD, Interval, Prediction
from engine.domain.record import RecordBlock, row_ids
from engine.domain.rows import some, some_rows
from engine.domain.schema import Row


@dataclass(frozen=True, eq=False)
class AnswerPart:
    """What one version said of the rows at some places, or why it failed to; `seconds` is what the
    model took."""

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
class AnsweredRows:
    """n rows that were asked about together, by one request or by several, and what was said about
    them, part by part.

    The id of a row is `id` and the number of the row. `notes` are the warnings on each row,
    whichever version answers it; `units` what each row was assigned by, where the caller named it.
    """

    problem: str
    id: str
    predicted_at: str
    rows: Sequence[Row]
    units: Sequence[str | None]
    notes: Sequence[list[str]]
    parts: Sequence[AnswerPart]
    confidence: float
    request_ids: Sequence[str]
    callers: Sequence[str | None]
    is_degraded: bool = False

    def __len__(self) -> int:
        return sum(len(part.places) for part in self.parts)

    @cached_property
    def prediction(self) -> Prediction:
        """Values, bounds and warnings of all parts, in the order of the rows."""
        done = [(part, part.prediction) for part in self.parts if part.prediction is not None]
        if len(done) == 1:
            said = done[0][1]
            values, interval, warnings = said.values, said.interval, said.warnings
        else:
            values, lower, upper = np.empty((3, len(self.rows)))
            interval = Interval(lower, upper, self.confidence)
            warnings = [[] for _ in self.rows]
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
            return [self.parts[0].version] * len(self.rows)
        versions = [""] * len(self.rows)
        for part in self.parts:
            for place in part.places if part.prediction is not None else ():
                versions[place] = part.version
        return versions

    def rounded(self, digits: int) -> tuple[list[float], list[float], list[float]]:
        """Values, lower and upper bounds of all rows."""
        if digits not in self._rounded:
            interval = self.prediction.interval
            columns = np.array([self.prediction.values, interval.lower, interval.upper])
            values, lower, upper = columns.round(digits).tolist()
            self._rounded[digits] = values, lower, upper
        return self._rounded[digits]

    @cached_property
    def _rounded(self) -> dict[int, tuple[list[float], list[float], list[float]]]:
        return {}

    def blocks(self) -> list[RecordBlock]:
        """What is kept of it: one block a part."""
        return [self._block_of(part) for part in self.parts]

    def _block_of(self, part: AnswerPart) -> RecordBlock:
        said, places = part.prediction, part.places
        is_whole, is_alone = len(places) == len(self.rows), len(self.rows) == 1 and said is not None
        return RecordBlock(
            id=self.id,
            at=self.predicted_at,
            problem=self.problem,
            version=part.version,
            variant=part.variant,
            level=self.confidence,
            numbers=places,
            rows=self.rows if is_whole else some_rows(self.rows, places),
            values=None if said is None else said.values,
            lower=None if said is None else said.interval.lower,
            upper=None if said is None else said.interval.upper,
            request_ids=self.request_ids if is_whole else some(self.request_ids, places),
            callers=self.callers if is_whole else some(self.callers, places),
            units=self.units if is_whole else some(self.units, places),
            latency_us=round(1e6 * part.seconds, 1) if is_alone else None,
            error=part.error,
        )


@dataclass(frozen=True, eq=False)
class Answer:
    """What one request is told: `place` says which of the rows that were answered are its own.

    From `threshold` on an event is predicted, where the request names no other. `place_of` tells
    where a version is kept, `elapsed_ms` how long the request has taken until now.
    """

    answered: AnsweredRows
    place: slice
    place_of: Callable[[str], str]
    elapsed_ms: Callable[[], float]
    threshold: float = DEFAULT_THRESHOLD

    def __len__(self) -> int:
        return int(self.place.stop - self.place.start)

    @property
    def predicted_at(self) -> str:
        return self.answered.predicted_at

    @property
    def is_degraded(self) -> bool:
        return self.answered.is_degraded

    @property
    def confidence(self) -> float:
        return self.answered.confidence

    @cached_property
    def prediction(self) -> Prediction:
        """Values, bounds and warnings, in the order of the rows."""
        said, place = self.answered.prediction, self.place
        lower, upper = said.interval.lower[place], said.interval.upper[place]
        interval = Interval(lower, upper, said.interval.confidence)
        return Prediction(said.values[place], interval, said.warnings[place])

    @property
    def versions(self) -> list[str]:
        """The version that answered each row."""
        return self.answered.versions[self.place]

    def rounded(self, digits: int) -> Iterable[tuple[float, float, float]]:
        """Of each row the value and its bounds."""
        return zip(*self.rounded_columns(digits), strict=True)

    def rounded_columns(self, digits: int) -> tuple[list[float], list[float], list[float]]:
        """The values, the lower and the upper bounds."""
        values, lower, upper = self.answered.rounded(digits)
        place = self.place
        return values[place], lower[place], upper[place]

    def ids(self) -> list[str]:
        """The id of each row's prediction."""
        return row_ids(self.answered.id, range(self.place.start, self.place.stop))

    def told(self) -> list[About]:
        """One item a row."""
        warnings_on = self.answered.prediction.warnings[self.place]
        return [
            {"prediction_id": prediction_id, "model_version": version, "warnings": warnings}
            for prediction_id, version, warnings in zip(
                self.ids(), self.versions, warnings_on, strict=True
            )
        ]
