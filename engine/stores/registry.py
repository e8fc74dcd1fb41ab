"""The history of the champions: in memory, or in any database SQLAlchemy speaks to."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable

from engine.domain.errors import InvalidSetting, Outpaced, RegistryUnavailable
from engine.domain.history import Event
from engine.domain.traffic import ALONE, Traffic
from engine.domain.version import Version

EVENTS = Table(
    "champion_history",
    MetaData(),
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
            raise Outpaced(outpaced(event))
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
        try:
            parsed = make_url(url)
            self._engine = create_engine(parsed, poolclass=NullPool)
        except (ArgumentError, ImportError) as error:
            raise InvalidSetting(f"REGISTRY_URL: {error}") from error
        in_file = parsed.get_backend_name() == "sqlite" and parsed.database
        self._file = Path(parsed.database) if in_file and parsed.database else None

    def append(self, problem: str, event: Event) -> None:
        if event.number != self.length(problem) + 1:
            raise Outpaced(outpaced(event))
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._connected() as connection:
                connection.execute(CreateTable(EVENTS, if_not_exists=True))
                _complete(connection)
                connection.execute(insert(EVENTS).values(problem=problem, **_values(event)))
        except IntegrityError as error:
            raise Outpaced(outpaced(event)) from error

    def history(self, problem: str) -> list[Event]:
        every = select(text("*")).select_from(EVENTS)  # an older table has fewer columns
        mine = every.where(EVENTS.c.problem == problem).order_by(EVENTS.c.number)
        return [_event(row._mapping) for row in self._ask(mine)]

    def length(self, problem: str) -> int:
        newest = select(func.max(EVENTS.c.number)).where(EVENTS.c.problem == problem)
        rows = self._ask(newest)
        return rows[0][0] or 0 if rows else 0

    def _ask(self, question: Any) -> list[Any]:
        if self._file is not None and not self._file.exists():
            return []
        with self._connected() as connection:
            if not connection.dialect.has_table(connection, EVENTS.name):
                return []
            return list(connection.execute(question))

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            reason = str(error).split("\n")[0]
            raise RegistryUnavailable(f"the registry cannot be used: {reason}") from error


def outpaced(event: Event) -> str:
    return f"event {event.number} was written by another process first; look again and retry"


def _complete(connection: Connection) -> None:
    """Add the column that a table made by an earlier release lacks."""
    present = {column["name"] for column in inspect(connection).get_columns(EVENTS.name)}
    if EVENTS.c.traffic.name not in present:
        connection.execute(text(f"ALTER TABLE {EVENTS.name} ADD COLUMN traffic TEXT"))


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
