"""Candles and the drawn past: parts fold to the whole, paging is consistent, time has no hole, restarts go on."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_engine.simulator.candles import (
    DAY_MS,
    HOUR_MS,
    INTERVALS_MS,
    MINUTE_MS,
    Candle,
    close_of,
    fold,
    join,
    open_of,
    split,
)
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.grains import seeded
from trading_engine.simulator.listings import LISTINGS
from trading_engine.simulator.market import TRADE_IDS_AHEAD, UPDATE_IDS_AHEAD

AFTERNOON_MS = 1_795_441_717_345  # 2026-11-23 13:48:37.345 UTC
EVERYTHING = frozenset(("trade", "depth@100ms"))


def summed(candles: list[Candle]) -> tuple[int, ...]:
    whole = join(candles, candles[0].open_ms, candles[-1].end_ms)
    return (*whole[:7], whole.trades, whole.first_id)


def opened(seed: str = "1", symbol: str = "BTCUSDT", now_ms: int = AFTERNOON_MS) -> Exchange:
    return Exchange(seed=seed, now_ms=now_ms, symbols=(symbol,))


def candles_of(exchange: Exchange, interval: str, limit: int = 1_000, end_ms: int | None = None) -> list[Candle]:
    (market,) = exchange.markets.values()
    return market.chart.candles(interval, start_ms=None, end_ms=end_ms, limit=limit, now_ms=exchange.now_ms)


@given(
    seed=st.integers(),
    ticks=st.tuples(*[st.integers(100, 10_000)] * 4),
    trades=st.integers(0, 3_000),
    spare=st.integers(0, 10**9),
    parts=st.sampled_from((24, 60)),
)
def test_parts_fold_to_the_candle_they_came_from(
    seed: int, ticks: tuple[int, ...], trades: int, spare: int, parts: int
) -> None:
    tick, step = 100, 10
    low, *middle, high = (price * tick for price in sorted(ticks))
    volume = (trades + spare) * step if trades else 0
    last = middle[1] if trades else low
    prices = (middle[0], high, low, last) if trades else (low,) * 4
    whole = Candle(0, parts * 1_000, *prices, volume, volume * low, trades, 77, 0, 0)
    children = split(whole, parts, seeded(seed), tick, step)
    assert len(children) == parts
    assert summed(children) == (*whole[:7], trades, 77)
    for child in children:
        assert child.low <= min(child.open, child.close) <= max(child.open, child.close) <= child.high
        assert child.low * child.volume <= child.quote <= child.high * child.volume
        assert (child.trades == 0) == (child.volume == 0)
        assert 0 <= child.taker_volume <= child.volume
        assert all(price % tick == 0 for price in (child.open, child.high, child.low, child.close))
        assert child.volume % step == 0
    ids = [child.first_id for child in children]
    assert ids == [77 + sum(before.trades for before in children[:index]) for index in range(parts)]


@pytest.mark.parametrize("interval", list(INTERVALS_MS))
def test_a_thousand_candles_of_each_interval_without_a_hole(interval: str) -> None:
    exchange = opened()
    exchange.advance(AFTERNOON_MS + 3_000)
    candles = candles_of(exchange, interval)
    assert len(candles) == (1_000 if interval != "1M" else 251)  # months since 2006
    for before, after in pairwise(candles):
        assert before.end_ms == after.open_ms
        assert open_of(interval, after.open_ms) == after.open_ms
        assert before.first_id + before.trades == after.first_id
        assert after.low <= min(after.open, after.close) <= max(after.open, after.close) <= after.high
    assert candles[-1].open_ms <= exchange.now_ms < candles[-1].end_ms
    (market,) = exchange.markets.values()
    assert candles[-1].close == market.chart.price


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    assert open_of("1w", AFTERNOON_MS) == AFTERNOON_MS - AFTERNOON_MS % DAY_MS  # a Monday
    assert open_of("1w", AFTERNOON_MS + 6 * DAY_MS) == open_of("1w", AFTERNOON_MS)
    assert open_of("1M", AFTERNOON_MS) == 1_793_491_200_000  # 2026-11-01
    assert close_of("1M", 1_796_083_200_000) == 1_798_761_600_000  # December 2026
    assert open_of("3d", AFTERNOON_MS) % (3 * DAY_MS) == 0


@pytest.mark.parametrize(("small", "large"), (("1m", "1h"), ("5m", "4h"), ("1h", "1d"), ("1d", "1w"), ("1s", "1m")))
def test_small_candles_fold_to_large_ones(small: str, large: str) -> None:
    exchange = opened()
    exchange.advance(AFTERNOON_MS + 3_000)
    pieces = candles_of(exchange, small)
    whole = {candle.open_ms: candle for candle in candles_of(exchange, large)}
    folded = [candle for candle in fold(large, pieces) if candle.open_ms >= pieces[0].open_ms]
    assert len(folded) > 3
    for candle in folded:
        assert (*whole[candle.open_ms][:7], whole[candle.open_ms].trades) == (*candle[:7], candle.trades)


def test_pages_agree_with_each_other() -> None:
    exchange = opened(symbol="ETHBTC")
    whole = candles_of(exchange, "1m", 1_000)
    (market,) = exchange.markets.values()
    chart, now_ms = market.chart, exchange.now_ms
    page = chart.candles("1m", start_ms=whole[300].open_ms, end_ms=None, limit=50, now_ms=now_ms)
    assert page == whole[300:350]
    page = chart.candles("1m", start_ms=whole[300].open_ms - 1, end_ms=whole[320].open_ms, limit=500, now_ms=now_ms)
    assert page == whole[300:321]
    assert candles_of(exchange, "1m", 20, end_ms=whole[500].open_ms + 30_000) == whole[481:501]
    hour = candles_of(exchange, "1h", 2, end_ms=now_ms - 2 * HOUR_MS)[-1]
    assert summed(chart.candles("1m", start_ms=hour.open_ms, end_ms=None, limit=60, now_ms=now_ms)) == summed([hour])


def test_the_past_is_the_same_for_a_seed_and_differs_between_seeds() -> None:
    assert candles_of(opened("a"), "4h") == candles_of(opened("a"), "4h")
    assert candles_of(opened("a"), "4h") != candles_of(opened("b"), "4h")


def test_the_day_statistics_are_the_last_day() -> None:
    exchange = opened()
    exchange.advance(AFTERNOON_MS + 30_000)
    (market,) = exchange.markets.values()
    day = market.day()
    minutes = candles_of(exchange, "1m", 1_441)
    assert day.candle.trades == sum(candle.trades for candle in minutes)
    assert day.candle.volume == sum(candle.volume for candle in minutes)
    assert (day.candle.high, day.candle.low) == (max(c.high for c in minutes), min(c.low for c in minutes))
    assert day.candle.open == minutes[0].open
    assert day.last_id == market.chart.next_id - 1
    assert day.close_ms - day.open_ms == DAY_MS


def test_the_tape_continues_the_past() -> None:
    exchange = opened("3", "SOLUSDT")
    exchange.advance(AFTERNOON_MS + 4_000)
    (market,) = exchange.markets.values()
    rows = market.chart.tape.latest(1_000)
    assert len(rows) == 1_000
    assert all(before.id + 1 == after.id and before.time_ms <= after.time_ms for before, after in pairwise(rows))
    assert rows[-1].price == market.chart.price
    minute = candles_of(exchange, "1m", 2)[0]
    prints = list(market.chart.tape.between(minute.open_ms, minute.end_ms))
    assert (len(prints), sum(row.quantity for row in prints)) == (minute.trades, minute.volume)
    assert (prints[0].price, prints[-1].price) == (minute.open, minute.close)


def test_old_minutes_fold_to_hours_and_days_without_losing_a_trade() -> None:
    exchange = opened()
    (market,) = exchange.markets.values()
    chart = market.chart
    begun = chart.minute.open_ms
    for _ in range(3):
        # One tile a minute is what trading leaves behind, hours and minutes what a stop does.
        while chart.minute.open_ms % DAY_MS != DAY_MS - HOUR_MS:
            chart.end_minute()
        for _ in range(20):
            chart.sleep(chart.minute.open_ms + 20 * HOUR_MS)
    while chart.minute.open_ms % HOUR_MS:
        chart.end_minute()
    spans = [tile.span_ms for tile in chart.timeline.tiles]
    assert spans.count(MINUTE_MS) <= 1_500 + 60
    assert spans.count(HOUR_MS) <= 1_100 + 24
    assert spans.count(DAY_MS) >= 3
    assert all(before.end_ms == after.open_ms for before, after in pairwise(chart.timeline.tiles))
    assert all(a.first_id + a.trades == b.first_id for a, b in pairwise(chart.timeline.tiles))
    hour_ms = open_of("1h", begun) + 20 * DAY_MS
    assert len(list(chart.timeline.pieces(MINUTE_MS, hour_ms, hour_ms + HOUR_MS))) == 60
    assert chart.timeline.tiles[-1].first_id + chart.timeline.tiles[-1].trades == chart.next_id


@settings(max_examples=6)
@given(
    seed=st.integers(0, 1_000),
    pause_ms=st.sampled_from((0, 7, 65_000, 5 * HOUR_MS + 1, 3 * DAY_MS)),
    clean=st.booleans(),
)
def test_a_restart_goes_on_from_the_state(seed: int, pause_ms: int, clean: bool) -> None:
    first = opened(str(seed))
    (before,) = first.markets.values()
    before.wanted = EVERYTHING
    for step in range(1, 60):
        first.advance(AFTERNOON_MS + 500 * step)
    recorded = candles_of(first, "1m", 3)[:-1]
    state = first.export(clean=clean)
    second = Exchange(seed="other", now_ms=first.now_ms + pause_ms, symbols=("BTCUSDT",), state=state)
    (after,) = second.markets.values()
    assert after.chart.price == before.chart.price
    assert second.fair.prices() == pytest.approx(first.fair.prices())
    ahead = 0 if clean else 1
    assert after.book.update_id == before.book.update_id + ahead * UPDATE_IDS_AHEAD
    assert after.chart.next_id >= before.chart.next_id + ahead * TRADE_IDS_AHEAD
    if pause_ms < MINUTE_MS:
        assert after.chart.next_id == before.chart.next_id + ahead * TRADE_IDS_AHEAD
    second.advance(second.now_ms + 3_000)
    assert recorded == after.chart.candles(
        "1m", start_ms=recorded[0].open_ms, end_ms=None, limit=len(recorded), now_ms=second.now_ms
    )
    now = candles_of(second, "1m", 1_000)
    assert all(early.end_ms == late.open_ms for early, late in pairwise(now))
    jumps = [abs(late.open / early.close - 1) for early, late in pairwise(now)]
    assert max(jumps) < 0.004


def test_time_never_goes_back_even_when_the_wall_clock_has() -> None:
    first = opened()
    first.advance(AFTERNOON_MS + 50_000)
    second = Exchange(seed="1", now_ms=AFTERNOON_MS, symbols=("BTCUSDT",), state=first.export(clean=True))
    assert second.now_ms == first.now_ms
    second.advance(second.now_ms + 2_000)
    assert all(a.end_ms == b.open_ms for a, b in pairwise(candles_of(second, "1m", 10)))


def test_a_long_stop_becomes_history_and_the_price_stays() -> None:
    exchange = opened()
    (market,) = exchange.markets.values()
    market.wanted = EVERYTHING
    exchange.advance(AFTERNOON_MS + 2_000)
    price, next_id, update_id = market.chart.price, market.chart.next_id, market.book.update_id
    exchange.advance(AFTERNOON_MS + 9 * HOUR_MS)
    assert market.chart.next_id > next_id + 100_000
    assert market.book.update_id == update_id
    assert abs(market.chart.price / price - 1) < 0.001
    assert all(before.end_ms == after.open_ms for before, after in pairwise(candles_of(exchange, "1m")))


@pytest.mark.parametrize("symbol", sorted(LISTINGS))
def test_every_symbol_has_a_plausible_past(symbol: str) -> None:
    exchange = opened("2", symbol)
    listing = LISTINGS[symbol]
    days = candles_of(exchange, "1d", 1_000)
    assert all(candle.low >= listing.tick for candle in days)
    assert all(candle.high / candle.low < 2 for candle in days)
    assert all(0.5 < after.open / before.close < 2 for before, after in pairwise(days))
    assert days[0].first_id > 0
    assert candles_of(exchange, "1M", 1_000)[0].first_id > 0
    minutes = candles_of(exchange, "1m", 60)
    assert all(minute.trades > 0 for minute in minutes[:-1])
