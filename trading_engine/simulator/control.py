"""The control endpoint: hands on the market and switches that break things, for tests and demonstrations.

Only from a loopback address, and only JSON (`Content-Type: application/json`), so that no web page can reach it.
`POST /control/NAME` takes an object and answers `{"ok": true, …}`, or 400 with a reason. Times are seconds of real
time. `symbol` is a name such as "BTCUSDT"; without one, where it may be left out, all are meant. Prices and quantities
are decimal text.

Depth diffs (both cadences) and trades
    drop            symbol, count=1             the next N diffs are lost
    duplicate       symbol, count=1             the next N diffs come twice
    swap            symbol, count=1             N times, a diff comes after the one that follows it
    drop_trades     symbol, count=1             the next N messages of the trade stream are lost
    late_trades     symbol, delay_s             trades come so much later than the diffs that already show them
    stale_snapshot  symbol, count=1             the next N depth answers show the book of this moment

Sockets
    cut             code?, reason="", symbol?   end WebSockets: with a TCP reset, or with this close code; only those
                                                that listen to the symbol
    freeze          symbol?                     open, but nothing is sent or heard any more, not even a pong
    cut_frame       bytes=3, size=256, symbol?  the first bytes of a frame with a payload of that size, then as freeze
    garbage         text | hex, count=1, binary=false, symbol?   send these frames
    mute            symbol?, seconds?           no stream messages; pings go on
    unmute          symbol?
    refuse          seconds                     the port refuses connections (those already open work on)
    reset           seconds                     connections are accepted and reset at the first request
    hang_handshake  count?, seconds?            WebSocket handshakes are never answered
    ping            every_s=20, timeout_s=60    how often to ping, how long to wait for a pong
    shutdown        after_s=1                   a serverShutdown event on every socket, then close code 1001

Requests
    status          path, status, count?, seconds?, retry_after?, body?
                                                answer so; a path may end in *; /ws and /stream are the handshakes
    clock           offset_ms                   every time the exchange states is wrong by this

Market
    symbol          symbol, status              TRADING, BREAK, HALT…; only TRADING trades
    filters         symbol, filters=[{filterType, …}]   merge into exchangeInfo; a new tick or lot replants the book
    walk            symbol, percent             the price moves at once, through the book
    rate            factor, symbol?             multiplies the order flow
    quiet           symbol, on=true             hardly anything happens
    pause           symbol?, heartbeat=true     the book stands still; a heartbeat diff restates the best bid each 0.5 s
    resume          symbol?                     goes on from the book as it is
    print           symbol, price, quantity, buyer_is_maker=false   one trade, the book stays as it is
    set_book        symbol, bids, asks, pause=true      exactly these levels [["price","quantity"],…]

GET /control/book?symbol=   the true book: update_id, bids, asks (all levels, best first)
GET /control/requests       what was asked and connected: counts by path and of pongs, the latest with their times
                            (?latest=N: so many at most)
GET /control/faults         what is switched on
DELETE /control/faults      everything back to normal, market switches included
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from trading_engine.simulator import control_faults, control_market
from trading_engine.simulator.arguments import Arguments, BadCommand
from trading_engine.simulator.grains import text
from trading_engine.simulator.listings import Json, filters
from trading_engine.simulator.plant import PING_EVERY_S, PONG_WITHIN_S, Plant, market_named

COMMANDS = {**control_faults.COMMANDS, **control_market.COMMANDS}
_ALL_LEVELS = 1_000_000


def perform(plant: Plant, name: str, body: bytes) -> Json:
    """Do `POST /control/NAME`.

    Raises:
        BadCommand: unknown name, malformed body or field; nothing was changed.
    """
    command = COMMANDS.get(name)
    if command is None:
        raise BadCommand(f"unknown command {name}; there are {', '.join(sorted(COMMANDS))}")
    return {"ok": True, **command(plant, Arguments(body))}


def read(plant: Plant, name: str, parameters: Mapping[str, str], seen: Callable[[], Json]) -> Json:
    """Answer `GET /control/NAME`; `seen` tells what was requested.

    Raises:
        BadCommand: unknown name or symbol.
    """
    if name == "requests":
        return _latest(seen(), parameters.get("latest"))
    if name == "faults":
        return plant.faults.describe()
    if name != "book":
        raise BadCommand(f"unknown question {name}; there are book, faults, requests")
    market = market_named(plant, parameters.get("symbol", ""))
    update_id, bids, asks = market.snapshot(_ALL_LEVELS)
    return {
        "symbol": market.name,
        "update_id": update_id,
        "bids": [[text(price), text(quantity)] for price, quantity in bids],
        "asks": [[text(price), text(quantity)] for price, quantity in asks],
    }


def _latest(seen: Json, count: str | None) -> Json:
    if count is None:
        return seen
    if not (count.isascii() and count.isdecimal()):
        raise BadCommand("latest must be a whole number")
    rows = seen["latest"]
    return {**seen, "latest": rows[max(0, len(rows) - int(count)) :]}


def clear(plant: Plant) -> Json:
    """Do `DELETE /control/faults`: everything back to normal."""
    plant.faults.clear()
    plant.rest.stale.clear()
    plant.ping_every_s, plant.pong_within_s = PING_EVERY_S, PONG_WITHIN_S
    control_faults.skew(plant, 0)
    for peer in list(plant.hub.peers):
        peer.thaw()
    for market in plant.exchange.markets.values():
        market.status = "TRADING"
        market.flow.pace = 1.0
        market.filters = filters(market.listing)
        market.regrid(market.listing.tick, market.listing.step)
        control_market.unpause(plant, market)
    return {"ok": True}
