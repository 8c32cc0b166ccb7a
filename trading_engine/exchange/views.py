"""What a market tells its readers: frozen copies, safe in any thread. No lock, no arithmetic but the half sum."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from trading_engine.exchange.grid import Level
from trading_engine.exchange.orders import Side
from trading_engine.exchange.prints import Trade
from trading_engine.exchange.symbols import Symbol

_HALF: Final = Decimal("0.5")


class FeedState(StrEnum):
    """Whether a market may be traded on: only when LIVE."""

    LIVE = "live"
    SYNCING = "syncing"
    STALE = "stale"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """The venue's figures of the last 24 hours; `quote_volume` in the quote asset."""

    price_change_percent: Decimal
    open_price: Decimal
    high_price: Decimal
    low_price: Decimal
    volume: Decimal
    quote_volume: Decimal
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketView:
    """A market at one moment; levels best first.

    `complete`: no known level lies beyond those given. `average_price`: see `Prints.average_price`. `updated_at_ms`:
    our wall clock at the last depth change; `age_ms`: how long that is ago by the monotonic clock. None: never.
    """

    symbol: Symbol
    state: FeedState
    reason: str | None
    seq: int
    update_id: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    complete: bool
    last_trade: Trade | None
    average_price: Decimal | None
    ticker: Ticker | None
    updated_at_ms: int | None
    age_ms: int | None

    @property
    def best_bid(self) -> Decimal | None:
        """The highest bid price."""
        return self.bids[0][0] if self.bids else None

    @property
    def best_ask(self) -> Decimal | None:
        """The lowest ask price."""
        return self.asks[0][0] if self.asks else None

    @property
    def mid(self) -> Decimal | None:
        """The exact half sum of both best prices; None when a side is empty."""
        return (self.bids[0][0] + self.asks[0][0]) * _HALF if self.bids and self.asks else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelChange:
    """What one message did to a watched price level; a quantity is None where the book does not reach that far.

    `side` is that of the orders resting there. `event_time_ms`: the venue's time; quotes and snapshots carry none.
    """

    side: Side
    price: Decimal
    before: Decimal | None
    after: Decimal | None
    update_id: int
    event_time_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketChange:
    """What one message did to a market: `trade` is its print, the best prices are those after it.

    `levels`: the watched levels whose quantity it changed (`Market.watch`).
    """

    symbol: str
    seq: int
    live: bool
    trade: Trade | None
    best_bid: Decimal | None
    best_ask: Decimal | None
    levels: tuple[LevelChange, ...] = ()
