"""Missed prints from aggregate trades: nothing twice, nothing invented, and a seam that does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.binance import backfill
from trading_engine.binance.backfill import (
    GAP_LIMIT_MS,
    PAGES_LIMIT,
    ROWS_AT_ONCE,
    Missed,
    TooEarly,
    Unjoined,
    fetch,
    prints_of,
)
from trading_engine.binance.messages import AggTrade
from trading_engine.binance.rest import VenueUnavailable
from trading_engine.exchange.market import Trade


def trade(trade_id: int, quantity: str = "1", *, price: str = "10", time_ms: int = 0, count: int = 1) -> Trade:
    return Trade(
        id=trade_id,
        price=Decimal(price),
        quantity=Decimal(quantity),
        buyer_is_maker=False,
        time_ms=time_ms,
        count=count,
    )


def aggregate(
    first: int, last: int, quantity: str, *, price: str = "10", time_ms: int = 0, row_id: int | None = None
) -> AggTrade:
    return AggTrade(
        symbol="",
        id=first if row_id is None else row_id,
        price=Decimal(price),
        quantity=Decimal(quantity),
        first_trade_id=first,
        last_trade_id=last,
        time_ms=time_ms,
        buyer_is_maker=False,
    )


def told(prints: Sequence[Trade]) -> list[tuple[int, int, str]]:
    return [(each.first_id, each.id, str(each.quantity)) for each in prints]


def join(rows: Sequence[AggTrade], known: Sequence[Trade], held: Sequence[Trade]) -> Sequence[Trade]:
    missed = Missed(after=known[-1], before=held[0] if held else None, deadline_s=0)
    return backfill.join(prints_of(rows, missed), known, held)


# --- joining ---


def test_each_aggregate_becomes_one_print_of_its_last_id() -> None:
    rows = (aggregate(5, 5, "1"), aggregate(6, 8, "2.5", price="11", time_ms=7), aggregate(9, 9, "3"))
    prints = join(rows, [trade(5)], [trade(10)])
    assert told(prints) == [(6, 8, "2.5"), (9, 9, "3")]
    assert (prints[0].price, prints[0].time_ms, prints[0].count) == (Decimal(11), 7, 3)


def test_what_was_heard_of_the_first_aggregate_is_taken_off() -> None:
    known = [trade(3, "9"), trade(4, "0.5"), trade(5, "0.25")]
    assert told(join((aggregate(4, 8, "2"),), known, [trade(9)])) == [(6, 8, "1.25")]


def test_what_was_heard_of_the_last_aggregate_is_taken_off() -> None:
    held = [trade(8, "0.5"), trade(9, "0.25"), trade(10, "7")]
    assert told(join((aggregate(5, 9, "2"),), [trade(4)], held)) == [(5, 7, "1.25")]


def test_an_aggregate_may_reach_over_both_ends_of_the_hole() -> None:
    held = [trade(8, "0.5"), trade(9, "0.25")]
    assert told(join((aggregate(4, 9, "3"),), [trade(4, "1")], held)) == [(5, 7, "1.25")]


def test_a_print_of_several_ids_counts_as_all_of_them() -> None:
    known = [trade(2), trade(5, "3", count=3)]
    assert told(join((aggregate(3, 9, "5"),), known, [trade(10)])) == [(6, 9, "2")]


def test_rows_outside_the_hole_are_of_no_interest() -> None:
    rows = (aggregate(1, 4, "1"), aggregate(5, 6, "1"), aggregate(7, 7, "2"), aggregate(8, 9, "3"))
    assert told(join(rows, [trade(6)], [trade(8)])) == [(7, 7, "2")]


def test_without_a_held_print_all_that_is_newer_is_told() -> None:
    assert told(join((aggregate(5, 6, "1"), aggregate(7, 9, "2")), [trade(6)], [])) == [(7, 9, "2")]
    assert told(join((aggregate(5, 6, "1"),), [trade(6)], [])) == []


def test_a_hole_that_was_found_to_end_sooner_is_filled_up_to_there() -> None:
    prints = prints_of((aggregate(5, 6, "1"), aggregate(7, 9, "3")), Missed(after=trade(4), before=None, deadline_s=0))
    assert told(backfill.join(prints, [trade(4)], [trade(7)])) == [(5, 6, "1")]
    assert told(backfill.join(prints, [trade(4)], [trade(9)])) == [(5, 6, "1"), (7, 8, "2")]
    with pytest.raises(TooEarly):
        backfill.join(prints, [trade(4)], [trade(8)])


def test_an_answer_may_end_before_the_hole_does() -> None:
    assert told(join((aggregate(5, 6, "1"),), [trade(4)], [trade(9)])) == [(5, 6, "1")]


def test_the_last_aggregate_must_have_been_heard_to_its_end() -> None:
    rows = (aggregate(5, 9, "3"),)
    with pytest.raises(TooEarly):
        join(rows, [trade(4)], [trade(8)])
    assert told(join(rows, [trade(4)], [trade(8), trade(9)])) == [(5, 7, "1")]


@pytest.mark.parametrize(
    ("rows", "known", "held", "reason"),
    [
        ((aggregate(6, 8, "1"),), [trade(4)], [trade(9)], "trade 5 is missing"),
        ((aggregate(5, 6, "1"), aggregate(8, 8, "1")), [trade(4)], [trade(9)], "trade 7 is missing"),
        ((aggregate(3, 8, "9"),), [trade(4)], [trade(9)], "some of the trades 3 to 4"),
        ((aggregate(3, 8, "9"),), [trade(4, count=3)], [trade(9)], "some of the trades 3 to 4"),
        ((aggregate(5, 9, "9"),), [trade(4)], [trade(7), trade(9)], "some of the trades 7 to 9"),
        ((aggregate(4, 8, "1"),), [trade(4, "1")], [trade(9)], "exceed"),
        ((aggregate(4, 8, "5"),), [trade(4, price="11")], [trade(9)], "trade 4 is not like"),
    ],
)
def test_what_does_not_join_is_refused(
    rows: tuple[AggTrade, ...], known: list[Trade], held: list[Trade], reason: str
) -> None:
    with pytest.raises(Unjoined, match=reason):
        join(rows, known, held)


@given(st.lists(st.integers(1, 4), min_size=3, max_size=12), st.data())
def test_known_missed_and_held_prints_are_together_what_was_traded(sizes: list[int], data: st.DataObject) -> None:
    """Taker orders of so many trades each, any stretch of which is missed, whatever aggregates it cuts through."""
    trades: list[Trade] = []
    rows: list[AggTrade] = []
    for number, size in enumerate(sizes):
        price, first = str(100 + number % 3), len(trades)
        trades += [trade(first + n, f"{1 + (first + n) % 5}", price=price, time_ms=number) for n in range(size)]
        quantity = str(sum(each.quantity for each in trades[first:]))
        rows.append(aggregate(first, first + size - 1, quantity, price=price, time_ms=number, row_id=number))
    begin = data.draw(st.integers(1, len(trades) - 2))
    end = data.draw(st.integers(begin + 1, len(trades) - 1))
    found = join(rows, trades[:begin], trades[end:])
    assert sum(each.quantity for each in found) == sum(each.quantity for each in trades[begin:end])
    assert [n for each in found for n in range(each.first_id, each.id + 1)] == list(range(begin, end))
    assert all(each.price == trades[n].price for each in found for n in range(each.first_id, each.id + 1))


# --- asking ---


class Shelf:
    """Aggregate trades of one trade each, the id and the second being the trade's; answers as the venue does."""

    def __init__(self, count: int, *, step_ms: int = 10) -> None:
        self.rows = [aggregate(n, n, "1", time_ms=n * step_ms, row_id=1_000_000 + n) for n in range(count)]
        self.asked: list[tuple[int | None, int | None, int | None]] = []

    def agg_trades(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        from_id: int | None = None,
        limit: int = 500,
        within_s: float | None = None,
    ) -> tuple[AggTrade, ...]:
        assert symbol == "BTCUSDT"
        assert from_id is None or (start_ms is None and end_ms is None), "the venue refuses the combination"
        assert within_s is not None
        self.asked.append((start_ms, end_ms, from_id))
        found = [
            row
            for row in self.rows
            if (start_ms is None or row.time_ms >= start_ms)
            and (end_ms is None or row.time_ms <= end_ms)
            and (from_id is None or row.id >= from_id)
        ]
        return tuple(found[:limit])


def missed(after: int, before: int | None, *, step_ms: int = 10) -> Missed:
    return Missed(
        after=trade(after, time_ms=after * step_ms),
        before=None if before is None else trade(before, time_ms=before * step_ms),
        deadline_s=3.0,
    )


def test_a_hole_is_asked_for_by_the_times_around_it() -> None:
    shelf = Shelf(100)
    prints = fetch(shelf, "BTCUSDT", missed(5, 9), monotonic=lambda: 0.0)
    assert [each.id for each in prints] == [6, 7, 8]
    assert shelf.asked == [(50, 90, None)]


def test_more_than_a_page_is_turned_by_id() -> None:
    shelf = Shelf(5_000)
    prints = fetch(shelf, "BTCUSDT", missed(5, 2_500), monotonic=lambda: 0.0)
    assert [each.id for each in prints] == list(range(6, 2_500))
    assert shelf.asked == [(50, 25_000, None), (None, None, 1_001_005), (None, None, 1_002_005)]


def test_without_an_end_everything_up_to_now_is_asked_for() -> None:
    shelf = Shelf(1_500)
    prints = fetch(shelf, "BTCUSDT", missed(5, None), monotonic=lambda: 0.0)
    assert [each.id for each in prints] == list(range(6, 1_500))
    assert shelf.asked == [(50, None, None), (None, None, 1_001_005)]


def test_pages_time_and_patience_are_bounded() -> None:
    shelf = Shelf(ROWS_AT_ONCE * PAGES_LIMIT + 10, step_ms=1)
    with pytest.raises(Unjoined, match="more than 10000"):
        fetch(shelf, "BTCUSDT", missed(0, None, step_ms=1), monotonic=lambda: 0.0)
    assert len(shelf.asked) == PAGES_LIMIT
    with pytest.raises(Unjoined, match="15 minutes"):
        fetch(Shelf(2, step_ms=GAP_LIMIT_MS + 1), "BTCUSDT", missed(0, None), monotonic=lambda: 0.0)
    shelf = Shelf(10)
    with pytest.raises(VenueUnavailable):
        fetch(shelf, "BTCUSDT", missed(0, 5), monotonic=lambda: 3.0)
    assert shelf.asked == []
