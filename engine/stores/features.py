"""The features of keys: in memory, or in one table of SQLite or PostgreSQL."""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import orjson
from sqlalchemy import Column, MetaData, Table, Text, func, select

from engine.domain.errors import FeaturesUnavailable, InvalidSetting
from engine.domain.features import LONGEST_KEY, Features
from engine.domain.schema import Row
from engine.stores.databases import POSTGRESQL, SQLITE, Database
from engine.stores.insertion import KEY, insertion

_BUSY_SECONDS = 5
"""How long one who writes to SQLite waits for another."""
MOST_ROWS = 5_000
"""Rows a statement: with 4 columns, fewer parameters than the 32,766 SQLite takes."""
_TABLES = MetaData()
_TEXT = Text().with_variant(Text(collation="C"), POSTGRESQL)
_KNOWN = Table(
    "known_features",
    _TABLES,
    Column("problem", KEY, primary_key=True),
    Column("key", _TEXT, primary_key=True),
    Column("at", KEY, primary_key=True),
    Column("features", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""`features` is a row as JSON, `key` as `_plain` writes it."""
_REPLACE = "(problem, key, at) DO UPDATE SET features = excluded.features"
_NEWEST = """
SELECT asked.value, (
    SELECT features FROM known_features
    WHERE problem = {0} AND key = asked.value AND at <= {0} ORDER BY at DESC LIMIT 1
) FROM {1}
"""
"""One statement, with one parameter for any number of keys."""
_ANY = select(_KNOWN.c.problem).limit(1)
_NEWEST_IN = {
    SQLITE: _NEWEST.format("?", "json_each(?) AS asked"),
    POSTGRESQL: _NEWEST.format("%s", "unnest(%s::text[]) AS asked(value)"),
}


class MemoryFeatures:
    """Forgets everything when the process ends; for tests and trials."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, dict[str, str]]] = {}
        self._lock = Lock()

    def get(self, problem: str, keys: Sequence[str], at: str) -> Mapping[str, Row]:
        found = {}
        with self._lock:
            for key, known in self._of(problem, keys):
                times = sorted(known)
                place = bisect_right(times, at)
                if place:
                    found[key] = loaded(known[times[place - 1]], key)
            if keys and not self._known.get(problem):
                raise nothing_kept(problem)
        return found

    def history(self, problem: str, keys: Sequence[str]) -> Iterator[Features]:
        with self._lock:
            every = [(key, dict(known)) for key, known in self._of(problem, keys)]
        for key, known in every:
            for at in sorted(known):
                yield Features(key, at, loaded(known[at], key))

    def put(self, problem: str, features: Sequence[Features]) -> int:
        said = dumped(features)
        with self._lock:
            mine = self._known.setdefault(problem, {})
            new = sum(at not in mine.get(key, {}) for key, at in said)
            for (key, at), text in said.items():
                mine.setdefault(key, {})[at] = text
        return new

    def count(self, problem: str) -> int:
        return len(self._known.get(problem, {}))

    def close(self) -> None:
        """Nothing to let go of."""

    def _of(self, problem: str, keys: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
        mine = self._known.get(problem, {})
        return [(key, mine[key]) for key in dict.fromkeys(keys) if key in mine]


class SqlFeatures:
    """One table of plain SQL; numbers come back exactly, and so does any text."""

    def __init__(self, url: str) -> None:
        self._database = Database(
            url,
            role="features",
            tables=_TABLES,
            unavailable=FeaturesUnavailable,
            busy_seconds=_BUSY_SECONDS,
            keep=True,
        )
        if self._database.kind not in _NEWEST_IN:
            raise InvalidSetting(
                "FEATURES_URL: must begin with sqlite:, postgresql:, redis:, rediss: or memory:"
            )

    def get(self, problem: str, keys: Sequence[str], at: str) -> Mapping[str, Row]:
        asked = {_plain(key): key for key in keys}
        names = json.dumps([*asked]) if self._database.kind == SQLITE else [*asked]
        with self._database.reading(one_statement=True) as connection:
            if connection is None:
                raise nothing_kept(problem)
            statement = _NEWEST_IN[self._database.kind]
            rows = connection.exec_driver_sql(statement, (problem, at, names)).all()
            known = [(asked[name], text) for name, text in rows if text is not None]
            if (
                keys
                and not known
                and connection.scalar(_ANY.where(_KNOWN.c.problem == problem)) is None
            ):
                raise nothing_kept(problem)
        return {key: loaded(text, key) for key, text in known}

    def history(self, problem: str, keys: Sequence[str]) -> Iterator[Features]:
        asked = {_plain(key): key for key in keys}
        c = _KNOWN.c
        wanted = select(c.key, c.at, c.features).where(c.problem == problem).order_by(c.key, c.at)
        with self._database.reading() as connection:
            if connection is None:
                return
            for some in _pieces([*asked]):
                for row in connection.execute(wanted.where(c.key.in_(some))):
                    key = asked[row.key]
                    yield Features(key, row.at, loaded(row.features, key))

    def put(self, problem: str, features: Sequence[Features]) -> int:
        """Writers take turns: who updates what another inserts would wait for it, and it for who
        updates what it inserts."""
        said = dumped(features)
        rows = sorted((problem, _plain(key), at, text) for (key, at), text in said.items())
        new = 0
        with self._database.adding() as connection:
            if self._database.kind == POSTGRESQL:
                connection.exec_driver_sql(f"LOCK TABLE {_KNOWN.name} IN EXCLUSIVE MODE")
            for some in _pieces(rows):
                statement, parameters = insertion(self._database.kind, _KNOWN, some)
                fresh = connection.exec_driver_sql(statement, parameters).rowcount
                if fresh < len(some):
                    statement, parameters = insertion(
                        self._database.kind, _KNOWN, some, conflict=_REPLACE
                    )
                    connection.exec_driver_sql(statement, parameters)
                new += fresh
        return new

    def count(self, problem: str) -> int:
        keys = select(func.count(_KNOWN.c.key.distinct())).where(_KNOWN.c.problem == problem)
        with self._database.reading(one_statement=True) as connection:
            return 0 if connection is None else int(connection.scalar(keys) or 0)

    def close(self) -> None:
        self._database.close()


def nothing_kept(problem: str) -> FeaturesUnavailable:
    """A store with no features of a problem was lost, or never filled: the keys are not wrong."""
    way_out = f"load some with python -m cli features load --problem {problem}"
    return FeaturesUnavailable(f"the store has no features of {problem}: {way_out}")


def dumped(features: Iterable[Features]) -> dict[tuple[str, str], str]:
    """By key and time, the last row said of them as JSON; raises ValueError for what no store
    keeps."""
    said = {}
    for one in features:
        if not 1 <= len(one.key) <= LONGEST_KEY:
            raise ValueError(f"a key must have 1 to {LONGEST_KEY} characters: {one.key[:40]!r}")
        try:
            said[one.key, one.at] = orjson.dumps(dict(one.row)).decode()
        except TypeError as error:
            raise ValueError(f"the features of {one.key[:40]!r} are not JSON: {error}") from error
    return said


def loaded(text: str | bytes, key: str) -> dict[str, Any]:
    """A row that was kept; raises FeaturesUnavailable when it is not JSON any more."""
    try:
        row = orjson.loads(text)
        if isinstance(row, dict):
            return row
    except orjson.JSONDecodeError:
        pass
    raise FeaturesUnavailable(f"the features of a key with {len(key)} letters cannot be read")


def _plain(key: str) -> str:
    """A key as itself, but for what some databases refuse: NUL, and half a surrogate pair."""
    if key.isprintable() and "\\" not in key:
        return key
    return (
        key.replace("\\", "\\\\").replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    )


def _pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + MOST_ROWS] for start in range(0, len(items), MOST_ROWS))
