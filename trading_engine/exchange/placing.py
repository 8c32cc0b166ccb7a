"""An order's arrival: every check, then what it takes from the book, what it rests with, how it ends.

`plan_order` refuses or plans, and changes nothing; `emit_order` writes a plan's events into a draft. The checks are in
`admission`, the walk in `arriving`. Guarded by `Engine.lock`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange import history, risk
from trading_engine.exchange.admission import Standing, check_order, last_price
from trading_engine.exchange.arriving import deepen, emit_expiry, emit_taking, offered
from trading_engine.exchange.conditions import Trigger, hold_of_conditional
from trading_engine.exchange.execution import FeeRates, Terms, fee_of, terms_or_refuse
from trading_engine.exchange.fills import opposite
from trading_engine.exchange.impact import Impact
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.market import FeedState, MarketView
from trading_engine.exchange.messages import (
    Account,
    OrderAccepted,
    PlaceOrder,
    Preview,
    PreviewedFill,
)
from trading_engine.exchange.money import ZERO, round_up
from trading_engine.exchange.orders import (
    Condition,
    Liquidity,
    Order,
    OrderStatus,
    OrderType,
    Side,
    Stage,
    TimeInForce,
    hold_of,
)
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.taking import (
    NOTHING_TAKEN,
    End,
    Taking,
    all_or_nothing,
    price_band,
    walk,
    walk_amount,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an order will do. `quantity` None: by quote amount, and the known book ends first.

    `taking` is what it gets at once, `rest` what stays open of it, `ending` why anything else of it expires (None: it
    does not). `live`: it was judged against a live book; otherwise all of it waits. A conditional order has a
    `condition`, takes nothing yet and sets aside `held`.
    """

    terms: Terms
    view: MarketView
    live: bool
    quantity: Decimal | None
    taking: Taking
    rest: Decimal
    held: Decimal
    ending: str | None
    condition: Condition | None = None


def plan_order(
    command: PlaceOrder, markets: Mapping[str, MarketSource], standing: Standing, fees: FeeRates, time_ms: int
) -> Plan:
    """Check an order against its market and plan it; raise Refused, with nothing changed."""
    market = markets[command.symbol]
    view = market.view()
    symbol = view.symbol
    trigger = check_order(command, view, standing)
    terms = terms_or_refuse(symbol, markets, fees, time_ms)
    live, taking = view.state is FeedState.LIVE, NOTHING_TAKEN
    if trigger is not None:
        return _armed(command, terms, view, standing, trigger)
    if live:
        view, found = _walk(market, view, command, standing.impact, time_ms)
        live, taking = found is not None, found or NOTHING_TAKEN
        risk.check_book(command, view)
    quantity = _quantity(command, view, taking)
    _check_funds(command, view, taking, standing)
    return _planned(command, terms, view, live=live, quantity=quantity, taking=taking)


def previewed(plan: Plan, side: Side, queue_ahead: Decimal | None) -> Preview:
    """Return a plan as what its order would do."""
    fills_ahead = []
    for part in plan.taking.slices:
        fee, fee_asset = fee_of(side, part.quantity, part.quote_amount, Liquidity.TAKER, plan.terms)
        fills_ahead.append(
            PreviewedFill(
                price=part.price,
                quantity=part.quantity,
                quote_amount=part.quote_amount,
                fee=fee,
                fee_asset=fee_asset,
                level_quantity=part.shown,
                waiting=part.waiting,
                taken_before=part.taken_before,
            )
        )
    return Preview(
        fills=tuple(fills_ahead),
        filled_quantity=plan.taking.quantity,
        filled_quote=plan.taking.quote_amount,
        rests=plan.rest,
        queue_ahead=queue_ahead,
        expires=plan.ending,
        live=plan.live,
        best_bid=plan.view.best_bid,
        best_ask=plan.view.best_ask,
        update_id=plan.view.update_id,
    )


def emit_order(draft: Draft, command: PlaceOrder, account: Account, plan: Plan) -> Order:
    """Write a plan's events into the draft; return the order as it then is."""
    symbol, now = plan.terms.symbol, plan.terms.time_ms
    order_id = draft.next_seq
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
        held=plan.held,
        market_seq=plan.view.seq if plan.live or plan.condition is not None else None,
        venue=account.venue,
        created_ms=now,
        updated_ms=now,
        stop_price=command.stop_price,
        trailing_bps=command.trailing_bps,
        condition=plan.condition,
        stage=Stage.LIVE if plan.condition is None else Stage.ARMED,
        self_trade_prevention=command.self_trade_prevention,
    )
    history.apply(draft, OrderAccepted(seq=order_id, time_ms=now, account_id=account.id, order=order))
    emit_taking(draft, order_id, plan.taking, plan.view, plan.terms)
    if plan.ending is not None:
        emit_expiry(draft, draft.order(order_id), plan.ending, now)
    return draft.order(order_id)


def _walk(
    market: MarketSource, view: MarketView, command: PlaceOrder, impact: Impact | None, now_ms: int
) -> tuple[MarketView, Taking | None]:
    side = command.side

    def taken(view: MarketView) -> Taking:
        symbol, levels = view.symbol, opposite(view, side)
        bounds = price_band(side, levels[0][0]) if command.type is OrderType.MARKET and levels else None
        if command.quantity is not None:
            return walk(
                offered(view, side, impact, now_ms),
                side,
                quantity=command.quantity,
                limit=command.price,
                band=bounds,
                decimals=symbol.quote_precision,
                complete=view.complete,
            )
        if command.quote_quantity is None:
            raise ValueError("an order needs a quantity or a quote quantity")
        return walk_amount(
            offered(view, side, impact, now_ms),
            side,
            amount=command.quote_quantity,
            step=risk.lot_step(symbol),
            band=bounds,
            decimals=symbol.quote_precision,
            complete=view.complete,
        )

    return deepen(market, view, taken)


def _quantity(command: PlaceOrder, view: MarketView, taking: Taking) -> Decimal | None:
    """Return the order's quantity: as stated, or what its quote amount comes to; None if the known book ends first."""
    if command.quantity is not None:
        return command.quantity
    if taking.end is not End.DONE:
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
        ending = str(taking.end) if left is None or left else None
    elif command.time_in_force is TimeInForce.IOC:
        ending = "ioc" if left else None
    elif command.time_in_force is TimeInForce.FOK:
        ending, taking = ("fok" if left else None), all_or_nothing(taking)
    else:
        rest = left or ZERO
    held = ZERO
    if rest and command.price is not None:
        held = hold_of(command.side, command.price, rest, terms.symbol.quote_precision)
    return Plan(
        terms=terms, view=view, live=live, quantity=quantity, taking=taking, rest=rest, held=held, ending=ending
    )


def _armed(command: PlaceOrder, terms: Terms, view: MarketView, standing: Standing, trigger: Trigger) -> Plan:
    """Plan a conditional order: it takes nothing yet, and sets aside what it will need."""
    symbol, quantity = terms.symbol, command.quantity or ZERO
    held = hold_of_conditional(trigger, quantity, command.price, last_price(view), symbol.quote_precision)
    asset = symbol.quote_asset if command.side is Side.BUY else symbol.base_asset
    risk.check_funds(held, standing.free(asset), asset, "quantity")
    return Plan(
        terms=terms,
        view=view,
        live=view.state is FeedState.LIVE,
        quantity=quantity,
        taking=NOTHING_TAKEN,
        rest=quantity,
        held=held,
        ending=None,
        condition=trigger.condition,
    )
