"""The quick book against a slow one that is obviously right, and the rules about what it knows."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import symbol
from trading_engine.exchange import book as book_module
from trading_engine.exchange.book import CROWD, MAX_LEVELS, NEAR_LEVELS, SPARE_TOMBSTONES, Book
from trading_engine.exchange.grid import Grids, OffGrid

D = Decimal
GRIDS = Grids.of(symbol(tick_size=D("0.01"), step_size=D("0.001")))

PRICES = range(1, 41)
MIDDLE = 20


def cents(number: int) -> float:
    return number / 100


def book(bids: str, asks: str, limit: int | None = None) -> Book:
    return Book(raw(bids), raw(asks), limit=limit, grids=GRIDS)


def raw(text: str) -> list[tuple[float, float]]:
    """Read "1.00x5 0.99x2"."""
    return [(float(price), float(quantity)) for price, quantity in (level.split("x") for level in text.split())]


def thin(both: Book) -> bool:
    return both.is_thin


def shown(levels: tuple[tuple[Decimal, Decimal], ...]) -> str:
    return " ".join(f"{price}x{quantity.normalize():f}" for price, quantity in levels)


class SlowBook:
    """Every price of a small range with its quantity and the update id that set it, as the fill model words it."""

    def __init__(self) -> None:
        self.bids = dict.fromkeys(PRICES, (0, 0))
        self.asks = dict.fromkeys(PRICES, (0, 0))

    def diff(self, update_id: int, bids: dict[int, int], asks: dict[int, int]) -> None:
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, quantity in changes.items():
                if side[price][1] <= update_id:
                    side[price] = (quantity, update_id)

    def quote(self, update_id: int, bid: tuple[int, int], ask: tuple[int, int]) -> None:
        for price in PRICES:
            if price >= bid[0]:
                self.bids[price] = (bid[1] if price == bid[0] else 0, update_id)
            if price <= ask[0]:
                self.asks[price] = (ask[1] if price == ask[0] else 0, update_id)

    def levels(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        bids = [(D(price) / 100, D(self.bids[price][0])) for price in reversed(PRICES) if self.bids[price][0]]
        asks = [(D(price) / 100, D(self.asks[price][0])) for price in PRICES if self.asks[price][0]]
        return bids, asks


changes = st.dictionaries(st.sampled_from(PRICES), st.integers(0, 3), max_size=12)
level = st.tuples(st.sampled_from(PRICES), st.integers(1, 3))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("diff"), st.integers(-2, 3), changes, changes),
        st.tuples(st.just("quote"), st.integers(1, 3), level, level),
    ),
    max_size=40,
)


@given(steps)
def test_any_order_of_diffs_and_quotes_gives_the_slow_book(taken: list[tuple[str, int, Any, Any]]) -> None:
    """Quotes run ahead: a diff may have an older id than quotes before it, but diffs among themselves only rise."""
    quick, slow = Book([], [], limit=5, grids=GRIDS), SlowBook()
    newest_diff = newest = 0
    for kind, ahead, first, second in taken:
        if kind == "diff":
            newest_diff = max(newest_diff + 1, newest + ahead)
            newest = max(newest, newest_diff)
            slow.diff(newest_diff, first, second)
            quick.apply_diff(
                newest_diff,
                [(cents(price), float(quantity)) for price, quantity in first.items()],
                [(cents(price), float(quantity)) for price, quantity in second.items()],
            )
        else:
            newest += ahead
            slow.quote(newest, first, second)
            quick.apply_quote(newest, (cents(first[0]), first[1]), (cents(second[0]), second[1]))
        quick.check()
        bids, asks = slow.levels()
        assert quick.best_bid() == (float(bids[0][0]) if bids else None)
        assert quick.best_ask() == (float(asks[0][0]) if asks else None)
        assert list(quick.bids(5)) == bids[:5]
        assert list(quick.asks(5)) == asks[:5]
        all_bids, all_asks = (side.exact(GRIDS) for side in quick.copy())
        assert list(all_bids) == bids
        assert list(all_asks) == asks


@given(st.lists(st.tuples(changes, changes), max_size=30))
def test_sweeping_at_every_turn_changes_nothing(diffs: list[tuple[dict[int, int], dict[int, int]]]) -> None:
    kept, swept = Book([], [], limit=5, grids=GRIDS), Book([], [], limit=5, grids=GRIDS)
    for update_id, (bids, asks) in enumerate(diffs, start=1):
        rows = [[(cents(price), float(quantity)) for price, quantity in side.items()] for side in (bids, asks)]
        for each in (kept, swept):
            each.apply_diff(update_id, *rows)
        swept._bids._sweep()
        swept._asks._sweep()
        swept.check()
        assert kept.bids(50) == swept.bids(50)
        assert kept.asks(50) == swept.asks(50)


# --- quotes ---


def test_a_quote_sets_its_level_and_says_that_better_ones_are_gone() -> None:
    both = book("1.00x5 0.99x7", "1.01x3 1.02x4")
    both.apply_quote(10, (0.99, 6.0), (1.02, 4.0))
    assert shown(both.bids(5)) == "0.99x6"
    assert shown(both.asks(5)) == "1.02x4"


def test_a_diff_older_than_a_quote_does_not_undo_it() -> None:
    both = book("1.00x5 0.99x7", "1.01x3 1.02x4", limit=9)
    both.apply_quote(10, (1.0, 2.0), (1.02, 9.0))
    both.apply_diff(9, raw("1.00x5 0.99x1"), raw("1.01x3 1.02x4 1.03x8"))
    assert shown(both.bids(5)) == "1.00x2 0.99x1"
    assert shown(both.asks(5)) == "1.02x9 1.03x8"


def test_the_diff_that_contains_the_quote_overrides_it() -> None:
    both = book("1.00x5", "1.01x3", limit=9)
    both.apply_quote(10, (1.0, 2.0), (1.01, 3.0))
    both.apply_diff(12, raw("1.00x4"), raw("1.01x0 1.02x1"))
    assert shown(both.bids(5)) == "1.00x4"
    assert shown(both.asks(5)) == "1.02x1"


def test_a_quote_without_a_price_empties_the_side() -> None:
    both = book("1.00x5 0.99x7", "1.01x3")
    both.apply_quote(10, (0.0, 0.0), (0.0, 0.0))
    assert both.best_bid() is None
    assert both.best_ask() is None
    both.apply_diff(9, raw("0.99x7"), raw("1.01x3"))
    assert both.best_bid() is None, "older than the quote"
    both.apply_diff(11, raw("0.98x1"), raw("1.05x1"))
    assert (both.best_bid(), both.best_ask()) == (0.98, 1.05)


# --- what is known ---


def test_levels_beyond_the_end_of_a_cut_off_snapshot_are_not_believed() -> None:
    both = book("1.00x5 0.99x7", "1.01x3 1.02x4", limit=2)
    both.apply_diff(2, raw("0.98x1"), raw("1.03x1"))
    assert shown(both.bids(5)) == "1.00x5 0.99x7"
    assert shown(both.asks(5)) == "1.01x3 1.02x4"


def test_a_snapshot_with_fewer_levels_than_asked_for_shows_the_whole_side() -> None:
    both = book("1.00x5 0.99x7", "1.01x3 1.02x4", limit=3)
    both.apply_diff(2, raw("0.50x1"), raw("2.00x1"))
    assert shown(both.bids(5)) == "1.00x5 0.99x7 0.50x1"
    assert shown(both.asks(5)) == "1.01x3 1.02x4 2.00x1"
    assert not thin(both)


def test_without_a_limit_both_sides_count_as_cut_off() -> None:
    both = book("1.00x5", "1.01x3")
    both.apply_diff(2, raw("0.99x1"), [])
    assert shown(both.bids(5)) == "1.00x5"


def wide_book(count: int) -> Book:
    bids = [(cents(100_000 - place), 1.0) for place in range(count)]
    asks = [(cents(100_001 + place), 1.0) for place in range(count)]
    return Book(bids, asks, limit=count, grids=GRIDS)


def test_a_side_is_thin_when_a_quarter_of_the_snapshot_is_left() -> None:
    both = wide_book(400)
    both.apply_diff(2, [(cents(100_000 - place), 0.0) for place in range(300)], [])
    assert not thin(both)
    both.apply_diff(3, [(cents(100_000 - 300), 0.0)], [])
    assert thin(both)
    both.apply_diff(4, [(cents(100_000), 1.0)], [])
    assert not thin(both), "a level came back at the touch"


def test_a_quote_that_falls_through_the_known_levels_makes_the_side_thin() -> None:
    both = wide_book(400)
    both.apply_quote(2, (cents(90_000), 1.0), (cents(100_001), 1.0))
    assert shown(both.bids(3)) == "900.00x1"
    assert thin(both)
    both.apply_diff(3, raw("950.00x2 900.00x1 899.99x3"), [])
    assert shown(both.bids(3)) == "950.00x2 900.00x1", "known down to the quote, and no further"


def test_a_side_that_grows_is_cut_and_its_edge_moves_inwards() -> None:
    """The price climbs a tick a diff; the bids it leaves behind stay, until there are too many."""
    both = wide_book(MAX_LEVELS)
    for step in range(2 * MAX_LEVELS):
        both.apply_diff(step + 2, [(cents(100_001 + step), 1.0)], [(cents(100_001 + step), 0.0)])
        if step % 1_000 == 0:
            both.check()
    known = both.copy()[0].exact(GRIDS)
    assert MAX_LEVELS <= len(known) <= MAX_LEVELS * 5 // 4
    assert known[0][0] == D("1100.00")
    assert known[-1][0] > D(1_000)
    both.apply_diff(10**6, [(cents(100_000), 1.0)], [])
    assert both.copy()[0].exact(GRIDS) == known, "beyond the new edge"


def test_near_and_far_levels_are_one_book() -> None:
    """The price walks down through all that was near and back up again."""
    both = wide_book(4 * NEAR_LEVELS)
    for step in (*range(3 * NEAR_LEVELS), *range(3 * NEAR_LEVELS, 0, -1)):
        price = cents(100_000 - step)
        gone = both.best_bid()
        if gone is not None and gone > price:
            both.apply_diff(2, [(gone, 0.0)], [])
        else:
            both.apply_diff(2, [(price, 2.0)], [])
        if step % 97 == 0:
            assert both.best_bid() == max(both.copy()[0].prices())
            both.check()
            assert len(both.bids(100)) == 100
    both.check()


def test_a_quote_among_the_far_levels() -> None:
    both = wide_book(4 * NEAR_LEVELS)
    price = cents(100_000 - 2 * NEAR_LEVELS)
    both.apply_quote(2, (price, 3.0), (cents(100_001), 1.0))
    both.check()
    assert shown(both.bids(2)) == f"{price:.2f}x3 {price - 0.01:.2f}x1"
    assert len(both.copy()[0].prices()) == 2 * NEAR_LEVELS
    both.apply_diff(3, [(price, 0.0)], [])
    assert shown(both.bids(1)) == f"{price - 0.01:.2f}x1"


def test_tombstones_do_not_pile_up() -> None:
    """A price that flickers over a wide range for a long time."""
    both = wide_book(100)
    both.apply_quote(2, (1.0, 1.0), (9_000.0, 1.0))
    for update_id in range(3, 6_000):
        price = cents(500 + update_id)
        both.apply_diff(update_id, [(price, 1.0)], [])
        both.apply_diff(update_id, [(price, 0.0)], [])
        assert both.best_bid() == 1.0
        assert len(both._bids._near) < 2 * 100 + SPARE_TOMBSTONES + 2
    both.check()


def test_a_cut_off_side_without_levels_is_used_up_and_a_whole_one_is_empty() -> None:
    cut, whole = book("1.00x5", "1.01x3"), book("1.00x5", "1.01x3", limit=9)
    for both in (cut, whole):
        assert not both.is_used_up
        both.apply_diff(2, raw("1.00x0"), [])
    assert cut.is_used_up
    assert not whole.is_used_up


def test_levels_are_found_behind_a_crowd_of_tombstones() -> None:
    both = wide_book(4 * CROWD)
    both.apply_diff(2, [(cents(100_000 - place), 0.0) for place in range(1, 3 * CROWD)], [])
    assert shown(both.bids(2)) == f"1000.00x1 {cents(100_000 - 3 * CROWD):.2f}x1"
    both.apply_diff(3, raw("1000.00x2"), [])
    both.check()
    assert shown(both.bids(2)) == f"1000.00x2 {cents(100_000 - 3 * CROWD):.2f}x1"


def test_more_quotes_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MAX_PENDING_QUOTES", 4)
    both = book("1.00x5 0.99x7", "1.05x3", limit=9)
    for update_id in range(10, 30):
        both.apply_quote(update_id, (1.0, update_id), (1.05, 3.0))
    assert len(both._quotes) == 4
    both.apply_diff(9, raw("1.00x1"), [])
    assert shown(both.bids(1)) == "1.00x29"


# --- numbers that cannot be ---


def test_a_price_between_ticks_of_five_hundredths_does_not_enter() -> None:
    coarse = Book([(1.0, 5.0)], [(1.05, 3.0)], limit=9, grids=Grids.of(symbol(tick_size=D("0.05"))))
    coarse.apply_diff(2, [(0.95, 1.0)], [])
    with pytest.raises(OffGrid):
        coarse.apply_diff(3, [(0.97, 1.0)], [])


@pytest.mark.parametrize("price", [0.123, float("nan"), float("inf"), 0.0, -1.0])
def test_a_price_off_the_grid_does_not_enter(price: float) -> None:
    both = book("1.00x5", "1.01x3", limit=9)
    with pytest.raises(OffGrid):
        both.apply_diff(2, [], [(price, 1.0)])


@pytest.mark.parametrize("quantity", [float("nan"), float("inf"), -1.0, 1e-12])
def test_a_quantity_that_cannot_be_is_not_shown(quantity: float) -> None:
    both = book("1.00x5", "1.01x3", limit=9)
    both.apply_diff(2, [(1.0, quantity)], [])
    with pytest.raises(OffGrid):
        both.bids(1)
