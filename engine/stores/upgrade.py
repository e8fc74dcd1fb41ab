"""Brings a database up to date: tables it lacks, and columns and indexes newer than their table."""

import logging

from sqlalchemy import Connection, Index, MetaData, Table, inspect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

_MAKING_TABLES = 7_412_053
"""PostgreSQL's lock for making tables: even IF NOT EXISTS fails when two do so at once."""
_MAKING_SECONDS = 10
"""How long one waits while another makes them, on a busy machine; they are made once."""
_log = logging.getLogger("predictive.stores")


def make_tables(connection: Connection, tables: MetaData) -> None:
    """Make the tables, in one transaction: nothing works without them."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_MAKING_SECONDS}s'")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MAKING_TABLES})")
        connection.exec_driver_sql("SET LOCAL lock_timeout TO DEFAULT")
    tables.create_all(connection)
    for table in tables.sorted_tables:
        _add_columns(connection, table)


def make_indexes(connection: Connection, tables: MetaData) -> None:
    """Make the indexes that older tables lack. An index that cannot be made is logged: everything
    works without it, only slower.

    Each is a transaction by itself. While SQLite makes one, nobody else writes.
    """
    for table in tables.sorted_tables:
        present = {index["name"] for index in inspect(connection).get_indexes(table.name)}
        for index in table.indexes:
            if index.name not in present:
                _make_index(connection, index)


def _add_columns(connection: Connection, table: Table) -> None:
    present = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for column in table.columns:
        if column.name not in present:
            kind = column.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")


def _make_index(connection: Connection, index: Index) -> None:
    _log.warning("making_index %s", index.name)
    try:
        connection.execute(CreateIndex(index, if_not_exists=True))
    except DBAPIError as error:
        _log.warning("index_not_made %s: %s", index.name, error.orig)
    else:
        _log.warning("index_made %s", index.name)
