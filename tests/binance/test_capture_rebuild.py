"""Recorded sessions through decoder, depth machine and market, without a socket: the book is the venue's book.

Everything is compared with an independent rebuild: plain dictionaries of decimals, straight from the JSON.
"""

import gzip
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from trading_engine.binance import wire
from trading_engine.binance.depth_sync import Action, DepthSync, Gap, LoadBook, NeedSnapshot
from trading_engine.exchange.candles import MINUTE_MS
from trading_engine.exchange.market import FeedState, Level, Market, MarketView
from trading_engine.exchange.symbols import Symbol

D = Decimal
ZERO = Decimal(0)

SPOT_2024 = "binance_spot_btc_eth_20240808"
SPOT_2021 = "binance_spot_20211012_4sym"
US_2021 = "binance_us_20211012_4sym"
ALL = (SPOT_2024, SPOT_2021, US_2021)
LIMIT = 1000

pytestmark = pytest.mark.slow


def rules_of(name: str) -> Symbol:
    """Rules that allow every number with the wire's 8 decimals: this is about the book, not about the filters."""
    return Symbol(
        name=name,
        status="TRADING",
        base_asset=name[:-4],
        quote_asset=name[-4:],
        base_precision=8,
        quote_precision=8,
        tick_size=ZERO,
        min_price=ZERO,
        max_price=ZERO,
        step_size=ZERO,
        min_quantity=ZERO,
        max_quantity=ZERO,
        market_step_size=ZERO,
        market_min_quantity=ZERO,
        market_max_quantity=ZERO,
        min_notional=ZERO,
        max_notional=None,
        min_notional_applies_to_market=False,
        max_notional_applies_to_market=False,
        percent_price=None,
        average_price_minutes=5,
        max_open_orders=None,
        order_types=("LIMIT", "MARKET"),
    )


def recorded(captures: Path, name: str) -> Iterator[tuple[str, str, str]]:
    """Give what, which symbol (REST only) and the text as it came, in the order of receipt."""
    with gzip.open(captures / f"{name}.jsonl.gz") as lines:
        for line in lines:
            row = json.loads(line)
            symbol = parse_qs(urlsplit(row["url"]).query).get("symbol", [""])[0] if row["kind"] == "http" else ""
            yield row["kind"], symbol, row["data"]


class Ladder:
    """One side rebuilt the slow and obvious way: a dictionary of decimals and a sorted list of its keys."""

    def __init__(self, rows: list[list[str]], *, descending: bool) -> None:
        self.sign = -1 if descending else 1
        self.sizes = {D(price): D(quantity) for price, quantity in rows}
        self.ranks = sorted(self.sign * price for price in self.sizes)
        # A side shorter than what was asked for is all there is; otherwise nothing is known beyond its end.
        self.edge = self.ranks[-1] if len(rows) == LIMIT else D("Infinity")

    def set(self, price: Decimal, quantity: Decimal) -> None:
        rank = self.sign * price
        if price in self.sizes:
            del self.sizes[price]
            del self.ranks[bisect_left(self.ranks, rank)]
        if quantity:
            self.sizes[price] = quantity
            insort(self.ranks, rank)

    def best(self, count: int | None, *, known: bool) -> list[Level]:
        """Return the best levels, best first; `known`: none beyond the snapshot's last one."""
        end = bisect_right(self.ranks, self.edge) if known else len(self.ranks)
        ranks = self.ranks[: end if count is None else min(count, end)]
        return [(self.sign * rank, self.sizes[self.sign * rank]) for rank in ranks]


class Rebuild:
    """The same book again, from the JSON alone."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.update_id = answer["lastUpdateId"]
        self.bids = Ladder(answer["bids"], descending=True)
        self.asks = Ladder(answer["asks"], descending=False)

    def apply(self, event: dict[str, Any]) -> None:
        if event["u"] <= self.update_id:
            return
        assert event["U"] <= self.update_id + 1
        self.update_id = event["u"]
        for side, changes in ((self.bids, event["b"]), (self.asks, event["a"])):
            for price, quantity in changes:
                side.set(D(price), D(quantity))


class Session:
    """One recording played into markets.

    `quotes`: whether best quotes are applied too, or only noted. `limit`: what the snapshots are said to have been
    asked for; more than they hold makes the market believe that it knows every level it hears of.
    """

    def __init__(self, *, quotes: bool, limit: int = LIMIT) -> None:
        self.quotes = quotes
        self.limit = limit
        self.newest_ms = 0
        self.markets: dict[str, Market] = {}
        self.machines: dict[str, DepthSync] = {}
        self.rebuilds: dict[str, Rebuild] = {}
        self.trades: dict[str, list[dict[str, Any]]] = {}
        self.early: dict[str, list[dict[str, Any]]] = {}
        self.noted: dict[str, dict[int, tuple[Decimal, ...]]] = {}
        self.diffs = 0
        self.asked = 0

    def play(self, kind: str, symbol: str, body: str) -> str | None:
        """Take one recorded line; return the symbol whose book it changed."""
        if kind == "http":
            self.rebuilds[symbol] = Rebuild(json.loads(body))
            for event in self.early.pop(symbol, []):
                self.rebuilds[symbol].apply(event)
            self.carry_out(symbol, self.machines[symbol].on_snapshot(wire.decode_snapshot(body.encode(), self.limit)))
            return symbol
        message = wire.decode_frame(body.encode())
        event = json.loads(body)["data"]
        name = event["s"]
        self.newest_ms = max(self.newest_ms, event.get("E", 0))
        if name not in self.markets:
            self.markets[name] = Market(rules_of(name), monotonic_ns=lambda: 1, wall_ms=lambda: 1)
            self.machines[name] = DepthSync()
        if isinstance(message, wire.DepthDiff):
            return self.play_diff(name, message, event)
        if isinstance(message, wire.Quote):
            self.noted.setdefault(name, {})[event["u"]] = tuple(D(event[field]) for field in "bBaA")
            if self.quotes:
                self.markets[name].apply_quote(
                    message.update_id, message.bid, message.bid_quantity, message.ask, message.ask_quantity
                )
        elif isinstance(message, wire.Print):
            self.trades.setdefault(name, []).append(event)
            assert self.markets[name].apply_trade(message.trade) is not None
        return None

    def play_diff(self, name: str, diff: wire.DepthDiff, event: dict[str, Any]) -> str:
        self.diffs += 1
        self.carry_out(name, self.machines[name].on_diff(diff))
        if name in self.rebuilds:
            self.rebuilds[name].apply(event)
        else:
            self.early.setdefault(name, []).append(event)
        return name

    def carry_out(self, name: str, actions: Any) -> None:
        market = self.markets[name]
        action: Action
        for action in actions:
            assert not isinstance(action, Gap), f"{name}: {action}"
            if isinstance(action, NeedSnapshot):
                self.asked += 1
            elif isinstance(action, LoadBook):
                taken = action.snapshot
                diffs = [(each.update_id, each.bids, each.asks, each.event_time_ms) for each in action.diffs]
                market.load_snapshot(taken.update_id, taken.bids, taken.asks, limit=taken.limit, diffs=diffs)
            else:
                market.apply_diff(action.update_id, action.bids, action.asks, action.event_time_ms)


@pytest.mark.parametrize("name", ALL)
def test_after_every_diff_the_book_is_the_rebuilt_one(captures: Path, name: str) -> None:
    """The best 20 levels after each, every known level now and then: prices, quantities, order."""
    session = Session(quotes=False)
    compared = 0
    for kind, symbol, body in recorded(captures, name):
        changed = session.play(kind, symbol, body)
        if changed is None or changed not in session.rebuilds:
            continue
        view, rebuild = session.markets[changed].view(20), session.rebuilds[changed]
        bids, asks = rebuild.bids.best(20, known=True), rebuild.asks.best(20, known=True)
        assert (view.state is FeedState.LIVE) == bool(bids and asks), "live as long as the price is in the known depth"
        assert view.update_id == rebuild.update_id
        assert list(view.bids) == bids
        assert list(view.asks) == asks
        compared += 1
        if compared % 100 == 0:
            assert_same(session.markets[changed].view(None), rebuild)
    for symbol, rebuild in session.rebuilds.items():
        assert_same(session.markets[symbol].view(None), rebuild)
    assert session.asked == len(session.markets) == len(session.rebuilds)
    assert compared > session.diffs - 20


def assert_same(view: MarketView, rebuild: Rebuild) -> None:
    assert view.complete
    assert list(view.bids) == rebuild.bids.best(None, known=True)
    assert list(view.asks) == rebuild.asks.best(None, known=True)


@pytest.mark.parametrize(("name", "common"), [(SPOT_2024, 1141), (SPOT_2021, None), (US_2021, None)])
def test_the_best_levels_are_the_venues_quote_wherever_both_have_the_same_update(
    captures: Path, name: str, common: int | None
) -> None:
    """The quotes are not applied here: depth alone must arrive at the same price and size.

    Every level heard of counts, also beyond the snapshot's last, which the price leaves behind for a while in 2024.
    """
    session = Session(quotes=False, limit=5 * LIMIT)
    shown: dict[str, dict[int, tuple[Decimal, ...]]] = {}
    for kind, symbol, body in recorded(captures, name):
        changed = session.play(kind, symbol, body)
        if changed is not None and changed in session.rebuilds:
            view = session.markets[changed].view(1)
            shown.setdefault(changed, {})[view.update_id] = (*view.bids[0], *view.asks[0])
    met = 0
    for symbol, quotes in session.noted.items():
        for update_id, quote in quotes.items():
            if update_id in shown.get(symbol, {}):
                assert shown[symbol][update_id] == quote, f"{symbol} at update {update_id}"
                met += 1
    assert met == common if common is not None else met > 5


@pytest.mark.parametrize("name", ALL)
def test_with_quotes_running_ahead_the_book_is_never_older_than_the_newest_quote(captures: Path, name: str) -> None:
    session = Session(quotes=True)
    quotes = 0
    for kind, symbol, body in recorded(captures, name):
        changed = session.play(kind, symbol, body)
        event = json.loads(body).get("data", {})
        name_of_quote = event.get("s") if "e" not in event else None
        if name_of_quote in session.rebuilds:
            view = session.markets[name_of_quote].view(1)
            if view.update_id == event["u"]:
                assert (*view.bids[0], *view.asks[0]) == tuple(D(event[field]) for field in "bBaA")
                quotes += 1
        if changed in session.rebuilds:
            view, rebuild = session.markets[changed].view(20), session.rebuilds[changed]
            assert view.state is FeedState.LIVE
            if view.update_id == rebuild.update_id:
                # A quote beyond the snapshot's last level extends what is known: nothing was before it.
                assert list(view.bids) == rebuild.bids.best(len(view.bids), known=False)
                assert list(view.asks) == rebuild.asks.best(len(view.asks), known=False)
                assert len(view.bids) >= len(rebuild.bids.best(20, known=True))
                assert len(view.asks) >= len(rebuild.asks.best(20, known=True))
    assert quotes > 50


def test_prints_are_contiguous_and_candles_are_what_they_add_up_to(captures: Path) -> None:
    session = Session(quotes=False)
    for kind, symbol, body in recorded(captures, SPOT_2024):
        session.play(kind, symbol, body)
    assert {name: len(trades) for name, trades in session.trades.items()} == {"BTCUSDT": 9757, "ETHUSDT": 6106}
    for name, trades in session.trades.items():
        market = session.markets[name]
        ids = [event["t"] for event in trades]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert [trade.id for trade in market.trades(limit=1000)] == ids[-1000:]
        assert market.view().last_trade == market.trades(limit=1)[0]
        minutes: dict[int, list[dict[str, Any]]] = {}
        for event in trades:
            minutes.setdefault(event["T"] // MINUTE_MS * MINUTE_MS, []).append(event)
        candles = market.minute_candles()
        assert [candle.open_time_ms for candle in candles] == sorted(minutes)
        for candle in candles:
            inside = minutes[candle.open_time_ms]
            prices = [D(event["p"]) for event in inside]
            assert (candle.open, candle.high, candle.low, candle.close) == (
                prices[0],
                max(prices),
                min(prices),
                prices[-1],
            )
            assert candle.volume == sum(D(event["q"]) for event in inside)
            assert candle.quote_volume == sum(D(event["p"]) * D(event["q"]) for event in inside)
            assert candle.trades == len(inside)
        newest = session.newest_ms // 1000
        recent = [event for event in trades if event["T"] // 1000 > newest - 300]
        volume = sum(D(event["q"]) for event in recent)
        average = market.view().average_price
        assert average is not None
        worth = sum(D(event["p"]) * D(event["q"]) for event in recent)
        assert abs(average * volume - worth) <= volume * D("0.000000005")
