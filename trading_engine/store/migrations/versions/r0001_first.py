"""The first tables: events, and the projections of accounts, orders, fills, ledger, balances and positions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EXACT = sa.Numeric().with_variant(sa.Text(), "sqlite")
OPEN = sa.text("status IN ('new', 'partially_filled')")


def required(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Describe a column that is always there."""
    return sa.Column(name, kind, nullable=False)


def key(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    """Describe a column of the primary key; its value always comes from us."""
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def upgrade() -> None:
    """Create everything."""
    _create_log()
    _create_accounts()
    _create_orders()
    _create_fills()
    _create_ledger()


def _create_log() -> None:
    claim = op.create_table("claim", key("id", sa.SmallInteger()), required("epoch", INT), required("seq", INT))
    op.bulk_insert(claim, [{"id": 1, "epoch": 0, "seq": 0}])
    op.create_table(
        "events",
        key("seq", INT),
        required("batch", INT),
        required("time_ms", INT),
        required("account_id", INT),
        required("kind", sa.Text()),
        required("body", sa.Text()),
    )


def _create_accounts() -> None:
    op.create_table(
        "accounts",
        key("id", INT),
        required("name", sa.Text()),
        required("venue", sa.Text()),
        required("epoch", INT),
        required("created_ms", INT),
        required("epoch_started_ms", INT),
        sa.UniqueConstraint("name", "venue", name="uq_accounts_name_venue"),
    )
    op.create_table(
        "epochs",
        key("account_id", INT),
        key("epoch", INT),
        required("started_seq", INT),
        required("started_ms", INT),
        required("net_deposits", EXACT),
        sa.Column("ended_seq", INT),
        sa.Column("ended_ms", INT),
        sa.Column("final_balances", sa.Text()),
    )


def _create_orders() -> None:
    op.create_table(
        "orders",
        key("id", INT),
        required("account_id", INT),
        required("epoch", INT),
        required("client_order_id", sa.Text()),
        required("symbol", sa.Text()),
        required("base_asset", sa.Text()),
        required("quote_asset", sa.Text()),
        required("side", sa.Text()),
        required("type", sa.Text()),
        required("time_in_force", sa.Text()),
        required("post_only", sa.SmallInteger()),
        sa.Column("quantity", EXACT),
        sa.Column("quote_quantity", EXACT),
        sa.Column("price", EXACT),
        required("status", sa.Text()),
        sa.Column("reason", sa.Text()),
        required("filled_quantity", EXACT),
        required("filled_quote", EXACT),
        required("held", EXACT),
        sa.Column("market_seq", INT),
        required("venue", sa.Text()),
        required("created_ms", INT),
        required("updated_ms", INT),
        required("seq", INT),
    )
    op.create_index("ix_orders_account", "orders", ["account_id", "id"])
    op.create_index("ix_orders_symbol", "orders", ["account_id", "symbol", "id"])
    op.create_index("ix_orders_client", "orders", ["account_id", "epoch", "client_order_id"])
    op.create_index("ix_orders_open", "orders", ["account_id", "id"], sqlite_where=OPEN, postgresql_where=OPEN)


def _create_fills() -> None:
    op.create_table(
        "fills",
        key("id", INT),
        required("account_id", INT),
        required("order_id", INT),
        required("epoch", INT),
        required("symbol", sa.Text()),
        required("side", sa.Text()),
        required("price", EXACT),
        required("quantity", EXACT),
        required("quote_amount", EXACT),
        required("fee", EXACT),
        required("fee_asset", sa.Text()),
        required("fee_value", EXACT),
        required("liquidity", sa.Text()),
        required("time_ms", INT),
        sa.Column("update_id", INT),
        sa.Column("trade_id", INT),
        sa.Column("level_quantity", EXACT),
        required("quote_rate", EXACT),
    )
    op.create_index("ix_fills_order", "fills", ["order_id", "id"])
    op.create_index("ix_fills_account", "fills", ["account_id", "id"])
    op.create_index("ix_fills_symbol", "fills", ["account_id", "symbol", "id"])


def _create_ledger() -> None:
    op.create_table(
        "entries",
        key("seq", INT),
        key("n", sa.Integer()),
        required("ledger_account", sa.Text()),
        sa.Column("account_id", INT),
        required("asset", sa.Text()),
        required("amount", EXACT),
        required("balance_before", EXACT),
        required("balance_after", EXACT),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "balances",
        key("account_id", INT),
        key("asset", sa.Text()),
        required("free", EXACT),
        required("held", EXACT),
        required("seq", INT),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "positions",
        key("account_id", INT),
        key("epoch", INT),
        key("asset", sa.Text()),
        required("quantity", EXACT),
        required("cost", EXACT),
        required("realized_pnl", EXACT),
        required("fees_paid", EXACT),
        required("seq", INT),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "system_balances",
        key("venue", sa.Text()),
        key("ledger_account", sa.Text()),
        key("asset", sa.Text()),
        required("balance", EXACT),
        required("seq", INT),
        sqlite_with_rowid=False,
    )
