"""The tables as migrated are the tables as described, on both databases, wherever the program is run from."""

from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from trading_engine.store import Store, StoreUnusable
from trading_engine.store.database import MIGRATIONS
from trading_engine.store.tables import SCHEMA_VERSION, metadata, system_balances


def test_the_newest_revision_is_the_version_the_program_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_migrating_makes_the_described_tables(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(database)
    store.migrate()
    store.migrate()  # again: nothing to do
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    store.release()


def test_a_database_of_a_newer_program_is_refused(database: str) -> None:
    store = Store(database)
    store.migrate()
    with store._writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnusable, match="newer version"):
        store.claim()
    store.release()


@pytest.mark.parametrize("url", ("mysql://x/y", "sqlite://", "sqlite:///:memory:", "nonsense"))
def test_only_a_sqlite_file_or_postgres_will_do(url: str) -> None:
    with pytest.raises(StoreUnusable):
        Store(url)


def test_the_name_for_the_log_hides_the_password() -> None:
    assert "s3cret" not in Store("postgres://paper:s3cret@db.example/paper").name


digits = st.lists(st.integers(0, 9), min_size=1, max_size=40).map(tuple)
amounts = st.builds(Decimal, st.tuples(st.integers(0, 1), digits, st.integers(-18, 0)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amount=amounts)
def test_an_amount_comes_back_with_every_digit_and_trailing_zero(store: Store, amount: Decimal) -> None:
    with store._writing() as connection:
        connection.execute(system_balances.delete())
        row = {"venue": "test", "ledger_account": "market", "asset": "BTC", "balance": amount, "seq": 1}
        connection.execute(system_balances.insert(), row)
    with store.reading() as connection:
        stored = connection.execute(system_balances.select()).one().balance
    assert stored == amount
    assert stored.as_tuple().exponent == amount.as_tuple().exponent, "trailing zeros are shown, so they are kept"
