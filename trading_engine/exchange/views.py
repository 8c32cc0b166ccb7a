"""What a market tells its readers: frozen copies, safe in any thread. No lock, no arithmetic but the half sum."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final

from trading_engine.exchange.grid import Level
from trading_engine.exchange.prints import Trade
from trading_engine.exchange.symbols import Symbol
from trading_engine.exchange.waiting import LevelKey
from trading_engine.exchange.watching import LevelChange

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

    `complete`: no known level lies beyond those given. `waiting`: by level, prints that the book does not show yet, to
    be taken off what it shows. `average_price`: see `Prints.average_price`. `updated_at_ms`:
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
    waiting: Mapping[LevelKey, Decimal]
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
class LevelView:
    """One level at one moment: what it shows (None: it lies beyond the known book), and what of that is printed away.

    `seq`: the market's change it is as of. `shown_until_ms`: the venue's time of the book; `venue_ms`: its clock, as
    far as we know it.
    """

    seq: int
    shown: Decimal | None
    waiting: Decimal
    shown_until_ms: int
    venue_ms: int
    lot: Decimal
    """The step of the symbol's quantities."""


class ChangeKind(StrEnum):
    """What kind of message a change came from. `LOADED`: a whole new book; `OTHER`: state, rules, day figures."""

    TRADE = "trade"
    DIFF = "diff"
    QUOTE = "quote"
    LOADED = "loaded"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketChange:
    """What one message did to a market; the best prices are those after it.

    `time_ms` is the venue's: of the trade, of the diff's emission, else its clock as far as we know it. `trade` is the
    print told; `late` says that the book showed it before. `levels`: what happened to the levels that are watched.
    """

    symbol: str
    seq: int
    live: bool
    kind: ChangeKind
    time_ms: int
    trade: Trade | None
    late: bool
    best_bid: Decimal | None
    best_ask: Decimal | None
    levels: tuple[LevelChange, ...]
