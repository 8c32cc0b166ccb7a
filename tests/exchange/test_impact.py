"""What an account has taken stays taken, and fades as the model says: no faster, and not never."""

import json
from collections.abc import Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import ZERO, D
from trading_engine.exchange.impact import FADE_STEP_MS, Impact, Row
from trading_engine.exchange.orders import Side

BUY, SELL = Side.BUY, Side.SELL
NOW = 1_700_000_000_000
SECOND = 1_000


def impact(taken: str = "", shown: str = "50", *, step: str = "1", half_life_s: int | None = 10) -> Impact:
    """Take `taken` at 100 of what shows `shown`."""
    memory = Impact(step=D(step), half_life_ms=None if half_life_s is None else half_life_s * SECOND)
    if taken:
        memory.took(BUY, D(100), D(taken), D(shown), NOW)
    return memory


def diff(memory: Impact, after: str, *, traded: str = "0", at_s: int = 0) -> None:
    memory.on_level(BUY, D(100), traded=D(traded), after=D(after), now_ms=NOW + at_s * SECOND)


def taken(memory: Impact, at_s: int = 0) -> Decimal:
    return memory.taken(BUY, D(100), NOW + at_s * SECOND)


def unrounded(memory: Impact) -> Decimal:
    return D(memory.state()["buy"][0][1])


# --- examples ---


def test_cancels_take_their_share_of_what_was_taken() -> None:
    """50 shown, 30 taken; a print of 10 and then the diff to 30, so 10 of the 40 left were cancelled."""
    memory = impact("30", half_life_s=None)
    diff(memory, "30", traded="10")
    assert taken(memory) == 23


def test_half_of_it_is_forgiven_after_a_half_life() -> None:
    memory = impact("40")
    assert taken(memory) == 40
    assert taken(memory, at_s=10) == 20
    assert taken(memory, at_s=20) == 10


def test_what_is_forgiven_is_rounded_down_to_the_lot() -> None:
    assert impact("40").taken(BUY, D(100), NOW + 1) == 40
    assert impact("0.40", step="0.01").taken(BUY, D(100), NOW + 5 * SECOND) == D("0.29")  # 0.40 / sqrt 2 = 0.2828


def test_prints_and_additions_forgive_nothing() -> None:
    memory = impact("30", half_life_s=None)
    diff(memory, "40", traded="10")
    diff(memory, "90")
    assert taken(memory) == 30


def test_it_never_exceeds_what_is_shown() -> None:
    memory = impact("30", half_life_s=None)
    diff(memory, "12", traded="38")
    assert taken(memory) == 12
    diff(memory, "50")
    assert taken(memory) == 12


def test_a_change_that_the_walk_saw_before_us_forgives_nothing_of_what_it_took() -> None:
    """The book can be ahead of what we are told: the level had shrunk from 90 to 50 when 30 of the 50 were taken."""
    memory = impact("30", shown="50", half_life_s=None)
    diff(memory, "50")
    assert taken(memory) == 30


def test_a_quote_that_flickers_is_not_given_twice() -> None:
    memory = impact("30")
    diff(memory, "0")
    assert D(100) in memory.prices(BUY)
    diff(memory, "50", at_s=10)
    assert taken(memory, at_s=10) == 15


def test_a_level_that_comes_back_smaller_is_wholly_taken() -> None:
    memory = impact("30", half_life_s=None)
    diff(memory, "0")
    diff(memory, "20")
    assert taken(memory) == 20


def test_sides_and_prices_are_apart() -> None:
    memory = impact("30")
    assert memory.taken(SELL, D(100), NOW) == 0
    assert memory.taken(BUY, D(101), NOW) == 0
    assert list(memory.prices(BUY)) == [D(100)]
    assert not memory.prices(SELL)
    memory.on_level(BUY, D(101), traded=ZERO, after=D(5), now_ms=NOW)
    assert list(memory.prices(BUY)) == [D(100)]


def test_taking_again_adds_up() -> None:
    memory = impact("30")
    memory.took(BUY, D(100), D(20), D(50), NOW)
    assert taken(memory) == 50
    assert taken(memory, at_s=10) == 25


def test_taking_again_starts_from_what_is_left_now() -> None:
    memory = impact("30")
    memory.took(BUY, D(100), D(5), D(50), NOW + 10 * SECOND)
    assert taken(memory, at_s=10) == 20
    assert taken(memory, at_s=20) == 10


@pytest.mark.parametrize("quantity", ["21", "0", "-1"])
def test_more_than_was_left_cannot_have_been_taken(quantity: str) -> None:
    memory = impact("30")
    with pytest.raises(ValueError, match="which shows 50, 30 of it taken before"):
        memory.took(BUY, D(100), D(quantity), D(50), NOW)
    assert taken(memory) == 30


def test_after_a_gap_nothing_is_forgiven_for_shrinking() -> None:
    memory = impact("40")
    memory.took(BUY, D(101), D(30), D(50), NOW)
    memory.took(BUY, D(102), D(8), D(50), NOW)
    memory.gap(BUY, {D(100): D(25), D(101): D(10)}, NOW + 10 * SECOND)
    ten_later = NOW + 10 * SECOND
    assert [memory.taken(BUY, D(price), ten_later) for price in (100, 101, 102)] == [20, 10, 4]
    memory.on_level(BUY, D(102), traded=ZERO, after=D(3), now_ms=ten_later)
    assert memory.taken(BUY, D(102), ten_later) == 3


def test_nothing_is_forgiven_before_its_time() -> None:
    """A clock that steps back finds what was taken, not more and not less."""
    assert taken(impact("40"), at_s=-3600) == 40


@pytest.mark.parametrize(("step", "half_life_ms"), [("0", 1), ("-1", 1), ("1", 0), ("1", -1)])
def test_a_lot_and_a_half_life_are_above_0(step: str, half_life_ms: int) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Impact(step=D(step), half_life_ms=half_life_ms)


# --- it does not live for ever ---


@pytest.mark.parametrize(("lots", "half_lives"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (1024, 11)])
def test_a_lot_is_forgotten_after_a_half_life_and_each_doubling_one_later(lots: int, half_lives: int) -> None:
    memory = impact(f"{lots}E-5", "1", step="0.00001")
    end = NOW + half_lives * 10 * SECOND
    assert memory.taken(BUY, D(100), end - 1) == D("0.00001")
    memory.forget(end - 1)
    assert not memory.is_empty
    assert memory.taken(BUY, D(100), end) == 0
    memory.forget(end)
    assert memory.is_empty


def test_a_little_fades_though_its_level_changes_ten_times_a_second() -> None:
    """Rounded up at every change, 5 lots would never become 4. Prints and additions alone, so only time forgives."""
    memory = impact("5")
    for tenth in range(1, 400):
        traded, after = (1, 49) if tenth % 2 else (0, 50)
        memory.on_level(BUY, D(100), traded=D(traded), after=D(after), now_ms=NOW + tenth * 100)
        assert taken(memory, at_s=20) == 2
    diff(memory, "50", at_s=40)
    assert memory.is_empty


def test_unless_it_is_never_to_be_forgiven() -> None:
    memory = impact("1", half_life_s=None)
    memory.forget(NOW + 10**12)
    assert taken(memory, at_s=10**9) == 1


# --- properties ---

quantities = st.integers(1, 10**7)
times = st.integers(0, 400_000)


@given(quantities, times, st.integers(1, 60_000))
def test_what_is_left_is_the_exact_decay_rounded_up_to_the_lot(lots: int, elapsed_ms: int, half_life_ms: int) -> None:
    step = D("0.00001")
    memory = Impact(step=step, half_life_ms=half_life_ms)
    memory.took(SELL, D(7), lots * step, D(1000), NOW)
    left = memory.taken(SELL, D(7), NOW + elapsed_ms)
    elapsed_ms -= elapsed_ms % half_life_ms % FADE_STEP_MS
    with localcontext(prec=80) as context:
        context.clear_traps()
        exact = lots * Decimal(2) ** (Decimal(-elapsed_ms) / half_life_ms)
        if left:
            assert exact <= left / step < exact + 1
        else:
            assert exact <= D("0.5")


@given(quantities, st.lists(times, min_size=2, max_size=6))
def test_it_only_ever_fades_and_looking_or_growing_levels_do_not_matter(lots: int, moments: list[int]) -> None:
    quiet, busy = impact(str(lots), str(lots)), impact(str(lots), str(lots))
    shown, seen = D(lots), []
    for moment in sorted(moments):
        busy.on_level(BUY, D(100), traded=ZERO, after=shown + 1, now_ms=NOW + moment)
        shown += 1
        seen.append(busy.taken(BUY, D(100), NOW + moment))
        assert seen[-1] == quiet.taken(BUY, D(100), NOW + moment)
    assert seen == sorted(seen, reverse=True)


Step = tuple[str, int, int, int]
histories = st.lists(
    st.tuples(st.sampled_from(["took", "diff", "gap"]), st.integers(0, 30), st.integers(0, 90), st.integers(0, 9_000)),
    max_size=25,
)


def live(memory: Impact, history: list[Step], shown: int, now_ms: int) -> Iterator[tuple[int, int, Impact]]:
    """Let one level live through a history; give its size, the time and the memory after each step."""
    for kind, first, second, elapsed_ms in history:
        now_ms += elapsed_ms
        if kind == "took":
            left = shown - memory.taken(BUY, D(100), now_ms)
            if left > 0 and first:
                memory.took(BUY, D(100), min(D(first), left), D(shown), now_ms)
        elif kind == "diff":
            traded = min(first, shown)
            memory.on_level(BUY, D(100), traded=D(traded), after=D(second), now_ms=now_ms)
            shown = second
        else:
            memory.gap(BUY, {D(100): D(second)} if second else {}, now_ms)
            shown = second
        yield shown, now_ms, memory


@given(histories)
def test_it_stays_between_0_and_what_is_shown(history: list[Step]) -> None:
    for shown, now_ms, memory in live(Impact(step=D(1)), history, 50, NOW):
        assert memory.taken(BUY, D(100), now_ms) >= 0
        assert not shown or memory.taken(BUY, D(100), now_ms) <= shown


def test_restored_it_knows_what_its_level_showed() -> None:
    memory = impact("30", half_life_s=None)
    restored = Impact(step=D(1), half_life_ms=None)
    restored.restore(memory.state())
    diff(restored, "25")
    assert taken(restored) == 15


@given(histories, st.data())
def test_cut_anywhere_and_restored_it_goes_on_the_same(history: list[Step], draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(history)), label="cut")
    uncut = Impact(step=D(1))
    *_, (shown, now_ms, _) = [(50, NOW, uncut), *live(uncut, history[:cut], 50, NOW)]
    restored = Impact(step=D(1))
    restored.restore(json.loads(json.dumps(uncut.state())))
    after_cut = live(uncut, history[cut:], shown, now_ms), live(restored, history[cut:], shown, now_ms)
    for (_, then_ms, one), (_, _, other) in zip(*after_cut, strict=True):
        assert one.state() == other.state()
        assert one.taken(BUY, D(100), then_ms + 1) == other.taken(BUY, D(100), then_ms + 1)


@pytest.mark.parametrize(
    "state",
    [
        {"up": [("100", "1", "5", NOW)]},
        {"buy": [("100", "0", "5", NOW)]},
        {"sell": [("100", "-1", "5", NOW)]},
        {"sell": [("100", "1", "-5", NOW)]},
    ],
)
def test_a_state_that_cannot_be_is_refused_and_changes_nothing(state: dict[str, list[Row]]) -> None:
    memory = impact("30")
    with pytest.raises(ValueError, match=r"memory of|is not a valid Side"):
        memory.restore(state)
    assert taken(memory) == 30


# --- against an order-by-order queue ---

Queue = tuple[bool, ...]
"""Real orders of one lot each, first in line first. True: gone for us, taken or displaced by what we took."""

Likely = dict[Queue, Fraction]
"""How likely each state of the queue is, given that every choice of which orders cancel is."""


def mark(queue: Queue, count: int) -> Queue:
    """Take the first `count` orders that are still there for us."""
    marked = []
    for gone in queue:
        marked.append(gone or count > 0)
        count -= not gone
    return tuple(marked)


def after_print(queue: Queue, count: int) -> Queue:
    """The venue's print takes from its front. In our world, where some are gone, it reached as many further back."""
    return mark(queue[count:], sum(queue[:count]))


def after_cancels(likely: Likely, count: int) -> Likely:
    spread: Likely = {}
    for queue, share in likely.items():
        choices = list(combinations(queue, len(queue) - count))
        for kept in choices:
            spread[kept] = spread.get(kept, Fraction(0)) + share / len(choices)
    return spread


def changed(likely: Likely, count: int, how: str) -> Likely:
    spread: Likely = {}
    for queue, share in likely.items():
        new = mark(queue, count) if how == "take" else after_print(queue, count)
        spread[new] = spread.get(new, Fraction(0)) + share
    return spread


def expected(likely: Likely) -> Fraction:
    return sum((share * sum(queue) for queue, share in likely.items()), Fraction(0))


def is_short(likely: Likely, count: int) -> bool:
    """Say whether a queue may have fewer orders left for us than `count`."""
    return any(len(queue) - sum(queue) < count for queue in likely)


acts = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 4), st.just(0)),
        st.tuples(st.just("diff"), st.integers(0, 3), st.integers(-4, 4)),
    ),
    min_size=1,
    max_size=7,
)


@given(st.integers(1, 7), acts)
def test_the_memory_is_what_a_real_queue_would_lack_on_average(size: int, sequence: list[tuple[str, int, int]]) -> None:
    """Equal to the average while nothing was rounded or capped, and never less: too little is given, not too much."""
    memory = Impact(step=D(1), half_life_ms=None)
    likely: Likely = {(False,) * size: Fraction(1)}
    exact = True
    for kind, first, change in sequence:
        before = memory.taken(BUY, D(100), NOW)
        if kind == "take":
            quantity = min(D(first), size - before)
            if quantity <= 0:
                continue
            exact &= not is_short(likely, int(quantity)) and (not before or before == unrounded(memory))
            memory.took(BUY, D(100), quantity, D(size), NOW)
            likely = changed(likely, int(quantity), "take")
        else:
            traded = min(first, size)
            after = min(8, max(0, size - traded + change))
            exact &= not is_short(likely, traded) and after > 0
            memory.on_level(BUY, D(100), traded=D(traded), after=D(after), now_ms=NOW)
            likely = changed(likely, traded, "print")
            cancels = size - traded - after
            if cancels > 0:
                likely = after_cancels(likely, cancels)
            else:
                likely = {queue + (False,) * -cancels: share for queue, share in likely.items()}
            size = after
        if not memory.is_empty:
            error = Fraction(unrounded(memory)) - expected(likely)
            assert error > -Fraction(1, 10**20)
            assert not exact or error < Fraction(1, 10**20)
            assert memory.taken(BUY, D(100), NOW) - unrounded(memory) < 1
        else:
            assert expected(likely) == 0
