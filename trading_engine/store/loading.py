"""Reading back what the engine's memory is made of, by the same road at every start and after every failed commit."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Select, func, not_, select

from trading_engine.exchange.messages import EngineState, LedgerAccount, Memory, OrderFilled
from trading_engine.exchange.orders import Fill, Order
from trading_engine.store import tables
from trading_engine.store.rows import (
    KINDS,
    ORDER_KINDS,
    account_from,
    balance_from,
    event_from,
    memory_from,
    order_from,
    order_of,
    position_from,
)
from trading_engine.store.writer import StoreUnusable

RECENT_MS = 10 * 60 * 1000
"""Orders closed this recently are loaded beside the open ones, so that a repeated client order id is met in memory."""

MOST_RECENT = 20_000
"""Events looked through for those; a repeat of an order that this leaves out is found in the store."""

IDS_AT_ONCE = 1000
"""Order ids in one question."""


def load(connection: Connection, now_ms: int, venue: str | None) -> EngineState:
    """Return the current state as the tables hold it; the connection must show one snapshot.

    With a `venue` only its accounts, and what the exchange's own ledger accounts came to there: venues are kept
    apart, so each sums to zero by itself, and one venue's prices cannot fill another's orders.
    """
    events, accounts, epochs = tables.events, tables.accounts, tables.epochs
    last_seq = connection.execute(select(func.max(events.c.seq))).scalar() or 0
    claimed_seq = connection.execute(select(tables.claim.c.seq)).scalar_one()
    if last_seq != claimed_seq:
        raise StoreUnusable(f"the log ends at {last_seq}, but {claimed_seq} was committed: the database is damaged")
    here = select(accounts).order_by(accounts.c.id)
    if venue is not None:
        here = here.where(accounts.c.venue == venue)
    ours = {row.id: account_from(row) for row in connection.execute(here)}
    deposits = select(epochs.c.account_id, epochs.c.net_deposits).where(epochs.c.ended_seq.is_(None))
    return EngineState(
        next_seq=last_seq + 1,
        accounts=tuple(ours.values()),
        orders=tuple(order for order in _orders(connection, last_seq, now_ms) if order.account_id in ours),
        balances=tuple(
            balance_from(row) for row in connection.execute(select(tables.balances)) if row.account_id in ours
        ),
        positions=tuple(
            position_from(row) for row in connection.execute(_present_positions()) if row.account_id in ours
        ),
        system_balances=_system_balances(connection, venue),
        net_deposits={
            row.account_id: row.net_deposits for row in connection.execute(deposits) if row.account_id in ours
        },
        memory=() if venue is None else _memory(connection, venue),
        recent_fills=tuple(fill for fill in _recent_fills(connection, last_seq, now_ms) if fill.account_id in ours),
    )


def _memory(connection: Connection, venue: str) -> tuple[Memory, ...]:
    kept = tables.market_memory
    known = select(kept).where(kept.c.venue == venue, kept.c.body.is_not(None)).order_by(kept.c.symbol, kept.c.key)
    return tuple(memory_from(row) for row in connection.execute(known))


def _recent_fills(connection: Connection, last_seq: int, now_ms: int) -> Iterator[Fill]:
    """Give the fills of the last minutes with their receipts, which only the events hold."""
    events = tables.events
    recent = (
        select(events.c.kind, events.c.body)
        .where(
            events.c.seq > last_seq - MOST_RECENT,
            events.c.time_ms >= now_ms - RECENT_MS,
            events.c.kind == KINDS[OrderFilled],
        )
        .order_by(events.c.seq)
    )
    for row in connection.execute(recent):
        event = event_from(row.kind, row.body)
        if isinstance(event, OrderFilled):
            yield event.fill


def _present_positions() -> Select[Any]:
    """Return the question for the positions of each account's present epoch."""
    positions, accounts = tables.positions, tables.accounts
    return select(positions).join(
        accounts, (accounts.c.id == positions.c.account_id) & (accounts.c.epoch == positions.c.epoch)
    )


def _system_balances(connection: Connection, venue: str | None) -> dict[tuple[LedgerAccount, str], Decimal]:
    system = tables.system_balances
    totals: dict[tuple[LedgerAccount, str], Decimal] = {}
    for row in connection.execute(select(system) if venue is None else select(system).where(system.c.venue == venue)):
        key = (LedgerAccount(row.ledger_account), row.asset)
        totals[key] = totals[key] + row.balance if key in totals else row.balance
    return totals


def _orders(connection: Connection, last_seq: int, now_ms: int) -> list[Order]:
    """Return the open orders and those closed lately, in order of id."""
    still_open = select(tables.orders).where(tables.is_open)
    found = [order_from(row) for row in connection.execute(still_open)]
    found += _closed_lately(connection, last_seq, now_ms - RECENT_MS)
    return sorted(found, key=lambda order: order.id)


def _closed_lately(connection: Connection, last_seq: int, since_ms: int) -> list[Order]:
    """Find the orders whose last event is recent: the log knows, so that no index on a changing time is needed."""
    events, orders = tables.events, tables.orders
    recent = select(events.c.kind, events.c.body).where(
        events.c.seq > last_seq - MOST_RECENT, events.c.time_ms >= since_ms, events.c.kind.in_(ORDER_KINDS)
    )
    ids = sorted({order_of(event_from(row.kind, row.body)) for row in connection.execute(recent)})
    found: list[Order] = []
    for start in range(0, len(ids), IDS_AT_ONCE):
        closed = select(orders).where(orders.c.id.in_(ids[start : start + IDS_AT_ONCE]), not_(tables.is_open))
        found.extend(order_from(row) for row in connection.execute(closed))
    return found
