"""`Store`: where the database is, who may write to it, its schema, and the connections to it.

`claim`, `fence`, `migrate` and `release` belong to one thread (the runtime's supervisor); the writing connection to the
journal's thread; `reading` is for any thread and never blocks the writer (SQLite readers see the log's last commit).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import psycopg
from sqlalchemy import (
    URL,
    Connection,
    Dialect,
    Engine,
    NullPool,
    QueuePool,
    create_engine,
    event,
    make_url,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from trading_engine.exchange.messages import EngineState
from trading_engine.store import loading, tables
from trading_engine.store.claim import AdvisoryClaim, Claim, FileClaim
from trading_engine.store.rows import Value
from trading_engine.store.statements import Statements
from trading_engine.store.writer import (
    BUSY_TIMEOUT_MS,
    PostgresWriter,
    SqliteWriter,
    StoreUnavailable,
    StoreUnusable,
    Writer,
    open_postgres,
    open_sqlite,
)

Answer = TypeVar("Answer")

MIGRATIONS = Path(__file__).parent / "migrations"

READERS_KEPT, READERS_MOST = 16, 48
"""Read connections kept open, and at most at once; a further question waits up to 5 s for one."""


class Store:
    """One database: a SQLite file or a PostgreSQL database, named by `sqlite:///PATH` or `postgresql://…`."""

    def __init__(self, database_url: str) -> None:
        """Raise StoreUnusable for an address of neither kind. Nothing is opened or created yet."""
        self.url = _normalised(database_url)
        self.epoch = 0
        """The number of our claim; a commit under an older one is refused."""
        self.dialect: Dialect
        self._claim: Claim
        if self.url.get_backend_name() == "sqlite":
            self.dialect = sqlite.dialect()
            self._claim = FileClaim(self._path.with_name(self._path.name + ".lock"))
        else:
            # The class is not annotated upstream; the base's type is what we need of it.
            self.dialect = cast("Callable[..., Dialect]", postgresql.psycopg.dialect)(paramstyle="format")
            self._claim = AdvisoryClaim(lambda: open_postgres(self._conninfo))
        self.statements = Statements(self.dialect)
        self._readers = self._read_engine()

    @property
    def name(self) -> str:
        """The address without its password, for the log."""
        return self.url.render_as_string(hide_password=True)

    @property
    def _path(self) -> Path:
        return Path(self.url.database or "")

    @property
    def _conninfo(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=False)

    # Each of the following raises StoreUnavailable while the database cannot be reached, read or written, and
    # StoreUnusable where trying again is no use.

    def lock(self) -> bool:
        """Try once to become the one process that writes; say whether we are. Touches no table, so it is quick."""
        with _unavailable():
            if self.dialect.name == "sqlite":
                self._path.parent.mkdir(parents=True, exist_ok=True)
            return self._claim.take()

    def claim(self) -> bool:
        """Take the lock, bring the schema up to date and raise the epoch: from now on the journal may write.

        False: another process holds the lock.
        """
        if not self.lock():
            return False
        with _unavailable():
            self._upgrade()
        self.fence()
        return True

    def claimed(self) -> bool:
        """Say whether the claim is still ours (PostgreSQL: asks the server)."""
        return self._claim.held()

    def release(self) -> None:
        """Let another process take over, and close the idle connections."""
        self._claim.release()
        self._readers.dispose()

    def migrate(self) -> None:
        """Bring the schema up to date. Raise StoreUnusable while another process uses the database."""
        ours = self._claim.held()
        if not self.lock():
            raise StoreUnusable("another process is using this database; stop it first")
        try:
            with _unavailable():
                self._upgrade()
        finally:
            if not ours:
                self._claim.release()

    def fence(self) -> None:
        """Raise the epoch: whatever was sent under the old one has been committed by now, or never will be."""
        with _unavailable(), self._writing() as connection:
            connection.execute(tables.claim.update().values(epoch=tables.claim.c.epoch + 1))
            self.epoch = connection.execute(select(tables.claim.c.epoch)).scalar_one()

    def load(self, now_ms: int, venue: str | None = None) -> EngineState:
        """Read what the engine's memory is made of, for one venue (None: all). Raise StoreUnusable if damaged."""
        return self.once_more(lambda: self._load(now_ms, venue))

    def _load(self, now_ms: int, venue: str | None) -> EngineState:
        with self.reading() as connection:
            # One snapshot for all the questions.
            if self.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            else:
                connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                return loading.load(connection, now_ms, venue)
            finally:
                connection.rollback()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a read-only connection; each statement sees the last commit."""
        with _unavailable(), self._readers.connect() as connection:
            yield connection

    def once_more(self, read: Callable[[], Answer]) -> Answer:
        """Read; where only kept connections were too old (the server was restarted), read again on a new one."""
        try:
            return read()
        except StoreUnavailable as error:
            if not error.stale:
                raise
        self._readers.dispose()
        return read()

    def ask(self, sql: str, values: Sequence[Value]) -> tuple[Any, ...] | None:
        """Return the first row of the answer, by the driver alone: for a question asked with every order."""
        with _unavailable():
            connection = self._readers.raw_connection()
            try:
                cursor = connection.cursor()
                cursor.execute(sql, values)
                row: tuple[Any, ...] | None = cursor.fetchone()
                cursor.close()
                return row
            except BaseException:
                connection.invalidate()  # whatever is wrong with it, nobody else shall have it
                raise
            finally:
                connection.close()

    def writer(self) -> Writer:
        """Open the writing connection."""
        return SqliteWriter(self._path) if self.dialect.name == "sqlite" else PostgresWriter(self._conninfo)

    def _read_engine(self) -> Engine:
        return create_engine(
            self.url,
            creator=self._read_sqlite if self.dialect.name == "sqlite" else self._read_postgres,
            poolclass=QueuePool,
            pool_size=READERS_KEPT,
            max_overflow=READERS_MOST - READERS_KEPT,
            pool_timeout=5,
            isolation_level="AUTOCOMMIT",
        )

    def _read_sqlite(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA query_only=1")
        return connection

    def _read_postgres(self) -> psycopg.Connection[Any]:
        connection = open_postgres(self._conninfo)
        connection.execute("SET default_transaction_read_only = on")
        connection.autocommit = False
        return connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """One short transaction outside the journal, with the write lock from its beginning."""
        lite = self.dialect.name == "sqlite"
        engine = create_engine(
            self.url,
            creator=(lambda: open_sqlite(self._path)) if lite else (lambda: open_postgres(self._conninfo)),
            poolclass=NullPool,
        )
        if lite:
            event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        else:
            event.listen(engine, "connect", lambda connection, _record: setattr(connection, "autocommit", False))
        with engine.begin() as connection:
            yield connection

    def _upgrade(self) -> None:
        if self._version() == tables.SCHEMA_VERSION:
            return
        # Imported here: it costs a third of a second, which only the first start needs to pay.
        from alembic import command  # noqa: PLC0415 - see above
        from alembic.config import Config  # noqa: PLC0415 - see above
        from alembic.util import CommandError  # noqa: PLC0415 - see above

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self._writing() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise StoreUnusable(f"the database was made by a newer version of this program ({error})") from error

    def _version(self) -> str | None:
        """Return the schema's revision; None for an empty database."""
        with self._writing() as connection:
            table = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
            if self.dialect.name != "sqlite":
                table = "SELECT to_regclass('alembic_version')"
            if connection.execute(text(table)).scalar() is None:
                return None
            version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            return version


def _normalised(database_url: str) -> URL:
    """Accept the spellings platforms use, choose the driver, and make a SQLite path absolute."""
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise StoreUnusable("the database address is not a URL") from error
    kind = url.drivername.partition("+")[0]
    if kind in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if kind != "sqlite" or not url.database or url.database == ":memory:":
        raise StoreUnusable("the database must be sqlite:///PATH or postgresql://…")
    return url.set(drivername="sqlite+pysqlite", database=str(Path(url.database).absolute()))


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn the drivers' errors into one of ours, so that nobody outside needs to know the drivers."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error, OSError) as error:
        # A connection of the pool that the server closed meanwhile: the pool has thrown it, and those like it, away.
        stale = isinstance(error, DBAPIError) and error.connection_invalidated
        raise StoreUnavailable(reason_of(error), stale=stale or isinstance(error, psycopg.OperationalError)) from error


def reason_of(error: BaseException) -> str:
    """Say in one line what is wrong with the database, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__
