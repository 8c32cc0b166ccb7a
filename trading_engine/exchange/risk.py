"""Checks before an order is accepted: its shape, the symbol's filters, the state of the book, funds.

Each check raises `Refused` naming the field and the rule with the figures at hand, and changes nothing. The engine runs
them in the order of this file. The filters are the venue's (its exchange information, read live); a zero in one
switches that part off. Pure functions: no lock.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from trading_engine.exchange.conditions import WHOLE_BPS
from trading_engine.exchange.market import FeedState, MarketView
from trading_engine.exchange.messages import PlaceOrder, Refused
from trading_engine.exchange.money import plain, round_down, short, unit
from trading_engine.exchange.orders import Order, OrderType, Side, TimeInForce
from trading_engine.exchange.symbols import Symbol

MAX_OPEN_ORDERS = 1_000
"""Open orders of one account over all symbols: bounds what one account can make every market change cost."""

LARGEST = Decimal(10) ** 15
"""Prices, quantities and balances stay below it, so that every product in the ledger stays exact."""

BALANCE_DECIMALS = 8
"""Decimals of an amount that may be deposited: the venue's finest."""


CONDITIONAL: Final = frozenset(
    {
        OrderType.STOP,
        OrderType.STOP_LIMIT,
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
        OrderType.TRAILING_STOP,
    }
)
"""The types that wait for a trigger."""

LIMITS: Final = frozenset({OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT})
"""The types that have a price."""

VENUE_TYPES: Final[Mapping[OrderType, str]] = MappingProxyType(
    {
        OrderType.MARKET: "MARKET",
        OrderType.LIMIT: "LIMIT",
        OrderType.STOP: "STOP_LOSS",
        OrderType.STOP_LIMIT: "STOP_LOSS_LIMIT",
        OrderType.TAKE_PROFIT: "TAKE_PROFIT",
        OrderType.TAKE_PROFIT_LIMIT: "TAKE_PROFIT_LIMIT",
        OrderType.TRAILING_STOP: "STOP_LOSS",
    }
)
"""What the venue calls them; there a trailing stop is a stop order with a distance."""


def check_shape(command: PlaceOrder) -> None:
    """Refuse an order whose fields do not belong together."""
    if command.type in CONDITIONAL:
        _check_conditional_shape(command)
    else:
        for field in ("stop_price", "trailing_bps"):
            if getattr(command, field) is not None:
                raise Refused("invalid_order", f"a {command.type} order takes no {field}", field)
        _check_plain_shape(command)
    check_number("price", command.price)
    check_number("stop_price", command.stop_price)
    check_number("quantity", command.quantity)
    check_number("quote_quantity", command.quote_quantity)


def _check_conditional_shape(command: PlaceOrder) -> None:
    called = command.type.replace("_", " ")
    if command.quantity is None or command.quote_quantity is not None:
        raise Refused("invalid_order", f"a {called} order needs quantity, and takes no quote_quantity", "quantity")
    if (command.price is not None) != (command.type in LIMITS):
        needs = "needs a price" if command.type in LIMITS else "takes no price"
        raise Refused("invalid_order", f"a {called} order {needs}", "price")
    if command.type is OrderType.TRAILING_STOP and command.trailing_bps is None:
        raise Refused("invalid_order", "a trailing stop needs trailing_bps", "trailing_bps")
    if command.stop_price is None and command.trailing_bps is None:
        raise Refused("invalid_order", f"a {called} order needs stop_price or trailing_bps", "stop_price")
    if command.trailing_bps is not None and not 0 < command.trailing_bps < WHOLE_BPS:
        raise Refused("invalid_order", f"trailing_bps must lie between 1 and {WHOLE_BPS - 1}", "trailing_bps")
    if command.post_only:
        raise Refused("invalid_order", f"a {called} order cannot be post-only", "post_only")


def _check_plain_shape(command: PlaceOrder) -> None:
    if command.type is OrderType.MARKET:
        if command.price is not None:
            raise Refused("invalid_order", "a market order takes no price", "price")
        if (command.quantity is None) == (command.quote_quantity is None):
            raise Refused("invalid_order", "a market order needs either quantity or quote_quantity", "quantity")
        if command.post_only:
            raise Refused("invalid_order", "a market order cannot be post-only", "post_only")
    else:
        if command.price is None:
            raise Refused("invalid_order", "a limit order needs a price", "price")
        if command.quantity is None or command.quote_quantity is not None:
            raise Refused("invalid_order", "a limit order needs quantity, and takes no quote_quantity", "quantity")
        if command.post_only and command.time_in_force is not TimeInForce.GTC:
            raise Refused("invalid_order", "a post-only order rests: its time in force must be GTC", "time_in_force")


def check_symbol(command: PlaceOrder, symbol: Symbol) -> None:
    """Refuse what the symbol does not take: anything while it does not trade, some kinds of order ever."""
    if not symbol.is_trading:
        raise Refused("symbol_not_trading", f"{symbol.name} is not trading: its status is {symbol.status}", "symbol")
    kind = "LIMIT_MAKER" if command.post_only else VENUE_TYPES[command.type]
    if symbol.order_types and kind not in symbol.order_types:
        raise Refused("not_supported", f"{symbol.name} does not take {kind} orders", "type")


def check_book(command: PlaceOrder, view: MarketView) -> None:
    """Refuse what needs a live book while there is none. A GTC limit waits for it, a conditional order needs none."""
    if view.state is FeedState.LIVE or may_wait(command):
        return
    reason = f": {view.reason}" if view.reason else ""
    raise Refused("book_stale", f"the order book of {view.symbol.name} is {view.state}{reason}")


def may_wait(command: PlaceOrder) -> bool:
    """Say whether the order may be accepted while the book is not live."""
    return may_rest(command) and not command.post_only


def may_rest(command: PlaceOrder) -> bool:
    """Say whether what is not filled at once stays open. A conditional order does, until it triggers."""
    return command.type in CONDITIONAL or (command.type is OrderType.LIMIT and command.time_in_force is TimeInForce.GTC)


def check_price(price: Decimal, symbol: Symbol) -> None:
    """PRICE_FILTER: minimum, maximum, tick."""
    if symbol.min_price and price < symbol.min_price:
        raise Refused(
            "price_filter", f"price {plain(price)} is below the minimum {_of(symbol.min_price, symbol)}", "price"
        )
    if symbol.max_price and price > symbol.max_price:
        raise Refused(
            "price_filter", f"price {plain(price)} is above the maximum {_of(symbol.max_price, symbol)}", "price"
        )
    tick = symbol.tick_size or unit(symbol.quote_precision)
    if price % tick:
        raise Refused(
            "price_filter", f"price {plain(price)} is not a multiple of the tick {_of(tick, symbol)}", "price"
        )


def check_quantity(quantity: Decimal, symbol: Symbol, *, market: bool, field: str = "quantity") -> None:
    """LOT_SIZE, and MARKET_LOT_SIZE besides for market orders. `field`: the input that led to this quantity."""
    stated = f"quantity {plain(quantity)}"
    if field != "quantity":
        stated = f"{field} comes to {short(quantity)} {symbol.base_asset}, which"
    lots = {
        "lot_size": (symbol.min_quantity, symbol.max_quantity, symbol.step_size or unit(symbol.base_precision)),
        "market_lot_size": (symbol.market_min_quantity, symbol.market_max_quantity, symbol.market_step_size),
    }
    for code, (low, high, step) in lots.items():
        if code == "market_lot_size" and not market:
            break
        if not quantity or (low and quantity < low):
            raise Refused(code, f"{stated} is below the minimum {_of(low or step, symbol)}", field)
        if high and quantity > high:
            raise Refused(code, f"{stated} is above the maximum {_of(high, symbol)}", field)
        if step and quantity % step:
            raise Refused(code, f"{stated} is not a multiple of the step {_of(step, symbol)}", field)


def check_quote_quantity(quote_quantity: Decimal, symbol: Symbol) -> None:
    """Refuse an amount finer than the quote asset's."""
    if round_down(quote_quantity, symbol.quote_precision) != quote_quantity:
        raise Refused(
            "lot_size",
            f"quote_quantity {plain(quote_quantity)} has more than {symbol.quote_precision} decimals, "
            f"the finest amount of {symbol.quote_asset} in {symbol.name}",
            "quote_quantity",
        )


def lot_step(symbol: Symbol) -> Decimal:
    """Return the step of a market order's quantity: the coarser of the two lot filters."""
    return max(symbol.step_size or unit(symbol.base_precision), symbol.market_step_size)


def check_notional(command: PlaceOrder, view: MarketView) -> None:
    """NOTIONAL: price x quantity of a limit order; of a market order at the average price, where the filter says so.

    A market order that waits for a stop price is valued there.
    """
    symbol = view.symbol
    market = command.price is None
    value = _notional(command, view)
    if value is None:
        return
    field = "quantity" if command.quantity is not None else "quote_quantity"
    stated = f"an order value of {short(value)} {symbol.quote_asset}"
    low, high = symbol.min_notional, symbol.max_notional
    if low and value < low and (not market or symbol.min_notional_applies_to_market):
        raise Refused("notional", f"{stated} is below the minimum {_of(low, symbol)}", field)
    if high and value > high and (not market or symbol.max_notional_applies_to_market):
        raise Refused("notional", f"{stated} is above the maximum {_of(high, symbol)}", field)


def check_percent_price(side: Side, price: Decimal, view: MarketView) -> None:
    """PERCENT_PRICE_BY_SIDE: bid multipliers for buys, ask multipliers for sells, against the average price."""
    percent, average = view.symbol.percent_price, view.average_price
    if percent is None or average is None:
        return
    up, down = (percent.bid_up, percent.bid_down) if side is Side.BUY else (percent.ask_up, percent.ask_down)
    stated = f"average price {short(average)} of {view.symbol.name}"
    if up and price > average * up:
        raise Refused("percent_price", f"price {plain(price)} is above {short(up)} times the {stated}", "price")
    if down and price < average * down:
        raise Refused("percent_price", f"price {plain(price)} is below {short(down)} times the {stated}", "price")


def check_open_orders(symbol: Symbol, *, on_symbol: int, in_all: int) -> None:
    """MAX_NUM_ORDERS, and our own bound over all symbols, for an order that may rest."""
    if symbol.max_open_orders is not None and on_symbol >= symbol.max_open_orders:
        raise Refused("max_open_orders", f"{on_symbol} orders are open; {symbol.name} allows {symbol.max_open_orders}")
    if in_all >= MAX_OPEN_ORDERS:
        raise Refused("max_open_orders", f"{in_all} orders are open; an account may have {MAX_OPEN_ORDERS}")


def check_post_only(side: Side, price: Decimal, view: MarketView) -> None:
    """Refuse a post-only order that the best price of the other side would meet."""
    best = view.best_ask if side is Side.BUY else view.best_bid
    if best is not None and (price >= best if side is Side.BUY else price <= best):
        other = "ask" if side is Side.BUY else "bid"
        raise Refused("would_take", f"price {plain(price)} would take the {other} at {short(best)}", "price")


def check_funds(needed: Decimal, free: Decimal, asset: str, field: str) -> None:
    """Refuse an order that needs more than its account has free."""
    if needed > free:
        raise Refused(
            "insufficient_balance", f"the order needs {short(needed)} {asset}; {short(free)} {asset} is free", field
        )


def check_same(command: PlaceOrder, order: Order) -> None:
    """Refuse a client order id that an order of other content has; with the same content it is a repeat."""
    same = (
        command.symbol == order.symbol
        and command.side is order.side
        and command.type is order.type
        and command.quote_quantity == order.quote_quantity
        and (command.quote_quantity is not None or command.quantity == order.quantity)
        and command.price == order.price
        and (command.price is None or command.time_in_force is order.time_in_force)
        and command.post_only == order.post_only
        and command.stop_price == order.stop_price
        and command.trailing_bps == order.trailing_bps
        and command.self_trade_prevention is order.self_trade_prevention
    )
    if not same:
        raise Refused(
            "duplicate_client_order_id",
            f"client order id {order.client_order_id} belongs to order {order.id}, which has other content",
            "client_order_id",
        )


def check_deposit(asset: str, amount: Decimal) -> None:
    """Refuse an opening balance that no account could hold."""
    if not (amount.is_finite() and 0 < amount < LARGEST):
        raise Refused(
            "invalid_balance", f"the balance of {asset} must be above 0 and below {plain(LARGEST)}", "balances"
        )
    if round_down(amount, BALANCE_DECIMALS) != amount:
        raise Refused(
            "invalid_balance",
            f"the balance of {asset} is {plain(amount)}: it may have {BALANCE_DECIMALS} decimals",
            "balances",
        )


def check_number(field: str, value: Decimal | None) -> None:
    """Refuse a figure that is no number of this exchange."""
    if value is not None and not (value.is_finite() and 0 < value < LARGEST):
        raise Refused("invalid_order", f"{field} must be above 0 and below {plain(LARGEST)}", field)


def _notional(command: PlaceOrder, view: MarketView) -> Decimal | None:
    """Return the order's value: at its price, else its stop price, the average price, or mid; None without any."""
    if command.quote_quantity is not None:
        return command.quote_quantity
    price = command.price or command.stop_price or view.average_price or view.mid
    return price * command.quantity if price is not None and command.quantity is not None else None


def _of(limit: Decimal, symbol: Symbol) -> str:
    return f"{short(limit)} of {symbol.name}"
