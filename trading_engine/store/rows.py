"""From the exchange's values to rows of the tables and back; the order of a row is the order of its table's columns.

Pure, and the journal's innermost loop: that is why the rows are spelled out. `amount` turns a `Decimal` into what the
driver takes (text for SQLite). Enumerations are stored by value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from sqlalchemy import Row

from trading_engine.exchange.messages import (
    Account,
    AccountOpened,
    AccountReset,
    Balance,
    Deposit,
    Entry,
    Event,
    Memory,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRested,
    OrderTriggered,
    Position,
)
from trading_engine.exchange.orders import (
    Certainty,
    Condition,
    Fill,
    Liquidity,
    Order,
    OrderStatus,
    OrderType,
    SelfTradePrevention,
    Side,
    Stage,
    TimeInForce,
)

Value = str | int | Decimal | None
"""What a driver is given."""
RowValues = tuple[Value, ...]
Amount = Callable[[Decimal], Value]

KINDS: dict[type[Event], str] = {
    AccountOpened: "account_opened",
    AccountReset: "account_reset",
    OrderAccepted: "order_accepted",
    OrderRested: "order_rested",
    OrderTriggered: "order_triggered",
    OrderAmended: "order_amended",
    OrderFilled: "order_filled",
    OrderCancelled: "order_cancelled",
    OrderExpired: "order_expired",
}
"""The stored name of each event; never change one, only add."""

ORDER_KINDS = tuple(kind for event_type, kind in KINDS.items() if event_type not in (AccountOpened, AccountReset))
"""The kinds of events that are about one order."""

_DECODERS: dict[str, msgspec.json.Decoder[Event]] = {
    kind: msgspec.json.Decoder(event_type) for event_type, kind in KINDS.items()
}
_encode = msgspec.json.Encoder().encode


def event_row(event: Event, batch: int) -> RowValues:
    """Return the row of `events`; the body is the whole event as JSON, its decimals as exact texts."""
    return event.seq, batch, event.time_ms, event.account_id, KINDS[type(event)], _encode(event).decode()


def event_from(kind: str, body: str) -> Event:
    """Return the event a row of `events` holds."""
    return _DECODERS[kind].decode(body)


def order_of(event: Event) -> int:
    """Return the id of the order an event is about; the event must be one of `ORDER_KINDS`."""
    match event:
        case OrderAccepted():
            return event.order.id
        case OrderFilled():
            return event.fill.order_id
        case OrderRested() | OrderTriggered() | OrderAmended() | OrderCancelled() | OrderExpired():
            return event.order_id
        case _:
            raise AssertionError(f"event {event.seq} is about no order")


def account_row(account: Account) -> RowValues:
    """Return the row of `accounts`."""
    return (
        account.id,
        account.name,
        account.venue,
        account.epoch,
        account.created_ms,
        account.epoch_started_ms,
    )


def order_row(order: Order, seq: int, amount: Amount) -> RowValues:
    """Return the row of `orders` as event `seq` left it."""
    return (
        order.id,
        order.account_id,
        order.epoch,
        order.client_order_id,
        order.symbol,
        order.base_asset,
        order.quote_asset,
        order.side.value,
        order.type.value,
        order.time_in_force.value,
        1 if order.post_only else 0,
        None if order.quantity is None else amount(order.quantity),
        None if order.quote_quantity is None else amount(order.quote_quantity),
        None if order.price is None else amount(order.price),
        order.status.value,
        order.reason,
        amount(order.filled_quantity),
        amount(order.filled_quote),
        amount(order.held),
        order.market_seq,
        order.venue,
        order.created_ms,
        order.updated_ms,
        None if order.stop_price is None else amount(order.stop_price),
        order.trailing_bps,
        None if order.condition is None else order.condition.value,
        order.stage.value,
        None if order.trailing_extreme is None else amount(order.trailing_extreme),
        order.triggered_ms,
        order.list_id,
        None if order.self_trade_prevention is None else order.self_trade_prevention.value,
        amount(order.prevented_quantity),
        order.amendments,
        seq,
    )


def fill_row(fill: Fill, amount: Amount) -> RowValues:
    """Return the row of `fills`."""
    return (
        fill.id,
        fill.account_id,
        fill.order_id,
        fill.epoch,
        fill.symbol,
        fill.side.value,
        amount(fill.price),
        amount(fill.quantity),
        amount(fill.quote_amount),
        amount(fill.fee),
        fill.fee_asset,
        amount(fill.fee_value),
        fill.liquidity.value,
        fill.time_ms,
        fill.update_id,
        fill.trade_id,
        None if fill.level_quantity is None else amount(fill.level_quantity),
        amount(fill.quote_rate),
        fill.certainty.value,
    )


def entry_row(entry: Entry, amount: Amount) -> RowValues:
    """Return the row of `entries`."""
    return (
        entry.seq,
        entry.n,
        entry.ledger_account.value,
        entry.account_id,
        entry.asset,
        amount(entry.amount),
        amount(entry.balance_before),
        amount(entry.balance_after),
    )


def system_balance_row(entry: Entry, venue: str, amount: Amount) -> RowValues:
    """Return the row of `system_balances` that an entry of one of the exchange's own ledger accounts leaves."""
    return venue, entry.ledger_account.value, entry.asset, amount(entry.balance_after), entry.seq


def balance_row(balance: Balance, seq: int, amount: Amount) -> RowValues:
    """Return the row of `balances` as event `seq` left it."""
    return balance.account_id, balance.asset, amount(balance.free), amount(balance.held), seq


def position_row(position: Position, seq: int, amount: Amount) -> RowValues:
    """Return the row of `positions` as event `seq` left it."""
    return (
        position.account_id,
        position.epoch,
        position.asset,
        amount(position.quantity),
        amount(position.cost),
        amount(position.realized_pnl),
        amount(position.fees_paid),
        seq,
    )


def memory_row(memory: Memory, venue: str) -> RowValues:
    """Return the row of `market_memory`."""
    return venue, memory.symbol, memory.key, memory.body, memory.seq


def memory_from(row: Row[Any]) -> Memory:
    """Return the memory a row of `market_memory` holds."""
    return Memory(symbol=row.symbol, key=row.key, seq=row.seq, body=row.body)


def epoch_row(event: AccountOpened | AccountReset, amount: Amount) -> RowValues:
    """Return the row of `epochs` that begins with the event."""
    epoch = event.epoch if isinstance(event, AccountReset) else 1
    return event.account_id, epoch, event.seq, event.time_ms, amount(event.net_deposits), None, None, None


def final_balances(withdrawn: tuple[Deposit, ...]) -> str:
    """Return, as JSON, what the account held when its epoch ended."""
    return _encode({deposit.asset: abs(deposit.amount) for deposit in withdrawn}).decode()


def balances_from(text: str) -> Mapping[str, Decimal]:
    """Return what `final_balances` wrote."""
    return msgspec.json.decode(text, type=dict[str, Decimal])


def order_from(row: Row[Any]) -> Order:
    """Return the order a row of `orders` holds."""
    return Order(
        id=row.id,
        account_id=row.account_id,
        epoch=row.epoch,
        client_order_id=row.client_order_id,
        symbol=row.symbol,
        base_asset=row.base_asset,
        quote_asset=row.quote_asset,
        side=Side(row.side),
        type=OrderType(row.type),
        time_in_force=TimeInForce(row.time_in_force),
        post_only=bool(row.post_only),
        quantity=row.quantity,
        quote_quantity=row.quote_quantity,
        price=row.price,
        status=OrderStatus(row.status),
        reason=row.reason,
        filled_quantity=row.filled_quantity,
        filled_quote=row.filled_quote,
        held=row.held,
        market_seq=row.market_seq,
        venue=row.venue,
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        stop_price=row.stop_price,
        trailing_bps=row.trailing_bps,
        condition=None if row.condition is None else Condition(row.condition),
        stage=Stage(row.stage),
        trailing_extreme=row.trailing_extreme,
        triggered_ms=row.triggered_ms,
        list_id=row.list_id,
        self_trade_prevention=(
            None if row.self_trade_prevention is None else SelfTradePrevention(row.self_trade_prevention)
        ),
        prevented_quantity=row.prevented_quantity,
        amendments=row.amendments,
    )


def fill_from(row: Row[Any]) -> Fill:
    """Return the fill a row of `fills` holds."""
    return Fill(
        id=row.id,
        order_id=row.order_id,
        account_id=row.account_id,
        epoch=row.epoch,
        symbol=row.symbol,
        side=Side(row.side),
        price=row.price,
        quantity=row.quantity,
        quote_amount=row.quote_amount,
        fee=row.fee,
        fee_asset=row.fee_asset,
        fee_value=row.fee_value,
        liquidity=Liquidity(row.liquidity),
        time_ms=row.time_ms,
        update_id=row.update_id,
        trade_id=row.trade_id,
        level_quantity=row.level_quantity,
        quote_rate=row.quote_rate,
        certainty=Certainty(row.certainty),
        receipt=None,
    )


def account_from(row: Row[Any]) -> Account:
    """Return the account a row of `accounts` holds."""
    return Account(
        id=row.id,
        name=row.name,
        venue=row.venue,
        epoch=row.epoch,
        created_ms=row.created_ms,
        epoch_started_ms=row.epoch_started_ms,
    )


def balance_from(row: Row[Any]) -> Balance:
    """Return the balance a row of `balances` holds."""
    return Balance(account_id=row.account_id, asset=row.asset, free=row.free, held=row.held)


def position_from(row: Row[Any]) -> Position:
    """Return the position a row of `positions` holds."""
    return Position(
        account_id=row.account_id,
        epoch=row.epoch,
        asset=row.asset,
        quantity=row.quantity,
        cost=row.cost,
        realized_pnl=row.realized_pnl,
        fees_paid=row.fees_paid,
    )
