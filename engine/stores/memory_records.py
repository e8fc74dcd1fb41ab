"""Records and outcomes in memory, a record a row."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from threading import Lock

from engine.domain.record import (
    JoinedRecord,
    Outcome,
    Record,
    RecordBlock,
    RecordQuery,
    id_parts,
)
from engine.stores.outcomes import first_of_each, refuse_conflicts, refuse_unknown


class MemoryRecords:
    """Forgets everything when the process ends; for tests and trials."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], Record] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._lock = Lock()

    def append(self, blocks: Sequence[RecordBlock]) -> None:
        with self._lock:
            for block in blocks:
                for record in block.records():
                    self._records.setdefault((record.id, record.version), record)

    def label(self, problem: str, outcomes: Sequence[Outcome]) -> int:
        with self._lock:
            known = {one.id for one in self._records.values() if one.problem == problem}
            refuse_unknown(outcomes, known)
            kept = first_of_each(outcomes) | self._outcomes
            refuse_conflicts(outcomes, {key: one.actual for key, one in kept.items()})
            new = len(kept) - len(self._outcomes)
            self._outcomes = kept
            return new

    def read(self, question: RecordQuery) -> Iterator[JoinedRecord]:
        with self._lock:
            every = [JoinedRecord(one, self._outcomes.get(one.id)) for one in self._in_order()]
        known = _latest_known(every, question)
        found = [_lean(one, question) for one in every if _is_asked_for(one, question, known)]
        first = 0 if question.newest is None else max(len(found) - question.newest, 0)
        yield from found[first:]

    def forget(self, before: str, at_most: int) -> int:
        with self._lock:
            return self._remove([one for one in self._in_order() if one.at < before][:at_most])

    def erase(self, problem: str, unit: str) -> int:
        with self._lock:
            theirs = (one for one in self._records.values() if one.problem == problem)
            return self._remove([one for one in theirs if one.unit == unit])

    def close(self) -> None:
        """Nothing to let go of."""

    def _in_order(self) -> list[Record]:
        return sorted(self._records.values(), key=_place)

    def _remove(self, gone: Sequence[Record]) -> int:
        for record in gone:
            del self._records[record.id, record.version]
        left = {one.id for one in self._records.values()}
        self._outcomes = {key: one for key, one in self._outcomes.items() if key in left}
        return len(gone)


def _place(record: Record) -> tuple[str, str, int, str]:
    block, number = id_parts(record.id)
    return record.at, block, number or 0, record.version


def _latest_known(every: Sequence[JoinedRecord], question: RecordQuery) -> set[str]:
    of_problem = (one for one in every if one.record.problem == question.problem)
    known = sorted({one.record.id for one in of_problem if one.outcome is not None}, reverse=True)
    return set(known[: question.newest])


def _is_asked_for(one: JoinedRecord, question: RecordQuery, known: Collection[str]) -> bool:
    return question.spans(one.record) and (one.record.id in known or not question.with_outcome)


def _lean(one: JoinedRecord, question: RecordQuery) -> JoinedRecord:
    if question.with_rows or one.record.unit is None:
        return one
    return replace(one, record=replace(one.record, row={}))
