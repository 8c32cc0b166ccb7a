"""The queue model by example: what is ahead, what a print gives, what a cancellation in the crowd is taken to mean."""

import json
from decimal import Decimal

import pytest

from trading_engine.exchange.queue_line import LONGEST
from trading_engine.exchange.queue_model import Given, Level
from trading_engine.exchange.queue_rules import Rule

D = Decimal
ME = 1
SOMEBODY = 2
NOW = 1_000
LATER = 61_000


def level(rule: Rule, shown: int, *, waiting: int = 0, step: str = "1") -> Level:
    return Level(step=D(step), rule=rule, shown=D(shown), waiting=D(waiting), time_ms=NOW)


def join(queue: Level, order_id: int, quantity: int, *, account: int = ME, waiting: int = 0) -> Decimal:
    return queue.join(order_id, account, D(quantity), waiting=D(waiting), shown_ms=0, arrived_ms=0)


def trade(queue: Level, quantity: int, *, late: bool = False, through: bool = False) -> dict[int, Decimal]:
    given = queue.on_print(D(quantity), time_ms=NOW, late=late, through=through)
    return {part.order_id: part.quantity for part in given}


def size(queue: Level, after: int, *, traded: int = 0, time_ms: int = NOW) -> None:
    queue.on_size(D(after), traded=D(traded), time_ms=time_ms)


# --- the rules, by the worked examples ---


def test_prints_and_cancellations_bring_an_order_to_the_front_and_a_print_through_it_fills_the_rest() -> None:
    bids = level(Rule.PRO_RATA, 100)
    assert join(bids, 7, 20) == 100
    assert trade(bids, 30) == {}
    assert bids.ahead(7) == 70
    size(bids, 50, traded=30)
    assert bids.ahead(7) == 50
    size(bids, 90)
    assert bids.ahead(7) == 50
    assert trade(bids, 62) == {7: 12}
    assert trade(bids, 100, through=True) == {7: 8}
    assert bids.is_empty


@pytest.mark.parametrize(
    ("rule", "ahead"),
    [
        (Rule.TOUCH, 0),
        (Rule.PRINTS, 20),
        (Rule.STRICT, 20),
        (Rule.PRO_RATA, 15),
        (Rule.POWER_2, 18),
        (Rule.POWER_3, 20),  # 19.29, rounded up
    ],
)
def test_each_rule_has_its_own_idea_of_where_a_cancellation_was(rule: Rule, ahead: int) -> None:
    queue = level(rule, 20)
    join(queue, 7, 5)
    size(queue, 80)
    size(queue, 60)
    assert queue.ahead(7) == ahead


def test_what_the_orders_behind_cannot_have_cancelled_was_ahead() -> None:
    for rule in (Rule.STRICT, Rule.POWER_2, Rule.POWER_3, Rule.INFERRED):
        queue = level(rule, 50)
        join(queue, 7, 5)
        size(queue, 60)
        size(queue, 30)
        assert queue.ahead(7) <= 30
    prints = level(Rule.PRINTS, 50)
    join(prints, 7, 5)
    size(prints, 30)
    assert prints.ahead(7) == 50


@pytest.mark.parametrize("rule", [Rule.PRO_RATA, Rule.POWER_2, Rule.INFERRED])
def test_a_print_told_after_the_size_fell_is_no_cancellation_after_all(rule: Rule) -> None:
    queue = level(rule, 5)
    join(queue, 7, 10)
    size(queue, 20)
    size(queue, 12)
    assert trade(queue, 8, late=True) == {7: 3}
    assert queue.ahead(7) == 0


def test_what_a_late_print_leaves_unexplained_stays_a_cancellation() -> None:
    queue = level(Rule.PRO_RATA, 5)
    join(queue, 7, 10)
    size(queue, 20)
    size(queue, 12)
    assert queue.ahead(7) == 3
    assert trade(queue, 2, late=True) == {}
    assert queue.ahead(7) == 2  # 5, less the print's 2, less a third for the 6 of 18 that were cancelled
    assert trade(queue, 6, late=True) == {7: 3}


def test_own_orders_stand_in_line_with_the_real_ones_between_them() -> None:
    queue = level(Rule.STRICT, 10)
    join(queue, 7, 5)
    size(queue, 16)
    join(queue, 8, 5)
    assert queue.ahead(8) == 16
    assert trade(queue, 18) == {7: 5}
    assert queue.ahead(8) == 3


# --- the inferred line ---


def test_a_cancellation_of_a_size_that_only_one_order_has_is_that_order() -> None:
    queue = level(Rule.INFERRED, 0)
    for after in (4, 11, 13):  # 4, 7 and 2 join one after the other
        size(queue, after)
    join(queue, 7, 1)
    size(queue, 16)  # 3 behind us
    size(queue, 9, time_ms=LATER)
    assert queue.ahead(7) == 6
    size(queue, 6, time_ms=LATER)
    assert queue.ahead(7) == 6  # the 3 was behind us


@pytest.mark.parametrize(("behind_since", "ahead"), [(NOW + 1, 6), (LATER - 10, 10)])
def test_between_orders_of_one_size_the_young_and_those_at_the_back_are_cancelled_first(
    behind_since: int, ahead: int
) -> None:
    """Of one age, the order at the back gives 5.4 of the 10, the other 4.6."""
    queue = level(Rule.INFERRED, 0)
    size(queue, 10)
    join(queue, 7, 1)
    size(queue, 20, time_ms=behind_since)
    size(queue, 10, time_ms=LATER)
    assert queue.ahead(7) == ahead


def test_a_size_nobody_behind_us_has_comes_from_the_unknown_orders_ahead() -> None:
    queue = level(Rule.INFERRED, 50)
    join(queue, 7, 5)
    size(queue, 52)
    size(queue, 54)
    size(queue, 30, time_ms=LATER)
    assert queue.ahead(7) == 26


def test_less_than_a_quarter_of_a_lot_ahead_is_nobody() -> None:
    queue = level(Rule.INFERRED, 0)
    size(queue, 1)
    join(queue, 7, 1)
    for after in range(2, 10):
        size(queue, after)
    for after in range(8, 2, -1):
        size(queue, after, time_ms=LATER)
    assert queue.ahead(7) == 1
    size(queue, 2, time_ms=LATER)
    size(queue, 1, time_ms=LATER)
    assert queue.ahead(7) == 0


def test_the_line_stays_short_however_many_join() -> None:
    queue = level(Rule.INFERRED, 1)
    join(queue, 7, 1)
    for after in range(2, 3 * LONGEST):
        size(queue, after)
    assert queue.ahead(7) == 1
    kept = queue.snapshot()["line"][2]
    assert len(kept) == LONGEST
    size(queue, 3 * LONGEST - 2)
    assert queue.ahead(7) == 1


# --- who gets what of a print ---


def test_every_account_sees_the_same_real_queue_and_none_of_the_others_orders() -> None:
    queue = level(Rule.STRICT, 10)
    join(queue, 7, 5)
    join(queue, 8, 5, account=SOMEBODY)
    assert trade(queue, 14) == {7: 4, 8: 4}


def test_an_account_has_a_print_once_at_whatever_price() -> None:
    queue = level(Rule.STRICT, 0)
    join(queue, 7, 5)
    join(queue, 8, 5, account=SOMEBODY)
    spent = {ME: D(3)}
    given = queue.on_print(D(4), time_ms=NOW, spent=spent)
    assert {part.order_id: part.quantity for part in given} == {7: 1, 8: 4}
    assert spent == {ME: 4, SOMEBODY: 4}


def test_a_print_the_book_showed_already_is_ignored_and_one_before_the_arrival_only_clears_the_way() -> None:
    queue = level(Rule.STRICT, 10)
    queue.join(7, ME, D(5), waiting=D(0), shown_ms=NOW, arrived_ms=NOW + 50)
    assert queue.on_print(D(20), time_ms=NOW) == []
    assert queue.ahead(7) == 10
    assert queue.on_print(D(20), time_ms=NOW + 50) == []
    assert queue.ahead(7) == 0
    assert [part.quantity for part in queue.on_print(D(2), time_ms=NOW + 51)] == [2]


def test_an_order_that_joined_after_the_size_fell_ignores_the_late_print_that_explains_it() -> None:
    queue = level(Rule.PRO_RATA, 10)
    join(queue, 7, 5)
    size(queue, 6)
    join(queue, 8, 5, account=SOMEBODY)
    assert trade(queue, 4, late=True) == {}
    assert [queue.ahead(7), queue.ahead(8)] == [6, 6]


def test_prints_the_size_does_not_reflect_yet_are_not_ahead() -> None:
    queue = level(Rule.INFERRED, 10, waiting=4)
    assert join(queue, 7, 5, waiting=4) == 6
    size(queue, 6, traded=4)
    assert queue.ahead(7) == 6
    assert trade(queue, 7) == {7: 1}


def test_a_fill_says_what_was_ahead_and_whether_the_strictest_view_agrees() -> None:
    queue = level(Rule.PRO_RATA, 20, step="1")
    join(queue, 7, 5)
    size(queue, 80)
    size(queue, 60)
    assert queue.on_print(D(16), time_ms=NOW) == [
        Given(order_id=7, quantity=D(1), ahead_before=D(15), ahead_after=D(0), likely=False)
    ]
    assert queue.on_print(D(8), time_ms=NOW)[0].likely is True


# --- our orders come and go ---


def test_a_smaller_order_keeps_its_place_and_none_grows() -> None:
    queue = level(Rule.STRICT, 10)
    join(queue, 7, 5)
    queue.amend(7, D(2))
    assert trade(queue, 20) == {7: 2}
    join(queue, 8, 5)
    with pytest.raises(ValueError, match="order 8 cannot grow from 5 to 6 lots"):
        queue.amend(8, D(6))
    queue.amend(8, D(0))
    assert queue.is_empty


def test_an_order_that_left_is_not_here() -> None:
    queue = level(Rule.STRICT, 10)
    join(queue, 7, 5)
    queue.leave(7)
    with pytest.raises(KeyError, match="order 7 does not rest here"):
        queue.ahead(7)


def test_a_quantity_off_the_lot_grid_is_refused() -> None:
    queue = level(Rule.STRICT, 10, step="0.5")
    with pytest.raises(ValueError, match=r"1\.2 is not a whole number of lots of 0\.5"):
        queue.on_print(D("1.2"), time_ms=NOW)


def test_quantities_leave_on_the_lot_grid_they_came_on() -> None:
    queue = Level(step=D("0.001"), rule=Rule.PRO_RATA, shown=D("0.020"), waiting=D(0), time_ms=NOW)
    queue.join(7, ME, D("0.005"), waiting=D(0), shown_ms=0, arrived_ms=0)
    queue.on_size(D("0.070"), traded=D(0), time_ms=NOW)
    queue.on_size(D("0.069"), traded=D(0), time_ms=NOW)
    assert str(queue.ahead(7)) == "0.020"  # 0.0197…, rounded up


def test_after_a_gap_what_went_meanwhile_stood_behind_as_far_as_it_can() -> None:
    for rule in (Rule.STRICT, Rule.PRO_RATA, Rule.INFERRED):
        queue = level(rule, 10)
        join(queue, 7, 5)
        size(queue, 30)
        queue.resume(D(12), LATER)
        assert queue.ahead(7) == 10
        queue.resume(D(8), LATER)
        assert queue.ahead(7) == 8
        assert queue.shown == 8
        queue.resume(D(0), LATER)
        size(queue, 100)
        assert queue.ahead(7) == 0


def test_the_state_goes_through_json_and_back() -> None:
    queue = level(Rule.INFERRED, 10)
    join(queue, 7, 5)
    size(queue, 14)
    size(queue, 12)
    trade(queue, 1)
    state = json.loads(json.dumps(queue.snapshot()))
    again = Level.restore(state, step=D(1))
    assert again.snapshot() == queue.snapshot()
    assert again.ahead(7) == queue.ahead(7)
