"""The tables, in SQLAlchemy Core. `events` is the authority; every other table of the trade is a projection of it.

Ids of orders, fills and accounts are sequence numbers of events, unique over all accounts. Each projected row names,
in `seq`, the last event that changed it. Amounts are exact: see `Exact`. Booleans are integers 0 and 1. Which index
serves which question is said beside it; each one costs 2 to 4 µs of every order, so there is none without a question
that is asked often.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from trading_engine.exchange.orders import TRANSITIONS

SCHEMA_VERSION = "0002"
"""The newest revision in `migrations/versions`; a test compares."""

OPEN_STATUSES = tuple(status.value for status, following in TRANSITIONS.items() if following)
"""The statuses of an order that can still fill."""

metadata = MetaData()

BigInt = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits on both; SQLite makes only a column declared INTEGER the row id itself."""


def exact_text(value: Decimal) -> str:
    """Return fixed-point text that reads back as the same `Decimal`, trailing zeros included."""
    short = str(value)  # three times as fast as format, and the same text unless an exponent shows
    return format(value, "f") if "E" in short else short


class Exact(TypeDecorator[Decimal]):
    """A `Decimal` kept to the last digit: TEXT in SQLite (which would make floats of numbers), NUMERIC in PostgreSQL.

    Never add or compare such columns in SQL: in SQLite they are texts.
    """

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type. NUMERIC has no stated scale, so PostgreSQL keeps each value's own."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Turn a value into what the driver stores."""
        return exact_text(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ARG002 - given
        """Turn what the driver read into the value that was stored."""
        return None if value is None else Decimal(value)


claim = Table(
    "claim",
    metadata,
    # One row. Each commit sets `seq` where `epoch` is still its own, so a process that lost the claim cannot write.
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("epoch", BigInt, nullable=False),
    Column("seq", BigInt, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("batch", BigInt, nullable=False),
    Column("time_ms", BigInt, nullable=False),
    Column("account_id", BigInt, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("venue", Text, nullable=False),
    Column("epoch", BigInt, nullable=False),
    Column("created_ms", BigInt, nullable=False),
    Column("epoch_started_ms", BigInt, nullable=False),
    UniqueConstraint("name", "venue", name="uq_accounts_name_venue"),
)

epochs = Table(
    "epochs",
    metadata,
    Column("account_id", BigInt, primary_key=True, autoincrement=False),
    Column("epoch", BigInt, primary_key=True, autoincrement=False),
    Column("started_seq", BigInt, nullable=False),
    Column("started_ms", BigInt, nullable=False),
    Column("net_deposits", Exact, nullable=False),
    Column("ended_seq", BigInt),
    Column("ended_ms", BigInt),
    Column("final_balances", Text),  # JSON: asset to amount, at the reset that ended the epoch
)

orders = Table(
    "orders",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("account_id", BigInt, nullable=False),
    Column("epoch", BigInt, nullable=False),
    Column("client_order_id", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("base_asset", Text, nullable=False),
    Column("quote_asset", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("time_in_force", Text, nullable=False),
    Column("post_only", SmallInteger, nullable=False),
    Column("quantity", Exact),
    Column("quote_quantity", Exact),
    Column("price", Exact),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("filled_quantity", Exact, nullable=False),
    Column("filled_quote", Exact, nullable=False),
    Column("held", Exact, nullable=False),
    Column("market_seq", BigInt),
    Column("venue", Text, nullable=False),
    Column("created_ms", BigInt, nullable=False),
    Column("updated_ms", BigInt, nullable=False),
    Column("stop_price", Exact),
    Column("trailing_bps", Integer),
    Column("condition", Text),
    Column("stage", Text, nullable=False),
    Column("trailing_extreme", Exact),
    Column("triggered_ms", BigInt),
    Column("list_id", BigInt),
    Column("self_trade_prevention", Text),
    Column("prevented_quantity", Exact, nullable=False),
    Column("amendments", Integer, nullable=False),
    Column("seq", BigInt, nullable=False),
    Index("ix_orders_account", "account_id", "id"),  # an account's orders, newest first
    Index("ix_orders_symbol", "account_id", "symbol", "id"),  # the same of one symbol
    Index("ix_orders_client", "account_id", "epoch", "client_order_id"),  # has this client order id been seen?
)
# Spelled with its values: SQLite uses a partial index only for a question that repeats its condition literally.
is_open: ColumnElement[bool] = orders.c.status.in_([literal_column(f"'{status}'") for status in OPEN_STATUSES])
Index("ix_orders_open", orders.c.account_id, orders.c.id, sqlite_where=is_open, postgresql_where=is_open)

fills = Table(
    "fills",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=False),
    Column("account_id", BigInt, nullable=False),
    Column("order_id", BigInt, nullable=False),
    Column("epoch", BigInt, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("side", Text, nullable=False),
    Column("price", Exact, nullable=False),
    Column("quantity", Exact, nullable=False),
    Column("quote_amount", Exact, nullable=False),
    Column("fee", Exact, nullable=False),
    Column("fee_asset", Text, nullable=False),
    Column("fee_value", Exact, nullable=False),
    Column("liquidity", Text, nullable=False),
    Column("time_ms", BigInt, nullable=False),
    Column("update_id", BigInt),
    Column("trade_id", BigInt),
    Column("level_quantity", Exact),
    Column("quote_rate", Exact, nullable=False),
    Column("certainty", Text, nullable=False),
    Index("ix_fills_order", "order_id", "id"),  # the fills of an order
    Index("ix_fills_account", "account_id", "id"),  # an account's fills, newest first
    Index("ix_fills_symbol", "account_id", "symbol", "id"),  # the same of one symbol
)

entries = Table(
    "entries",
    metadata,
    Column("seq", BigInt, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("ledger_account", Text, nullable=False),
    Column("account_id", BigInt),
    Column("asset", Text, nullable=False),
    Column("amount", Exact, nullable=False),
    Column("balance_before", Exact, nullable=False),
    Column("balance_after", Exact, nullable=False),
    sqlite_with_rowid=False,
)

balances = Table(
    "balances",
    metadata,
    Column("account_id", BigInt, primary_key=True, autoincrement=False),
    Column("asset", Text, primary_key=True),
    Column("free", Exact, nullable=False),
    Column("held", Exact, nullable=False),
    Column("seq", BigInt, nullable=False),
    sqlite_with_rowid=False,
)

positions = Table(
    "positions",
    metadata,
    Column("account_id", BigInt, primary_key=True, autoincrement=False),
    Column("epoch", BigInt, primary_key=True, autoincrement=False),
    Column("asset", Text, primary_key=True),
    Column("quantity", Exact, nullable=False),
    Column("cost", Exact, nullable=False),
    Column("realized_pnl", Exact, nullable=False),
    Column("fees_paid", Exact, nullable=False),
    Column("seq", BigInt, nullable=False),
    sqlite_with_rowid=False,
)

system_balances = Table(
    "system_balances",
    metadata,
    # What the exchange's own ledger accounts came to on each venue; the accounts' own are in `balances`.
    Column("venue", Text, primary_key=True),
    Column("ledger_account", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("balance", Exact, nullable=False),
    Column("seq", BigInt, nullable=False),
    sqlite_with_rowid=False,
)

market_memory = Table(
    "market_memory",
    metadata,
    # What the engine knew of queues and of what accounts took, kept every second; `body` is JSON, NULL where nothing is
    # known any more.
    Column("venue", Text, primary_key=True),
    Column("symbol", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body", Text),
    Column("seq", BigInt, nullable=False),
    sqlite_with_rowid=False,
)
