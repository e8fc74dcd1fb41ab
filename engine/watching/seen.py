"""What a look reads: the newest answers, and the newest whose truth is known."""

from collections.abc import Sequence

from engine.domain.ports import Records
from engine.domain.record import Joined, Question

LOOKED_AT = 50_000
"""The newest so many records, and the newest so many with an outcome, are enough for figures."""


def seen(
    records: Records, problem: str, *, since: str | None, versions: Sequence[str] | None = None
) -> list[Joined]:
    """The newest of both kinds since `since`, in the order of time.

    Where the truth comes weeks late no recent record has an outcome, and the newest with one may be
    far from the newest of all. An outcome is joined to every version's answer to the question, so a
    shadow's pairs stay together. Raises RecordsUnavailable.
    """
    found = {}
    for has_outcome in (False, True):
        question = Question(problem, since, None, versions, has_outcome, newest=LOOKED_AT)
        for one in records.read(question):
            found[one.record.at, one.record.id, one.record.version] = one
    return [found[key] for key in sorted(found)]
