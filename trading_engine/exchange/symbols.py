"""The trading rules of a symbol, as the venue states them. Frozen values; no lock, no idea where they came from.

A zero in a filter switches that part of it off (the venue's own convention), so it stays `Decimal(0)` here; of a count
the reader makes None. What a venue says nothing about is not limited: a filter it does not know has no value here, and
a feature whose flag it does not know is allowed. Thousands of symbols are kept, so the nested values are meant to be
shared between them.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from trading_engine.exchange.money import ZERO, decimals_of, unit

TRADING = "TRADING"
"""The one status that takes new orders. END_OF_DAY, HALT, BREAK, CANCEL_ONLY and whatever else take cancels only."""


class Feature(StrEnum):
    """What a symbol may allow or not, each by a flag of its own."""

    ICEBERG = "iceberg"
    OCO = "oco"
    OTO = "oto"
    QUOTE_QUANTITY = "quote_quantity"
    """Market orders by an amount of the quote asset."""
    TRAILING_STOP = "trailing_stop"
    CANCEL_REPLACE = "cancel_replace"
    AMEND = "amend"
    """Lower the quantity of a resting order, which keeps its place in the queue."""


EVERY_FEATURE = frozenset(Feature)

NO_PREVENTION = "NONE"
"""The self-trade prevention mode of a venue that does not know the matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentPrice:
    """How far a limit price may lie from the average price: multipliers for buys (bid) and sells (ask)."""

    bid_up: Decimal
    bid_down: Decimal
    ask_up: Decimal
    ask_down: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailingDelta:
    """How far a trailing stop may follow, in basis points; 0: no bound.

    `above`: orders that wait for a price above the market (stop-loss buys, take-profit sells); `below`: the others.
    """

    min_above: int
    max_above: int
    min_below: int
    max_below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLimits:
    """How many orders an account may have open on the whole exchange, by kind; None: no limit.

    Algo orders are stop-loss and take-profit orders; they count as orders too. An OTO with an OCO is one list.
    """

    max_open_orders: int | None = None
    max_algo_orders: int | None = None
    max_iceberg_orders: int | None = None
    max_order_lists: int | None = None


NO_EXCHANGE_LIMITS = ExchangeLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol and its filters. Prices and notionals in the quote asset, quantities in the base asset.

    `base_precision` and `quote_precision` are the decimals of the two assets' amounts; fees round to them.
    `average_price_minutes` is the window of the average price that filters use (0: the last price).
    `order_types` are the venue's names of what it takes: LIMIT, LIMIT_MAKER, MARKET ...

    The counts are per account and None where there is no limit: `max_open_orders`, of them `max_algo_orders` and
    `max_iceberg_orders`; `max_order_lists`; `max_amends` of one order. `exchange_limits` are those over all symbols.
    `iceberg_parts` is the most parts an iceberg's quantity may come in. `max_position` (0: no limit) is in the base
    asset. `stp_mode` is the self-trade prevention of an order that names none, `stp_modes` what it may name (empty:
    anything).
    """

    name: str
    status: str
    base_asset: str
    quote_asset: str
    base_precision: int
    quote_precision: int
    tick_size: Decimal
    min_price: Decimal
    max_price: Decimal
    step_size: Decimal
    min_quantity: Decimal
    max_quantity: Decimal
    market_step_size: Decimal
    market_min_quantity: Decimal
    market_max_quantity: Decimal
    min_notional: Decimal
    max_notional: Decimal | None
    min_notional_applies_to_market: bool
    max_notional_applies_to_market: bool
    percent_price: PercentPrice | None
    average_price_minutes: int
    max_open_orders: int | None
    order_types: tuple[str, ...]
    max_algo_orders: int | None = None
    max_iceberg_orders: int | None = None
    max_order_lists: int | None = None
    max_amends: int | None = None
    iceberg_parts: int | None = None
    max_position: Decimal = ZERO
    trailing_delta: TrailingDelta | None = None
    exchange_limits: ExchangeLimits = NO_EXCHANGE_LIMITS
    features: frozenset[Feature] = EVERY_FEATURE
    stp_mode: str = NO_PREVENTION
    stp_modes: tuple[str, ...] = ()
    price_decimals: int = field(init=False, compare=False)
    """Decimals of the tick (of the quote asset's amounts where the tick is switched off)."""
    quantity_decimals: int = field(init=False, compare=False)
    """Decimals of the lot step (of the base asset's amounts where the step is switched off)."""

    def __post_init__(self) -> None:
        """Work the decimals out once: they are asked for with every price that is shown."""
        price_decimals = decimals_of(self.tick_size) if self.tick_size else self.quote_precision
        quantity_decimals = decimals_of(self.step_size) if self.step_size else self.base_precision
        object.__setattr__(self, "price_decimals", price_decimals)
        object.__setattr__(self, "quantity_decimals", quantity_decimals)

    @property
    def is_trading(self) -> bool:
        """Say whether the venue takes new orders for this symbol."""
        return self.status == TRADING


def step_of(symbol: Symbol) -> Decimal:
    """Return the step of the symbol's quantities: its lot step, else the finest amount of its base asset."""
    return symbol.step_size or unit(symbol.base_precision)
