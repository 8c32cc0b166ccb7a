"""Prints are told in the order of their ids: holes are filled, or given up in time, and nothing is counted twice."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.binance.feeding import rules
from trading_engine.binance.backfill import GAP_LIMIT_MS, Missed
from trading_engine.binance.rest import Throttled, VenueUnavailable
from trading_engine.binance.sequence import HELD_LIMIT, TOLD_AT_ONCE, PrintSequence
from trading_engine.binance.tally import Tally
from trading_engine.exchange.market import Market, MarketChange, Trade

ANSWER_S = 3.0
AGAIN_S = 0.5


def trade(trade_id: int, *, time_ms: int | None = None) -> Trade:
    return Trade(
        id=trade_id,
        price=Decimal(10),
        quantity=Decimal(1),
        buyer_is_maker=False,
        time_ms=trade_id if time_ms is None else time_ms,
    )


def rows(first: int, last: int, *, width: int = 1) -> tuple[Trade, ...]:
    """Prints of aggregate trades, each of `width` trades of quantity 1."""
    return tuple(
        replace(trade(start), id=start + width - 1, quantity=Decimal(width), count=width)
        for start in range(first, last + 1, width)
    )


class Desk:
    """A sequence with its market and clock; `told` are the ids as the engine would hear them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tally = Tally()
        self.told: list[tuple[int, int]] = []
        self.market = Market(rules("BTCUSDT"), monotonic_ns=lambda: int(self.now * 1e9), wall_ms=lambda: 0)
        self.prints = PrintSequence(
            self.market,
            monotonic=lambda: self.now,
            emit=self._emit,
            tally=self.tally,
            answer_s=ANSWER_S,
            again_s=AGAIN_S,
        )

    def _emit(self, change: MarketChange | None) -> None:
        assert change is not None
        assert change.trade is not None
        self.told.append((change.trade.first_id, change.trade.id))

    def hear(self, *ids: int) -> None:
        for trade_id in ids:
            self.prints.take(trade(trade_id))

    def tick(self, seconds: float = 0.0) -> Missed | None:
        self.now += seconds
        self.prints.tick(self.now)
        return self.prints.due(self.now)

    @property
    def ids(self) -> list[int]:
        """Every id told, those an aggregate stands for included."""
        return [trade_id for first, last in self.told for trade_id in range(first, last + 1)]


def test_prints_that_follow_on_each_other_ask_for_nothing() -> None:
    desk = Desk()
    desk.hear(7, 8, 9)
    assert desk.ids == [7, 8, 9]
    assert desk.tick(1) is None
    assert not desk.prints.is_waiting


def test_a_hole_is_filled_before_the_prints_that_came_after_it() -> None:
    desk = Desk()
    desk.hear(1, 2, 6, 7)
    assert desk.ids == [1, 2]
    assert (desk.tally.trade_gaps, desk.tally.missed_prints) == (1, 3)
    missed = desk.tick()
    assert missed is not None
    assert missed.before is not None
    assert (missed.after.id, missed.before.id, missed.deadline_s) == (2, 6, desk.now + ANSWER_S)
    assert desk.tick(0.1) is None, "one question at a time"
    desk.hear(8)
    desk.prints.on_answer(rows(2, 6))
    desk.hear(9)
    assert desk.ids == list(range(1, 10))
    assert (desk.tally.backfilled, desk.tally.backfills_failed, desk.tally.prints) == (3, 0, 6)
    assert desk.market.last_trade_id == 9


def test_prints_told_again_while_others_wait_are_dropped() -> None:
    desk = Desk()
    desk.hear(1, 5, 5, 4, 1)
    desk.tick()
    desk.prints.on_answer(rows(1, 5))
    desk.hear(3, 5)
    assert desk.ids == [1, 2, 3, 4, 5]
    assert desk.tally.duplicates == 5


def test_a_second_hole_is_asked_for_after_the_first_without_haste() -> None:
    desk = Desk()
    desk.hear(1, 3, 6)
    first = desk.tick()
    assert first is not None
    desk.prints.on_answer(rows(1, 3))
    assert desk.ids == [1, 2, 3]
    assert desk.tick(0.1) is None
    second = desk.tick(AGAIN_S)
    assert second is not None
    assert second.after.id == 3
    desk.prints.on_answer(rows(3, 6))
    assert desk.ids == [1, 2, 3, 4, 5, 6]
    assert (desk.tally.trade_gaps, desk.tally.backfilled) == (2, 3)


@pytest.mark.parametrize("error", (VenueUnavailable("timeout"), Throttled("429", 30.0)))
def test_a_failure_gives_up_and_goes_on(error: Exception) -> None:
    desk = Desk()
    desk.hear(1, 4, 5)
    desk.tick()
    desk.prints.on_answer(error)
    assert desk.tick() is None
    desk.hear(6)
    assert desk.ids == [1, 4, 5, 6]
    assert (desk.tally.backfilled, desk.tally.backfills_failed) == (0, 1)
    assert str(error) in str(desk.tally.last_error)
    assert not desk.prints.is_waiting


def test_aggregates_that_do_not_join_are_not_told() -> None:
    desk = Desk()
    desk.hear(1, 5)
    desk.tick()
    desk.prints.on_answer(rows(3, 5))
    desk.tick()
    assert desk.ids == [1, 5]
    assert desk.tally.backfills_failed == 1


def test_no_answer_within_three_seconds_gives_up_and_a_late_one_changes_nothing() -> None:
    desk = Desk()
    desk.hear(1, 4)
    desk.tick()
    desk.tick(ANSWER_S - 0.1)
    assert desk.ids == [1]
    desk.tick(0.1)
    assert desk.ids == [1, 4]
    desk.prints.on_answer(rows(1, 4))
    desk.tick()
    assert desk.ids == [1, 4]
    assert desk.tally.backfills_failed == 1


def test_a_failure_of_an_earlier_question_says_nothing_of_a_new_hole() -> None:
    desk = Desk()
    desk.hear(1, 4)
    desk.tick()
    desk.tick(ANSWER_S)
    desk.hear(7)
    desk.prints.on_answer(VenueUnavailable("timeout"))
    assert desk.tick() is not None
    desk.prints.on_answer(rows(4, 7))
    assert desk.ids == [1, 4, 5, 6, 7]


def test_an_answer_older_than_the_hole_is_asked_for_again() -> None:
    desk = Desk()
    desk.hear(1, 5)
    desk.tick()
    desk.prints.on_answer(rows(1, 2))
    assert desk.tick(0.1) is None
    assert desk.ids == [1]
    assert desk.tick(AGAIN_S) is not None
    desk.prints.on_answer(rows(1, 5))
    assert desk.ids == [1, 2, 3, 4, 5]


def test_an_aggregate_still_being_told_waits_for_its_last_print() -> None:
    desk = Desk()
    desk.hear(1, 4)
    desk.tick()
    desk.prints.on_answer(rows(1, 1) + rows(2, 6, width=5))
    assert desk.ids == [1]
    desk.hear(5, 6)
    assert desk.told == [(1, 1), (2, 3), (4, 4), (5, 5), (6, 6)]
    assert sum(each.quantity for each in desk.market.trades()) == 6


def test_a_gap_of_more_than_fifteen_minutes_is_not_asked_for() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.take(trade(9, time_ms=GAP_LIMIT_MS + 2))
    assert desk.tick() is None
    assert desk.ids == [1, 9]
    assert (desk.tally.missed_prints, desk.tally.backfills_failed) == (7, 1)


def test_what_waits_is_bounded() -> None:
    desk = Desk()
    desk.hear(1, *range(3, HELD_LIMIT + 4))
    assert desk.tally.backfills_failed == 1
    while desk.prints.is_waiting:
        desk.tick()
    assert desk.ids == [1, *range(3, HELD_LIMIT + 4)]


def test_a_hole_at_every_print_neither_loops_nor_holds_for_ever() -> None:
    desk = Desk()
    asked = 0
    for trade_id in range(1, 4_000, 2):
        desk.hear(trade_id)
        asked += desk.tick(0.01) is not None  # nobody answers
    assert asked <= 20 / ANSWER_S + 1
    desk.hear(*range(4_001, 2 * HELD_LIMIT + 4_001 + 2, 2))
    assert desk.prints.newest_id == 2 * HELD_LIMIT + 4_001
    assert len(desk.prints._held) <= HELD_LIMIT


def test_a_great_many_are_told_in_portions() -> None:
    desk = Desk()
    desk.hear(1, 3_000)
    desk.tick()
    desk.prints.on_answer(rows(1, 3_000))
    assert len(desk.told) == 1 + TOLD_AT_ONCE
    desk.hear(3_001)
    assert desk.ids == list(range(1, 2 + TOLD_AT_ONCE)), "later prints wait for their turn"
    for _ in range(6):
        desk.tick()
    assert desk.ids == list(range(1, 3_002))


# --- looking back after a reconnect ---


def test_a_look_back_needs_a_print_to_join() -> None:
    desk = Desk()
    desk.prints.look_back()
    assert desk.tick() is None
    desk.hear(5)
    desk.prints.look_back()
    missed = desk.tick()
    assert missed is not None
    assert (missed.after.id, missed.before) == (5, None)


def test_a_look_back_tells_what_was_missed_before_any_print_shows_it() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.look_back()
    desk.tick()
    desk.prints.on_answer(rows(1, 1) + rows(2, 5, width=4))
    assert desk.told == [(1, 1), (2, 5)]
    assert (desk.tally.trade_gaps, desk.tally.missed_prints, desk.tally.backfilled) == (1, 4, 4)
    desk.hear(4, 5, 6)  # the stream tells some of it again
    assert desk.told == [(1, 1), (2, 5), (6, 6)]


def test_a_look_back_that_finds_nothing_is_no_hole() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.look_back()
    desk.tick()
    desk.prints.on_answer(rows(1, 1))
    assert not desk.prints.is_waiting
    assert desk.tally == Tally(prints=1)


def test_a_print_that_joins_ends_the_look_back() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.look_back()
    desk.tick()
    desk.hear(2, 3)
    assert not desk.prints.is_waiting
    desk.prints.on_answer(rows(1, 3))
    assert desk.ids == [1, 2, 3]


def test_a_look_back_answered_too_early_is_followed_by_a_question_for_the_rest() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.look_back()
    desk.tick()
    desk.hear(6)
    desk.prints.on_answer(rows(1, 3))
    assert desk.ids == [1, 2, 3]
    missed = desk.tick(AGAIN_S)
    assert missed is not None
    assert missed.after.id == 3
    desk.prints.on_answer(rows(3, 6))
    assert desk.ids == [1, 2, 3, 4, 5, 6]
    assert (desk.tally.missed_prints, desk.tally.backfilled) == (4, 4)


def test_a_failed_look_back_is_forgotten_where_nothing_shows_a_hole() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.look_back()
    desk.tick()
    desk.prints.on_answer(VenueUnavailable("timeout"))
    assert desk.tally.backfills_failed == 0
    desk.hear(4)
    assert desk.tick(AGAIN_S) is not None, "the hole is asked for once it is there"


def test_a_failed_look_back_with_a_hole_behind_it_is_counted() -> None:
    desk = Desk()
    desk.hear(1)
    desk.prints.look_back()
    desk.tick()
    desk.hear(4)
    desk.prints.on_answer(VenueUnavailable("timeout"))
    desk.tick()
    assert desk.ids == [1, 4]
    assert (desk.tally.trade_gaps, desk.tally.missed_prints, desk.tally.backfills_failed) == (1, 2, 1)
