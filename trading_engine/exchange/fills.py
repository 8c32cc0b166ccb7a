"""What an order gets from the market: the rules, in the order they apply, and the words they are told in.

*Arriving* (`taking`). An order takes what the opposite side has, best level first, each level one fill at that level's
price, up to its own limit: what the level shows, less the prints the book does not show yet (`waiting`), less what the
account took there before (`impact`). A market order never fills at a price the book does not show: it ends where the
known book ends, or at the edge of the price band.

*Resting* (`queue_model`). What rests joins the back of the real queue at its price and fills at its own limit, maker:
- a print at its price serves the queue from the front: first what is ahead, then the order;
- a print through its price shows that the queue is gone: what it printed goes to the orders it passed, best price
  first, then age, one budget for all orders of one account, since a print proves no more than its own size;
- an opposite quote at or through its price gives what its level has, by the rules of an arriving order.
Cancellations in front bring it forward, as far as the rule of the queue says so.

*How sure.* A taker's fill and one by a print or quote through the price are `certain`; one at the price is `likely`
when it would have come even if every cancellation had been behind the order, else `modelled`.

Known limits: the public market does not react to paper orders, and accounts do not see each other's. Pure: no lock.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from trading_engine.exchange.grid import Level
from trading_engine.exchange.market import MarketView
from trading_engine.exchange.orders import Cause, Certainty, Liquidity, Order, Receipt, Side
from trading_engine.exchange.taking import Slice
from trading_engine.exchange.waiting import LevelKey

Levels = tuple[Level, ...]


class Execution(NamedTuple):
    """What an order gets at one price, and from what: a level of the book (`update_id`) or a print (`trade_id`).

    `level_quantity` is what that level showed, or the print's quantity.
    """

    price: Decimal
    quantity: Decimal
    liquidity: Liquidity
    certainty: Certainty
    level_quantity: Decimal
    update_id: int | None
    trade_id: int | None
    receipt: Receipt


def opposite(view: MarketView, side: Side) -> Levels:
    """Return the levels that an order of this side takes from, best first."""
    return view.asks if side is Side.BUY else view.bids


def opposite_side(side: Side) -> Side:
    """Return the other side."""
    return Side.SELL if side is Side.BUY else Side.BUY


def printed_away(view: MarketView, side: Side) -> Mapping[Decimal, Decimal]:
    """Return, by price, what prints have taken of the levels an order of this side takes from, not shown yet."""
    other = opposite_side(side)
    return {key.price: quantity for key, quantity in view.waiting.items() if key.side is other}


def is_through(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Say whether `price` is strictly better for an order of this side than its limit."""
    return price < limit if side is Side.BUY else price > limit


def reaches(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Say whether `price` is as good for an order of this side as its limit, or better."""
    return price <= limit if side is Side.BUY else price >= limit


def limit_of(order: Order) -> Decimal:
    """Return the limit of an order that rests; raise ValueError if it has none, which would be our own fault."""
    if order.price is None:
        raise ValueError(f"order {order.id} rests without a price")
    return order.price


def key_of(order: Order) -> LevelKey:
    """Return the level at which an order rests."""
    return LevelKey(order.side, limit_of(order))


def taken(part: Slice, view: MarketView) -> Execution:
    """Return what an arriving order gets of one level."""
    return Execution(
        price=part.price,
        quantity=part.quantity,
        liquidity=Liquidity.TAKER,
        certainty=Certainty.CERTAIN,
        level_quantity=part.shown,
        update_id=view.update_id,
        trade_id=None,
        receipt=_receipt(Cause.ARRIVAL, part, view),
    )


def crossed(order: Order, part: Slice, view: MarketView, now_ms: int) -> Execution:
    """Return what a resting order gets of an opposite level that has come to its price."""
    return Execution(
        price=limit_of(order),
        quantity=part.quantity,
        liquidity=Liquidity.MAKER,
        certainty=Certainty.CERTAIN,
        level_quantity=part.shown,
        update_id=view.update_id,
        trade_id=None,
        receipt=_receipt(Cause.BOOK, part, view, queued_ms=now_ms - order.created_ms),
    )


def _receipt(cause: Cause, part: Slice, view: MarketView, *, queued_ms: int | None = None) -> Receipt:
    return Receipt(
        cause=cause,
        best_bid=view.best_bid,
        best_ask=view.best_ask,
        level_price=part.price,
        waiting=part.waiting,
        taken_before=part.taken_before,
        ahead_before=None,
        ahead_after=None,
        queued_ms=queued_ms,
    )
