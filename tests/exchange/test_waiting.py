"""Prints that the book does not show yet: how long they wait, and what they explain."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from trading_engine.exchange.orders import Side
from trading_engine.exchange.prints import Trade
from trading_engine.exchange.waiting import RACE_NS, LevelKey, WaitingPrints, side_hit

D = Decimal
BID = LevelKey(Side.BUY, D(100))


def trade(time_ms: int, quantity: int, price: int = 100, *, buyer_is_maker: bool = True) -> Trade:
    return Trade(id=time_ms, price=D(price), quantity=D(quantity), buyer_is_maker=buyer_is_maker, time_ms=time_ms)


def test_a_print_takes_from_the_side_of_its_maker() -> None:
    assert side_hit(trade(1, 1)) is Side.BUY
    assert side_hit(trade(1, 1, buyer_is_maker=False)) is Side.SELL


def test_a_print_newer_than_the_book_waits_until_a_diff_shows_it() -> None:
    waiting = WaitingPrints()
    waiting.show_until(1000)
    assert waiting.add(trade(1040, 3), 0)
    assert waiting.add(trade(1090, 4), 0)
    assert waiting.at(BID) == D(7)
    assert waiting.show_until(1050) == {BID: D(3)}
    assert waiting.levels() == {BID: D(4)}
    assert waiting.show_until(1100) == {BID: D(4)}
    assert not waiting


def test_a_print_the_book_shows_already_does_not_wait() -> None:
    waiting = WaitingPrints()
    waiting.show_until(1000)
    assert not waiting.add(trade(1000, 3), 0)
    assert waiting.at(BID) == 0


def test_a_diff_stamped_before_an_earlier_one_takes_nothing_back() -> None:
    waiting = WaitingPrints()
    waiting.show_until(1000)
    waiting.show_until(900)
    assert waiting.shown_until_ms == 1000
    assert not waiting.add(trade(950, 1), 0)


def test_a_fall_of_the_quote_is_explained_by_the_oldest_prints_first() -> None:
    waiting = WaitingPrints()
    waiting.add(trade(10, 3), 0)
    waiting.add(trade(20, 4), 0)
    assert waiting.explain(BID, D(5), 0) == D(5)
    assert waiting.show_until(10) == {}
    assert waiting.at(BID) == D(2)
    assert waiting.explain(BID, D(9), 0) == D(2)
    assert waiting.explain(BID, D(9), 0) == 0
    assert not waiting


def test_a_print_told_after_the_quote_it_moved_does_not_wait() -> None:
    waiting = WaitingPrints()
    waiting.explain(BID, D(5), 0)
    assert not waiting.add(trade(10, 3), RACE_NS)
    assert not waiting
    assert waiting.add(trade(11, 4), RACE_NS), "2 of the fall are left, and the print is larger"
    assert not waiting.add(trade(12, 2), RACE_NS)


def test_a_fall_of_the_very_size_is_preferred_to_a_newer_larger_one() -> None:
    waiting = WaitingPrints()
    waiting.explain(BID, D(3), 0)
    waiting.explain(BID, D(5), 1)
    assert not waiting.add(trade(10, 3), 2)
    assert not waiting.add(trade(11, 5), 3)


def test_a_fall_long_before_a_print_has_nothing_to_do_with_it() -> None:
    waiting = WaitingPrints()
    waiting.explain(BID, D(5), 0)
    assert waiting.add(trade(10, 3), RACE_NS + 1)


def test_a_diff_ends_the_memory_of_falls() -> None:
    waiting = WaitingPrints()
    waiting.explain(BID, D(5), 0)
    waiting.show_until(5)
    assert waiting.add(trade(10, 3), 0)


def test_a_rise_is_explained_by_nothing() -> None:
    waiting = WaitingPrints()
    waiting.add(trade(10, 3), 0)
    assert waiting.explain(BID, D(-5), 0) == 0
    assert waiting.at(BID) == D(3)


def test_levels_wait_apart() -> None:
    waiting = WaitingPrints()
    waiting.add(trade(10, 3), 0)
    waiting.add(trade(10, 4, price=101, buyer_is_maker=False), 0)
    assert waiting.levels() == {BID: D(3), LevelKey(Side.SELL, D(101)): D(4)}
    waiting.clear()
    assert not waiting


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("print"), st.integers(1, 50), st.integers(1, 9)),
            st.tuples(st.just("diff"), st.integers(1, 50), st.just(0)),
            st.tuples(st.just("quote"), st.integers(-3, 12), st.just(0)),
        )
    )
)
def test_every_print_that_waits_is_shown_or_explained_exactly_once(steps: list[tuple[str, int, int]]) -> None:
    """What waited is what a diff showed, what a quote explained, and what still waits."""
    waiting = WaitingPrints()
    came = left = D(0)
    for kind, number, quantity in steps:
        if kind == "print":
            known = number <= waiting.shown_until_ms
            waits = waiting.add(trade(number, quantity), 0)
            assert not (known and waits)
            came += quantity if waits else 0
        elif kind == "diff":
            left += sum(waiting.show_until(number).values())
        else:
            explained = waiting.explain(BID, D(number), 0)
            assert 0 <= explained <= max(0, number)
            left += explained
        assert came == left + waiting.at(BID)
