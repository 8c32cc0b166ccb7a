"""The trading rules of a symbol, as the venue states them. Frozen values; no lock, no idea where they came from.

A zero in a filter switches that part of it off (the venue's own convention), so it stays `Decimal(0)` here.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from trading_engine.exchange.money import decimals_of

TRADING = "TRADING"


@dataclass(frozen=True, slots=True, kw_only=True)
class PercentPrice:
    """How far a limit price may lie from the average price: multipliers for buys (bid) and sells (ask)."""

    bid_up: Decimal
    bid_down: Decimal
    ask_up: Decimal
    ask_down: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """One symbol and its filters. Prices and notionals in the quote asset, quantities in the base asset.

    `base_precision` and `quote_precision` are the decimals of the two assets' amounts; fees round to them.
    `average_price_minutes` is the window of the average price that filters use (0: the last price).
    `order_types` are the venue's names of what it takes: LIMIT, LIMIT_MAKER, MARKET ...
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
