"""Captured markets through the real feed over real sockets, compared with rebuilds that share no code with it."""

from __future__ import annotations

import gzip
import json
import time
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.binance.feeding import feed_of, running, wait_until
from tests.binance.player import Player, Record, read_capture
from trading_engine.binance.wire import decode_exchange_info
from trading_engine.exchange.market import FeedState, Market, MarketChange, RawDiff, RawLevel, Trade
from trading_engine.exchange.symbols import Symbol

Texts = Sequence[Sequence[str]]
Level = tuple[Decimal, Decimal]

TOP = 100
WHOLE_EVERY = 10
"""After every diff the best TOP levels a side are compared, after each tenth all that are known: a wrong level stays
wrong until a diff restates it, and making 2,000 exact decimals 7,000 times is what this test would spend its minute
on."""


class Rebuild:
    """One symbol rebuilt from the capture's text, the obvious way: two dictionaries, sorted prices, all quotes.

    A quote is a diff of one level a side; what it says about the levels at and before its prices holds against every
    diff with an older update id.
    """

    def __init__(self) -> None:
        self.sides: tuple[dict[float, Level], dict[float, Level]] = ({}, {})
        self.prices: tuple[list[float], list[float]] = ([], [])
        self.quotes: list[tuple[int, float, float]] = []

    def load(self, snapshot: dict[str, Any]) -> None:
        for side, levels in enumerate((snapshot["bids"], snapshot["asks"])):
            self.sides[side].clear()
            self.prices[side].clear()
            for price, quantity in levels:
                self._set(side, price, quantity)
        self.quotes.clear()

    def diff(self, update_id: int, bids: Texts, asks: Texts) -> None:
        self.quotes = [quote for quote in self.quotes if quote[0] > update_id]
        for price, quantity in bids:
            if all(float(price) < bid for _, bid, _ in self.quotes):
                self._set(0, price, quantity)
        for price, quantity in asks:
            if all(float(price) > ask for _, _, ask in self.quotes):
                self._set(1, price, quantity)

    def quote(self, update_id: int, bid: str, bid_quantity: str, ask: str, ask_quantity: str) -> None:
        while self.prices[0] and self.prices[0][-1] > float(bid):
            self._remove(0, self.prices[0][-1])
        while self.prices[1] and self.prices[1][0] < float(ask):
            self._remove(1, self.prices[1][0])
        self._set(0, bid, bid_quantity)
        self._set(1, ask, ask_quantity)
        self.quotes.append((update_id, float(bid), float(ask)))

    def best(self, side: int, count: int) -> list[Level]:
        """Return the `count` best levels of a side."""
        prices = self.prices[0][: -count - 1 : -1] if side == 0 else self.prices[1][:count]
        levels = self.sides[side]
        return [levels[price] for price in prices]

    def _set(self, side: int, price: str, quantity: str) -> None:
        at = float(price)
        if not float(quantity):
            self._remove(side, at)
            return
        if at not in self.sides[side]:
            insort(self.prices[side], at)
        self.sides[side][at] = (Decimal(price), Decimal(quantity))

    def _remove(self, side: int, price: float) -> None:
        if self.sides[side].pop(price, None) is not None:
            self.prices[side].remove(price)


class Tape:
    """What the capture says about one symbol, from its text."""

    def __init__(self) -> None:
        self.snapshot: dict[str, Any] = {}
        self.diffs: list[dict[str, Any]] = []
        self.quotes: dict[int, dict[str, Any]] = {}
        self.trades: list[dict[str, Any]] = []


def tapes(records: Iterable[Record]) -> dict[str, Tape]:
    found: dict[str, Tape] = defaultdict(Tape)
    for record in records:
        message = json.loads(record.text)
        if record.depth_of is not None:
            found[record.depth_of].snapshot = message
            continue
        event = message["data"]
        kind = message["stream"].split("@")[1]
        if kind == "depth":
            found[event["s"]].diffs.append(event)
        elif kind == "bookTicker":
            found[event["s"]].quotes[event["u"]] = event
        elif kind == "trade":
            found[event["s"]].trades.append(event)
    return dict(found)


class CheckedMarket(Market):
    """A market that compares itself with a rebuild from the capture's text after every call that writes."""

    def __init__(self, symbol: Symbol, tape: Tape) -> None:
        super().__init__(symbol, monotonic_ns=time.monotonic_ns, wall_ms=lambda: time.time_ns() // 1_000_000)
        self.tape = tape
        self.rebuild = Rebuild()
        self.next_diff: Iterator[dict[str, Any]] = iter(())
        self.applied_id = 0
        self.loads = 0
        self.brought_forward = 0
        self.checked_diffs = 0
        self.checked_quotes = 0
        self.common_ids = 0
        self.deep_comparisons = 0

    def load_snapshot(
        self,
        update_id: int,
        bids: Sequence[RawLevel],
        asks: Sequence[RawLevel],
        *,
        limit: int | None = None,
        diffs: Iterable[RawDiff] = (),
    ) -> MarketChange | None:
        diffs = list(diffs)
        change = super().load_snapshot(update_id, bids, asks, limit=limit, diffs=diffs)
        self.loads += 1
        if self.loads == 1:
            assert update_id == self.tape.snapshot["lastUpdateId"]
            self.next_diff = iter([diff for diff in self.tape.diffs if diff["u"] > update_id])
            self.rebuild.load(self.tape.snapshot)
            self.applied_id = update_id
            for applied_id, *_ in diffs:
                self._apply_next(applied_id)
            self.brought_forward = len(diffs)
        else:
            # A renewal, because the price walked towards the end of what was known. REST may be ahead of the stream.
            loaded_id = diffs[-1][0] if diffs else update_id
            while self.applied_id < loaded_id:
                self._apply_next(None)
                self.brought_forward += 1
            assert loaded_id == self.applied_id
            self.rebuild.quotes = self.rebuild.quotes[-1:]
        if not self.rebuild.quotes:
            self._compare()
        return change

    def apply_diff(
        self, update_id: int, bids: Sequence[RawLevel], asks: Sequence[RawLevel], event_time_ms: int
    ) -> MarketChange | None:
        change = super().apply_diff(update_id, bids, asks, event_time_ms)
        assert change is not None
        assert change.live
        self._apply_next(update_id)
        self._compare()
        self.checked_diffs += 1
        same = self.tape.quotes.get(update_id)
        if same is not None and not self.rebuild.quotes:  # no quote is ahead: the market shows this very moment
            view = self.view(1)
            assert (*view.bids[0], *view.asks[0]) == tuple(Decimal(same[key]) for key in "bBaA")
            self.common_ids += 1
        return change

    def apply_quote(
        self, update_id: int, bid: float, bid_quantity: float, ask: float, ask_quantity: float
    ) -> MarketChange | None:
        change = super().apply_quote(update_id, bid, bid_quantity, ask, ask_quantity)
        if change is not None:
            event = self.tape.quotes[update_id]
            self.rebuild.quote(update_id, event["b"], event["B"], event["a"], event["A"])
            view = self.view(1)
            assert (*view.bids[0], *view.asks[0]) == tuple(Decimal(event[key]) for key in "bBaA")
            self.checked_quotes += 1
        return change

    def _apply_next(self, update_id: int | None) -> None:
        diff = next(self.next_diff)
        assert update_id in (None, diff["u"]), "a diff was left out"
        self.rebuild.diff(diff["u"], diff["b"], diff["a"])
        self.applied_id = diff["u"]

    def _compare(self) -> None:
        """What the market says it knows must be what the rebuild has, level by level, none left out."""
        whole = self.checked_diffs % WHOLE_EVERY == 0
        view = self.view(None if whole else TOP)
        for side, known in enumerate((view.bids, view.asks)):
            assert list(known) == self.rebuild.best(side, len(known))
            # The price may walk to the edge of what is known before a new snapshot comes, but not for long.
            self.deep_comparisons += len(known) > TOP


def recomputed_minutes(
    trades: list[dict[str, Any]],
) -> list[tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal, int]]:
    """Return (open time, open, high, low, close, volume, trades) of each minute, from the capture's text."""
    minutes: dict[int, list[tuple[Decimal, Decimal]]] = defaultdict(list)
    for trade in trades:
        minutes[trade["T"] // 60_000 * 60_000].append((Decimal(trade["p"]), Decimal(trade["q"])))
    rows = []
    for opened, prints in sorted(minutes.items()):
        prices = [price for price, _ in prints]
        volume = sum((quantity for _, quantity in prints), Decimal(0))
        rows.append((opened, prices[0], max(prices), min(prices), prices[-1], volume, len(prints)))
    return rows


def symbols_in(path: Path) -> dict[str, Symbol]:
    body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return {symbol.name: symbol for symbol in decode_exchange_info(body).symbols}


class Pacemaker:
    """Keeps the player at most a second of the capture ahead of the markets, so that REST and streams agree in time."""

    def __init__(self, records: list[Record], markets: dict[str, CheckedMarket]) -> None:
        self._records = records
        self._markets = markets
        self._ahead: deque[tuple[CheckedMarket, int]] = deque()

    def __call__(self, index: int) -> None:
        previous = self._records[index - 1] if index else None
        if previous is None:
            return
        if previous.depth_of is not None:
            # A quiet symbol's snapshot waits for a diff to join it, which is yet to be played.
            market = self._markets[previous.depth_of]
            self._wait(lambda: market.loads > 0, 0.3)
        elif "@depth" in str(previous.stream):
            event = json.loads(previous.text)["data"]
            self._ahead.append((self._markets[event["s"]], event["u"]))
            while len(self._ahead) > 20:
                market, update_id = self._ahead.popleft()
                self._wait(lambda: not market.loads or market.applied_id >= update_id, 10)  # noqa: B023 - used at once

    def _wait(self, condition: Callable[[], bool], within_s: float) -> None:
        deadline = time.monotonic() + within_s
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.001)


def play(records: list[Record], rules: dict[str, Symbol], *, within_s: float) -> dict[str, CheckedMarket]:
    """Run a capture through a feed, as fast as it goes; return the markets, checked."""
    by_symbol = tapes(records)
    markets = {name: CheckedMarket(rules[name], by_symbol[name]) for name in by_symbol}
    with Player(records, on_record=Pacemaker(records, markets)) as player:
        feed = feed_of((player.rest_url, player.ws_url))
        for market in markets.values():
            feed.follow(market)
        with running(feed, workers=len(markets)):
            wait_until(player.finished.is_set, within_s)
            assert player.error is None
            last_ids = {name: tape.diffs[-1]["u"] for name, tape in by_symbol.items()}
            wait_until(lambda: all(market.view(0).update_id >= last_ids[name] for name, market in markets.items()), 10)
            wait_until(
                lambda: all(
                    not market.tape.trades or market.last_trade_id == market.tape.trades[-1]["t"]
                    for market in markets.values()
                ),
                10,
            )
            status = feed.status
            for market in markets.values():
                assert market.view(1).state is FeedState.LIVE
    assert (status.gaps, status.resyncs, status.malformed, status.faults, status.reconnects) == (0, 0, 0, 0, 0), status
    assert (status.trade_gaps, status.mutes, status.last_error) == (0, 0, None)
    for market in markets.values():
        older = sum(1 for diff in market.tape.diffs if diff["u"] <= market.tape.snapshot["lastUpdateId"])
        assert older + market.brought_forward + market.checked_diffs == len(market.tape.diffs)
    return markets


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_six_minutes_of_two_busy_symbols(captures: Path) -> None:
    records = read_capture(captures / "binance_spot_btc_eth_20240808.jsonl.gz")
    rules = symbols_in(captures / "rest" / "exchangeInfo_20240908_majors.json")
    markets = play(records, rules, within_s=120)
    assert set(markets) == {"BTCUSDT", "ETHUSDT"}
    for market in markets.values():
        assert market.checked_diffs > 3_400
        assert market.checked_quotes > 20_000
        assert market.common_ids > 300
        assert market.deep_comparisons > 2 * 3_400 / WHOLE_EVERY * 0.8
        last = market.view(0).last_trade
        newest = market.tape.trades[-1]
        assert last == Trade(
            id=newest["t"],
            price=Decimal(newest["p"]),
            quantity=Decimal(newest["q"]),
            buyer_is_maker=newest["m"],
            time_ms=newest["T"],
        )
        rows = [
            (each.open_time_ms, each.open, each.high, each.low, each.close, each.volume, each.trades)
            for each in market.minute_candles()
        ]
        assert rows == recomputed_minutes(market.tape.trades)
        assert len(rows) == 7


@pytest.mark.parametrize(
    "capture",
    ("binance_spot_20211012_4sym", "binance_us_20211012_4sym"),
)
def test_half_a_minute_of_four_quiet_symbols(captures: Path, capture: str) -> None:
    records = read_capture(captures / f"{capture}.jsonl.gz")
    rules = symbols_in(captures / "rest" / "exchangeInfo_20211012_full.json.gz")
    markets = play(records, rules, within_s=30)
    assert len(markets) == 4
    assert sum(market.checked_diffs for market in markets.values()) > 150
    assert sum(market.checked_quotes for market in markets.values()) > 40
