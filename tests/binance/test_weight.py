"""The weight budget: half of the venue's limit in any minute, corrected by the venue's count, closed on request."""

from hypothesis import given
from hypothesis import strategies as st

from trading_engine.binance.weight import WeightBudget


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@given(
    steps=st.lists(st.tuples(st.floats(0, 20), st.sampled_from([1, 2, 5, 25, 50, 250])), min_size=1, max_size=200),
)
def test_no_minute_ever_holds_more_than_half_the_limit(steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    budget = WeightBudget(clock, 1_200)
    spent: list[tuple[float, int]] = []
    for pause, weight in steps:
        clock.now += pause
        wait_s = budget.take(weight)
        assert wait_s >= 0
        if wait_s == 0:
            spent.append((clock.now, weight))
        assert sum(w for at, w in spent if at > clock.now - 60) <= 600


def test_who_waits_as_long_as_told_is_let_in() -> None:
    clock = Clock()
    budget = WeightBudget(clock, 200)
    assert [budget.take(50), budget.take(50)] == [0, 0]
    clock.now += 20
    wait_s = budget.take(50)
    assert wait_s == 40
    clock.now += wait_s
    assert budget.take(50) == 0


def test_weight_spent_by_others_behind_this_address_counts_until_the_minute_ends() -> None:
    clock = Clock()
    budget = WeightBudget(clock, 6_000)
    assert budget.take(50) == 0
    budget.report(5_390, rest_of_minute_s=12)
    assert budget.used == 5_390
    assert budget.take(50) == 12
    clock.now += 12
    assert budget.take(50) == 0


def test_others_cannot_silence_us_below_the_venues_limit() -> None:
    budget = WeightBudget(Clock(), 6_000)
    budget.report(4_000, rest_of_minute_s=60)
    assert sum(1 for _ in range(100) if budget.take(50) == 0) == 28  # up to nine tenths of the limit, 5,400


def test_a_report_below_our_own_count_does_not_give_weight_back() -> None:
    clock = Clock()
    budget = WeightBudget(clock, 200)
    assert budget.take(80) == 0
    budget.report(1, rest_of_minute_s=60)
    assert budget.used == 80
    assert budget.take(50) > 0


def test_a_venue_that_says_wait_closes_the_budget_for_everybody() -> None:
    clock = Clock()
    budget = WeightBudget(clock)
    budget.close_for(7)
    budget.close_for(3)  # a shorter wait does not open earlier
    assert budget.take(1) == 7
    clock.now += 6.5
    assert budget.take(1) == 0.5
    clock.now += 0.5
    assert budget.take(1) == 0


def test_half_of_our_share_is_kept_for_what_cannot_wait() -> None:
    budget = WeightBudget(Clock(), 1_200)
    assert budget.take(300) == 0
    assert not budget.crowded
    assert budget.take(1) == 0
    assert budget.crowded


def test_a_smaller_limit_of_the_venue_is_kept() -> None:
    budget = WeightBudget(Clock())
    budget.set_limit(1_200)
    assert sum(1 for _ in range(100) if budget.take(50) == 0) == 12


def test_a_question_heavier_than_our_share_is_never_let_in() -> None:
    budget = WeightBudget(Clock(), 100)
    assert budget.take(51) == 60
    assert budget.take(50) == 0
