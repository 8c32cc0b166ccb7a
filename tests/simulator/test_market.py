"""The simulated market in one thread with a clock of its own: what its messages say is what its books hold."""

import json
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise
from math import log, sqrt
from statistics import correlation, median, pstdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.local_book import LocalBook, exact
from trading_engine.simulator import wire
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.fair import FairPrices
from trading_engine.simulator.grains import seeded, text
from trading_engine.simulator.listings import COINS, LISTINGS

NOON_MS = 1_795_435_200_000  # 2026-11-23 12:00 UTC
EVERYTHING = frozenset(("trade", "aggTrade", "bookTicker", "depth", "depth@100ms", "depth5@100ms", "kline_1m"))

Heard = dict[str, list[dict[str, Any]]]


def exchange_of(seed: object, *symbols: str, now_ms: int = NOON_MS) -> Exchange:
    return Exchange(seed=str(seed), now_ms=now_ms, symbols=symbols)


def listen(exchange: Exchange, until_ms: int, steps_ms: Iterable[int] = (20,)) -> Heard:
    """Move the exchange on in steps (cycled) and sort what it says by kind of stream."""
    heard: Heard = defaultdict(list)
    steps = list(steps_ms)
    turn = 0
    while exchange.now_ms < until_ms:
        now_ms = min(until_ms, exchange.now_ms + steps[turn % len(steps)])
        turn += 1
        for stream, message in exchange.advance(now_ms):
            heard[stream.partition("@")[2]].append(json.loads(message))
    return heard


def snapshot_of(exchange: Exchange, symbol: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(wire.snapshot(*exchange.markets[symbol].snapshot(1_000_000)))
    return document


def on_grid(value: str, step: int) -> bool:
    return Decimal(value) % Decimal(text(step)) == 0


@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**9),
    symbol=st.sampled_from(sorted(LISTINGS)),
    steps_ms=st.lists(st.integers(1, 450), min_size=1, max_size=6),
    walk=st.sampled_from((0.0, 1.5, -4.0)),
)
def test_diffs_rebuild_the_book_exactly(seed: int, symbol: str, steps_ms: list[int], walk: float) -> None:
    exchange = exchange_of(seed, symbol)
    market, listing = exchange.markets[symbol], LISTINGS[symbol]
    market.wanted = EVERYTHING
    listen(exchange, NOON_MS + 1_000, (100,))
    fast, slow = LocalBook(snapshot_of(exchange, symbol)), LocalBook(snapshot_of(exchange, symbol))
    assert fast.update_id == slow.update_id == market.book.update_id
    if walk:
        exchange.walk(symbol, walk, exchange.now_ms)
    heard = listen(exchange, NOON_MS + 6_000, steps_ms)
    for diff in heard["depth@100ms"]:
        assert fast.apply(diff)
        assert diff["s"] == symbol
        assert diff["E"] % 100 == 0
    for diff in heard["depth"]:
        assert slow.apply(diff)
        assert diff["E"] % 1_000 == 0
    truth = snapshot_of(exchange, symbol)
    assert fast.update_id == slow.update_id == truth["lastUpdateId"]
    assert fast.levels() == slow.levels() == (exact(truth["bids"]), exact(truth["asks"]))
    for rows in (truth["bids"], truth["asks"]):
        assert all(on_grid(price, listing.tick) and on_grid(quantity, listing.step) for price, quantity in rows)
        assert all(Decimal(quantity) > 0 for _, quantity in rows)
    market.book.check()


@settings(max_examples=5)
@given(seed=st.integers(0, 10**9), symbol=st.sampled_from(sorted(LISTINGS)))
def test_the_best_prices_are_told_at_each_change_and_agree_with_the_diffs(seed: int, symbol: str) -> None:
    exchange = exchange_of(seed, symbol)
    exchange.markets[symbol].wanted = EVERYTHING
    listen(exchange, NOON_MS + 1_000)
    book = LocalBook(snapshot_of(exchange, symbol))
    heard = listen(exchange, NOON_MS + 9_000)
    told = {quote["u"]: quote for quote in heard["bookTicker"]}
    assert all(before["u"] < after["u"] for before, after in pairwise(heard["bookTicker"]))
    best: list[str] | None = None
    for diff in heard["depth@100ms"]:
        book.apply(diff)
        bid, ask = max(book.bids), min(book.asks)
        latest = max((update_id for update_id in told if update_id <= diff["u"]), default=None)
        if latest is not None:
            best = [told[latest][name] for name in "bBaA"]
        if best is not None:
            assert [Decimal(value) for value in best] == [bid, book.bids[bid], ask, book.asks[ask]]
    assert heard["depth5@100ms"]
    assert all(len(top["bids"]) == len(top["asks"]) == 5 for top in heard["depth5@100ms"])


@settings(max_examples=5)
@given(seed=st.integers(0, 10**9), symbol=st.sampled_from(sorted(LISTINGS)))
def test_prints_are_numbered_without_a_hole_and_add_up_to_candles_and_aggregates(seed: int, symbol: str) -> None:
    exchange = exchange_of(seed, symbol)
    market = exchange.markets[symbol]
    market.wanted = EVERYTHING
    first_id = market.chart.next_id
    heard = listen(exchange, NOON_MS + 61_000, (100, 20))
    trades = heard["trade"]
    assert [trade["t"] for trade in trades] == list(range(first_id, first_id + len(trades)))
    assert all(before["T"] <= after["T"] for before, after in pairwise(trades))
    ranges = [(row["f"], row["l"]) for row in heard["aggTrade"]]
    assert [first for first, _ in ranges] == [first_id, *(last + 1 for _, last in ranges[:-1])]
    assert ranges[-1][1] == trades[-1]["t"]
    by_id = {trade["t"]: trade for trade in trades}
    for row in heard["aggTrade"]:
        parts = [by_id[number] for number in range(row["f"], row["l"] + 1)]
        assert {(part["p"], part["m"], part["T"]) for part in parts} == {(row["p"], row["m"], row["T"])}
        assert sum(Decimal(part["q"]) for part in parts) == Decimal(row["q"])
    closed = [message["k"] for message in heard["kline_1m"] if message["k"]["x"]]
    assert [candle["t"] for candle in closed] == [NOON_MS]
    for candle in closed:
        inside = [trade for trade in trades if candle["t"] <= trade["T"] <= candle["T"]]
        assert candle["n"] == len(inside)
        assert Decimal(candle["v"]) == sum(Decimal(trade["q"]) for trade in inside)
        quote = sum(Decimal(trade["p"]) * Decimal(trade["q"]) for trade in inside)
        assert abs(Decimal(candle["q"]) - quote) < Decimal("1e-8")
        assert Decimal(candle["V"]) == sum(Decimal(trade["q"]) for trade in inside if not trade["m"])
        prices = [Decimal(trade["p"]) for trade in inside]
        ohlc = [Decimal(candle[name]) for name in "ohlc"]
        assert ohlc == [prices[0], max(prices), min(prices), prices[-1]]


def test_a_market_order_walks_the_levels_and_prints_once_per_maker() -> None:
    exchange = exchange_of(1, "BTCUSDT")
    market = exchange.markets["BTCUSDT"]
    market.wanted = EVERYTHING
    exchange.advance(NOON_MS + 100)
    market.book.replace([(9_999, 10)], [(10_000, 3), (10_001, 4), (10_002, 50)])
    market.book.place(market.book.asks, 10_000, 5)
    prints = market.book.take(market.book.asks, 14, 10_001)
    assert prints == [(10_000, 3), (10_000, 5), (10_001, 4)]
    assert market.book.quote() == (9_999, 10, 10_002, 50)
    market.traded(prints, market.book.asks, NOON_MS + 101)
    trades = [json.loads(message) for stream, message in market.messages if stream.endswith("@trade")]
    assert [trade["q"] for trade in trades] == ["0.00000003", "0.00000005", "0.00000004"]
    assert {trade["m"] for trade in trades} == {False}
    aggregates = [json.loads(message) for stream, message in market.messages if stream.endswith("@aggTrade")]
    assert [(row["p"], row["q"]) for row in aggregates] == [("0.00010000", "0.00000008"), ("0.00010001", "0.00000004")]


def test_an_order_that_would_cross_is_refused() -> None:
    exchange = exchange_of(1, "BTCUSDT")
    book = exchange.touch("BTCUSDT", NOON_MS + 100).book
    bid, _, ask, _ = book.quote()
    with pytest.raises(ValueError, match="cross"):
        book.place(book.bids, ask, 1_000)
    with pytest.raises(ValueError, match="cross"):
        book.place(book.asks, bid, 1_000)
    with pytest.raises(ValueError, match="cross"):
        book.replace([(100, 1)], [(100, 1)])
    assert book.quote()[::2] == (bid, ask)


def test_the_same_seed_makes_the_same_market_and_another_seed_another() -> None:
    def story(seed: str) -> list[tuple[str, str]]:
        exchange = Exchange(seed=seed, now_ms=NOON_MS, symbols=("BTCUSDT", "ETHBTC"))
        for market in exchange.markets.values():
            market.wanted = EVERYTHING
        return [message for step in range(1, 150) for message in exchange.advance(NOON_MS + 20 * step)]

    assert story("seven") == story("seven")
    assert story("seven") != story("eight")


def test_the_market_looks_like_one() -> None:
    """A tick of spread, more than a snapshot's levels, sizes from dust to large, trades on both sides."""
    exchange = exchange_of(5, "BTCUSDT")
    market = exchange.markets["BTCUSDT"]
    market.wanted = EVERYTHING
    spreads: list[int] = []
    trades: list[dict[str, Any]] = []
    for second in range(1, 61):
        trades += listen(exchange, NOON_MS + 1_000 * second)["trade"]
        bid, _, ask, _ = market.book.quote()
        spreads.append((ask - bid) // market.listing.tick)
        assert min(len(market.book.bids.keys), len(market.book.asks.keys)) >= 1_500
    assert median(spreads) == 1
    sizes = sorted(float(trade["q"]) for trade in trades)
    assert len(sizes) > 100
    assert sizes[0] < 0.001
    assert sizes[-1] > 0.02
    assert 0.2 < sum(trade["m"] for trade in trades) / len(trades) < 0.8
    edge = market.book.asks.levels(1_000)[-1][0] / market.book.quote()[2] - 1
    assert 0.0005 < edge < 0.01
    assert market.book.asks.price_at(len(market.book.asks.keys) - 1) / market.book.quote()[2] > 1.05


def test_coins_move_as_much_as_their_volatility_says_and_together() -> None:
    """Three days in steps of ten seconds; regimes and bursts make the figure wander, hence the width."""
    fair = FairPrices(seeded("volatility"), {name: coin.price for name, coin in COINS.items()})
    steps = 3 * 8_640
    moves: dict[str, list[float]] = {name: [] for name in COINS}
    before = fair.prices()
    for _ in range(steps):
        fair.advance(10.0)
        after = fair.prices()
        for name, series in moves.items():
            series.append(log(after[name] / before[name]))
        before = after
    for name, coin in COINS.items():
        annual = pstdev(moves[name]) * sqrt(365.25 * 8_640)
        assert 0.7 * coin.volatility < annual < 1.8 * coin.volatility
    assert 0.6 < correlation(moves["BTC"], moves["ETH"]) < 0.95


def test_cross_rates_follow() -> None:
    exchange = exchange_of(3, "BTCUSDT", "ETHUSDT", "ETHBTC")
    exchange.walk("ETHUSDT", 7.0, NOON_MS + 500)
    listen(exchange, NOON_MS + 20_000, (500,))

    def middle(symbol: str) -> float:
        bid, _, ask, _ = exchange.touch(symbol, NOON_MS + 20_000).book.quote()
        return (bid + ask) / 2.0

    ratio = middle("ETHUSDT") / middle("BTCUSDT")
    assert middle("ETHBTC") / 1e8 == pytest.approx(ratio, rel=0.0008)
    assert middle("ETHUSDT") / 1e8 == pytest.approx(3_400 * 1.07, rel=0.02)


def test_a_symbol_nobody_listens_to_is_right_when_asked() -> None:
    exchange = exchange_of(9, "BTCUSDT", "SOLUSDT")
    exchange.markets["BTCUSDT"].wanted = EVERYTHING
    before = exchange.touch("SOLUSDT", NOON_MS + 1).chart.next_id
    listen(exchange, NOON_MS + 30_000, (20,))
    market = exchange.touch("SOLUSDT", NOON_MS + 30_007)
    assert market.now_ms == NOON_MS + 30_007
    assert market.chart.next_id - before > 10
    last = market.chart.tape.last
    assert last is not None
    assert NOON_MS < last.time_ms <= NOON_MS + 30_007
    market.book.check()
    market.wanted = EVERYTHING
    book = LocalBook(snapshot_of(exchange, "SOLUSDT"))
    for diff in listen(exchange, NOON_MS + 32_000)["depth@100ms"]:
        if diff["s"] == "SOLUSDT":
            book.apply(diff)
    truth = snapshot_of(exchange, "SOLUSDT")
    assert book.levels() == (exact(truth["bids"]), exact(truth["asks"]))


def test_a_walk_goes_through_the_book_and_prints_at_the_new_price() -> None:
    exchange = exchange_of(4, "BTCUSDT")
    market = exchange.touch("BTCUSDT", NOON_MS + 100)
    bid, *_ = market.book.quote()
    exchange.walk("BTCUSDT", -12.0, NOON_MS + 200)
    after, _, ask, _ = market.book.quote()
    assert after / bid == pytest.approx(0.88, rel=0.001)
    assert market.chart.price in (after, ask) or market.chart.price / after == pytest.approx(1.0, rel=0.0005)
    assert min(len(market.book.bids.keys), len(market.book.asks.keys)) >= 1_500
    market.book.check()


@pytest.mark.parametrize(("symbol", "edge"), (("BTCUSDT", 0.13), ("SOLUSDT", 0.13), ("ETHBTC", 0.5)))
def test_the_book_stays_deep_and_the_prints_near_the_fair_price_while_the_price_walks(symbol: str, edge: float) -> None:
    exchange = exchange_of(11, symbol)
    market = exchange.markets[symbol]
    market.wanted = frozenset(("trade",))
    exchange.advance(NOON_MS + 200)
    edges = [market.book.bids.price_at(1_000) / market.book.bids.price_at(0)]
    for step in range(40):
        base = market.listing.base
        exchange.fair.set_price(base, exchange.fair.price(base) * (1.004 if step % 10 else 0.985))
        fair = exchange.fair.rate(base, market.listing.quote)
        jumped_ms = exchange.now_ms
        heard = listen(exchange, jumped_ms + 1_000, (100,))
        for trade in heard["trade"]:
            if trade["T"] > jumped_ms + 100:
                assert float(trade["p"]) == pytest.approx(fair, rel=0.003)
        edges.append(market.book.bids.price_at(1_000) / market.book.bids.price_at(0))
        assert min(len(market.book.bids.keys), len(market.book.asks.keys)) >= 1_500
        assert max(len(market.book.bids.keys), len(market.book.asks.keys)) <= 2_900
        for side in (market.book.bids, market.book.asks):
            assert abs(side.price_at(len(side.keys) - 1) / side.price_at(0) - 1) < edge
    market.book.check()
    assert 1 - edges[-1] == pytest.approx(1 - edges[0], rel=0.4)


def test_a_paused_market_stands_still_and_its_heartbeat_changes_nothing() -> None:
    exchange = exchange_of(6, "BTCUSDT")
    market = exchange.markets["BTCUSDT"]
    market.wanted = EVERYTHING
    listen(exchange, NOON_MS + 1_000)
    market.paused = True
    before = snapshot_of(exchange, "BTCUSDT")
    heard = listen(exchange, NOON_MS + 4_000)
    after = snapshot_of(exchange, "BTCUSDT")
    assert (before["bids"], before["asks"]) == (after["bids"], after["asks"])
    assert len(heard["depth@100ms"]) == 6
    assert [diff["b"] for diff in heard["depth@100ms"]] == [[before["bids"][0]]] * 6
    assert not heard["trade"]
    assert not heard["bookTicker"]
    market.heartbeat = False
    assert not listen(exchange, NOON_MS + 6_000)["depth@100ms"]
    market.paused = False
    assert listen(exchange, NOON_MS + 8_000)["depth@100ms"]


def test_a_halted_symbol_does_not_trade() -> None:
    exchange = exchange_of(6, "BTCUSDT")
    market = exchange.markets["BTCUSDT"]
    market.wanted = EVERYTHING
    listen(exchange, NOON_MS + 1_000)
    market.status = "BREAK"
    heard = listen(exchange, NOON_MS + 3_000)
    assert not heard["depth@100ms"]
    assert not heard["trade"]


def test_a_book_on_a_new_grid_is_on_it_everywhere() -> None:
    exchange = exchange_of(6, "BTCUSDT")
    market = exchange.markets["BTCUSDT"]
    market.wanted = EVERYTHING
    listen(exchange, NOON_MS + 1_000)
    book = LocalBook(snapshot_of(exchange, "BTCUSDT"))
    market.regrid(10_000_000, 100_000)  # ticks of 0.1, lots of 0.001
    for diff in listen(exchange, NOON_MS + 5_000)["depth@100ms"]:
        book.apply(diff)
    truth = snapshot_of(exchange, "BTCUSDT")
    assert book.levels() == (exact(truth["bids"]), exact(truth["asks"]))
    for rows in (truth["bids"], truth["asks"]):
        assert all(on_grid(price, 10_000_000) and on_grid(quantity, 100_000) for price, quantity in rows)


def test_an_emptied_book_fills_again() -> None:
    exchange = exchange_of(6, "BTCUSDT")
    market = exchange.touch("BTCUSDT", NOON_MS + 100)
    market.book.replace([], [(9_800_000_000_000, 100_000_000)])
    listen(exchange, NOON_MS + 5_000)
    market.book.check()
    assert min(len(market.book.bids.keys), len(market.book.asks.keys)) >= 1_500


@pytest.mark.parametrize("kind", ("miniTicker", "ticker", "avgPrice"))
def test_tickers_come_each_second_while_there_is_trade(kind: str) -> None:
    exchange = exchange_of(8, "BTCUSDT")
    market = exchange.markets["BTCUSDT"]
    market.wanted = frozenset((kind,))
    heard = listen(exchange, NOON_MS + 10_000)[kind]
    assert 8 <= len(heard) <= 10
    assert all(message["E"] % 1_000 == 0 for message in heard)


def test_all_mini_tickers_come_as_one_array_of_those_that_traded() -> None:
    exchange = exchange_of(8, "BTCUSDT", "LTCUSDT")
    exchange.array_wanted = True
    arrays = []
    for step in range(1, 400):
        arrays += [json.loads(text) for stream, text in exchange.advance(NOON_MS + 25 * step) if stream[0] == "!"]
    assert len(arrays) == 9
    assert {row["s"] for rows in arrays for row in rows} == {"BTCUSDT", "LTCUSDT"}
    assert all(row["e"] == "24hrMiniTicker" for rows in arrays for row in rows)
