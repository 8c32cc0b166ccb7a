"""What an order gets from the market: the rules, in the order they apply.

*Arriving.* An order takes what the opposite side shows, best level first, each level one fill at that level's price, up
to its own limit. A market order never fills at a price the book does not show: where the known book ends, it ends. A
market order by quote amount takes the largest quantity on the lot grid whose cost (or proceeds) stays within it.

*Resting.* What rests fills only when the market trades or quotes strictly through its price, never on a touch, since a
touch says nothing about the queue ahead. It fills at its own limit, as maker:
- a print through the price gives at most the print's quantity, one budget for all orders of one account, best price
  first, then age: a print proves no more than its own size;
- an opposite quote through the price gives at most what its level shows. The same shown quantity is not given twice to
  one account while it stays shown, whether it was first taken on arrival or while resting.

Known limits: the public market does not react to paper orders, and accounts do not see each other's. Pure: no lock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange.market import MarketView, Trade
from trading_engine.exchange.money import ZERO, floor_to_step, round_half_up, unit
from trading_engine.exchange.orders import Liquidity, Order, Side

Levels = tuple[tuple[Decimal, Decimal], ...]
Given = Mapping[int, Mapping[Decimal, Decimal]]
"""By account and price of a level: how much of what that level shows the account has had already."""

HALF = Decimal("0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one level gives: `quote_amount` is price x quantity, rounded half-up to the quote asset's precision."""

    price: Decimal
    quantity: Decimal
    quote_amount: Decimal
    shown: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """What an arriving order gets now. `ran_out`: the levels looked at ended before the order or its limit did."""

    parts: tuple[Part, ...]
    quantity: Decimal
    quote_amount: Decimal
    ran_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What an order gets at one price, and from what: a level of the book (`update_id`) or a print (`trade_id`).

    `level_quantity` is what that level showed, or the print's quantity.
    """

    price: Decimal
    quantity: Decimal
    liquidity: Liquidity
    level_quantity: Decimal
    update_id: int | None
    trade_id: int | None


def opposite(view: MarketView, side: Side) -> Levels:
    """Return the levels that an order of this side takes from, best first."""
    return view.asks if side is Side.BUY else view.bids


def is_through(side: Side, limit: Decimal, price: Decimal) -> bool:
    """Say whether `price` is strictly better for an order of this side than its limit."""
    return price < limit if side is Side.BUY else price > limit


def take(levels: Levels, side: Side, quantity: Decimal, limit: Decimal | None, decimals: int) -> Taking:
    """Walk the levels for `quantity`, not beyond `limit`; amounts rounded to `decimals`."""
    parts = []
    left = quantity
    amount = ZERO
    ran_out = True
    for price, shown in levels:
        if limit is not None and (price > limit if side is Side.BUY else price < limit):
            ran_out = False
            break
        part = min(left, shown)
        quote_amount = round_half_up(price * part, decimals)
        parts.append(Part(price=price, quantity=part, quote_amount=quote_amount, shown=shown))
        amount += quote_amount
        left -= part
        if not left:
            ran_out = False
            break
    return Taking(parts=tuple(parts), quantity=quantity - left, quote_amount=amount, ran_out=ran_out)


def take_for_quote(levels: Levels, side: Side, quote_quantity: Decimal, step: Decimal, decimals: int) -> Taking:
    """Walk the levels for the largest quantity on the lot grid that costs (or brings) no more than `quote_quantity`.

    The amount has no more than `decimals` decimals.
    """
    whole = ZERO
    most = None
    left = quote_quantity
    for price, shown in levels:
        quote_amount = round_half_up(price * shown, decimals)
        if quote_amount > left:
            most = _most_within(left, price, whole, step, decimals)
            break
        whole += shown
        left -= quote_amount
    quantity = most if most is not None else floor_to_step(whole, step)
    taking = take(levels, side, quantity, None, decimals)
    return Taking(
        parts=taking.parts,
        quantity=taking.quantity,
        quote_amount=taking.quote_amount,
        ran_out=most is None and left > 0,
    )


def _most_within(amount: Decimal, price: Decimal, whole: Decimal, step: Decimal, decimals: int) -> Decimal:
    """Return the largest multiple of `step` whose part beyond `whole`, at `price`, rounds to no more than `amount`.

    Half-up rounding lets the exact price of that part come up to half a unit above `amount`, but not reach it.
    """
    bound = amount + unit(decimals) * HALF
    quantity = ((whole * price + bound) // (price * step)) * step
    return quantity - step if (quantity - whole) * price == bound else quantity


def meet_print(orders: Iterable[Order], trade: Trade) -> list[tuple[int, Execution]]:
    """Return, by order id, what a print gives the resting orders it went through, given best price first, then age."""
    spent: dict[int, Decimal] = {}
    executions = []
    for order in orders:
        before = spent.get(order.account_id, ZERO)
        quantity = min(order.leaves, trade.quantity - before)
        if quantity:
            spent[order.account_id] = before + quantity
            executions.append((order.id, _resting(order, quantity, trade.quantity, trade_id=trade.id)))
    return executions


def meet_quotes(
    orders: Iterable[Order], levels: Levels, update_id: int, given: Given
) -> tuple[list[tuple[int, Execution]], dict[int, dict[Decimal, Decimal]]]:
    """Return what the opposite levels give the resting orders they are through, and what has been given since.

    `orders` come best price first, then age; `levels` best first. What was given at a level that is no longer shown
    is forgotten; at one that shows less, cut to what it shows.
    """
    shown = dict(levels)
    had = {
        account_id: {price: min(quantity, shown[price]) for price, quantity in levels_had.items() if price in shown}
        for account_id, levels_had in given.items()
    }
    executions = []
    for order in orders:
        levels_had = had.setdefault(order.account_id, {})
        left = order.leaves
        for price, size in levels:
            if not left or not is_through(order.side, limit_of(order), price):
                break
            before = levels_had.get(price, ZERO)
            quantity = min(left, size - before)
            if quantity:
                levels_had[price] = before + quantity
                left -= quantity
                executions.append((order.id, _resting(order, quantity, size, update_id=update_id)))
    return executions, {account_id: levels_had for account_id, levels_had in had.items() if levels_had}


def limit_of(order: Order) -> Decimal:
    """Return the limit of an order that rests; raise ValueError if it has none, which would be our own fault."""
    if order.price is None:
        raise ValueError(f"order {order.id} rests without a price")
    return order.price


def _resting(
    order: Order, quantity: Decimal, shown: Decimal, *, update_id: int | None = None, trade_id: int | None = None
) -> Execution:
    return Execution(
        price=limit_of(order),
        quantity=quantity,
        liquidity=Liquidity.MAKER,
        level_quantity=shown,
        update_id=update_id,
        trade_id=trade_id,
    )
