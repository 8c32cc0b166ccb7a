"""The walk: what an arriving order takes, where it ends, and what happens to own orders in its way."""

from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import ZERO, D, levels
from trading_engine.exchange.impact import Impact
from trading_engine.exchange.latency import LatencyModel
from trading_engine.exchange.money import round_half_up
from trading_engine.exchange.orders import SelfTradePrevention, Side
from trading_engine.exchange.taking import (
    NOTHING_WAITING,
    Band,
    End,
    Met,
    Offer,
    OwnOrder,
    PriceRange,
    Taking,
    all_or_nothing,
    offers,
    prevent,
    price_band,
    walk,
    walk_amount,
)

BUY, SELL = Side.BUY, Side.SELL
NOW = 1_700_000_000_000
ONE = D(1)
MODES = [mode for mode in SelfTradePrevention if mode is not SelfTradePrevention.NONE]


class Taker:
    """One account in front of one side of a book. Whatever it takes, it remembers."""

    def __init__(self, book: str, side: Side = BUY, *, half_life_ms: int | None = 10_000, step: str = "1") -> None:
        self.book = levels(book)
        self.side = side
        self.step = D(step)
        self.impact = Impact(step=self.step, half_life_ms=half_life_ms)
        self.waiting: Mapping[Decimal, Decimal] = NOTHING_WAITING
        self.now_ms = NOW
        self.complete = True

    def offers(self) -> list[Offer]:
        found = offers(
            self.book, self.side, step=self.step, impact=self.impact, waiting=self.waiting, now_ms=self.now_ms
        )
        return list(found)

    def see(
        self,
        quantity: str,
        limit: str | None = None,
        *,
        within: Band | None = None,
        own: tuple[OwnOrder, ...] = (),
        mode: str = "NONE",
    ) -> Taking:
        """Walk, and remember nothing."""
        return walk(
            self.offers(),
            self.side,
            quantity=D(quantity),
            limit=None if limit is None else D(limit),
            band=within,
            decimals=2,
            own=own,
            mode=SelfTradePrevention(mode),
            complete=self.complete,
        )

    def take(self, quantity: str, limit: str | None = None) -> str:
        """Walk and take; "50@100 10@101"."""
        return self.took(self.see(quantity, limit))

    def took(self, taking: Taking) -> str:
        for part in taking.slices:
            self.impact.took(self.side, part.price, part.quantity, part.shown, self.now_ms)
        return told(taking)


def seen(*values: object) -> tuple[Any, ...]:
    """Put figures side by side, so that a decimal may be stated as a whole number."""
    return values


def told(taking: Taking) -> str:
    return " ".join(f"{part.quantity}@{part.price}" for part in taking.slices)


def own(order_id: int, price: str, leaves: str, ahead: str = "0") -> OwnOrder:
    return OwnOrder(order_id=order_id, price=D(price), ahead=D(ahead), leaves=D(leaves))


# --- worked examples ---


def test_the_same_quantity_is_not_given_twice() -> None:
    taker = Taker("100x50 101x80")
    assert taker.take("60") == "50@100 10@101"
    assert taker.take("60") == "60@101"
    taker.impact.on_level(BUY, D(100), traded=ZERO, after=D(70), now_ms=NOW)
    taker.book = levels("100x70 101x80")
    assert taker.take("60", "100") == "20@100"


def test_a_print_that_the_book_does_not_show_yet_is_gone() -> None:
    """50 shown, 30 taken, 10 printed: 10 available; once the diff shows 30, 7."""
    taker = Taker("100x50", half_life_ms=None)
    taker.take("30")
    taker.waiting = {D(100): D(10)}
    (offer,) = taker.offers()
    assert offer == Offer(price=D(100), shown=D(50), waiting=D(10), taken=D(30), available=D(10))
    taker.impact.on_level(BUY, D(100), traded=D(10), after=D(30), now_ms=NOW)
    taker.waiting, taker.book = NOTHING_WAITING, levels("100x30")
    assert [offer.available for offer in taker.offers()] == [7]


def test_after_a_half_life_half_of_it_is_there_again() -> None:
    taker = Taker("100x50")
    taker.take("40")
    taker.now_ms += 10_000
    assert taker.take("60", "100") == "30@100"


def test_a_limit_order_takes_up_to_its_limit_and_a_later_fill_or_kill_finds_too_little() -> None:
    taker = Taker("100x50 101x80")
    taking = taker.see("70", "100")
    assert seen(taker.took(taking), taking.left, taking.end) == ("50@100", 20, End.LIMIT)
    short = taker.see("200", "101")
    assert told(short) == "80@101"
    killed = all_or_nothing(short)
    assert seen(killed.slices, killed.quantity, killed.quote_amount, killed.left) == ((), 0, 0, 200)


def test_a_stop_that_a_print_triggers_finds_that_print_gone() -> None:
    taker = Taker("100x10 101x50")
    taker.waiting = {D(100): D(8)}
    assert taker.take("5") == "2@100 3@101"


def test_an_order_is_matched_with_the_book_of_its_arrival() -> None:
    """Sent at 10.030 with 50 ms on the way; the book changes at 10.050 and 10.150."""
    books = {10_000: "99x5", 10_050: "100x5", 10_150: "101x5"}
    arrival_ms = 10_030 + LatencyModel.parse("fixed").draw("account 1", "order 1").in_us // 1_000
    newest_ms = max(event_ms for event_ms in books if event_ms <= arrival_ms)
    assert (arrival_ms, Taker(books[newest_ms]).take("5")) == (10_080, "5@100")


# --- where a walk ends ---


def test_each_level_is_one_fill_with_its_evidence() -> None:
    taker = Taker("100.005x3 101x80")
    taker.take("1")
    taker.waiting = {D("100.005"): ONE}
    first, second = taker.see("2").slices
    assert seen(first.price, first.quantity, first.quote_amount) == (D("100.005"), 1, D("100.01"))
    assert seen(first.shown, first.waiting, first.taken_before) == (3, 1, 1)
    assert seen(second.quantity, second.quote_amount, second.taken_before) == (1, D("101.00"), 0)


def test_what_a_level_has_is_in_whole_lots() -> None:
    """An old order may be finer than today's lots."""
    assert Taker("100x1.5 101x80").take("3") == "1@100 2@101"


def test_the_known_book_ends() -> None:
    taking = Taker("100x50").see("60")
    assert seen(told(taking), taking.left, taking.end, taking.ran_out) == ("50@100", 10, End.NO_LIQUIDITY, True)
    assert Taker("").see("60", "100").ran_out
    done = Taker("100x50").see("50")
    assert seen(done.left, done.end, done.ran_out) == (0, End.DONE, False)


@pytest.mark.parametrize(("side", "book"), [(BUY, "101x50 102x50 102.01x50"), (SELL, "99x50 98x50 97.99x50")])
def test_a_market_order_ends_at_the_price_band(side: Side, book: str) -> None:
    taking = Taker(book, side).see("120", within=price_band(side, D(100)))
    assert seen(taking.quantity, taking.left, taking.end, taking.ran_out) == (100, 20, End.PRICE_BAND, False)


def test_a_limit_within_the_band_comes_first() -> None:
    assert Taker("101x50 110x50").see("60", "101", within=price_band(BUY, D(100))).end is End.LIMIT
    assert Taker("101x50 110x50").see("60", "110", within=price_band(BUY, D(100))).end is End.PRICE_BAND


def test_a_level_beyond_the_limit_ends_the_walk_though_it_has_nothing() -> None:
    taker = Taker("101x50")
    taker.take("50")
    assert taker.see("1", "100").end is End.LIMIT
    assert taker.see("1", "101").end is End.NO_LIQUIDITY
    assert taker.see("1", within=price_band(BUY, D(90))).end is End.PRICE_BAND


RANGE = PriceRange(bid_up=D(2), bid_down=D("0.5"), ask_up=D("1.5"), ask_down=None)


def test_the_venues_price_range_is_the_band_where_it_is_known() -> None:
    assert price_band(BUY, D(100), rule=RANGE, reference=D(10)) == Band(low=D(5), high=D(20))
    assert price_band(SELL, D(100), rule=RANGE, reference=D(10)) == Band(low=None, high=D(15))
    assert price_band(SELL, D(100), rule=RANGE) == Band(low=D(98), high=D(102))
    assert price_band(BUY, D(100), reference=D(10)) == Band(low=D(98), high=D(102))


def test_both_ends_of_the_band_may_be_traded_at() -> None:
    edges = Band(low=D(98), high=D(102))
    assert [edges.allows(D(price)) for price in ("97.99", "98", "102", "102.01")] == [False, True, True, False]
    assert Band(low=None, high=None).allows(D(10**9))


# --- own orders ---


def test_the_real_quantity_ahead_is_taken_before_an_own_order_is_met() -> None:
    """Scenario E of the venue: the taker's mode decides."""
    mine = own(7, "100", "5", ahead="20")
    taking = Taker("100x50").see("30", "100", own=(mine,), mode="EXPIRE_TAKER")
    assert seen(told(taking), taking.left, taking.prevented, taking.end) == ("20@100", 0, 10, End.SELF_TRADE)
    assert taking.met == (Met(order_id=7, price=D(100), taker_prevented=D(10), maker_prevented=ZERO, maker_left=D(5)),)
    assert Taker("100x50").see("20", "100", own=(mine,), mode="EXPIRE_TAKER").met == ()


def test_expiring_makers_lets_the_walk_go_on_as_one_fill_a_level() -> None:
    mine = (own(9, "101", "8.1"), own(8, "100", "1.3", ahead="30"), own(7, "100", "1.2", ahead="20"))
    taking = Taker("100x50 101x80").see("60", own=mine, mode="EXPIRE_MAKER")
    assert seen(told(taking), taking.left, taking.prevented, taking.end) == ("50@100 10@101", 0, 0, End.DONE)
    assert [seen(meeting.order_id, meeting.maker_prevented, meeting.maker_left) for meeting in taking.met] == [
        (7, D("1.2"), 0),
        (8, D("1.3"), 0),
        (9, D("8.1"), 0),
    ]


def test_the_venues_scenario_b_the_taker_rests_when_all_it_met_was_its_own() -> None:
    mine = (own(2, "1.2", "1.2"), own(3, "1.1", "1.3"), own(4, "1", "8.1"))
    taking = Taker("", SELL).see("3", "1", own=mine, mode="EXPIRE_MAKER")
    assert seen(taking.quantity, taking.left, taking.prevented) == (0, 3, 0)
    assert [meeting.order_id for meeting in taking.met] == [2, 3, 4]


def test_the_venues_scenario_d_both_expire() -> None:
    taking = Taker("", SELL).see("3", "1", own=(own(2, "1", "1"),), mode="EXPIRE_BOTH")
    assert seen(taking.left, taking.prevented, taking.end) == (0, 3, End.SELF_TRADE)
    assert taking.met == (Met(order_id=2, price=ONE, taker_prevented=D(3), maker_prevented=ONE, maker_left=ZERO),)


def test_the_venues_scenario_f_a_market_order_finds_nothing_but_its_own() -> None:
    taking = Taker("", SELL).see("1", own=(own(2, "1", "1"),), mode="EXPIRE_MAKER")
    assert seen(taking.left, taking.prevented, taking.end) == (1, 0, End.NO_LIQUIDITY)
    assert taking.met[0].maker_left == 0


@pytest.mark.parametrize("mode", ["DECREMENT", "TRANSFER"])
def test_the_venues_scenario_g_the_smaller_is_taken_off_both(mode: str) -> None:
    taking = Taker("", SELL).see("2", "2", own=(own(23, "2", "6"),), mode=mode)
    assert seen(taking.left, taking.prevented, taking.end) == (0, 2, End.SELF_TRADE)
    assert taking.met == (Met(order_id=23, price=D(2), taker_prevented=D(2), maker_prevented=D(2), maker_left=D(4)),)


def test_a_larger_taker_goes_on_after_a_decrement() -> None:
    taking = Taker("100x50 101x80").see("60", own=(own(7, "100", "6", ahead="20"),), mode="DECREMENT")
    assert seen(told(taking), taking.quantity, taking.prevented, taking.left) == ("50@100 4@101", 54, 6, 0)
    assert taking.met[0].maker_left == 0


def test_the_same_size_ends_both() -> None:
    taking = Taker("100x50").see("6", own=(own(7, "99", "6"),), mode="DECREMENT")
    assert seen(taking.slices, taking.left, taking.end, taking.met[0].maker_left) == ((), 0, End.SELF_TRADE, 0)


def test_none_passes_own_orders() -> None:
    taking = Taker("100x50").see("30", own=(own(7, "100", "5"), own(8, "99", "5")), mode="NONE")
    assert seen(told(taking), taking.met) == ("30@100", ())
    with pytest.raises(ValueError, match="NONE"):
        prevent(SelfTradePrevention.NONE, own(7, "100", "5"), ONE)


def test_what_was_taken_before_was_taken_from_the_front() -> None:
    taker = Taker("100x50")
    taker.take("15")
    assert told(taker.see("30", own=(own(7, "100", "5", ahead="20"),), mode="EXPIRE_TAKER")) == "5@100"
    assert told(taker.see("30", own=(own(7, "100", "5", ahead="10"),), mode="EXPIRE_TAKER")) == ""


def test_an_own_order_between_the_levels_is_met_before_the_worse_one() -> None:
    for price, taken in (("99", ""), ("100.5", "50@100"), ("101.5", "50@100 80@101")):
        taking = Taker("100x50 101x80 102x9").see("200", own=(own(7, price, "5"),), mode="EXPIRE_TAKER")
        assert seen(told(taking), taking.end) == (taken, End.SELF_TRADE)


def test_an_own_order_beyond_the_levels_seen_is_met_only_where_there_are_no_more() -> None:
    taker = Taker("100x50")
    mine = (own(7, "105", "5"),)
    assert taker.see("60", own=mine, mode="EXPIRE_TAKER").end is End.SELF_TRADE
    taker.complete = False
    taking = taker.see("60", own=mine, mode="EXPIRE_TAKER")
    assert seen(taking.end, taking.ran_out, taking.met) == (End.NO_LIQUIDITY, True, ())


def test_an_own_order_beyond_limit_or_band_is_not_met() -> None:
    mine = (own(7, "105", "5"),)
    assert Taker("100x50").see("60", "104", own=mine, mode="EXPIRE_BOTH").met == ()
    assert Taker("100x50").see("60", within=price_band(BUY, D(100)), own=mine, mode="EXPIRE_BOTH").met == ()


def test_a_fill_or_kill_order_that_meets_its_own_leaves_all_as_it_was() -> None:
    mine = (own(7, "100", "5", ahead="20"),)
    for mode in ("EXPIRE_TAKER", "EXPIRE_BOTH", "DECREMENT"):
        killed = all_or_nothing(Taker("100x50").see("30", own=mine, mode=mode))
        assert seen(killed.quantity, killed.left, killed.met, killed.end) == (0, 30, (), End.SELF_TRADE)
    filled = all_or_nothing(Taker("100x50").see("30", own=mine, mode="EXPIRE_MAKER"))
    assert seen(filled.quantity, len(filled.met)) == (30, 1)


# --- by quote amount ---


def spend(
    taker: Taker,
    amount: str,
    *,
    step: str = "1",
    own: tuple[OwnOrder, ...] = (),
    mode: str = "NONE",
    within: Band | None = None,
) -> Taking:
    return walk_amount(
        taker.offers(),
        taker.side,
        amount=D(amount),
        step=D(step),
        band=within,
        decimals=2,
        own=own,
        mode=SelfTradePrevention(mode),
        complete=taker.complete,
    )


def test_an_amount_buys_what_was_not_taken_before() -> None:
    taker = Taker("100x50 101x80")
    assert told(spend(taker, "5204")) == "50@100 2@101"
    taker.take("40")
    taking = spend(taker, "1204")
    assert seen(told(taking), taking.quote_amount, taking.end, taking.left) == (
        "10@100 2@101",
        D("1202"),
        End.DONE,
        None,
    )


def test_an_amount_that_exceeds_the_known_book_or_the_band() -> None:
    assert spend(Taker("100x50"), "5001").ran_out
    assert spend(Taker("100x50"), "5000").end is End.DONE
    taking = spend(Taker("100x50 103x50"), "9000", within=price_band(BUY, D(100)))
    assert seen(told(taking), taking.end) == ("50@100", End.PRICE_BAND)


def test_a_coarser_lot_gives_back_from_the_worst_price() -> None:
    assert told(spend(Taker("100x4 101x3"), "10000", step="5")) == "4@100 1@101"
    assert told(spend(Taker("100x4 101x3"), "10000", step="4")) == "4@100"
    assert told(spend(Taker("100x4 101x3"), "10000", step="3")) == "4@100 2@101"
    assert told(spend(Taker("100x4 101x3"), "302", step="3")) == "3@100"
    assert told(spend(Taker("100x4 101x3"), "10000", step="8")) == ""


def test_an_amount_meets_own_orders() -> None:
    mine = (own(7, "100", "5", ahead="20"),)
    taking = spend(Taker("100x50"), "3000", own=mine, mode="EXPIRE_TAKER")
    assert seen(told(taking), taking.prevented, taking.end) == ("20@100", 10, End.SELF_TRADE)
    taking = spend(Taker("100x50"), "3000", own=mine, mode="EXPIRE_MAKER")
    assert seen(told(taking), taking.end, taking.met[0].maker_left) == ("30@100", End.DONE, 0)
    taking = spend(Taker("100x50"), "3000", own=mine, mode="DECREMENT")
    assert seen(told(taking), taking.prevented, taking.met[0].maker_left) == ("25@100", 5, 0)
    taking = spend(Taker("100x50"), "2300", own=mine, mode="DECREMENT")
    assert seen(told(taking), taking.prevented, taking.met[0].maker_left) == ("20@100", 3, 2)
    assert taking.end is End.SELF_TRADE
    taking = spend(Taker("100x50"), "2099", own=mine, mode="EXPIRE_BOTH")
    assert seen(told(taking), taking.end, taking.met) == ("20@100", End.DONE, ())


def test_an_amount_that_is_spent_meets_nobody() -> None:
    """Not even for the trifle whose price rounds to nothing."""
    taker = Taker("10x0.5", step="0.0001")
    taking = spend(taker, "5", step="0.0001", own=(own(7, "11", "5"),), mode="EXPIRE_BOTH")
    assert seen(told(taking), taking.end, taking.met) == ("0.5@10", End.DONE, ())
    taking = spend(taker, "5.01", step="0.0001", own=(own(7, "11", "5"),), mode="EXPIRE_BOTH")
    assert seen(told(taking), taking.end, len(taking.met)) == ("0.5@10", End.SELF_TRADE, 1)


# --- properties ---

sides = st.sampled_from(Side)
sizes = st.lists(st.integers(0, 9), max_size=5)


@st.composite
def situations(draw: st.DrawFn) -> Taker:
    """A book on neighbouring ticks, some of it printed away, some taken before, some of that faded."""
    side = draw(sides)
    taker = Taker("", side)
    sign = 1 if side is BUY else -1
    taker.book = tuple((D(100 + sign * place), D(size)) for place, size in enumerate(draw(sizes), start=1) if size)
    for _ in range(draw(st.integers(0, 2))):
        taker.take(str(draw(st.integers(1, 12))))
        taker.now_ms += draw(st.integers(0, 20_000))
    taker.waiting = {price: D(draw(st.integers(0, 4))) for price, _ in taker.book}
    return taker


limits = st.one_of(st.none(), st.integers(94, 106).map(str))


@given(situations(), st.integers(1, 40), limits)
def test_no_walk_takes_more_than_is_there_nor_at_a_worse_price(taker: Taker, quantity: int, limit: str | None) -> None:
    there = {offer.price: offer for offer in taker.offers()}
    taking = taker.see(str(quantity), limit)
    for part in taking.slices:
        offer = there[part.price]
        assert 0 < part.quantity <= offer.available
        assert offer.available == max(ZERO, offer.shown - offer.waiting - offer.taken)
        assert limit is None or (part.price <= D(limit) if taker.side is BUY else part.price >= D(limit))
    assert taking.quantity == sum(part.quantity for part in taking.slices)
    assert taking.quote_amount == sum(part.quote_amount for part in taking.slices)
    assert taking.quantity + (taking.left or 0) == quantity
    for one, next_one in pairwise(taking.slices):
        assert (one.price < next_one.price) is (taker.side is BUY)
        assert one.quantity == there[one.price].available
    taker.took(taking)
    for offer in taker.offers():
        assert 0 <= offer.taken <= offer.shown


@given(situations(), st.lists(st.integers(1, 9), min_size=1, max_size=5), limits)
def test_one_order_in_pieces_gets_the_same(taker: Taker, pieces: list[int], limit: str | None) -> None:
    whole = {part.price: part.quantity for part in taker.see(str(sum(pieces)), limit).slices}
    in_pieces: dict[Decimal, Decimal] = {}
    for piece in pieces:
        taking = taker.see(str(piece), limit)
        taker.took(taking)
        for part in taking.slices:
            in_pieces[part.price] = in_pieces.get(part.price, ZERO) + part.quantity
    assert in_pieces == whole


@given(situations(), st.integers(1, 400_000), st.sampled_from(["1", "2", "3"]))
def test_an_amount_takes_the_largest_quantity_it_covers(taker: Taker, cents: int, step: str) -> None:
    """Checked against trying every lot."""
    amount = D(cents) / 100
    taking = spend(taker, str(amount), step=step)
    assert taking.quote_amount <= amount
    assert not taking.quantity % D(step)
    assert taking.quote_amount == sum(round_half_up(part.price * part.quantity, 2) for part in taking.slices)
    more = taker.see(str(taking.quantity + D(step)))
    assert more.ran_out or more.quote_amount > amount
    assert taking.ran_out is (sum(round_half_up(o.price * o.available, 2) for o in taker.offers()) < amount)
    if taking.quantity:
        assert taking.slices == taker.see(str(taking.quantity)).slices


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 500)), max_size=5, unique_by=lambda level: level[0]),
    st.integers(1, 60_000),
    sides,
    st.sampled_from(["0.0001", "0.001", "0.0003"]),
)
def test_where_amounts_must_round_an_amount_still_takes_the_largest_quantity(
    rows: list[tuple[int, int]], cents: int, side: Side, step: str
) -> None:
    """Also the trifle whose price rounds to nothing."""
    taker = Taker("", side, step="0.0001")
    taker.book = tuple((D("0.007") * price, D("0.0001") * size) for price, size in sorted(rows, reverse=side is SELL))
    taking = spend(taker, str(D(cents) / 100), step=step)
    assert taking.quote_amount <= D(cents) / 100
    assert not taking.quantity % D(step)
    more = taker.see(str(taking.quantity + D(step)))
    assert more.ran_out or more.quote_amount > D(cents) / 100 or taking.ran_out


owns = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(1, 6)), max_size=4)


@given(situations(), owns, st.sampled_from(MODES), st.integers(1, 40), limits)
def test_lot_by_lot_the_same_orders_are_met(
    taker: Taker, orders: list[tuple[int, int, int]], mode: SelfTradePrevention, quantity: int, limit: str | None
) -> None:
    """Against a line of single lots, one behind the other, in which own orders stand."""
    sign = 1 if taker.side is BUY else -1
    mine = tuple(
        OwnOrder(order_id=n, price=D(100 + sign * place), ahead=D(ahead), leaves=D(leaves))
        for n, (place, ahead, leaves) in enumerate(orders)
    )
    taking = taker.see(str(quantity), limit, own=mine, mode=mode)

    line: list[tuple[Decimal, OwnOrder | None]] = []
    there = {offer.price: offer for offer in taker.offers()}
    for price in sorted({order.price for order in mine} | set(there), key=lambda price: sign * price):
        if limit is not None and sign * price > sign * D(limit):
            break
        behind = sorted((o for o in mine if o.price == price), key=lambda o: (o.ahead, o.order_id))
        offer = there.get(price)
        place = offer.taken if offer is not None else ZERO
        for _ in range(int(offer.available) if offer is not None else 0):
            while behind and behind[0].ahead <= place:
                line.append((price, behind.pop(0)))
            line.append((price, None))
            place += 1
        line.extend((price, order) for order in behind)
    left, filled, met = D(quantity), dict.fromkeys(there, ZERO), []
    for price, order in line:
        if not left:
            break
        if order is None:
            filled[price] += 1
            left -= 1
        else:
            met.append(order.order_id)
            left -= prevent(mode, order, left).taker_prevented

    assert {part.price: part.quantity for part in taking.slices} == {p: q for p, q in filled.items() if q}
    assert [meeting.order_id for meeting in taking.met] == met
    assert taking.left == left
    assert taking.quantity + taking.prevented + left == quantity
    for meeting in taking.met:
        assert meeting.maker_prevented + meeting.maker_left == mine[meeting.order_id].leaves
        assert meeting.maker_left >= 0


@given(situations(), st.integers(1, 40))
def test_a_walk_changes_nothing(taker: Taker, quantity: int) -> None:
    before = taker.impact.state()
    assert taker.see(str(quantity)) == taker.see(str(quantity))
    assert taker.impact.state() == before
