"""What each event does to the books. The live engine and a rebuild from stored events take this same path.

An event carries every figure that needed a market, a clock or a symbol's rules (amounts, fees, rates, what stays held),
so applying it needs nothing but the books. Pure but for the draft it writes to, which `Engine.lock` guards.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from trading_engine.exchange.ledger import Books, BrokenBooksError, Draft
from trading_engine.exchange.messages import (
    EMPTY_STATE,
    Account,
    AccountOpened,
    AccountReset,
    Deposit,
    EngineState,
    Event,
    LedgerAccount,
    OrderAccepted,
    OrderAmended,
    OrderCancelled,
    OrderEvent,
    OrderExpired,
    OrderFilled,
    OrderRested,
    OrderTriggered,
)
from trading_engine.exchange.money import REPORTING_ASSET, VALUE_DECIMALS, ZERO, round_half_up
from trading_engine.exchange.orders import Fill, Order, OrderStatus, Side, amended, ended, filled, rested, triggered
from trading_engine.exchange.portfolio import entered, left, paid_fee


def apply(draft: Draft, event: Event) -> None:
    """Apply the next event to the draft; raise BrokenBooksError or IllegalTransitionError where it does not fit."""
    if event.seq != draft.next_seq:
        raise BrokenBooksError(f"event {event.seq} came where {draft.next_seq} was due")
    draft.begin_posting()
    if isinstance(event, AccountOpened | AccountReset):
        _begin_epoch(draft, event)
    else:
        _change_order(draft, event)
    draft.end_posting(event.seq)
    draft.events.append(event)
    draft.next_seq = event.seq + 1


def _begin_epoch(draft: Draft, event: AccountOpened | AccountReset) -> None:
    if isinstance(event, AccountOpened):
        _open(draft, event)
    else:
        _reset(draft, event)


def _change_order(draft: Draft, event: OrderEvent) -> None:
    match event:
        case OrderFilled():
            _fill(draft, event)
        case OrderAccepted():
            _accept(draft, event)
        case OrderCancelled():
            _end(draft, event, OrderStatus.CANCELLED)
        case OrderExpired():
            _end(draft, event, OrderStatus.EXPIRED)
        case OrderRested():
            draft.orders[event.order_id] = rested(draft.order(event.order_id), event.market_seq)
        case OrderTriggered():
            _trigger(draft, event)
        case OrderAmended():
            _amend(draft, event)


def rebuild(events: Iterable[Event]) -> EngineState:
    """Return the state that a complete history, in order, leads to; `orders` holds every order there ever was."""
    books = Books(EMPTY_STATE)
    fills: list[Fill] = []
    for event in events:
        draft = Draft(books)
        apply(draft, event)
        draft.merge()
        fills += draft.fills
    return replace(books.state(), recent_fills=tuple(fills))


def _accept(draft: Draft, event: OrderAccepted) -> None:
    order = event.order
    if order.held:
        draft.move(event.seq, order.account_id, order.asset_given, free=-order.held, held=order.held)
    draft.orders[order.id] = order


def _end(draft: Draft, event: OrderCancelled | OrderExpired, status: OrderStatus) -> None:
    order = draft.order(event.order_id)
    if order.held:
        draft.move(event.seq, order.account_id, order.asset_given, free=order.held, held=-order.held)
    draft.orders[order.id] = ended(order, status, event.reason, event.time_ms)


def _trigger(draft: Draft, event: OrderTriggered) -> None:
    order = draft.order(event.order_id)
    _hold(draft, event.seq, order, event.held)
    draft.orders[order.id] = triggered(
        order, held=event.held, extreme=event.extreme, market_seq=event.market_seq, time_ms=event.time_ms
    )


def _amend(draft: Draft, event: OrderAmended) -> None:
    order = draft.order(event.order_id)
    _hold(draft, event.seq, order, event.held)
    draft.orders[order.id] = amended(
        order,
        quantity=event.quantity,
        price=event.price,
        held=event.held,
        market_seq=event.market_seq,
        keeps_place=event.keeps_place,
        time_ms=event.time_ms,
    )


def _hold(draft: Draft, seq: int, order: Order, held: Decimal) -> None:
    """Post what an order sets aside from now on."""
    more = held - order.held
    if more:
        draft.move(seq, order.account_id, order.asset_given, free=-more, held=more)


def _fill(draft: Draft, event: OrderFilled) -> None:
    """Swap what is given (from the hold first, the rest from free; a surplus of the hold goes back) for what is got."""
    seq, fill = event.seq, event.fill
    order = draft.order(fill.order_id)
    account_id, base, quote = order.account_id, order.base_asset, order.quote_asset
    if fill.side is Side.BUY:
        given_asset, given, received_asset, received = quote, fill.quote_amount, base, fill.quantity
    else:
        given_asset, given, received_asset, received = base, fill.quantity, quote, fill.quote_amount
    unheld = order.held - event.held
    draft.move(seq, account_id, given_asset, free=unheld - given, held=-unheld)
    draft.post(seq, LedgerAccount.MARKET, given_asset, given)
    draft.post(seq, LedgerAccount.MARKET, received_asset, -received)
    draft.move(seq, account_id, received_asset, free=received - fill.fee)
    draft.post(seq, LedgerAccount.FEES, received_asset, fill.fee)
    draft.orders[order.id] = filled(order, fill, event.held)
    draft.fills.append(fill)

    value = value_of_fill(base, quote, fill.quantity, fill.quote_amount, fill.quote_rate)
    if given_asset != REPORTING_ASSET:
        draft.put_position(left(draft.position(account_id, given_asset), given, value))
    if received_asset != REPORTING_ASSET:
        position = draft.position(account_id, received_asset)
        draft.put_position(entered(position, received - fill.fee, value - fill.fee_value))
    bearer = base if base != REPORTING_ASSET else quote
    draft.put_position(paid_fee(draft.position(account_id, bearer), fill.fee_value))


def value_of_fill(base: str, quote: str, quantity: Decimal, quote_amount: Decimal, quote_rate: Decimal) -> Decimal:
    """Return in USDT what changed hands: exact where one side is USDT itself, else by the quote asset's rate."""
    if quote == REPORTING_ASSET:
        return quote_amount
    if base == REPORTING_ASSET:
        return quantity
    return round_half_up(quote_amount * quote_rate, VALUE_DECIMALS)


def _open(draft: Draft, event: AccountOpened) -> None:
    draft.accounts[event.account_id] = Account(
        id=event.account_id,
        name=event.name,
        venue=event.venue,
        epoch=1,
        created_ms=event.time_ms,
        epoch_started_ms=event.time_ms,
    )
    _deposit(draft, event.seq, event.account_id, event.deposits, event.net_deposits)


def _reset(draft: Draft, event: AccountReset) -> None:
    account = draft.account(event.account_id)
    for withdrawn in event.withdrawn:
        draft.move(event.seq, account.id, withdrawn.asset, free=-withdrawn.amount)
        draft.post(event.seq, LedgerAccount.DEPOSITS, withdrawn.asset, withdrawn.amount)
    draft.forget_positions(account.id)
    draft.accounts[account.id] = replace(account, epoch=event.epoch, epoch_started_ms=event.time_ms)
    _deposit(draft, event.seq, account.id, event.deposits, event.net_deposits)


def _deposit(draft: Draft, seq: int, account_id: int, deposits: tuple[Deposit, ...], net_deposits: Decimal) -> None:
    total = ZERO
    for deposit in deposits:
        value = value_of_deposit(deposit)
        draft.post(seq, LedgerAccount.DEPOSITS, deposit.asset, -deposit.amount)
        draft.move(seq, account_id, deposit.asset, free=deposit.amount)
        if deposit.asset != REPORTING_ASSET:
            draft.put_position(entered(draft.position(account_id, deposit.asset), deposit.amount, value))
        total += value
    if total != net_deposits:
        raise BrokenBooksError(f"event {seq} says its deposits are worth {net_deposits}, they are worth {total}")
    draft.net_deposits[account_id] = net_deposits


def value_of_deposit(deposit: Deposit) -> Decimal:
    """Return in USDT what enters; raises `BrokenBooksError` where its rate is unknown."""
    if deposit.rate is None:
        raise BrokenBooksError(f"{deposit.amount} {deposit.asset} cannot enter without a rate")
    return round_half_up(deposit.amount * deposit.rate, VALUE_DECIMALS)
