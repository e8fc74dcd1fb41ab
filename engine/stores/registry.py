"""The history of the champions: in memory, or in any database SQLAlchemy speaks to."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, Text, func, insert, select, text
from sqlalchemy.exc import DataError, IntegrityError

from engine.domain.errors import Outpaced, RegistryUnavailable
from engine.domain.history import Event
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import Version
from engine.stores.databases import Database, reason

_BUSY_SECONDS = 5
"""How long one who writes to SQLite waits for another."""
_TABLES = MetaData()
_EVENTS = Table(
    "champion_history",
    _TABLES,
    Column("problem", String(100), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("action", String(40), nullable=False),
    Column("version", String(100), nullable=False),
    Column("challenger", String(100)),
    Column("who", String(200), nullable=False),
    Column("why", String(2_000), nullable=False),
    Column("traffic", Text),
)
"""(problem, number) is the key: of two writers who saw the same past, one gets the number."""


class MemoryRegistry:
    """Forgets everything when the process ends; for tests and trials."""

    def __init__(self) -> None:
        self._events: dict[str, list[Event]] = {}

    def append(self, problem: str, event: Event) -> None:
        events = self._events.setdefault(problem, [])
        if event.number != len(events) + 1:
            raise Outpaced(_outpaced(event))
        events.append(event)

    def history(self, problem: str) -> list[Event]:
        return list(self._events.get(problem, []))

    def length(self, problem: str) -> int:
        return len(self._events.get(problem, []))


class SqlRegistry:
    """One table; an event is one INSERT, so a crash leaves it whole or not there at all.

    A connection is closed when its question is answered: questions are a few a second.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(
            url,
            role="registry",
            tables=_TABLES,
            unavailable=RegistryUnavailable,
            busy_seconds=_BUSY_SECONDS,
            keep=False,
        )

    def append(self, problem: str, event: Event) -> None:
        if event.number != self.length(problem) + 1:
            raise Outpaced(_outpaced(event))
        try:
            with self._database.adding() as connection:
                connection.execute(insert(_EVENTS).values(problem=problem, **_values(event)))
        except IntegrityError as error:
            raise Outpaced(_outpaced(event)) from error
        except DataError as error:
            raise RegistryUnavailable(f"the registry refuses an event: {reason(error)}") from error

    def history(self, problem: str) -> list[Event]:
        every = select(text("*")).select_from(_EVENTS)  # an older table has fewer columns
        mine = every.where(_EVENTS.c.problem == problem).order_by(_EVENTS.c.number)
        return [_event(row._mapping) for row in self._ask(mine)]

    def length(self, problem: str) -> int:
        newest = select(func.max(_EVENTS.c.number)).where(_EVENTS.c.problem == problem)
        rows = self._ask(newest)
        return rows[0][0] or 0 if rows else 0

    def _ask(self, question: Any) -> list[Any]:
        with self._database.reading() as connection:
            return [] if connection is None else list(connection.execute(question))


def _outpaced(event: Event) -> str:
    return f"event {event.number} was written by another process first; read the history and retry"


def _values(event: Event) -> dict[str, Any]:
    return {
        **vars(event),
        "version": str(event.version),
        "challenger": None if event.challenger is None else str(event.challenger),
        "traffic": json.dumps(event.traffic.as_json()) if event.traffic.variants else None,
    }


def _event(row: Mapping[Any, Any]) -> Event:
    challenger, traffic = row["challenger"], row.get("traffic")
    return Event(
        number=row["number"],
        at=row["at"],
        action=row["action"],
        version=Version.parse(row["version"]),
        challenger=None if challenger is None else Version.parse(challenger),
        who=row["who"],
        why=row["why"],
        traffic=ALONE if traffic is None else Traffic.from_json(json.loads(traffic)),
    )
