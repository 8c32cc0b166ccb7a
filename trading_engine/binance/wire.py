"""Frames of the venue's streams: bytes in, one of `messages` out. All other decoders are here by name too.

Source: the venue's "WebSocket Streams" documentation and samples. A combined frame is recognised by the head of its
stream name, so it is decoded once, straight into typed fields. Anything else than what is documented is `Malformed`.
Pure: no lock, no clock.
"""

from typing import Annotated, Final

import msgspec

from trading_engine.binance.answers import (
    AggTradeFields,
    decode_agg_trades,
    decode_error,
    decode_klines,
    decode_server_time,
    decode_snapshot,
    decode_ticker_24h,
    decode_trades,
    kline,
)
from trading_engine.binance.decoding import (
    DECODE_ERRORS,
    Id,
    Malformed,
    Number,
    Text,
    TimeMs,
    decimal,
    decode,
    lax,
    not_negative,
    positive,
)
from trading_engine.binance.messages import (
    AggTrade,
    DayTicker,
    DepthDiff,
    Kline,
    KlineUpdate,
    Message,
    Print,
    Quote,
    Reply,
    ServerShutdown,
    Snapshot,
    Ticker24h,
    VenueFault,
)
from trading_engine.binance.rules import ExchangeInfo, decode_exchange_info
from trading_engine.exchange.market import Ticker, Trade

__all__ = [
    "AggTrade",
    "DayTicker",
    "DepthDiff",
    "ExchangeInfo",
    "Kline",
    "KlineUpdate",
    "Malformed",
    "Message",
    "Print",
    "Quote",
    "Reply",
    "ServerShutdown",
    "Snapshot",
    "Ticker24h",
    "VenueFault",
    "decode_agg_trades",
    "decode_error",
    "decode_exchange_info",
    "decode_frame",
    "decode_klines",
    "decode_server_time",
    "decode_snapshot",
    "decode_ticker_24h",
    "decode_trades",
]

_TradeId = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
"""-1: nothing was traded."""

_ABSENT: Final = msgspec.Raw(b"")


class _Trade(msgspec.Struct, tag_field="e", tag="trade"):
    symbol: Text = msgspec.field(name="s")
    event_time_ms: TimeMs = msgspec.field(name="E")
    id: Id = msgspec.field(name="t")
    price: Number = msgspec.field(name="p")
    quantity: Number = msgspec.field(name="q")
    time_ms: TimeMs = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")

    def message(self) -> Print:
        trade = Trade(
            id=self.id,
            price=positive(self.price, "p"),
            quantity=positive(self.quantity, "q"),
            buyer_is_maker=self.buyer_is_maker,
            time_ms=self.time_ms,
        )
        return Print(symbol=self.symbol, event_time_ms=self.event_time_ms, trade=trade)


class _DayTicker(msgspec.Struct, tag_field="e", tag="24hrTicker"):
    symbol: Text = msgspec.field(name="s")
    event_time_ms: TimeMs = msgspec.field(name="E")
    change_percent: Number = msgspec.field(name="P")
    open: Number = msgspec.field(name="o")
    high: Number = msgspec.field(name="h")
    low: Number = msgspec.field(name="l")
    volume: Number = msgspec.field(name="v")
    quote_volume: Number = msgspec.field(name="q")
    close_time_ms: TimeMs = msgspec.field(name="C")

    def message(self) -> DayTicker:
        ticker = Ticker(
            price_change_percent=decimal(self.change_percent, "P"),
            open_price=not_negative(self.open, "o"),
            high_price=not_negative(self.high, "h"),
            low_price=not_negative(self.low, "l"),
            volume=not_negative(self.volume, "v"),
            quote_volume=not_negative(self.quote_volume, "q"),
            time_ms=self.close_time_ms,
        )
        return DayTicker(symbol=self.symbol, event_time_ms=self.event_time_ms, ticker=ticker)


class _KlineBody(msgspec.Struct):
    open_time_ms: TimeMs = msgspec.field(name="t")
    close_time_ms: TimeMs = msgspec.field(name="T")
    interval: Text = msgspec.field(name="i")
    first_trade_id: _TradeId = msgspec.field(name="f")
    last_trade_id: _TradeId = msgspec.field(name="L")
    open: Number = msgspec.field(name="o")
    high: Number = msgspec.field(name="h")
    low: Number = msgspec.field(name="l")
    close: Number = msgspec.field(name="c")
    volume: Number = msgspec.field(name="v")
    quote_volume: Number = msgspec.field(name="q")
    trades: Id = msgspec.field(name="n")
    closed: bool = msgspec.field(name="x")


class _Kline(msgspec.Struct, tag_field="e", tag="kline"):
    symbol: Text = msgspec.field(name="s")
    body: _KlineBody = msgspec.field(name="k")

    def message(self) -> KlineUpdate:
        body = self.body
        return KlineUpdate(
            symbol=self.symbol,
            interval=body.interval,
            first_trade_id=body.first_trade_id,
            last_trade_id=body.last_trade_id,
            closed=body.closed,
            kline=kline(
                opened_ms=body.open_time_ms,
                closes_ms=body.close_time_ms,
                prices=(body.open, body.high, body.low, body.close),
                volume=body.volume,
                quote_volume=body.quote_volume,
                trades=body.trades,
            ),
        )


class _Fault(msgspec.Struct):
    code: int
    msg: str = ""


class _Other(msgspec.Struct):
    """Just enough of a frame that is not the usual combined one to tell what it is."""

    e: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    u: msgspec.Raw = _ABSENT
    result: msgspec.Raw = _ABSENT
    id: int | str | None = None
    error: _Fault | None = None
    code: int | None = None
    msg: str = ""


_Event = DepthDiff | ServerShutdown | AggTradeFields | _Trade | _DayTicker | _Kline


class _EventFrame(msgspec.Struct, gc=False):
    data: _Event


class _QuoteFrame(msgspec.Struct, gc=False):
    data: Quote


_EVENT_FRAME: Final = lax(_EventFrame)
_QUOTE_FRAME: Final = lax(_QuoteFrame)
_EVENT: Final = lax(_Event)
_QUOTE: Final = lax(Quote)
_OTHER: Final = msgspec.json.Decoder(_Other)

_COMBINED: Final = b'{"stream":'
_HEAD_BYTES: Final = 96
"""The stream's name lies within these: a symbol of 20 characters and the longest name we subscribe to."""


def decode_frame(frame: bytes) -> Message:
    """Return the message in a text frame, combined (`{"stream","data"}`) or bare; raise Malformed for anything else."""
    if not frame.startswith(_COMBINED):
        return _decode_other(frame)
    if frame.find(b"@bookTicker", 0, _HEAD_BYTES) > 0:
        quote: Quote = decode(_QUOTE_FRAME, frame).data
        return quote
    try:
        event: _Event = _EVENT_FRAME.decode(frame).data
    except DECODE_ERRORS as fault:
        raise Malformed(str(fault)) from fault
    return event if type(event) is DepthDiff else _message(event)


def _message(event: _Event) -> Message:
    return event if isinstance(event, DepthDiff | ServerShutdown) else event.message()


def _decode_other(frame: bytes) -> Message:
    other = decode(_OTHER, frame)
    if other.data:
        # The two keys of a combined frame in the other order.
        frame = bytes(other.data)
        other = decode(_OTHER, frame)
    if other.e:
        return _message(decode(_EVENT, frame))
    if other.u:
        quote: Quote = decode(_QUOTE, frame)
        return quote
    if other.error is not None:
        return Reply(id=other.id, error=other.error.msg or "refused", code=other.error.code)
    if other.code is not None:
        return Reply(id=other.id, error=other.msg or "refused", code=other.code)
    if other.result:
        return Reply(id=other.id, error=None, code=None)
    raise Malformed(f"unknown message: {frame[:80]!r}")
