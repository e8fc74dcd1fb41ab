"""Whole tables through a model: chunks to processes, parts to disk, parts to one output."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.domain.errors import UnusableTable
from engine.domain.ports import Records
from engine.scoring.batch import ScoringOrder, Tally
from engine.scoring.formats import FORMATS
from engine.scoring.parts import Draft, Parts
from engine.scoring.source import Source
from engine.scoring.workers import Work, scored


@dataclass(frozen=True)
class Output:
    """Where predictions go: one file, or a folder of parts, in the format of this name."""

    path: Path
    format: str
    is_folder: bool

    @property
    def parts(self) -> Path:
        return self.path.with_name(f"{self.path.name}.parts")

    @property
    def lock(self) -> Path:
        """Held while somebody scores into this place."""
        return self.parts / "lock"

    def refuse_taken(self) -> None:
        """Raises UnusableTable where something else is there."""
        if self.path.is_dir() and (not self.is_folder or any(self.path.iterdir())):
            raise UnusableTable(f"{self.path} is a folder with something in it: name another OUT")
        if self.is_folder and self.path.is_file():
            raise UnusableTable(f"{self.path} is a file, and OUT would be a folder: name another")


@dataclass(frozen=True)
class ScoringRun:
    """A table, what is asked of it, and where that goes; a run that was begun before goes on."""

    source: Source
    order: ScoringOrder
    output: Output
    parts: Parts
    chunk_rows: int

    @classmethod
    def begun(
        cls, source: Source, order: ScoringOrder, output: Output, *, draft: Draft, chunk_rows: int
    ) -> "ScoringRun":
        """Nothing is scored yet."""
        parts = Parts(output.parts, output.format, draft, are_tables=output.is_folder)
        asked = _asked(source, order, output, chunk_rows=chunk_rows)
        named = parts.begin(asked, {"run": order.run, "at": order.at})
        order = replace(order, run=named["run"], at=named["at"])
        return cls(source, order, output, parts, chunk_rows)

    @property
    def most_jobs(self) -> float:
        """More processes than this many would have nothing to do."""
        rows = self.source.rows
        chunks = math.inf if rows is None else rows // self.chunk_rows + len(self.source.files)
        return max(chunks - self.parts.finished, 1)

    def go(self, jobs: int, records: Callable[[], Records] | None = None) -> Iterator[Tally]:
        """What is finished, part by part; the output is there when this ends, and no sooner."""
        chunks = self.source.chunks(self.chunk_rows)
        done = scored(Work(self.order, self.parts, records), chunks, jobs)
        yield from self._into_folder(done) if self.output.is_folder else self._into_file(done)
        self.parts.remove()

    def _into_folder(self, done: Iterator[tuple[int, Tally]]) -> Iterator[Tally]:
        yield from (tally for _, tally in done)
        if self.output.path.is_dir():
            self.output.path.rmdir()
        self.parts.become_folder(self.output.path)

    def _into_file(self, done: Iterator[tuple[int, Tally]]) -> Iterator[Tally]:
        """Parts are joined as they come, while the next ones are computed."""
        columns = pa.schema([*self.source.schema, *self.order.added])
        merging = FORMATS[self.output.format].merging
        with self.parts.draft(self.output.path) as path, merging(path, columns) as add:
            for number, tally in done:
                add(self.parts.file(number))
                yield tally


def _asked(
    source: Source, order: ScoringOrder, output: Output, *, chunk_rows: int
) -> dict[str, Any]:
    """All that finished parts depend on."""
    return {
        "input": source.fingerprint,
        "model": [order.version, hashlib.sha256(order.artifact.graph).hexdigest()],
        "trained_at": order.artifact.card.trained_at,
        "confidence": order.confidence,
        "threshold": order.threshold,
        "prefix": order.prefix,
        "format": [output.format, output.is_folder],
        "chunk_rows": chunk_rows,
    }
