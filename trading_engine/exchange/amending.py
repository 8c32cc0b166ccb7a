"""Changing an open order: its quantity, its price, or both.

A smaller quantity at the same price keeps the place in the queue. Anything else is the same order arriving anew, at the
back: it may take, and what it does not take rests, or waits for a live book. An order that has not triggered stays
armed; what it waits for is not changed here. `plan_amendment` refuses or plans; `emit_amendment` writes the events.
Guarded by `Engine.lock`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_engine.exchange import filters, history, risk
from trading_engine.exchange.admission import Standing, check_amended, last_price
from trading_engine.exchange.arriving import deepen, emit_taking, walk_of
from trading_engine.exchange.conditions import hold_of_conditional, trigger_of
from trading_engine.exchange.execution import Terms
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.market import FeedState, MarketView
from trading_engine.exchange.messages import AmendOrder, OrderAmended, PlaceOrder, Refused
from trading_engine.exchange.money import ZERO, short
from trading_engine.exchange.orders import Order, Side, Stage, hold_of
from trading_engine.exchange.resting import Shelf
from trading_engine.exchange.symbols import Feature, Symbol
from trading_engine.exchange.taking import NOTHING_TAKEN, Taking


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What an order is to become (`order`, with what it then holds), whether it keeps its place, what it takes."""

    order: Order
    keeps_place: bool
    taking: Taking
    view: MarketView
    terms: Terms


def plan_amendment(
    order: Order, command: AmendOrder, shelf: Shelf, standing: Standing, terms_for: Callable[[Symbol], Terms]
) -> Amendment:
    """Check an amendment and plan it; raise Refused, with nothing changed."""
    view = shelf.market.view()
    quantity, price = _changed(order, command)
    keeps_place = order.stage is Stage.LIVE and price == order.price and quantity < (order.quantity or ZERO)
    rearrives = order.stage is Stage.LIVE and not keeps_place
    as_placed = _as_placed(order, quantity, price)
    check_amended(as_placed, view)
    if keeps_place:
        filters.check_amends(view.symbol, amended=order.amendments)
    if rearrives:
        _check_arrival(as_placed, view)
    if order.side is Side.BUY and quantity > (order.quantity or ZERO):
        standing.check_position(view.symbol, quantity - (order.quantity or ZERO))
    terms = terms_for(view.symbol)
    held = _hold(order, quantity, price, view)
    risk.check_funds(held - order.held, standing.free(order.asset_given), order.asset_given, "quantity")
    changed, taking = replace(order, quantity=quantity, price=price, held=held), None
    if rearrives:
        if view.state is FeedState.LIVE:
            view, taking = deepen(shelf.market, view, walk_of(changed, standing.impact, terms))
            risk.check_book(as_placed, view)
        changed = replace(changed, market_seq=None if taking is None else view.seq)
    return Amendment(order=changed, keeps_place=keeps_place, taking=taking or NOTHING_TAKEN, view=view, terms=terms)


def emit_amendment(draft: Draft, plan: Amendment) -> None:
    """Write what changed, and what the order takes where it arrives anew."""
    order = plan.order
    event = OrderAmended(
        seq=draft.next_seq,
        time_ms=plan.terms.time_ms,
        account_id=order.account_id,
        order_id=order.id,
        quantity=order.quantity or ZERO,
        price=order.price,
        held=order.held,
        market_seq=order.market_seq,
        keeps_place=plan.keeps_place,
    )
    history.apply(draft, event)
    emit_taking(draft, order.id, plan.taking, plan.view, plan.terms)


def _check_arrival(as_placed: PlaceOrder, view: MarketView) -> None:
    filters.check_feature(Feature.CANCEL_REPLACE, view.symbol)
    risk.check_book(as_placed, view)
    if as_placed.post_only and as_placed.price is not None:
        risk.check_post_only(as_placed.side, as_placed.price, view)


def _changed(order: Order, command: AmendOrder) -> tuple[Decimal, Decimal | None]:
    """Return quantity and price as they are to be; refuse what cannot be, and what changes nothing."""
    if order.list_id is not None:
        raise Refused("not_supported", f"order {order.id} is one of list {order.list_id}: such orders stay as they are")
    if order.quantity is None:
        raise ValueError(f"order {order.id} is open without a quantity")
    quantity = command.quantity if command.quantity is not None else order.quantity
    price = command.price if command.price is not None else order.price
    risk.check_number("quantity", quantity)
    risk.check_number("price", price)
    if command.price is not None and order.price is None:
        raise Refused("invalid_order", f"order {order.id} has no price", "price")
    if quantity == order.quantity and price == order.price:
        raise Refused("invalid_order", f"order {order.id} has that quantity and price already", "quantity")
    gone = order.quantity - order.leaves
    if quantity <= gone:
        raise Refused(
            "invalid_order", f"quantity must be above the {short(gone)} that order {order.id} has done", "quantity"
        )
    return quantity, price


def _as_placed(order: Order, quantity: Decimal, price: Decimal | None) -> PlaceOrder:
    """Return the command that would place the order as it is to be, for the checks."""
    return PlaceOrder(
        account_id=order.account_id,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=quantity,
        quote_quantity=None,
        price=price,
        time_in_force=order.time_in_force,
        post_only=order.post_only,
        client_order_id=order.client_order_id,
        stop_price=order.stop_price,
        trailing_bps=order.trailing_bps,
        self_trade_prevention=order.self_trade_prevention,
    )


def _hold(order: Order, quantity: Decimal, price: Decimal | None, view: MarketView) -> Decimal:
    """Return what the order sets aside once it is changed."""
    leaves, decimals = order.leaves + quantity - (order.quantity or ZERO), view.symbol.quote_precision
    if order.stage is Stage.ARMED:
        return hold_of_conditional(trigger_of(order), leaves, price, last_price(view), decimals)
    return hold_of(order.side, price or ZERO, leaves, decimals)
