"""An order's arrival: every check, then what it takes from the book, what it rests with, how it ends.

`plan_order` refuses or plans, and changes nothing; `emit_order` writes a plan's events into a draft. An order that
waited for a live book arrives once more by `emit_waiting`. Guarded by `Engine.lock`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange import history, risk
from trading_engine.exchange.execution import FeeRates, Terms, execute, terms_of
from trading_engine.exchange.fills import Execution, Levels, Part, Taking, limit_of, opposite, take, take_for_quote
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.market import FeedState, MarketView
from trading_engine.exchange.messages import Account, OrderAccepted, OrderExpired, OrderRested, PlaceOrder, Refused
from trading_engine.exchange.money import ZERO, round_up
from trading_engine.exchange.orders import (
    Liquidity,
    Order,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    hold_of,
)
from trading_engine.exchange.portfolio import MarketSource

DEEPER: tuple[int | None, ...] = (200, None)
"""Levels to ask for, one after the other, when a walk runs out of the first look's 20 and more are known."""

NOTHING = Taking(parts=(), quantity=ZERO, quote_amount=ZERO, ran_out=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the account stands with: its free balances, and its open orders on the symbol and in all."""

    free: Callable[[str], Decimal]
    on_symbol: int
    in_all: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an order will do. `quantity` None: by quote amount, and the known book ends first.

    `taking` is what it gets at once, `rest` what stays open of it, `ending` why anything else of it expires (None: it
    does not). `live`: it was judged against a live book; otherwise all of it waits.
    """

    terms: Terms
    view: MarketView
    live: bool
    quantity: Decimal | None
    taking: Taking
    rest: Decimal
    ending: str | None


def plan_order(
    command: PlaceOrder, markets: Mapping[str, MarketSource], standing: Standing, fees: FeeRates, time_ms: int
) -> Plan:
    """Check an order against its market and plan it; raise Refused, with nothing changed."""
    market = markets[command.symbol]
    view = market.view()
    symbol = view.symbol
    risk.check_symbol(command, symbol)
    risk.check_book(command, view)
    if command.price is not None:
        risk.check_price(command.price, symbol)
    if command.quantity is not None:
        risk.check_quantity(command.quantity, symbol, market=command.type is OrderType.MARKET)
    if command.quote_quantity is not None:
        risk.check_quote_quantity(command.quote_quantity, symbol)
    risk.check_notional(command, view)
    if command.price is not None:
        risk.check_percent_price(command.side, command.price, view)
    if risk.may_rest(command):
        risk.check_open_orders(symbol, on_symbol=standing.on_symbol, in_all=standing.in_all)
    if command.post_only and command.price is not None:
        risk.check_post_only(command.side, command.price, view)
    terms = terms_of(symbol, markets, fees, time_ms)
    if terms is None:
        raise Refused("no_valuation", f"no price is known to value {symbol.quote_asset} in USDT", "symbol")
    live, taking = view.state is FeedState.LIVE, NOTHING
    if live:
        view, found = _walk(market, view, command)
        live, taking = found is not None, found or NOTHING
        risk.check_book(command, view)
    quantity = _quantity(command, view, taking)
    _check_funds(command, view, taking, standing)
    return _planned(command, terms, view, live=live, quantity=quantity, taking=taking)


def emit_order(draft: Draft, command: PlaceOrder, account: Account, plan: Plan) -> Order:
    """Write a plan's events into the draft; return the order as it then is."""
    symbol, now = plan.terms.symbol, plan.terms.time_ms
    order_id = draft.next_seq
    held = ZERO
    if plan.rest and command.price is not None:
        held = hold_of(command.side, command.price, plan.rest, symbol.quote_precision)
    order = Order(
        id=order_id,
        account_id=account.id,
        epoch=account.epoch,
        client_order_id=command.client_order_id,
        symbol=symbol.name,
        base_asset=symbol.base_asset,
        quote_asset=symbol.quote_asset,
        side=command.side,
        type=command.type,
        time_in_force=command.time_in_force,
        post_only=command.post_only,
        quantity=plan.quantity,
        quote_quantity=command.quote_quantity,
        price=command.price,
        status=OrderStatus.NEW,
        reason=None,
        filled_quantity=ZERO,
        filled_quote=ZERO,
        held=held,
        market_seq=plan.view.seq if plan.live else None,
        venue=account.venue,
        created_ms=now,
        updated_ms=now,
    )
    history.apply(draft, OrderAccepted(seq=order_id, time_ms=now, account_id=account.id, order=order))
    _take(draft, order_id, plan.taking, plan.view, plan.terms)
    if plan.ending is not None:
        seq = draft.next_seq
        event = OrderExpired(seq=seq, time_ms=now, account_id=account.id, order_id=order_id, reason=plan.ending)
        history.apply(draft, event)
    return draft.order(order_id)


def emit_waiting(draft: Draft, order: Order, market: MarketSource, view: MarketView, terms: Terms) -> tuple[Part, ...]:
    """Let an order that waited meet its first live book, as one that arrives now; return what it takes."""
    limit = limit_of(order)

    def taken(levels: Levels) -> Taking:
        return take(levels, order.side, order.leaves, limit, terms.symbol.quote_precision)

    view, taking = _deepen(market, view, order.side, taken)
    if taking is None:
        return ()
    _take(draft, order.id, taking, view, terms)
    if draft.order(order.id).is_open:
        event = OrderRested(
            seq=draft.next_seq,
            time_ms=terms.time_ms,
            account_id=order.account_id,
            order_id=order.id,
            market_seq=view.seq,
        )
        history.apply(draft, event)
    return taking.parts


def _take(draft: Draft, order_id: int, taking: Taking, view: MarketView, terms: Terms) -> None:
    for part in taking.parts:
        execution = Execution(
            price=part.price,
            quantity=part.quantity,
            liquidity=Liquidity.TAKER,
            level_quantity=part.shown,
            update_id=view.update_id,
            trade_id=None,
        )
        execute(draft, order_id, execution, terms)


def _walk(market: MarketSource, view: MarketView, command: PlaceOrder) -> tuple[MarketView, Taking | None]:
    symbol, side = view.symbol, command.side

    def taken(levels: Levels) -> Taking:
        if command.quantity is not None:
            return take(levels, side, command.quantity, command.price, symbol.quote_precision)
        if command.quote_quantity is None:
            raise ValueError("an order needs a quantity or a quote quantity")
        return take_for_quote(levels, side, command.quote_quantity, risk.lot_step(symbol), symbol.quote_precision)

    return _deepen(market, view, side, taken)


def _deepen(
    market: MarketSource, view: MarketView, side: Side, taken: Callable[[Levels], Taking]
) -> tuple[MarketView, Taking | None]:
    """Walk the view, and deeper ones while levels run out and more are known; None if the book stops being live."""
    taking = taken(opposite(view, side))
    for levels in DEEPER:
        if not taking.ran_out or view.complete:
            break
        view = market.view(levels)
        if view.state is not FeedState.LIVE:
            return view, None
        taking = taken(opposite(view, side))
    return view, taking


def _quantity(command: PlaceOrder, view: MarketView, taking: Taking) -> Decimal | None:
    """Return the order's quantity: as stated, or what its quote amount comes to; None if the known book ends first."""
    if command.quantity is not None:
        return command.quantity
    if taking.ran_out:
        return None
    risk.check_quantity(taking.quantity, view.symbol, market=True, field="quote_quantity")
    return taking.quantity


def _check_funds(command: PlaceOrder, view: MarketView, taking: Taking, standing: Standing) -> None:
    """A limit buy needs price x quantity, even if it fills better; a market buy what it costs; a sale its quantity."""
    symbol = view.symbol
    field = "quantity" if command.quantity is not None else "quote_quantity"
    if command.side is Side.SELL:
        asset, needed = symbol.base_asset, command.quantity if command.quantity is not None else taking.quantity
    elif command.price is not None and command.quantity is not None:
        asset, needed = symbol.quote_asset, round_up(command.price * command.quantity, symbol.quote_precision)
    else:
        asset, needed = symbol.quote_asset, taking.quote_amount
    risk.check_funds(needed, standing.free(asset), asset, field)


def _planned(
    command: PlaceOrder, terms: Terms, view: MarketView, *, live: bool, quantity: Decimal | None, taking: Taking
) -> Plan:
    left = quantity - taking.quantity if quantity is not None else None
    rest, ending = ZERO, None
    if command.type is OrderType.MARKET:
        ending = "no_liquidity" if left is None or left else None
    elif command.time_in_force is TimeInForce.IOC:
        ending = "ioc" if left else None
    elif command.time_in_force is TimeInForce.FOK:
        ending, taking = ("fok", NOTHING) if left else (None, taking)
    else:
        rest = left or ZERO
    return Plan(terms=terms, view=view, live=live, quantity=quantity, taking=taking, rest=rest, ending=ending)
