"""The market: prices, books, prints, candles and trading rules."""

import gzip
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from trading_engine.api import current_runtime
from trading_engine.api.answers import Json, book_json, candle_json, price_json, symbol_json, top_json, trade_json
from trading_engine.api.operations import Answer, invalid, operation
from trading_engine.api.schemas import CandlesQuery, DepthQuery, SymbolQuery, TradesQuery
from trading_engine.api.shapes import Book, CandleList, Price, PrintList, SymbolList, Top
from trading_engine.exchange.messages import Refused

blueprint = Blueprint("markets", __name__)

DEFAULT_LEVELS = 20
FOLLOWING = ("unknown_symbol", "syncing")
"""Refusals of an endpoint that begins to follow a symbol on first use."""


@operation(
    blueprint,
    "GET /api/v1/prices",
    query=SymbolQuery,
    answers={200: [Answer(schema=Price, by_symbol=True)]},
    refusals=FOLLOWING,
)
def get_prices(query: dict[str, Any]) -> Json:
    """Return what every followed symbol trades at, or one symbol."""
    runtime = current_runtime()
    if query["symbol"] is not None:
        return {query["symbol"]: price_json(runtime.follow(query["symbol"]).view(1))}
    return {name: price_json(market.view(1)) for name, market in sorted(runtime.markets.items())}


@operation(
    blueprint,
    "GET /api/v1/depth",
    query=DepthQuery,
    answers={200: [Answer(schema=Top, by_symbol=True), Answer(schema=Book)]},
    refusals=FOLLOWING,
)
def get_depth(query: dict[str, Any]) -> Json:
    """Return the best prices of every followed symbol, or with `symbol` that symbol's order book."""
    runtime = current_runtime()
    if query["symbol"] is not None:
        return book_json(runtime.follow(query["symbol"]).view(query["limit"] or DEFAULT_LEVELS))
    if query["limit"] is not None:
        raise invalid({"limit": ["needs a symbol"]})
    return {name: top_json(market.view(1)) for name, market in sorted(runtime.markets.items())}


@operation(
    blueprint, "GET /api/v1/symbols", query=SymbolQuery, answers=SymbolList, refusals=("unknown_symbol", "starting")
)
def get_symbols(query: dict[str, Any]) -> Response:
    """Return the trading rules of every symbol of the venue, or of one."""
    runtime = current_runtime()
    if not runtime.symbols:
        raise Refused("starting", "the venue's symbols are not loaded yet")
    names = sorted(runtime.symbols)
    if query["symbol"] is not None:
        if query["symbol"] not in runtime.symbols:
            raise Refused("unknown_symbol", f"the venue has no symbol {query['symbol']}", "symbol")
        names = [query["symbol"]]
    followed = runtime.markets
    rules = [symbol_json(runtime.symbols[name], followed=name in followed) for name in names]
    return _compressed(msgspec.json.encode({"symbols": rules}))


@operation(blueprint, "GET /api/v1/trades", query=TradesQuery, answers=PrintList, refusals=FOLLOWING)
def get_trades(query: dict[str, Any]) -> Json:
    """Return the most recent public trades of a symbol, newest first."""
    market = current_runtime().follow(query["symbol"])
    symbol = market.view(1).symbol
    prints = market.trades(limit=query["limit"])
    return {"symbol": symbol.name, "trades": [trade_json(trade, symbol) for trade in reversed(prints)]}


@operation(blueprint, "GET /api/v1/candles", query=CandlesQuery, answers=CandleList, refusals=FOLLOWING)
def get_candles(query: dict[str, Any]) -> Json:
    """Return candles of a symbol, oldest first, the running one last."""
    runtime = current_runtime()
    symbol = runtime.follow(query["symbol"]).view(1).symbol
    candles = runtime.candles(symbol.name, query["interval"], query["limit"], query["before"])
    return {
        "symbol": symbol.name,
        "interval": query["interval"],
        "candles": [candle_json(candle, symbol) for candle in candles],
    }


def _compressed(body: bytes) -> Response:
    """Return a JSON response, compressed when the client takes it: the list of all symbols is over a megabyte."""
    response = Response(body, content_type="application/json", headers={"Vary": "Accept-Encoding"})
    if request.accept_encodings.quality("gzip") > 0:
        response.set_data(gzip.compress(body, compresslevel=5))
        response.headers["Content-Encoding"] = "gzip"
    return response
