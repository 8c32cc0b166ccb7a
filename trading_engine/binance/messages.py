"""What the venue tells, as frozen messages: the vocabulary of this package, without the spelling of the wire.

Prices and quantities of the book are floats (the index of a level, see `exchange/grid.py`), all others exact decimals.
Times are the venue's, UTC milliseconds. `DepthDiff` and `Quote` are made straight by the decoder and are frozen
`msgspec.Struct`s, which carry the wire's field names with them; a dataclass would cost another microsecond each.
"""

from dataclasses import dataclass
from decimal import Decimal

import msgspec

from trading_engine.binance.decoding import Id, RawLevels, RawQuantity, Text, TimeMs
from trading_engine.exchange.candles import Candle
from trading_engine.exchange.market import Ticker, Trade


class DepthDiff(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="e", tag="depthUpdate"):
    """Levels that changed with the updates `first_update_id` to `update_id`; a quantity of 0 removes the level."""

    symbol: Text = msgspec.field(name="s")
    event_time_ms: TimeMs = msgspec.field(name="E")
    first_update_id: Id = msgspec.field(name="U")
    update_id: Id = msgspec.field(name="u")
    bids: RawLevels = msgspec.field(name="b")
    asks: RawLevels = msgspec.field(name="a")


class Quote(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The best level of both sides as of `update_id`; a price of 0: that side is empty. It carries no time."""

    symbol: Text = msgspec.field(name="s")
    update_id: Id = msgspec.field(name="u")
    bid: RawQuantity = msgspec.field(name="b")
    bid_quantity: RawQuantity = msgspec.field(name="B")
    ask: RawQuantity = msgspec.field(name="a")
    ask_quantity: RawQuantity = msgspec.field(name="A")


class ServerShutdown(msgspec.Struct, frozen=True, kw_only=True, tag_field="e", tag="serverShutdown"):
    """The venue is about to close this connection."""

    event_time_ms: TimeMs = msgspec.field(name="E", default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The best levels of a book as of `update_id`; `limit` is how many a side were asked for (None: not known)."""

    update_id: int
    bids: RawLevels
    asks: RawLevels
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """One public trade of `symbol`."""

    symbol: str
    event_time_ms: int
    trade: Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class AggTrade:
    """The trades `first_trade_id` to `last_trade_id`, made by one aggressor at one price; REST names no symbol ("")."""

    symbol: str
    id: int
    price: Decimal
    quantity: Decimal
    first_trade_id: int
    last_trade_id: int
    time_ms: int
    buyer_is_maker: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DayTicker:
    """The rolling 24-hour figures of `symbol`."""

    symbol: str
    event_time_ms: int
    ticker: Ticker


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker24h:
    """The same from REST, with the last price and our Ticker's fields."""

    symbol: str
    last_price: Decimal
    ticker: Ticker


@dataclass(frozen=True, slots=True, kw_only=True)
class Kline:
    """One candle of the venue; `close_time_ms` is its last millisecond."""

    open_time_ms: int
    close_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int

    def candle(self, *, closed: bool) -> Candle:
        """Return it as our candle."""
        return Candle(
            open_time_ms=self.open_time_ms,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
            quote_volume=self.quote_volume,
            trades=self.trades,
            closed=closed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class KlineUpdate:
    """A running or just closed candle from the stream; trade ids are -1 while nothing was traded in it."""

    symbol: str
    interval: str
    first_trade_id: int
    last_trade_id: int
    closed: bool
    kline: Kline


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The venue's answer to SUBSCRIBE and its like; `error` is None when it was accepted."""

    id: int | str | None
    error: str | None
    code: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFault:
    """The body of a refused REST request."""

    code: int
    text: str


Message = DepthDiff | Quote | Print | AggTrade | DayTicker | KlineUpdate | ServerShutdown | Reply
