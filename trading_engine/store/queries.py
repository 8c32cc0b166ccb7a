"""Questions to history, on read-only connections: they never wait for the journal, nor it for them.

Every question names its account; another account's order is one that does not exist. Lists are newest first and paged
by id: `before_id` is the last id of the page before. Answers are the exchange's own values. While the database cannot
be read every question raises Refused `not_committed`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, Table, and_, bindparam, func, not_, select

from trading_engine.exchange.messages import Account, Event, OrderFilled, Refused
from trading_engine.exchange.orders import Certainty, Fill, Order
from trading_engine.store import tables
from trading_engine.store.database import Store
from trading_engine.store.rows import KINDS, account_from, balances_from, event_from, fill_from, order_from
from trading_engine.store.statements import compiled
from trading_engine.store.writer import StoreUnavailable

Answer = TypeVar("Answer")

MOST_ROWS = 1000
"""Rows in one answer, whatever was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One stretch of an account's life. `final_balances` (asset to amount) and `ended_ms` are None while it lasts.

    Its orders and fills have ids from `started_seq` on, below `ended_seq`. `net_deposits` in USDT.
    """

    account_id: int
    epoch: int
    started_seq: int
    started_ms: int
    net_deposits: Decimal
    ended_seq: int | None
    ended_ms: int | None
    final_balances: Mapping[str, Decimal] | None


class Queries:
    """The questions. Thread-safe: each takes a connection of the store's pool for the time of one statement."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._certainties: dict[tuple[int, int], tuple[int, dict[Certainty, int]]] = {}
        orders = tables.orders
        # The questions of the order path, built once.
        self._order = select(orders).where(
            orders.c.id == bindparam("order"), orders.c.account_id == bindparam("account")
        )
        fills = tables.fills
        self._fills_of_one = select(fills).where(fills.c.order_id == bindparam("order")).order_by(fills.c.id)
        seen = (
            select(orders.c.id)
            .where(
                orders.c.account_id == bindparam("account", type_=orders.c.account_id.type),
                orders.c.epoch == bindparam("epoch", type_=orders.c.epoch.type),
                orders.c.client_order_id == bindparam("client", type_=orders.c.client_order_id.type),
            )
            .order_by(orders.c.id.desc())
        )
        self._seen = compiled(seen, store.dialect)

    def order(self, account_id: int, order_id: int) -> Order | None:
        """Return one order of the account, None if it has none of that id."""
        rows = self._rows(self._order, {"account": account_id, "order": order_id})
        return order_from(rows[0]) if rows else None

    def order_by_client_id(self, account_id: int, epoch: int, client_order_id: str) -> Order | None:
        """Return the newest order of that epoch with that client order id.

        Asked with every order that comes in, and mostly there is none: so the driver is asked directly.
        """
        found = self._answer(lambda: self._store.ask(self._seen, (account_id, epoch, client_order_id)))
        return self.order(account_id, found[0]) if found else None

    def orders(
        self,
        account_id: int,
        *,
        epoch: int | None = None,
        status: str | None = None,
        symbol: str | None = None,
        limit: int = 100,
        before_id: int | None = None,
    ) -> tuple[Order, ...]:
        """Return orders, newest first. `status`: open, closed or an `OrderStatus`; None leaves a filter out."""
        orders = tables.orders
        wanted = _page(orders, account_id, epoch, None if status == "open" else symbol, before_id)
        if status == "open":
            wanted.append(tables.is_open)
            if symbol is not None:
                # An expression, so that the index of open orders is used and not the one of all the symbol's orders.
                wanted.append(orders.c.symbol + "" == symbol)
        elif status == "closed":
            wanted.append(not_(tables.is_open))
        elif status is not None:
            wanted.append(orders.c.status == status)
        return tuple(order_from(row) for row in self._rows(_newest(orders, wanted, limit)))

    def fills(
        self,
        account_id: int,
        *,
        epoch: int | None = None,
        symbol: str | None = None,
        order_id: int | None = None,
        limit: int = 100,
        before_id: int | None = None,
    ) -> tuple[Fill, ...]:
        """Return fills, newest first; None leaves a filter out."""
        fills = tables.fills
        wanted = _page(fills, account_id, epoch, symbol, before_id)
        if order_id is not None:
            wanted.append(fills.c.order_id == order_id)
        return tuple(fill_from(row) for row in self._rows(_newest(fills, wanted, limit)))

    def fill(self, account_id: int, fill_id: int) -> Fill | None:
        """Return one fill of the account with its receipt, as its event has it; None if it has no fill of that id.

        A fill from before there were receipts has None for one.
        """
        events = tables.events
        asked = select(events.c.kind, events.c.body).where(
            events.c.seq == fill_id, events.c.account_id == account_id, events.c.kind == KINDS[OrderFilled]
        )
        for row in self._rows(asked):
            event = event_from(row.kind, row.body)
            assert isinstance(event, OrderFilled)
            return event.fill
        return None

    def fills_of(self, order_ids: Iterable[int]) -> dict[int, tuple[Fill, ...]]:
        """Return the fills of each of these orders, oldest first; the caller has already seen to whose they are."""
        ids = list(dict.fromkeys(order_ids))
        if len(ids) == 1:
            return {ids[0]: tuple(fill_from(row) for row in self._rows(self._fills_of_one, {"order": ids[0]}))}
        found: dict[int, list[Fill]] = {order_id: [] for order_id in ids}
        fills = tables.fills
        for start in range(0, len(ids), MOST_ROWS):
            asked = select(fills).where(fills.c.order_id.in_(ids[start : start + MOST_ROWS])).order_by(fills.c.id)
            for row in self._rows(asked):
                found[row.order_id].append(fill_from(row))
        return {order_id: tuple(rows) for order_id, rows in found.items()}

    def certainties(self, account_id: int, epoch: int) -> dict[Certainty, int]:
        """Return how many of an epoch's fills are how sure.

        Only fills since the last time are counted: ids only grow, and what is committed stays.
        """
        last_id, counts = self._certainties.get((account_id, epoch), (0, dict.fromkeys(Certainty, 0)))
        fills = tables.fills
        asked = (
            select(fills.c.certainty, func.count(), func.max(fills.c.id))
            .where(fills.c.account_id == account_id, fills.c.epoch == epoch, fills.c.id > last_id)
            .group_by(fills.c.certainty)
        )
        counts = dict(counts)
        for certainty, count, newest_id in self._rows(asked):
            counts[Certainty(certainty)] += count
            last_id = max(last_id, newest_id)
        self._certainties[account_id, epoch] = (last_id, counts)
        return dict(counts)

    def epochs(self, account_id: int) -> tuple[Epoch, ...]:
        """Return the account's epochs, newest first."""
        epochs = tables.epochs
        asked = select(epochs).where(epochs.c.account_id == account_id).order_by(epochs.c.epoch.desc()).limit(MOST_ROWS)
        return tuple(
            Epoch(
                account_id=row.account_id,
                epoch=row.epoch,
                started_seq=row.started_seq,
                started_ms=row.started_ms,
                net_deposits=row.net_deposits,
                ended_seq=row.ended_seq,
                ended_ms=row.ended_ms,
                final_balances=None if row.final_balances is None else balances_from(row.final_balances),
            )
            for row in self._rows(asked)
        )

    def other_venues(self, name: str, venue: str) -> tuple[Account, ...]:
        """Return the accounts of that name on venues other than `venue`."""
        accounts = tables.accounts
        asked = select(accounts).where(accounts.c.name == name, accounts.c.venue != venue).order_by(accounts.c.id)
        return tuple(account_from(row) for row in self._rows(asked.limit(MOST_ROWS)))

    def events_after(self, account_id: int, seq: int, limit: int = MOST_ROWS) -> tuple[Event, ...]:
        """Return the account's events after `seq`, oldest first, at most `limit`.

        Walks the log from `seq` on (no index is kept for it): meant for a stream that was away for moments.
        """
        events = tables.events
        asked = (
            select(events.c.kind, events.c.body)
            .where(events.c.account_id == account_id, events.c.seq > seq)
            .order_by(events.c.seq)
            .limit(limit)
        )
        return tuple(event_from(row.kind, row.body) for row in self._rows(asked))

    def _rows(self, asked: Select[Any], values: Mapping[str, object] | None = None) -> list[Any]:
        def ask() -> list[Any]:
            with self._store.reading() as connection:
                return list(connection.execute(asked, values).all())

        return self._answer(ask)

    def _answer(self, ask: Callable[[], Answer]) -> Answer:
        try:
            return self._store.once_more(ask)
        except StoreUnavailable as error:
            raise Refused("not_committed", f"the database cannot be read: {error}") from error


def _page(
    table: Table, account_id: int, epoch: int | None, symbol: str | None, before_id: int | None
) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [table.c.account_id == account_id]
    if epoch is not None:
        # The epoch's ids lie between its first and its last event, so an old one is not searched for from the newest.
        epochs = tables.epochs
        span = and_(epochs.c.account_id == account_id, epochs.c.epoch == epoch)
        ended = select(epochs.c.ended_seq).where(span, epochs.c.ended_seq.is_not(None))
        wanted.append(table.c.epoch == epoch)
        wanted.append(table.c.id >= select(epochs.c.started_seq).where(span).scalar_subquery())
        wanted.append(not_(table.c.id > ended.scalar_subquery()) | ~ended.exists())
    if symbol is not None:
        wanted.append(table.c.symbol == symbol)
    if before_id is not None:
        wanted.append(table.c.id < before_id)
    return wanted


def _newest(table: Table, wanted: list[ColumnElement[bool]], limit: int) -> Select[Any]:
    return select(table).where(*wanted).order_by(table.c.id.desc()).limit(min(limit, MOST_ROWS))
