"""The REST answers of the venue: parameters in, JSON text and request weight out, errors with the venue's codes.

Pure but for the exchange it moves to the time handed in. Parameters are checked as strictly as the venue does: unknown
ones are refused (-1104), missing and empty ones named (-1102, -1105), symbols looked up by table (-1121).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trading_engine.simulator import wire
from trading_engine.simulator.book import Level
from trading_engine.simulator.candles import INTERVALS_MS
from trading_engine.simulator.chart import AVERAGE_MS
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.grains import text
from trading_engine.simulator.listings import RATE_LIMITS, Json, symbol_row
from trading_engine.simulator.market import SymbolMarket

_SYMBOL = re.compile(r"[A-Z0-9-_.]{1,20}\Z")
_NUMBER = re.compile(r"[0-9]{1,20}\Z")
Snapshot = tuple[int, list[Level], list[Level]]  # update id, bids, asks


class ApiError(Exception):
    """An answer of the venue that says no."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    @property
    def body(self) -> str:
        """`{"code":…,"msg":…}`."""
        return wire.compact({"code": self.code, "msg": self.message})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """JSON text and what the request weighs."""

    body: str
    weight: int


class Query:
    """The parameters of one request; remembers which were read."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        self._read: set[str] = set()

    def text(self, name: str) -> str | None:
        """Value of `name`, None when it was not sent."""
        value = self._parameters.get(name)
        if value is not None:
            self._read.add(name)
            if value == "":
                raise ApiError(-1105, f"Parameter '{name}' was empty.")
        return value

    def symbol(self) -> str:
        """The mandatory symbol."""
        value = self.text("symbol")
        if value is None:
            raise ApiError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return _legal_symbol(value)

    def number(self, name: str) -> int | None:
        """A whole number, None when it was not sent."""
        value = self.text(name)
        if value is not None and not _NUMBER.match(value):
            raise ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return None if value is None else int(value)

    def limit(self, default: int, most: int) -> int:
        """`limit`, cut at `most` as the venue does."""
        value = self.number("limit")
        if value == 0:
            raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(most, default if value is None else value)

    def finish(self) -> None:
        """Refuse parameters nobody read."""
        if len(self._read) != len(self._parameters):
            raise ApiError(
                -1104,
                f"Not all sent parameters were read; read '{len(self._read)}' parameter(s) "
                f"but was sent '{len(self._parameters)}'.",
            )


class Rest:
    """Answers market data requests from an exchange.

    Attributes:
        stale: depth answers to give instead of the truth, with how many are left (a fault switch).
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.stale: dict[str, tuple[Snapshot, int]] = {}
        self.skew_ms = 0
        self._routes: dict[str, Callable[[Query, int], Reply]] = {
            "/api/v3/ping": self._ping,
            "/api/v3/time": self._time,
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/depth": self._depth,
            "/api/v3/klines": self._klines,
            "/api/v3/uiKlines": self._klines,
            "/api/v3/trades": self._trades,
            "/api/v3/historicalTrades": self._historical_trades,
            "/api/v3/aggTrades": self._agg_trades,
            "/api/v3/avgPrice": self._average_price,
            "/api/v3/ticker/24hr": self._ticker_24hr,
            "/api/v3/ticker/price": self._ticker_price,
            "/api/v3/ticker/bookTicker": self._ticker_book,
        }

    def answer(self, method: str, path: str, parameters: Mapping[str, str], now_ms: int) -> Reply:
        """Answer one request.

        Raises:
            ApiError: what the venue would refuse it with.
        """
        route = self._routes.get(path)
        if route is None or method != "GET":
            raise ApiError(-5000, f"Path {path}, Method {method} is invalid", 404)
        return route(Query(parameters), now_ms)

    # -- general -------------------------------------------------------------------------------------------------------

    def _ping(self, query: Query, _now_ms: int) -> Reply:
        query.finish()
        return Reply(body="{}", weight=1)

    def _time(self, query: Query, now_ms: int) -> Reply:
        query.finish()
        return Reply(body=f'{{"serverTime":{now_ms + self.skew_ms}}}', weight=1)

    def _exchange_info(self, query: Query, now_ms: int) -> Reply:
        chosen = self._some(query)
        status = query.text("symbolStatus")
        permissions = query.text("permissions")
        shown = query.text("showPermissionSets") != "false"
        query.finish()
        if status is not None and status not in ("TRADING", "HALT", "BREAK"):
            raise ApiError(-1122, "Invalid symbolStatus.")
        spot = permissions is None or "SPOT" in permissions
        rows = [
            symbol_row(market.listing, market.status, market.filters, permission_sets=shown)
            for market in (chosen or list(self._exchange.markets.values()))
            if spot and status in (None, market.status)
        ]
        document = {
            "timezone": "UTC",
            "serverTime": now_ms + self.skew_ms,
            "rateLimits": RATE_LIMITS,
            "exchangeFilters": [],
            "symbols": rows,
            "simulated": True,
        }
        return Reply(body=wire.compact(document), weight=20)

    # -- book ----------------------------------------------------------------------------------------------------------

    def _depth(self, query: Query, now_ms: int) -> Reply:
        market = self._market(query.symbol(), now_ms)
        limit = query.limit(100, 5_000)
        query.finish()
        weight = next(weight for most, weight in ((100, 5), (500, 25), (1_000, 50), (5_000, 250)) if limit <= most)
        stale = self.stale.get(market.name)
        if stale is None:
            update_id, bids, asks = market.snapshot(limit)
        else:
            (update_id, bids, asks), left = stale
            if left > 1:
                self.stale[market.name] = (stale[0], left - 1)
            else:
                del self.stale[market.name]
        return Reply(body=wire.snapshot(update_id, bids[:limit], asks[:limit]), weight=weight)

    def _ticker_book(self, query: Query, now_ms: int) -> Reply:
        def row(market: SymbolMarket) -> Json:
            bid, bid_quantity, ask, ask_quantity = market.book.quote()
            return {
                "symbol": market.name,
                "bidPrice": text(bid),
                "bidQty": text(bid_quantity),
                "askPrice": text(ask),
                "askQty": text(ask_quantity),
            }

        return self._rows(query, now_ms, row, one=2, many=4)

    # -- prints and candles --------------------------------------------------------------------------------------------

    def _klines(self, query: Query, now_ms: int) -> Reply:
        market = self._market(query.symbol(), now_ms)
        interval = query.text("interval")
        start_ms, end_ms = query.number("startTime"), query.number("endTime")
        zone = query.text("timeZone")
        limit = query.limit(500, 1_000)
        query.finish()
        if interval is None:
            raise ApiError(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
        if interval not in INTERVALS_MS:
            raise ApiError(-1120, "Invalid interval.")
        if zone not in (None, "0", "00:00", "+00:00", "-00:00"):
            raise ApiError(-1020, "This operation is not supported: only timeZone 0.")
        _ordered(start_ms, end_ms)
        candles = market.chart.candles(interval, start_ms=start_ms, end_ms=end_ms, limit=limit, now_ms=now_ms)
        return Reply(body=wire.compact([wire.kline_row(candle) for candle in candles]), weight=2)

    def _trades(self, query: Query, now_ms: int) -> Reply:
        market = self._market(query.symbol(), now_ms)
        limit = query.limit(500, 1_000)
        query.finish()
        return Reply(body=wire.compact([wire.trade_row(row) for row in market.chart.tape.latest(limit)]), weight=25)

    def _historical_trades(self, query: Query, now_ms: int) -> Reply:
        market = self._market(query.symbol(), now_ms)
        limit, from_id = query.limit(500, 1_000), query.number("fromId")
        query.finish()
        rows = market.chart.tape.latest(limit) if from_id is None else market.chart.tape.from_id(from_id, limit)
        return Reply(body=wire.compact([wire.trade_row(row) for row in rows]), weight=25)

    def _agg_trades(self, query: Query, now_ms: int) -> Reply:
        market = self._market(query.symbol(), now_ms)
        from_id, limit = query.number("fromId"), query.limit(500, 1_000)
        start_ms, end_ms = query.number("startTime"), query.number("endTime")
        query.finish()
        if from_id is not None and (start_ms is not None or end_ms is not None):
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        _ordered(start_ms, end_ms)
        if start_ms is not None and end_ms is not None and end_ms - start_ms > 3_600_000:
            raise ApiError(-1127, "More than 1 hours between startTime and endTime.")
        rows = market.chart.tape.aggregates(from_id=from_id, start_ms=start_ms, end_ms=end_ms, limit=limit)
        return Reply(body=wire.compact([wire.agg_trade_row(row) for row in rows]), weight=4)

    def _average_price(self, query: Query, now_ms: int) -> Reply:
        market = self._market(query.symbol(), now_ms)
        query.finish()
        last = market.chart.tape.last
        document = {
            "mins": AVERAGE_MS // 60_000,
            "price": text(market.average_price()),
            "closeTime": last.time_ms if last else now_ms,
        }
        return Reply(body=wire.compact(document), weight=2)

    # -- tickers -------------------------------------------------------------------------------------------------------

    def _ticker_24hr(self, query: Query, now_ms: int) -> Reply:
        kind = query.text("type") or "FULL"
        if kind not in ("FULL", "MINI"):
            raise ApiError(-1139, "Invalid ticker type.")
        return self._rows(
            query, now_ms, lambda market: wire.day_row(market.name, market.day(), mini=kind == "MINI"), one=2, many=80
        )

    def _ticker_price(self, query: Query, now_ms: int) -> Reply:
        return self._rows(
            query, now_ms, lambda market: {"symbol": market.name, "price": text(market.chart.price)}, one=2, many=4
        )

    def _rows(self, query: Query, now_ms: int, row: Callable[[SymbolMarket], Json], *, one: int, many: int) -> Reply:
        """One object for `symbol`, a list for `symbols` or for all."""
        single = query.text("symbol") is not None
        chosen = self._some(query)
        query.finish()
        markets = [self._exchange.touch(market.name, now_ms) for market in chosen or self._exchange.markets.values()]
        if single:
            return Reply(body=wire.compact(row(markets[0])), weight=one)
        return Reply(body=wire.compact([row(market) for market in markets]), weight=many)

    # -- symbols -------------------------------------------------------------------------------------------------------

    def _market(self, symbol: str, now_ms: int) -> SymbolMarket:
        if symbol not in self._exchange.markets:
            raise ApiError(-1121, "Invalid symbol.")
        return self._exchange.touch(symbol, now_ms)

    def _some(self, query: Query) -> list[SymbolMarket]:
        """The markets of `symbol` or `symbols`; an empty list when neither was sent."""
        one, several = query.text("symbol"), query.text("symbols")
        if one is not None and several is not None:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        if one is not None:
            names = [_legal_symbol(one)]
        elif several is not None:
            names = _symbol_list(several)
        else:
            return []
        if any(name not in self._exchange.markets for name in names):
            raise ApiError(-1121, "Invalid symbol.")
        return [self._exchange.markets[name] for name in names]


def _symbol_list(value: str) -> list[str]:
    malformed = ApiError(
        -1100,
        "Illegal characters found in parameter 'symbols'; legal range is "
        '\'^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$\'.',
    )
    try:
        names = json.loads(value)
    except (ValueError, RecursionError):
        raise malformed from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise malformed
    if len(set(names)) != len(names):
        raise ApiError(-1151, "Symbol is present multiple times in the list.")
    return [_legal_symbol(name) for name in names]


def _legal_symbol(value: str) -> str:
    if not _SYMBOL.match(value):
        raise ApiError(-1100, "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'.")
    return value


def _ordered(start_ms: int | None, end_ms: int | None) -> None:
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError(-1127, "Start time is greater than end time.")
