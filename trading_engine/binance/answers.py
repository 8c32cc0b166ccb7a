"""Answers of the venue's REST endpoints: bytes in, `messages` out; anything but what is documented is `Malformed`.

Source: the venue's REST documentation ("Market data endpoints", "Error codes") and samples. Pure: no lock, no clock.
"""

from typing import Any, Final

import msgspec

from trading_engine.binance.decoding import (
    Id,
    Malformed,
    Number,
    RawLevels,
    Text,
    TimeMs,
    decimal,
    decode,
    lax,
    not_negative,
    positive,
)
from trading_engine.binance.messages import AggTrade, Kline, Snapshot, Ticker24h, VenueFault
from trading_engine.exchange.market import Ticker, Trade


class AggTradeFields(msgspec.Struct, tag_field="e", tag="aggTrade"):
    """An aggregate trade as the stream and REST spell it (REST leaves `e` and the symbol out)."""

    id: Id = msgspec.field(name="a")
    price: Number = msgspec.field(name="p")
    quantity: Number = msgspec.field(name="q")
    first_trade_id: Id = msgspec.field(name="f")
    last_trade_id: Id = msgspec.field(name="l")
    time_ms: TimeMs = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")
    symbol: Text = msgspec.field(name="s", default="")

    def message(self) -> AggTrade:
        """Return it with exact decimals; raise Malformed for impossible ones."""
        if self.last_trade_id < self.first_trade_id:
            raise Malformed(f"aggregate trade of the ids {self.first_trade_id} to {self.last_trade_id}")
        return AggTrade(
            symbol=self.symbol,
            id=self.id,
            price=positive(self.price, "p"),
            quantity=positive(self.quantity, "q"),
            first_trade_id=self.first_trade_id,
            last_trade_id=self.last_trade_id,
            time_ms=self.time_ms,
            buyer_is_maker=self.buyer_is_maker,
        )


class _Depth(msgspec.Struct):
    last_update_id: Id = msgspec.field(name="lastUpdateId")
    bids: RawLevels
    asks: RawLevels


class _Trade(msgspec.Struct):
    id: Id
    price: Number
    quantity: Number = msgspec.field(name="qty")
    time_ms: TimeMs = msgspec.field(name="time")
    buyer_is_maker: bool = msgspec.field(name="isBuyerMaker")


class _Time(msgspec.Struct):
    server_time_ms: TimeMs = msgspec.field(name="serverTime")


class _Ticker24h(msgspec.Struct):
    symbol: Text
    last_price: Number = msgspec.field(name="lastPrice")
    change_percent: Number = msgspec.field(name="priceChangePercent")
    open: Number = msgspec.field(name="openPrice")
    high: Number = msgspec.field(name="highPrice")
    low: Number = msgspec.field(name="lowPrice")
    volume: Number
    quote_volume: Number = msgspec.field(name="quoteVolume")
    close_time_ms: TimeMs = msgspec.field(name="closeTime")


class _Fault(msgspec.Struct):
    code: int
    msg: str = ""


# Open time, open, high, low, close, volume, close time, quote volume, trades, taker's base and quote volume, "0".
_KlineRow = tuple[TimeMs, Number, Number, Number, Number, Number, TimeMs, Number, Id, Any, Any, Any]

_DEPTH: Final = lax(_Depth)
_KLINES: Final = msgspec.json.Decoder(list[_KlineRow])
_AGG_TRADES: Final = msgspec.json.Decoder(list[AggTradeFields])
_TRADES: Final = msgspec.json.Decoder(list[_Trade])
_TIME: Final = msgspec.json.Decoder(_Time)
_TICKER: Final = msgspec.json.Decoder(_Ticker24h)
_FAULT: Final = msgspec.json.Decoder(_Fault)


def decode_snapshot(body: bytes, limit: int | None = None) -> Snapshot:
    """Return the answer of `depth`; `limit` is what was asked for: a side with fewer levels has no more."""
    depth = decode(_DEPTH, body)
    return Snapshot(update_id=depth.last_update_id, bids=depth.bids, asks=depth.asks, limit=limit)


def decode_klines(body: bytes) -> tuple[Kline, ...]:
    """Return the answer of `klines`, in its order (oldest first)."""
    return tuple(
        kline(
            opened_ms=row[0],
            closes_ms=row[6],
            prices=(row[1], row[2], row[3], row[4]),
            volume=row[5],
            quote_volume=row[7],
            trades=row[8],
        )
        for row in decode(_KLINES, body)
    )


def decode_agg_trades(body: bytes) -> tuple[AggTrade, ...]:
    """Return the answer of `aggTrades`, in its order (oldest first)."""
    return tuple(fields.message() for fields in decode(_AGG_TRADES, body))


def decode_trades(body: bytes) -> tuple[Trade, ...]:
    """Return the answer of `trades`, in its order (oldest first)."""
    return tuple(
        Trade(
            id=fields.id,
            price=positive(fields.price, "price"),
            quantity=positive(fields.quantity, "qty"),
            buyer_is_maker=fields.buyer_is_maker,
            time_ms=fields.time_ms,
        )
        for fields in decode(_TRADES, body)
    )


def decode_server_time(body: bytes) -> int:
    """Return the answer of `time`, UTC milliseconds."""
    return decode(_TIME, body).server_time_ms


def decode_ticker_24h(body: bytes) -> Ticker24h:
    """Return the answer of `ticker/24hr` for one symbol."""
    fields = decode(_TICKER, body)
    ticker = Ticker(
        price_change_percent=decimal(fields.change_percent, "priceChangePercent"),
        open_price=not_negative(fields.open, "openPrice"),
        high_price=not_negative(fields.high, "highPrice"),
        low_price=not_negative(fields.low, "lowPrice"),
        volume=not_negative(fields.volume, "volume"),
        quote_volume=not_negative(fields.quote_volume, "quoteVolume"),
        time_ms=fields.close_time_ms,
    )
    return Ticker24h(symbol=fields.symbol, last_price=not_negative(fields.last_price, "lastPrice"), ticker=ticker)


def decode_error(body: bytes) -> VenueFault:
    """Return the body of a refusal, `{"code", "msg"}`; raise Malformed where a proxy answered with its own page."""
    fault = decode(_FAULT, body)
    return VenueFault(code=fault.code, text=fault.msg)


def kline(
    *,
    opened_ms: int,
    closes_ms: int,
    prices: tuple[str, str, str, str],
    volume: str,
    quote_volume: str,
    trades: int,
) -> Kline:
    """Make a candle of the venue's texts; `prices` are open, high, low, close. Raises Malformed for impossible ones."""
    opened, high, low, close = (positive(text, "kline price") for text in prices)
    if closes_ms < opened_ms or low > min(opened, close) or high < max(opened, close):
        raise Malformed(f"impossible candle at {opened_ms}: {prices}")
    return Kline(
        open_time_ms=opened_ms,
        close_time_ms=closes_ms,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=not_negative(volume, "kline volume"),
        quote_volume=not_negative(quote_volume, "kline quote volume"),
        trades=trades,
    )
