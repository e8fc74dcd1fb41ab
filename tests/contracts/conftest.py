"""The databases that adapters keep their promises on; PostgreSQL starts when one asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import PostgresServer, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as server:
        yield server


@pytest.fixture
def postgresql(postgres_server: PostgresServer) -> str:
    """The URL of a database that nobody has used."""
    return postgres_server.fresh_database()


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The URL of a file that does not exist yet, nor does its folder."""
    return f"sqlite:///{tmp_path / 'deep' / 'store.db'}"


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of each."""
    return str(request.getfixturevalue(request.param))
