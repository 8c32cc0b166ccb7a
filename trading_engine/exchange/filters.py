"""The venue's filters that hang on an order's kind: stops, trailing stops, icebergs, lists, amendments, positions.

Each check takes plain values, so that it fits every kind of order; it raises `Refused` naming the field and the rule
with the figures at hand, and changes nothing. The rules are the venue's (its exchange information, read live); what it
does not limit passes. The filters every order meets are in `risk`. Pure functions: no lock.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

from trading_engine.exchange.messages import Refused
from trading_engine.exchange.money import plain, short, unit
from trading_engine.exchange.symbols import Feature, Symbol

_EXCHANGE = "the exchange"

_FEATURES: Mapping[Feature, tuple[str, str | None]] = MappingProxyType(
    {
        Feature.ICEBERG: ("iceberg orders", "iceberg_quantity"),
        Feature.OCO: ("OCO orders", None),
        Feature.OTO: ("OTO orders", None),
        Feature.QUOTE_QUANTITY: ("market orders by quote_quantity", "quote_quantity"),
        Feature.TRAILING_STOP: ("trailing stops", "trailing_bps"),
        Feature.CANCEL_REPLACE: ("cancelling and replacing in one step", None),
        Feature.AMEND: ("amending an order in its place", None),
    }
)
"""How a feature is called, and the field that asks for it."""


def check_feature(feature: Feature, symbol: Symbol) -> None:
    """Refuse what the symbol's flag for it forbids."""
    if feature not in symbol.features:
        called, field = _FEATURES[feature]
        raise Refused("not_supported", f"{symbol.name} does not take {called}", field)


def check_stp_mode(mode: str, symbol: Symbol) -> None:
    """Refuse a self-trade prevention mode (the venue's name of it) that the symbol does not offer."""
    if symbol.stp_modes and mode not in symbol.stp_modes:
        offered = ", ".join(symbol.stp_modes)
        raise Refused(
            "not_supported",
            f"{symbol.name} does not take self-trade prevention {mode}; it takes {offered}",
            "self_trade_prevention",
        )


def check_trigger_price(stop_price: Decimal, symbol: Symbol) -> None:
    """PRICE_FILTER on the price that sets an order off: minimum, maximum, tick."""
    tick = symbol.tick_size or unit(symbol.quote_precision)
    _check_grid("price_filter", "stop_price", stop_price, (symbol.min_price, symbol.max_price, tick, "tick"), symbol)


def check_trailing(bips: int, symbol: Symbol, *, above: bool) -> None:
    """TRAILING_DELTA: how far, in basis points, a stop may trail. Refuses too where the symbol takes no such stops.

    `above`: a stop-loss buy or a take-profit sell, which wait for a price above the market; the others wait below.
    """
    check_feature(Feature.TRAILING_STOP, symbol)
    delta = symbol.trailing_delta
    if delta is None:
        return
    low, high, where = (
        (delta.min_above, delta.max_above, "above") if above else (delta.min_below, delta.max_below, "below")
    )
    stated = f"trailing_bps {bips}"
    rule = f"for orders that wait {where} the market in {symbol.name}"
    if low and bips < low:
        raise Refused("trailing_delta", f"{stated} is below the minimum {low} {rule}", "trailing_bps")
    if high and bips > high:
        raise Refused("trailing_delta", f"{stated} is above the maximum {high} {rule}", "trailing_bps")


def check_iceberg(quantity: Decimal, visible: Decimal, symbol: Symbol) -> None:
    """LOT_SIZE on the part an iceberg shows, ICEBERG_PARTS on how many such parts its quantity makes.

    Refuses too where the symbol takes no icebergs. `quantity` is above 0.
    """
    check_feature(Feature.ICEBERG, symbol)
    step = symbol.step_size or unit(symbol.base_precision)
    lot = (symbol.min_quantity, symbol.max_quantity, step, "step")
    _check_grid("lot_size", "iceberg_quantity", visible, lot, symbol)
    parts = int(quantity // visible) + (1 if quantity % visible else 0)
    if symbol.iceberg_parts is not None and parts > symbol.iceberg_parts:
        raise Refused(
            "iceberg_parts",
            f"iceberg_quantity {plain(visible)} cuts the order into {parts} parts; "
            f"{symbol.name} allows {symbol.iceberg_parts}",
            "iceberg_quantity",
        )


def check_position(symbol: Symbol, *, have: Decimal, open_buys: Decimal, quantity: Decimal) -> None:
    """MAX_POSITION, for a buy of `quantity`: the most of the base asset an account may come to have.

    `have`: free and held; `open_buys`: what is left of the open buys of this symbol (what was filled of them is in
    `have`). The venue counts the order itself, so that filling everything never leads beyond the maximum.
    """
    most = symbol.max_position
    if most and have + open_buys + quantity > most:
        raise Refused(
            "max_position",
            f"the account has {short(have)} {symbol.base_asset} and open buys of {short(open_buys)}; "
            f"{short(quantity)} more would pass the maximum position {short(most)} of {symbol.name}",
            "quantity",
        )


def check_exchange_orders(symbol: Symbol, *, in_all: int, adding: int = 1) -> None:
    """EXCHANGE_MAX_NUM_ORDERS, for orders that may rest. `in_all`: open over all symbols; `adding`: of one list."""
    _check_count(
        "exchange_max_open_orders", "orders", (in_all, adding), symbol.exchange_limits.max_open_orders, _EXCHANGE
    )


def check_algo_orders(symbol: Symbol, *, on_symbol: int, in_all: int, adding: int = 1) -> None:
    """MAX_NUM_ALGO_ORDERS and EXCHANGE_MAX_NUM_ALGO_ORDERS: stop-loss and take-profit orders that are open.

    They count as orders too (`risk.check_open_orders`). `adding`: how many of a list are such orders.
    """
    limits, called = symbol.exchange_limits, "stop-loss and take-profit orders"
    _check_count("max_algo_orders", called, (on_symbol, adding), symbol.max_algo_orders, symbol.name)
    _check_count("exchange_max_algo_orders", called, (in_all, adding), limits.max_algo_orders, _EXCHANGE)


def check_iceberg_orders(symbol: Symbol, *, on_symbol: int, in_all: int, adding: int = 1) -> None:
    """MAX_NUM_ICEBERG_ORDERS and EXCHANGE_MAX_NUM_ICEBERG_ORDERS: open orders that show a part only."""
    limits, called = symbol.exchange_limits, "iceberg orders"
    _check_count("max_iceberg_orders", called, (on_symbol, adding), symbol.max_iceberg_orders, symbol.name)
    _check_count("exchange_max_iceberg_orders", called, (in_all, adding), limits.max_iceberg_orders, _EXCHANGE)


def check_lists(symbol: Symbol, *, on_symbol: int, in_all: int) -> None:
    """MAX_NUM_ORDER_LISTS and EXCHANGE_MAX_NUM_ORDER_LISTS, for one more list. An OTO with an OCO is one list."""
    limits, called = symbol.exchange_limits, "order lists"
    _check_count("max_order_lists", called, (on_symbol, 1), symbol.max_order_lists, symbol.name)
    _check_count("exchange_max_order_lists", called, (in_all, 1), limits.max_order_lists, _EXCHANGE)


def check_amends(symbol: Symbol, *, amended: int) -> None:
    """MAX_NUM_ORDER_AMENDS, for an order amended `amended` times so far. Refuses too where none may be amended."""
    check_feature(Feature.AMEND, symbol)
    most = symbol.max_amends
    if most is not None and amended >= most:
        raise Refused("max_amends", f"the order was amended {amended} times; {symbol.name} allows {most}")


def _check_grid(
    code: str, field: str, value: Decimal, rules: tuple[Decimal, Decimal, Decimal, str], symbol: Symbol
) -> None:
    """Refuse what is not above 0, below the minimum, above the maximum (0: none), or off the grid."""
    low, high, step, called = rules
    stated = f"{field} {plain(value)}"
    if value <= 0 or value < low:
        raise Refused(code, f"{stated} is below the minimum {short(low or step)} of {symbol.name}", field)
    if high and value > high:
        raise Refused(code, f"{stated} is above the maximum {short(high)} of {symbol.name}", field)
    if value % step:
        raise Refused(code, f"{stated} is not a multiple of the {called} {short(step)} of {symbol.name}", field)


def _check_count(code: str, called: str, counted: tuple[int, int], limit: int | None, whose: str) -> None:
    """Refuse more of what is already open (`counted`: how many are, how many come) than the limit allows."""
    already, adding = counted
    if limit is not None and already + adding > limit:
        raise Refused(code, f"{already} {called} are open and this adds {adding}; {whose} allows {limit}")
