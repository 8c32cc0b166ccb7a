"""The journal's SQL: compiled once from the Core tables, run by the driver with many rows a statement.

Why many rows: the driver hands the interpreter's lock over at each statement, and under load taking it back costs
far more than the row. One INSERT of 256 rows is one hand-over (measured with one busy thread beside: 5 to 15 times
faster than `executemany`). Rows are cut into powers of two, so a few statements serve every group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain, count

from sqlalchemy import ColumnElement, Dialect, Insert, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ClauseElement

from trading_engine.store import tables
from trading_engine.store.rows import RowValues, Value

MOST_ROWS = 256
"""Rows in one statement. Both drivers take 32,766 parameters; the widest row has 34."""

CHANGING_ORDER_COLUMNS = (
    "quantity",
    "price",
    "status",
    "reason",
    "filled_quantity",
    "filled_quote",
    "held",
    "market_seq",
    "updated_ms",
    "stage",
    "trailing_extreme",
    "triggered_ms",
    "prevented_quantity",
    "amendments",
    "seq",
)
"""What may change of an order. The rest is left out of the update, so its indexes are not touched."""


def compiled(statement: ClauseElement, dialect: Dialect) -> str:
    """Return the SQL with a mark (`?` or `%s`) for each parameter, in the order the statement names them."""
    return str(statement.compile(dialect=dialect))


def _for_driver(sql: str, dialect: Dialect) -> str:
    """Number the parameters for PostgreSQL: sent as it is, without the driver looking through the text each time."""
    if dialect.name == "sqlite":
        return sql
    numbers = count(1)
    return re.sub("%s", lambda _mark: f"${next(numbers)}", sql)


class Upsert:
    """INSERT of whole rows; where the key exists, their `changing` columns replace what is there (none: an error)."""

    def __init__(self, table: Table, dialect: Dialect, changing: Sequence[str] = ()) -> None:
        self._table = table
        self._dialect = dialect
        self._changing = changing
        # Compiling takes milliseconds a row, so one row is compiled and its parentheses are repeated.
        self._head, self._row, self._tail = _parts(self._one_row())
        self._sql: dict[int, str] = {}

    def statements(self, rows: Sequence[RowValues]) -> Iterator[tuple[str, list[Value]]]:
        """Return (SQL, parameters) pairs that together write `rows`; no two of them may have the same key."""
        start = 0
        while start < len(rows):
            size = min(MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
            yield self._statement(size), list(chain.from_iterable(rows[start : start + size]))
            start += size

    def _statement(self, size: int) -> str:
        sql = self._sql.get(size)
        if sql is None:
            sql = self._sql[size] = _for_driver(self._head + ", ".join([self._row] * size) + self._tail, self._dialect)
        return sql

    def _one_row(self) -> str:
        names = [column.name for column in self._table.columns]
        row = {name: bindparam(f"new_{name}", type_=self._table.c[name].type) for name in names}
        statement: Insert
        if self._dialect.name == "sqlite":
            upsert = sqlite.insert(self._table).values(row)
            statement = (
                upsert
                if not self._changing
                else upsert.on_conflict_do_update(
                    index_elements=self._key(), set_={name: upsert.excluded[name] for name in self._changing}
                )
            )
        else:
            upsert_pg = postgresql.insert(self._table).values(row)
            statement = (
                upsert_pg
                if not self._changing
                else upsert_pg.on_conflict_do_update(
                    index_elements=self._key(), set_={name: upsert_pg.excluded[name] for name in self._changing}
                )
            )
        return compiled(statement, self._dialect)

    def _key(self) -> list[ColumnElement[object]]:
        return list(self._table.primary_key.columns)


def _parts(insert: str) -> tuple[str, str, str]:
    """Cut "INSERT … VALUES (…) ON CONFLICT …" before and after the parentheses of its one row."""
    found = re.search(r"VALUES (\([^()]*\))", insert)
    if found is None:
        raise AssertionError(f"no row of values in {insert!r}")
    return insert[: found.start(1)], found[1], insert[found.end(1) :]


class Statements:
    """Everything the journal writes with, for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        def upsert(table: Table, *changing: str) -> Upsert:
            return Upsert(table, dialect, changing)

        def one(statement: ClauseElement) -> str:
            return _for_driver(compiled(statement, dialect), dialect)

        claim, epochs = tables.claim, tables.epochs
        self.check_claim = one(
            claim.update().values(seq=bindparam("new_seq")).where(claim.c.epoch == bindparam("own_epoch"))
        )
        self.end_epoch = one(
            epochs.update()
            .values(ended_seq=bindparam("at_seq"), ended_ms=bindparam("at_ms"), final_balances=bindparam("final"))
            .where(epochs.c.account_id == bindparam("account"), epochs.c.epoch == bindparam("ended_epoch"))
        )
        self.set_net_deposits = one(
            epochs.update()
            .values(net_deposits=bindparam("value"))
            .where(epochs.c.account_id == bindparam("account"), epochs.c.ended_seq.is_(None))
        )
        self.events = upsert(tables.events)
        self.accounts = upsert(tables.accounts, "epoch", "epoch_started_ms")
        self.epochs = upsert(epochs)
        self.orders = upsert(tables.orders, *CHANGING_ORDER_COLUMNS)
        self.fills = upsert(tables.fills)
        self.entries = upsert(tables.entries)
        self.balances = upsert(tables.balances, "free", "held", "seq")
        self.positions = upsert(tables.positions, "quantity", "cost", "realized_pnl", "fees_paid", "seq")
        self.system_balances = upsert(tables.system_balances, "balance", "seq")
        self.market_memory = upsert(tables.market_memory, "body", "seq")
