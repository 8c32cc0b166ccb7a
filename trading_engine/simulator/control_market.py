"""Control commands that put hands on the market; `control.py` describes each."""

from __future__ import annotations

from collections.abc import Callable

from trading_engine.simulator.arguments import Arguments, BadCommand, on_step
from trading_engine.simulator.grains import text
from trading_engine.simulator.listings import Json
from trading_engine.simulator.market import SymbolMarket
from trading_engine.simulator.plant import Plant, chosen_markets, one_market

QUIET_PACE = 0.001
WALK_LIMIT = 50  # percent
STATUSES = ("TRADING", "END_OF_DAY", "HALT", "BREAK", "CANCEL_ONLY", "PRE_TRADING", "POST_TRADING", "AUCTION_MATCH")


def symbol(plant: Plant, arguments: Arguments) -> Json:
    """Change the status of a symbol."""
    market, status = one_market(plant, arguments), arguments.words("status")
    arguments.finish()
    if status not in STATUSES:
        raise BadCommand(f"status must be one of {', '.join(STATUSES)}")
    market.status = status
    return {}


def filters(plant: Plant, arguments: Arguments) -> Json:
    """Change filters; the book moves to a new grid."""
    market, changes = one_market(plant, arguments), arguments.get("filters", (list,))
    arguments.finish()
    merged = {row["filterType"]: row for row in market.filters}
    for change in changes:
        if not isinstance(change, dict) or not isinstance(change.get("filterType"), str):
            raise BadCommand("filters must be objects with a filterType")
        merged[change["filterType"]] = {**merged.get(change["filterType"], {}), **change}
    tick = on_step(merged["PRICE_FILTER"].get("tickSize"), "tickSize", 1)
    step = on_step(merged["LOT_SIZE"].get("stepSize"), "stepSize", 1)
    market.filters = list(merged.values())
    market.regrid(tick, step)
    return {"filters": market.filters}


def walk(plant: Plant, arguments: Arguments) -> Json:
    """Move the price at once."""
    market, percent = one_market(plant, arguments), arguments.get("percent", (int, float))
    arguments.finish()
    if not -WALK_LIMIT <= percent <= WALK_LIMIT:
        raise BadCommand(f"percent must be between -{WALK_LIMIT} and {WALK_LIMIT}")
    plant.exchange.walk(market.name, percent, plant.now_ms())
    return {"price": text(market.chart.price)}


def rate(plant: Plant, arguments: Arguments) -> Json:
    """Multiply the order flow."""
    factor, markets = arguments.seconds("factor"), chosen_markets(plant, arguments)
    arguments.finish()
    if factor > 100:
        raise BadCommand("factor must be at most 100")
    for market in markets:
        market.flow.pace = factor
    return {}


def quiet(plant: Plant, arguments: Arguments) -> Json:
    """Let a symbol go quiet."""
    market, on = one_market(plant, arguments), arguments.flag("on", default=True)
    arguments.finish()
    market.flow.pace = QUIET_PACE if on else 1.0
    return {}


def pause(plant: Plant, arguments: Arguments) -> Json:
    """Freeze order flow."""
    markets, heartbeat = chosen_markets(plant, arguments), arguments.flag("heartbeat", default=True)
    arguments.finish()
    for market in markets:
        plant.exchange.touch(market.name, plant.now_ms())
        market.paused, market.heartbeat = True, heartbeat
    return {}


def resume(plant: Plant, arguments: Arguments) -> Json:
    """Let order flow go on from the book as it is."""
    markets = chosen_markets(plant, arguments)
    arguments.finish()
    for market in markets:
        unpause(plant, market)
    return {}


def unpause(plant: Plant, market: SymbolMarket) -> None:
    """Go on trading around the middle of the present book."""
    if market.paused:
        plant.exchange.touch(market.name, plant.now_ms())
        plant.exchange.anchor(market)
        market.paused = False


def print_trade(plant: Plant, arguments: Arguments) -> Json:
    """Force one trade; the book stays as it is."""
    market = one_market(plant, arguments)
    price, quantity = arguments.grains("price", market.flow.tick), arguments.grains("quantity", market.flow.step)
    buyer_is_maker = arguments.flag("buyer_is_maker", default=False)
    arguments.finish()
    plant.exchange.touch(market.name, plant.now_ms())
    trade_id = market.chart.next_id
    makers = market.book.bids if buyer_is_maker else market.book.asks
    market.traded([(price, quantity)], makers, market.now_ms)
    return {"id": trade_id}


def set_book(plant: Plant, arguments: Arguments) -> Json:
    """Put exactly these levels into the book."""
    market = one_market(plant, arguments)
    bids = arguments.levels("bids", market.flow.tick, market.flow.step)
    asks = arguments.levels("asks", market.flow.tick, market.flow.step)
    pausing = arguments.flag("pause", default=True)
    arguments.finish()
    plant.exchange.touch(market.name, plant.now_ms())
    try:
        market.book.replace(bids, asks)
    except ValueError as error:
        raise BadCommand(str(error)) from None
    market.paused = market.paused or pausing
    market.quoted()
    return {"update_id": market.book.update_id}


COMMANDS: dict[str, Callable[[Plant, Arguments], Json]] = {
    "symbol": symbol,
    "filters": filters,
    "walk": walk,
    "rate": rate,
    "quiet": quiet,
    "pause": pause,
    "resume": resume,
    "print": print_trade,
    "set_book": set_book,
}
