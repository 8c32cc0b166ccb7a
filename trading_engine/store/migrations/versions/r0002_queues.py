"""How sure each fill is, what the engine knew of queues, conditional orders."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
EXACT = sa.Numeric().with_variant(sa.Text(), "sqlite")


def upgrade() -> None:
    """Every fill so far was certain: resting orders filled only through their price. Every order so far was live."""
    for column in (
        sa.Column("stop_price", EXACT),
        sa.Column("trailing_bps", sa.Integer()),
        sa.Column("condition", sa.Text()),
        sa.Column("stage", sa.Text(), nullable=False, server_default="live"),
        sa.Column("trailing_extreme", EXACT),
        sa.Column("triggered_ms", INT),
        sa.Column("list_id", INT),
        sa.Column("self_trade_prevention", sa.Text()),
        sa.Column("prevented_quantity", EXACT, nullable=False, server_default="0"),
        sa.Column("amendments", sa.Integer(), nullable=False, server_default="0"),
    ):
        op.add_column("orders", column)
    op.add_column("fills", sa.Column("certainty", sa.Text(), nullable=False, server_default="certain"))
    op.create_table(
        "market_memory",
        sa.Column("venue", sa.Text(), primary_key=True),
        sa.Column("symbol", sa.Text(), primary_key=True),
        sa.Column("key", sa.Text(), primary_key=True),
        sa.Column("body", sa.Text()),
        sa.Column("seq", INT, nullable=False),
        sqlite_with_rowid=False,
    )
