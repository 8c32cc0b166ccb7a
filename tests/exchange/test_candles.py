"""Minutes out of prints, longer candles out of minutes, and where the venue's intervals begin."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.exchange.candles import (
    INTERVALS_MS,
    MINUTE_MS,
    MINUTES_KEPT,
    Candle,
    MinuteCandles,
    close_time_ms,
    fold,
    open_time_ms,
)

D = Decimal
NOON = 1_723_118_400_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def minutes(*prints: tuple[int, str, str], now_ms: int = NOON) -> tuple[Candle, ...]:
    """Gather prints given as milliseconds after noon, price and quantity."""
    gathered = MinuteCandles()
    for after_ms, price, quantity in prints:
        gathered.add(NOON + after_ms, D(price), D(quantity))
    return gathered.candles(now_ms)


def test_a_minute_opens_with_its_first_print_and_closes_with_its_last() -> None:
    (candle,) = minutes((5, "100", "1"), (2_000, "103", "2"), (30_000, "99", "1"), (59_999, "101", "3"))
    assert candle == Candle(
        open_time_ms=NOON,
        open=D(100),
        high=D(103),
        low=D(99),
        close=D(101),
        volume=D(7),
        quote_volume=D("708.00000000"),
        trades=4,
        closed=False,
    )


def test_a_minute_without_prints_has_no_candle() -> None:
    first, second = minutes((0, "100", "1"), (3 * MINUTE_MS, "101", "1"))
    assert (first.open_time_ms, first.closed) == (NOON, True)
    assert (second.open_time_ms, second.closed) == (NOON + 3 * MINUTE_MS, False)


def test_the_running_minute_is_closed_by_the_clock_alone() -> None:
    assert not minutes((0, "100", "1"), now_ms=NOON + MINUTE_MS - 1)[-1].closed
    assert minutes((0, "100", "1"), now_ms=NOON + MINUTE_MS)[-1].closed


def test_a_print_whose_time_goes_back_changes_its_own_minute() -> None:
    first, second = minutes((1_000, "100", "1"), (60_001, "101", "1"), (59_990, "90", "2"))
    assert (first.low, first.close, first.trades) == (D(90), D(90), 2)
    assert (second.low, second.trades) == (D(101), 1)


def test_a_print_whose_minute_is_missing_between_two_others_gets_one() -> None:
    first, between, last = minutes((0, "1", "1"), (120_000, "3", "1"), (60_000, "2", "1"))
    assert [first.close, between.close, last.close] == [D(1), D(2), D(3)]


def test_only_so_many_minutes_are_kept_and_older_prints_are_dropped() -> None:
    gathered = MinuteCandles()
    for minute in range(MINUTES_KEPT + 10):
        gathered.add(NOON + minute * MINUTE_MS, D(minute + 1), D(1))
    gathered.add(NOON, D(999), D(1))
    candles = gathered.candles(NOON)
    assert len(candles) == MINUTES_KEPT
    assert (candles[0].open, candles[-1].open) == (D(11), D(MINUTES_KEPT + 10))


def test_a_candle_already_given_out_does_not_change() -> None:
    gathered = MinuteCandles()
    gathered.add(NOON, D(100), D(1))
    (before,) = gathered.candles(NOON)
    gathered.add(NOON + 1, D(105), D(1))
    assert before.close == D(100)
    assert gathered.candles(NOON)[0].close == D(105)
    assert gathered.candles(NOON)[0] is gathered.candles(NOON)[0], "an unchanged one is not made again"


prints = st.lists(
    st.tuples(st.integers(0, 30 * MINUTE_MS), st.integers(1, 500), st.integers(1, 9)), min_size=1, max_size=60
).map(
    lambda rows: [(after, str(price), str(quantity)) for after, price, quantity in sorted(rows, key=lambda row: row[0])]
)


@given(prints, st.sampled_from(["3m", "5m", "15m", "1h", "1d", "1w", "1M"]))
def test_folding_minutes_is_gathering_the_prints_of_the_longer_interval(
    rows: list[tuple[int, str, str]], interval: str
) -> None:
    for candle in fold(minutes(*rows), "1m", interval):
        inside = [
            (D(price), D(quantity))
            for after, price, quantity in rows
            if open_time_ms(NOON + after, interval) == candle.open_time_ms
        ]
        prices = [price for price, _ in inside]
        assert (candle.open, candle.high, candle.low, candle.close) == (
            prices[0],
            max(prices),
            min(prices),
            prices[-1],
        )
        assert candle.volume == sum(quantity for _, quantity in inside)
        assert candle.quote_volume == sum(price * quantity for price, quantity in inside)
        assert candle.trades == len(inside)


def test_a_folded_candle_is_closed_by_its_own_end_or_by_a_later_one() -> None:
    closing = [(0, "1", "1"), (4 * MINUTE_MS, "2", "1")]
    assert [candle.closed for candle in fold(minutes(*closing), "1m", "5m")] == [False]
    assert [candle.closed for candle in fold(minutes(*closing, now_ms=NOON + 5 * MINUTE_MS), "1m", "5m")] == [True]
    later = [*closing, (9 * MINUTE_MS, "3", "1")]
    assert [candle.closed for candle in fold(minutes(*later), "1m", "5m")] == [True, False]
    early = [(0, "1", "1"), (5 * MINUTE_MS, "2", "1")]
    assert [candle.closed for candle in fold(minutes(*early), "1m", "5m")] == [True, False]


@pytest.mark.parametrize(
    ("interval", "time", "opened", "closed"),
    [
        ("1s", "2024-08-08T23:54:13.250", "2024-08-08T23:54:13", "2024-08-08T23:54:14"),
        ("15m", "2024-08-08T23:54:13", "2024-08-08T23:45:00", "2024-08-09T00:00:00"),
        ("8h", "2024-08-08T23:54:13", "2024-08-08T16:00:00", "2024-08-09T00:00:00"),
        ("1d", "2024-08-08T23:54:13", "2024-08-08", "2024-08-09"),
        # The venue's first 3-day candle of BTCUSDT opened on 2017-08-16, weeks open on Monday.
        ("3d", "2017-08-18T23:59:59", "2017-08-16", "2017-08-19"),
        ("1w", "2024-08-08T23:54:13", "2024-08-05", "2024-08-12"),
        ("1M", "2024-02-29T12:00:00", "2024-02-01", "2024-03-01"),
        ("1M", "2024-12-31T23:59:59", "2024-12-01", "2025-01-01"),
    ],
)
def test_intervals_open_where_the_venue_opens_them(interval: str, time: str, opened: str, closed: str) -> None:
    assert open_time_ms(ms(time), interval) == ms(opened)
    assert close_time_ms(ms(opened), interval) == ms(closed)


@given(st.integers(0, 4_102_444_800_000), st.sampled_from(sorted(INTERVALS_MS)))
def test_every_moment_lies_in_its_interval(time_ms: int, interval: str) -> None:
    opened = open_time_ms(time_ms, interval)
    assert opened <= time_ms < close_time_ms(opened, interval)
    assert open_time_ms(opened, interval) == opened
    assert open_time_ms(close_time_ms(opened, interval), interval) == close_time_ms(opened, interval)


def test_an_interval_the_venue_has_not_is_no_interval() -> None:
    with pytest.raises(KeyError):
        open_time_ms(NOON, "7m")
