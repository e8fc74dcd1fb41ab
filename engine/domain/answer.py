"""What is said about one request, in columns: the reply shows it, the records keep it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.domain.prediction import DEFAULT_THRESHOLD, Interval, Prediction
from engine.domain.record import Record
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

    `notes` are the warnings on each row, whichever version answers it; `units` what each row was
    assigned by, where the caller named it. From `threshold` on an event is predicted, where the
    request names no other. `place_of` tells where a version is kept, `elapsed_ms` how long the
    request has taken until now.
    """

    problem: str
    ids: Sequence[str]
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

    def records(self) -> list[Record]:
        return [record for part in self.parts for record in self._records_of(part)]

    def _records_of(self, part: AnswerPart) -> Iterator[Record]:
        said, nothing = part.prediction, [None] * len(part.places)
        values = nothing if said is None else said.values.tolist()
        lower = nothing if said is None else said.interval.lower.tolist()
        upper = nothing if said is None else said.interval.upper.tolist()
        alone = len(self.rows) == 1 and said is not None
        for number, place in enumerate(part.places):
            yield Record(
                id=self.ids[place],
                at=self.predicted_at,
                problem=self.problem,
                version=part.version,
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
