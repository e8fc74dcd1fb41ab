"""A database behind a URL: its connections, its tables, and what its errors mean.

The driver commits each statement by itself; BEGIN and COMMIT are said where several belong
together. In SQLite what writes begins IMMEDIATE: it waits for its turn before it has read anything.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from sqlite3 import SQLITE_BUSY
from time import monotonic, sleep
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import URL, Connection, MetaData, Table, create_engine, event, inspect, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DisconnectionError,
    IntegrityError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool, QueuePool

from engine.domain.errors import InvalidSetting, ServiceError
from engine.stores.lock import Turn
from engine.stores.upgrade import make_indexes, make_tables

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_WAITS = "connect_timeout", "keepalives_idle", "keepalives_interval"
_CACHED_STATEMENTS = 8
"""Prepared statements kept by a SQLite connection; one that inserts 2,000 rows takes 4 MB."""
_LOOK_SECONDS = 0.01
"""Seconds between two tries of what SQLite refuses at once instead of waiting."""
_ONE_MOMENT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
"""In PostgreSQL, where each statement would else see what was written before it."""
_CONNECT_SECONDS, _SILENT_MS = 5, 10_000
"""A PostgreSQL server that acknowledges nothing for this long is given up."""


class Database:
    """Raises `unavailable` when it cannot be used; what a statement says wrong (IntegrityError,
    DataError) comes through.

    Nothing is opened or made before it is needed, and a connection that failed is closed. With
    `keep` the others stay open, and SQLite writes ahead (WAL): for many small transactions.
    """

    def __init__(
        self,
        url: str,
        *,
        role: str,
        tables: MetaData,
        unavailable: type[ServiceError],
        busy_seconds: float,
        keep: bool,
    ) -> None:
        self._role = role
        self._tables = tables
        self._unavailable = unavailable
        self._keep = keep
        self._busy_seconds = busy_seconds
        try:
            parsed = _parsed(url)
            self._file = _file(parsed)
            self._engine = create_engine(
                parsed,
                isolation_level="AUTOCOMMIT",
                connect_args=_connect_args(parsed, busy_seconds),
                **_pool(keep),
            )
        except (ValueError, ArgumentError, ImportError) as error:
            raise InvalidSetting(f"{role.upper()}_URL: {error}") from error
        self.kind = parsed.get_backend_name()
        self._begin_writing = "BEGIN IMMEDIATE" if self.kind == SQLITE else "BEGIN"
        self._begin_reading = "BEGIN" if self.kind == SQLITE else _ONE_MOMENT
        self._turn = Turn(busy_seconds) if self.kind == SQLITE else nullcontext()
        if self.kind == SQLITE:
            event.listen(self._engine, "do_connect", self._make_folder)
            event.listen(self._engine, "connect", self._note_file)
            event.listen(self._engine, "checkout", self._check_file)

    @contextmanager
    def reading(self, *, one_statement: bool = False) -> Iterator[Connection | None]:
        """A transaction, of one moment; None where no table exists yet: asking makes nothing."""
        begin = "" if one_statement else self._begin_reading
        with self._existing() as connection, _transaction(connection, begin):
            yield connection

    @contextmanager
    def changing(self) -> Iterator[Connection | None]:
        """A transaction that writes; None where no table exists yet."""
        with self._existing() as connection, self._writing(connection, self._begin_writing):
            yield connection

    @contextmanager
    def adding(self, *, one_statement: bool = False) -> Iterator[Connection]:
        """A transaction that writes, into tables that are made where they are missing.

        `one_statement` is a transaction by itself: BEGIN and COMMIT would only cost time.
        """
        begin = "" if one_statement else self._begin_writing
        with self._connected() as connection, self._writing(connection, begin):
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _existing(self) -> Iterator[Connection | None]:
        if self._file is not None and not self._file.exists():
            yield None
            return
        with self._connected() as connection:
            yield connection if self._present(connection) else None

    @contextmanager
    def _writing(self, connection: Connection | None, begin: str) -> Iterator[None]:
        if connection is None:
            yield
            return
        with self._turn:
            self._upgrade(connection)
            with _transaction(connection, begin):
                yield

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection, _distrusted_after_failure(connection):
                yield connection
        except (DataError, IntegrityError):
            raise
        except (SQLAlchemyError, OSError) as error:
            raise self._unavailable(f"the {self._role} cannot be used: {reason(error)}") from error

    def has(self, connection: Connection, table: Table) -> bool:
        """Whether a table exists: an older database lacks the newer ones until somebody writes."""
        return table.name in self._present(connection)

    def _present(self, connection: Connection) -> set[str]:
        """The tables there are. Asked until all are there, once a connection."""
        present: set[str] = connection.info.setdefault("tables", set())
        missing = self._tables.tables.keys() - present
        present |= set(filter(inspect(connection).has_table, missing)) if missing else set()
        return present

    def _upgrade(self, connection: Connection) -> None:
        """Once a connection: whoever writes makes what is missing."""
        if connection.info.get("is_complete"):
            return
        if self._keep and self.kind == SQLITE:
            self._write_ahead(connection)
        with _transaction(connection, self._begin_writing):
            make_tables(connection, self._tables)
        make_indexes(connection, self._tables)
        connection.info["is_complete"] = True

    def _write_ahead(self, connection: Connection) -> None:
        """SQLite refuses this at once while another writes, however long it may wait."""
        deadline = monotonic() + self._busy_seconds
        while True:
            try:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
            except OperationalError as error:
                code = getattr(error.orig, "sqlite_errorcode", None)
                if code != SQLITE_BUSY or monotonic() > deadline:
                    raise
            sleep(_LOOK_SECONDS)

    def _make_folder(self, *_: Any) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(self._file)

    def _note_file(self, connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=FULL")
        record.info["file"] = self._identity()

    def _check_file(self, connection: Any, record: Any, proxy: Any) -> None:
        """What is written to a file that was removed or replaced is lost: connect again."""
        if record.info["file"] != self._identity():
            raise DisconnectionError

    def _identity(self) -> tuple[int, int] | None:
        try:
            seen = self._file.stat() if self._file is not None else None
        except FileNotFoundError:
            return None
        return None if seen is None else (seen.st_dev, seen.st_ino)


def reason(error: Exception) -> str:
    """What the driver says, in one line."""
    return str(getattr(error, "orig", None) or error).split("\n")[0]


def _parsed(url: str) -> URL:
    parsed = make_url(url)
    if parsed.drivername in {"postgres", POSTGRESQL}:
        return parsed.set(drivername=f"{POSTGRESQL}+psycopg")
    return parsed


def _file(url: URL) -> Path | None:
    """Where SQLite keeps it; `file:` is SQLite's own kind of URL."""
    if url.get_backend_name() != SQLITE:
        return None
    name = url.database or ":memory:"
    if ":memory:" in name:
        raise ValueError("an SQLite URL must name a file: sqlite:///folder/name.db")
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def _remove_leftovers(file: Path) -> None:
    """Where only the main file was removed, a process that still holds the others would spoil a new
    one for all ("disk I/O error"); of many who come at once, the first removes them."""
    leftovers = [file.with_name(f"{file.name}-{end}") for end in ("wal", "shm")]
    if file.exists() or not any(left.exists() for left in leftovers):
        return
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not file.exists():
            for left in leftovers:
                left.unlink(missing_ok=True)
            file.touch()
    finally:
        os.close(folder)


def _connect_args(url: URL, busy_seconds: float) -> dict[str, Any]:
    """What the URL does not say itself; statements of many sizes are not worth preparing."""
    args: dict[str, Any] = {}
    if url.get_backend_name() == SQLITE:
        args = {"timeout": busy_seconds, "cached_statements": _CACHED_STATEMENTS}
    elif url.get_driver_name() == "psycopg":
        args = {**dict.fromkeys(_WAITS, _CONNECT_SECONDS), "tcp_user_timeout": _SILENT_MS}
        args |= {"prepare_threshold": None, "options": f"-c lock_timeout={busy_seconds}s"}
    return {name: value for name, value in args.items() if name not in url.query}


def _pool(keep: bool) -> dict[str, Any]:
    """The connection used last is used next: it is warm."""
    return {"poolclass": QueuePool, "pool_use_lifo": True} if keep else {"poolclass": NullPool}


@contextmanager
def _distrusted_after_failure(connection: Connection) -> Iterator[None]:
    try:
        yield
    except (DataError, IntegrityError):
        raise
    except SQLAlchemyError:
        connection.invalidate()
        raise


@contextmanager
def _transaction(connection: Connection | None, begin: str) -> Iterator[None]:
    """After an error the connection is closed, or rolled back by the pool; without `begin` each
    statement commits itself."""
    if connection is None or not begin:
        yield
        return
    connection.exec_driver_sql(begin)
    yield
    connection.exec_driver_sql("COMMIT")
