"""The JSON text of every market data message, field by field as Binance Spot sends it.

Pure: values in, text out. Times are milliseconds, prices and quantities grains, both by the caller's clock.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from trading_engine.simulator.book import Level, Quote
from trading_engine.simulator.candles import Candle
from trading_engine.simulator.grains import GRAIN, amount_text, text
from trading_engine.simulator.tape import Aggregate, Print


class DayStatistics(NamedTuple):
    """The rolling 24 hours of one symbol: `candle` holds them as one candle, the rest is what a candle lacks."""

    candle: Candle
    open_ms: int
    close_ms: int
    previous_close: int
    last_quantity: int
    quote: Quote

    @property
    def change(self) -> int:
        """Last price less open price, in grains."""
        return self.candle.close - self.candle.open

    @property
    def change_percent(self) -> str:
        """Change in percent of the open price, three decimals."""
        return f"{self.change / self.candle.open * 100.0:.3f}"

    @property
    def mean_price(self) -> int:
        """Volume-weighted mean price, in grains."""
        return self.candle.quote // self.candle.volume if self.candle.volume else self.candle.close

    @property
    def first_id(self) -> int:
        """First trade id of the window, -1 without trades."""
        return self.candle.first_id if self.candle.trades else -1

    @property
    def last_id(self) -> int:
        """Last trade id of the window, -1 without trades."""
        return self.candle.first_id + self.candle.trades - 1 if self.candle.trades else -1


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def levels(rows: list[Level]) -> str:
    """`[["price","quantity"],…]`."""
    return (
        "["
        + ",".join(
            f'["{price // GRAIN}.{price % GRAIN:08d}","{quantity // GRAIN}.{quantity % GRAIN:08d}"]'
            for price, quantity in rows
        )
        + "]"
    )


# -- streams -----------------------------------------------------------------------------------------------------------


def trade(symbol: str, row: Print, now_ms: int, skew_ms: int) -> str:
    """`@trade`."""
    maker = "true" if row.buyer_is_maker else "false"
    return (
        f'{{"e":"trade","E":{now_ms + skew_ms},"s":"{symbol}","t":{row.id},"p":"{text(row.price)}",'
        f'"q":"{text(row.quantity)}","T":{row.time_ms + skew_ms},"m":{maker},"M":true}}'
    )


def agg_trade(symbol: str, row: Aggregate, now_ms: int, skew_ms: int) -> str:
    """`@aggTrade`."""
    maker = "true" if row.buyer_is_maker else "false"
    return (
        f'{{"e":"aggTrade","E":{now_ms + skew_ms},"s":"{symbol}","a":{row.id},"p":"{text(row.price)}",'
        f'"q":"{text(row.quantity)}","f":{row.first_id},"l":{row.last_id},"T":{row.time_ms + skew_ms},'
        f'"m":{maker},"M":true}}'
    )


def book_ticker(symbol: str, update_id: int, quote: Quote) -> str:
    """`@bookTicker`: no event type and no time, as on the venue."""
    bid, bid_quantity, ask, ask_quantity = quote
    return (
        f'{{"u":{update_id},"s":"{symbol}","b":"{text(bid)}","B":"{text(bid_quantity)}",'
        f'"a":"{text(ask)}","A":"{text(ask_quantity)}"}}'
    )


def depth_update(symbol: str, event_ms: int, ids: tuple[int, int], bids: list[Level], asks: list[Level]) -> str:
    """`@depth` and `@depth@100ms`."""
    return (
        f'{{"e":"depthUpdate","E":{event_ms},"s":"{symbol}","U":{ids[0]},"u":{ids[1]},'
        f'"b":{levels(bids)},"a":{levels(asks)}}}'
    )


def snapshot(update_id: int, bids: list[Level], asks: list[Level]) -> str:
    """`@depth5|10|20` and the answer of /api/v3/depth."""
    return f'{{"lastUpdateId":{update_id},"bids":{levels(bids)},"asks":{levels(asks)}}}'


def kline(symbol: str, interval: str, candle: Candle, event_ms: int, *, closed: bool) -> str:
    """`@kline_<interval>`."""
    last_id = candle.first_id + candle.trades - 1 if candle.trades else -1
    return compact(
        {
            "e": "kline",
            "E": event_ms,
            "s": symbol,
            "k": {
                "t": candle.open_ms,
                "T": candle.end_ms - 1,
                "s": symbol,
                "i": interval,
                "f": candle.first_id if candle.trades else -1,
                "L": last_id,
                "o": text(candle.open),
                "c": text(candle.close),
                "h": text(candle.high),
                "l": text(candle.low),
                "v": text(candle.volume),
                "n": candle.trades,
                "x": closed,
                "q": amount_text(candle.quote),
                "V": text(candle.taker_volume),
                "Q": amount_text(candle.taker_quote),
                "B": "0",
            },
        }
    )


def mini_ticker(symbol: str, day: DayStatistics, event_ms: int) -> str:
    """`@miniTicker`, and one element of `!miniTicker@arr`."""
    return compact(
        {
            "e": "24hrMiniTicker",
            "E": event_ms,
            "s": symbol,
            "c": text(day.candle.close),
            "o": text(day.candle.open),
            "h": text(day.candle.high),
            "l": text(day.candle.low),
            "v": text(day.candle.volume),
            "q": amount_text(day.candle.quote),
        }
    )


def ticker(symbol: str, day: DayStatistics, event_ms: int) -> str:
    """`@ticker`."""
    bid, bid_quantity, ask, ask_quantity = day.quote
    return compact(
        {
            "e": "24hrTicker",
            "E": event_ms,
            "s": symbol,
            "p": text(day.change),
            "P": day.change_percent,
            "w": text(day.mean_price),
            "x": text(day.previous_close),
            "c": text(day.candle.close),
            "Q": text(day.last_quantity),
            "b": text(bid),
            "B": text(bid_quantity),
            "a": text(ask),
            "A": text(ask_quantity),
            "o": text(day.candle.open),
            "h": text(day.candle.high),
            "l": text(day.candle.low),
            "v": text(day.candle.volume),
            "q": amount_text(day.candle.quote),
            "O": day.open_ms,
            "C": day.close_ms,
            "F": day.first_id,
            "L": day.last_id,
            "n": day.candle.trades,
        }
    )


def average_price(symbol: str, price: int, last_trade_ms: int, event_ms: int) -> str:
    """`@avgPrice`: the mean of five minutes."""
    return compact({"e": "avgPrice", "E": event_ms, "s": symbol, "i": "5m", "w": text(price), "T": last_trade_ms})


# -- rows of REST answers ----------------------------------------------------------------------------------------------


def kline_row(candle: Candle) -> list[Any]:
    """One row of /api/v3/klines."""
    return [
        candle.open_ms,
        text(candle.open),
        text(candle.high),
        text(candle.low),
        text(candle.close),
        text(candle.volume),
        candle.end_ms - 1,
        amount_text(candle.quote),
        candle.trades,
        text(candle.taker_volume),
        amount_text(candle.taker_quote),
        "0",
    ]


def trade_row(row: Print) -> dict[str, Any]:
    """One row of /api/v3/trades and historicalTrades."""
    return {
        "id": row.id,
        "price": text(row.price),
        "qty": text(row.quantity),
        "quoteQty": amount_text(row.price * row.quantity),
        "time": row.time_ms,
        "isBuyerMaker": row.buyer_is_maker,
        "isBestMatch": True,
    }


def agg_trade_row(row: Aggregate) -> dict[str, Any]:
    """One row of /api/v3/aggTrades."""
    return {
        "a": row.id,
        "p": text(row.price),
        "q": text(row.quantity),
        "f": row.first_id,
        "l": row.last_id,
        "T": row.time_ms,
        "m": row.buyer_is_maker,
        "M": True,
    }


def day_row(symbol: str, day: DayStatistics, *, mini: bool) -> dict[str, Any]:
    """One row of /api/v3/ticker/24hr."""
    bid, bid_quantity, ask, ask_quantity = day.quote
    candle = day.candle
    core = {
        "openPrice": text(candle.open),
        "highPrice": text(candle.high),
        "lowPrice": text(candle.low),
        "lastPrice": text(candle.close),
        "volume": text(candle.volume),
        "quoteVolume": amount_text(candle.quote),
        "openTime": day.open_ms,
        "closeTime": day.close_ms,
        "firstId": day.first_id,
        "lastId": day.last_id,
        "count": candle.trades,
    }
    if mini:
        return {"symbol": symbol, **core}
    return {
        "symbol": symbol,
        "priceChange": text(day.change),
        "priceChangePercent": day.change_percent,
        "weightedAvgPrice": text(day.mean_price),
        "prevClosePrice": text(day.previous_close),
        "lastPrice": core["lastPrice"],
        "lastQty": text(day.last_quantity),
        "bidPrice": text(bid),
        "bidQty": text(bid_quantity),
        "askPrice": text(ask),
        "askQty": text(ask_quantity),
        **core,
    }
