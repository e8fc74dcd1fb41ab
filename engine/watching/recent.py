"""What a look reads: the newest answers, and the newest whose truth is known."""

from collections.abc import Collection
from dataclasses import replace

from engine.domain.ports import Records
from engine.domain.record import JoinedRecord, RecordQuery

LOOKED_AT = 50_000
"""This many of the newest records, and of the newest with an outcome, are enough for the
figures."""


def recent_records(
    records: Records, problem: str, *, since: str | None, versions: Collection[str] | None = None
) -> list[JoinedRecord]:
    """The newest of both kinds since `since`, in the order of time; of them, those of `versions`.

    Where outcomes come weeks late, no recent record has one, and the newest records with an outcome
    are far older: of these, only those older than all the other records are read. An outcome is
    joined to every version's answer to the question, so a shadow's pairs stay together. Raises
    RecordsUnavailable.
    """
    wanted = RecordQuery(problem, since, newest=LOOKED_AT, with_rows=False)
    newest = list(records.read(wanted))
    oldest = newest[0].record.at if newest else None
    known = records.read(replace(wanted, until=oldest, with_outcome=True))
    return [one for one in (*known, *newest) if versions is None or one.record.version in versions]
