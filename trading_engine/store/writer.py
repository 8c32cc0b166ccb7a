"""The one connection that writes, used by the journal's thread alone: the driver, without a layer between.

`run` executes a whole transaction's statements and `commit` ends it; the two are apart because a failure means
different things. Before COMMIT was sent nothing can have been stored. A failure of COMMIT itself may leave that open:
then `CommitUnknown` is raised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import psycopg
from psycopg.types.string import StrDumperUnknown

from trading_engine.store.grouping import Statement
from trading_engine.store.rows import Amount
from trading_engine.store.tables import exact_text

BUSY_TIMEOUT_MS = 5000
"""How long a writer waits for SQLite's write lock (a backup or a person with a shell may hold it)."""

WAL_LIMIT_BYTES = 64 << 20


class StoreUnusable(Exception):
    """The database cannot be used as it is, and trying again will not help: the text says why."""


class StoreUnavailable(Exception):
    """The database cannot be used at the moment; trying again later makes sense. The text says why.

    `stale`: only the connection was too old; asking once more, on another one, may do.
    """

    def __init__(self, reason: str, *, stale: bool = False) -> None:
        super().__init__(reason)
        self.stale = stale


class CommitUnknown(Exception):
    """COMMIT was sent and its outcome is not known.

    `restart`: the disk itself failed; the process must not go on with what it believes to be on it.
    """

    def __init__(self, reason: str, *, restart: bool = False) -> None:
        super().__init__(reason)
        self.restart = restart


class Writer(Protocol):
    """A connection with at most one transaction."""

    def run(self, statements: Sequence[Statement]) -> int:
        """Begin, execute all and return how many rows the first one changed. The transaction stays open."""

    def commit(self) -> None:
        """End the transaction: stored and synced on return. Raises CommitUnknown where that cannot be told."""

    def rollback(self) -> None:
        """Drop the transaction, if any; never raises."""

    def close(self) -> None:
        """Close the connection; never raises."""

    @property
    def amount(self) -> Amount:
        """The function that turns an amount into what the driver is given."""


def open_sqlite(path: Path) -> sqlite3.Connection:
    """Open for writing with the settings that survive a power cut. Raise StoreUnusable where WAL is not to be had."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _must_be_wal(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0], path)
        # FULL syncs the log at each commit; NORMAL lost thousands of acknowledged orders in power-cut tests.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def _must_be_wal(mode: str, path: Path) -> None:
    if mode != "wal":
        raise StoreUnusable(f"SQLite cannot use its write-ahead log here ({mode}); is {path} on a network disk?")


class SqliteWriter:
    """The writing connection to a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._connection = open_sqlite(path)

    def run(self, statements: Sequence[Statement]) -> int:
        """Take the write lock at once (a deferred one could fail half-way) and execute."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        counts = [execute(sql, values).rowcount for sql, values in statements]
        return counts[0]

    def commit(self) -> None:
        """Commit. "Busy" and "full" are raised before the commit record is written, so they are certain failures."""
        try:
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL):
                raise
            # A sync that failed once may "succeed" the next time without having written: only a restart tells.
            raise CommitUnknown(str(error), restart=True) from error

    def rollback(self) -> None:
        """Drop the transaction; SQLite may have done so by itself."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        try:
            self._connection.close()
        except sqlite3.Error:
            return

    @property
    def amount(self) -> Amount:
        """Text: SQLite would turn a number into a float."""
        return exact_text


def open_postgres(conninfo: str) -> psycopg.Connection[Any]:
    """Open a session that notices a dead server within seconds and commits only what is on its disk."""
    connection = psycopg.connect(
        conninfo,
        autocommit=True,
        connect_timeout=5,
        application_name="paper-exchange",
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )
    try:
        # SET instead of start-up options, which connection poolers refuse.
        connection.execute("SET synchronous_commit = on")
        connection.execute("SET statement_timeout = '15s'")
        connection.execute("SET lock_timeout = '5s'")
        connection.execute("SET idle_in_transaction_session_timeout = '10s'")
    except BaseException:
        connection.close()
        raise
    return connection


class PostgresWriter:
    """The writing session of a PostgreSQL server."""

    def __init__(self, conninfo: str) -> None:
        self._connection = open_postgres(conninfo)
        # Every value travels as text of unknown type, and the statement casts it: one prepared statement per text,
        # where the driver's own choice (int2, int4, null ...) would prepare another for each mixture.
        self._connection.adapters.register_dumper(str, StrDumperUnknown)
        self._connection.prepared_max = 256

    def run(self, statements: Sequence[Statement]) -> int:
        """Send everything in one go and collect the answers at the end."""
        connection = self._connection
        with connection.pipeline():
            connection.execute("BEGIN")
            cursors = []
            for sql, values in statements:
                cursor = psycopg.RawCursor(connection)
                texts = [value if value is None or type(value) is str else str(value) for value in values]
                cursor.execute(sql, texts, prepare=True)
                cursors.append(cursor)
        return cursors[0].rowcount

    def commit(self) -> None:
        """Commit. An error with the session alive is the server's clear no; a lost session leaves the answer open."""
        try:
            self._connection.execute("COMMIT")
        except psycopg.Error as error:
            if self._connection.closed or self._connection.broken:
                raise CommitUnknown(str(error)) from error
            raise

    def rollback(self) -> None:
        """Drop the transaction."""
        try:
            self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Close the session."""
        try:
            self._connection.close()
        except psycopg.Error:
            return

    @property
    def amount(self) -> Amount:
        """Text here too: all values travel as texts, and the statement casts them."""
        return exact_text
