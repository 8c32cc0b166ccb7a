"""Which armed orders a print fires: the rules one by one, and the index against a list that is simply walked."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trading_engine.exchange.conditions import (
    Trigger,
    Unfit,
    activation,
    check_trigger,
    hold_of_conditional,
    reversal,
)
from trading_engine.exchange.orders import Condition, Side
from trading_engine.exchange.triggers import ANY_PRINT, Printed, Standing, Triggers, extremes_of, restored

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
STOP_LOSS, TAKE_PROFIT = Condition.STOP_LOSS, Condition.TAKE_PROFIT


def trigger(side: Side, condition: Condition, stop: str | None = None, bps: int | None = None) -> Trigger:
    return Trigger(side=side, condition=condition, stop_price=D(stop) if stop is not None else None, trailing_bps=bps)


def armed(*triggers: Trigger) -> Triggers:
    """Orders 1, 2, 3 … armed before any print."""
    index = Triggers()
    for order_id, waits_for in enumerate(triggers, start=1):
        index.arm(order_id, waits_for, after=ANY_PRINT)
    return index


def fired_by(index: Triggers, *prices: str) -> list[tuple[int, ...]]:
    """What each print fires; before each, `would_fire` must say the same."""
    fired: list[tuple[int, ...]] = []
    for price in prices:
        seq = len(fired)
        foreseen = index.would_fire(D(price), seq)
        fired.append(index.on_print(D(price), seq).fired)
        assert fired[-1] == foreseen
        index.check()
    return fired


# --- stop prices ---


@pytest.mark.parametrize(
    ("side", "condition", "short_of_it", "met"),
    [
        (BUY, STOP_LOSS, "99.99", ("100", "100.01")),
        (SELL, TAKE_PROFIT, "99.99", ("100", "100.01")),
        (SELL, STOP_LOSS, "100.01", ("100", "99.99")),
        (BUY, TAKE_PROFIT, "100.01", ("100", "99.99")),
    ],
)
def test_a_stop_price_is_met_from_its_own_side(
    side: Side, condition: Condition, short_of_it: str, met: tuple[str, ...]
) -> None:
    for price in met:
        index = armed(trigger(side, condition, "100"))
        assert fired_by(index, short_of_it, price, price) == [(), (1,), ()]
        assert 1 not in index


def test_the_print_at_the_stop_fires_it() -> None:
    """W10: ask 100x10, print 8@100 fires the buy stop at 100."""
    assert fired_by(armed(trigger(BUY, STOP_LOSS, "100")), "99.5", "100") == [(), (1,)]


def test_one_print_fires_in_the_order_of_ids_whatever_the_prices_and_kinds() -> None:
    index = Triggers()
    index.arm(9, trigger(SELL, STOP_LOSS, "95"), after=ANY_PRINT)
    index.arm(4, trigger(SELL, STOP_LOSS, "99"), after=ANY_PRINT)
    index.arm(7, trigger(BUY, TAKE_PROFIT, "97"), after=ANY_PRINT)
    index.arm(2, trigger(SELL, STOP_LOSS, None, 400), after=ANY_PRINT)
    index.arm(1, trigger(SELL, STOP_LOSS, "80"), after=ANY_PRINT)
    assert fired_by(index, "100", "94") == [(), (2, 4, 7, 9)]
    assert len(index) == 1


def test_an_order_ignores_prints_it_was_placed_after() -> None:
    index = Triggers()
    index.arm(1, trigger(BUY, STOP_LOSS, "100"), after=5)
    index.arm(2, trigger(SELL, STOP_LOSS, None, 100), after=5)
    assert index.on_print(D(120), 5) == Printed(fired=(), started=(), moved=False)
    assert index.on_print(D(100), 6) == Printed(fired=(1,), started=(2,), moved=True)
    assert index.standing(2) == Standing(extreme=D(100), fires_at=D(99))


# --- trailing ---


def test_a_trailing_sale_fires_when_the_price_is_back_by_its_distance() -> None:
    """W11: SELL 100 bps, prints 40,000 → 41,000 → fires at or below 40,590."""
    index = armed(trigger(SELL, STOP_LOSS, None, 100))
    assert fired_by(index, "40000", "41000", "40590.01", "40590") == [(), (), (), (1,)]
    index = armed(trigger(SELL, STOP_LOSS, None, 100))
    assert fired_by(index, "40000", "41000", "40000") == [(), (), (1,)]


FAQ = {
    "stop-loss buy": (trigger(BUY, STOP_LOSS, "44000", 500), "40000 37000 44000 46000 42000 44099.99 44100"),
    "stop-loss sell": (trigger(SELL, STOP_LOSS, "39000", 1000), "40000 41500 39000 37000 41000 36900.01 36900"),
    "take-profit buy": (trigger(BUY, TAKE_PROFIT, "38000", 850), "42000 38000 37000 39000 38000 40144.99 40145"),
    "take-profit sell": (
        trigger(SELL, TAKE_PROFIT, "42000", 750),
        "40000 41500 39000 42000 45000 44000 46500 43012.51 43012.5",
    ),
    "no stop price": (trigger(SELL, STOP_LOSS, None, 700), "40000 42000 39500 45500 42315.01 42315"),
}


@pytest.mark.parametrize("case", FAQ)
def test_the_venues_own_examples_fire_at_the_last_print_and_no_earlier(case: str) -> None:
    waits_for, prices = FAQ[case]
    *before, last = fired_by(armed(waits_for), *prices.split())
    assert last == (1,)
    assert not any(before)


def test_the_print_that_meets_the_stop_price_sets_the_extreme_and_cannot_fire() -> None:
    index = armed(trigger(SELL, TAKE_PROFIT, "110", 100))
    assert index.standing(1) == Standing(extreme=None, fires_at=None)
    fired_by(index, "100", "90")
    assert index.standing(1) == Standing(extreme=None, fires_at=None)
    assert index.on_print(D(115), 9) == Printed(fired=(), started=(1,), moved=True)
    assert index.standing(1) == Standing(extreme=D(115), fires_at=D("113.85"))


def test_an_extreme_that_comes_to_where_another_is_becomes_one_with_it() -> None:
    index = armed(trigger(SELL, STOP_LOSS, None, 5_000))
    index.on_print(D(110), 0)
    index.arm(2, trigger(SELL, STOP_LOSS, None, 5_000), after=0)
    index.on_print(D(100), 1)
    assert index.state() == {"sell": [["110", [1]], ["100", [2]]]}
    assert index.on_print(D(110), 2) == Printed(fired=(), started=(), moved=True)
    assert index.state() == {"sell": [["110", [1, 2]]]}
    index.check()
    assert fired_by(index, "55") == [(1, 2)]


def test_the_same_price_again_moves_nothing() -> None:
    index = armed(trigger(SELL, STOP_LOSS, None, 100), trigger(BUY, STOP_LOSS, None, 100))
    assert index.on_print(D(50), 0) == Printed(fired=(), started=(1, 2), moved=True)
    for seq in (1, 2):
        assert not index.touched_by(D(50))
        assert index.on_print(D(50), seq) == Printed(fired=(), started=(), moved=False)


def test_the_fire_price_is_exact_where_a_quotient_would_not_be() -> None:
    assert reversal(SELL, D("0.00000003"), 1) == D("0.000000029997")
    assert reversal(BUY, D("97412.35"), 37) == D("97772.775695")


def test_a_trailing_stop_price_may_lie_on_either_side_of_the_last_price() -> None:
    for side, above, below in ((SELL, TAKE_PROFIT, STOP_LOSS), (BUY, STOP_LOSS, TAKE_PROFIT)):
        assert activation(side, D(101), D(100)) is above
        assert activation(side, D(99), D(100)) is below
        for stop, condition in ((D(101), above), (D(99), below)):
            check_trigger(Trigger(side=side, condition=condition, stop_price=stop, trailing_bps=100), D(100))


# --- checks before one is taken, and what it holds ---


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("condition", Condition)
def test_what_is_met_already_is_refused(side: Side, condition: Condition) -> None:
    waits_for = trigger(side, condition, "100")
    far, near = (D(99), D(101)) if waits_for.rises else (D(101), D(99))
    check_trigger(waits_for, far)
    for last in (D(100), near):
        with pytest.raises(Unfit, match="is met already") as refusal:
            check_trigger(waits_for, last)
        assert (refusal.value.code, refusal.value.field) == ("would_trigger", "stop_price")


def test_a_stop_price_needs_a_last_price_to_be_judged_by_and_a_mere_distance_does_not() -> None:
    with pytest.raises(Unfit) as refusal:
        check_trigger(trigger(BUY, STOP_LOSS, "100"), None)
    assert refusal.value.code == "no_last_price"
    check_trigger(trigger(BUY, STOP_LOSS, None, 10), None)


@pytest.mark.parametrize(
    ("stop", "bps", "field"),
    [(None, None, "stop_price"), ("0", None, "stop_price"), ("NaN", None, "stop_price"), ("-1", 5, "stop_price")]
    + [("1", bps, "trailing_bps") for bps in (0, -1, 10_000)],
)
def test_a_trigger_that_could_never_be_judged_cannot_exist(stop: str | None, bps: int | None, field: str) -> None:
    with pytest.raises(Unfit) as refusal:
        trigger(SELL, STOP_LOSS, stop, bps)
    assert (refusal.value.code, refusal.value.field) == ("invalid_order", field)


@pytest.mark.parametrize(
    ("waits_for", "price", "held"),
    [
        (trigger(SELL, STOP_LOSS, "90"), None, "0.5"),
        (trigger(SELL, STOP_LOSS, "90"), "89", "0.5"),
        (trigger(BUY, STOP_LOSS, "110"), "111", "55.5"),
        (trigger(BUY, STOP_LOSS, "110"), None, "56.1"),  # 110 x 0.5 x 1.02
        (trigger(BUY, STOP_LOSS, "110", 100), None, "56.661"),  # it may fire 1 % above 110
        (trigger(BUY, STOP_LOSS, None, 100), None, "51.51"),  # 1 % above the last price, 100
        (trigger(BUY, TAKE_PROFIT, "90", 100), None, "46.359"),
    ],
)
def test_what_a_conditional_order_sets_aside(waits_for: Trigger, price: str | None, held: str) -> None:
    limit = D(price) if price is not None else None
    assert hold_of_conditional(waits_for, D("0.5"), limit, D(100), 8) == D(held)


def test_a_market_buy_that_trails_cannot_say_its_cost_without_a_last_price() -> None:
    with pytest.raises(Unfit) as refusal:
        hold_of_conditional(trigger(BUY, STOP_LOSS, None, 100), D(1), None, None, 8)
    assert refusal.value.code == "no_last_price"


# --- the index ---


def test_an_order_is_armed_once_and_disarmed_once() -> None:
    index = armed(trigger(BUY, STOP_LOSS, "100"))
    with pytest.raises(ValueError, match="armed already"):
        index.arm(1, trigger(BUY, STOP_LOSS, "101"), after=ANY_PRINT)
    with pytest.raises(ValueError, match="does not trail"):
        index.arm(2, trigger(BUY, STOP_LOSS, "101"), after=ANY_PRINT, extreme=D(99))
    index.disarm(1)
    with pytest.raises(KeyError):
        index.disarm(1)
    assert fired_by(index, "200") == [()]


class Counting(Decimal):
    """A price that counts how often it is compared."""

    compared = 0

    def __ge__(self, other: Any) -> bool:
        Counting.compared += 1
        return super().__ge__(other)

    def __gt__(self, other: Any) -> bool:
        Counting.compared += 1
        return super().__gt__(other)

    def __le__(self, other: Any) -> bool:
        Counting.compared += 1
        return super().__le__(other)

    def __lt__(self, other: Any) -> bool:
        Counting.compared += 1
        return super().__lt__(other)


def comparisons(index: Triggers, price: str, seq: int) -> tuple[Printed, int]:
    Counting.compared = 0
    printed = index.on_print(Counting(price), seq)
    return printed, Counting.compared


def test_a_print_looks_at_what_it_touches_however_many_are_armed() -> None:
    index = Triggers()
    for order_id in range(1, 4_001, 4):
        index.arm(order_id, trigger(BUY, STOP_LOSS, str(200 + order_id)), after=ANY_PRINT)
        index.arm(order_id + 1, trigger(SELL, STOP_LOSS, f"{100 - D(order_id) / 100:f}"), after=ANY_PRINT)
        index.arm(order_id + 2, trigger(SELL, STOP_LOSS, None, 1_000 + order_id), after=ANY_PRINT)
        index.arm(order_id + 3, trigger(BUY, STOP_LOSS, None, 1_000 + order_id), after=ANY_PRINT)
    assert len(index.on_print(D(150), 0).started) == 2_000
    index.on_print(D(155), 1)
    index.on_print(D(149), 2)
    for seq, price in enumerate(("150", "154.99", "149.01"), start=3):
        printed, compared = comparisons(index, price, seq)
        assert printed == Printed(fired=(), started=(), moved=False)
        assert compared <= 6
    printed, compared = comparisons(index, "156", 6)  # a new high for a thousand orders
    assert printed == Printed(fired=(), started=(), moved=True)
    assert compared <= 20
    printed, compared = comparisons(index, "140", 7)  # back by 1,025 bps from 156, 1,000 + 1, 5, 9 … 25 fire
    assert printed.fired == tuple(order_id + 2 for order_id in range(1, 26, 4))
    assert compared <= 60


@pytest.mark.parametrize(
    "state",
    [
        {"hold": []},
        {"sell": {"41000": [1]}},
        {"sell": [[41000, [1]]]},
        {"sell": [["NaN", [1]]]},
        {"sell": [["-5", [1]]]},
        {"sell": [["5", ["1"]]]},
        {"sell": [["5", [1]], ["6", [1]]]},
        {"sell": [["5"]]},
    ],
    ids=str,
)
def test_a_state_that_nobody_wrote_is_not_read(state: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        extremes_of(state)


# --- against a list that is simply walked ---


@dataclass
class Slow:
    trigger: Trigger
    after: int
    extreme: Decimal | None = None


class SlowTriggers:
    """The rules written down once more, order by order."""

    def __init__(self) -> None:
        self.orders: dict[int, Slow] = {}

    def on_print(self, price: Decimal, seq: int) -> tuple[int, ...]:
        fired = [order_id for order_id, order in sorted(self.orders.items()) if self.fires(order, price, seq)]
        for order_id in fired:
            del self.orders[order_id]
        return tuple(fired)

    def fires(self, order: Slow, price: Decimal, seq: int) -> bool:
        waits_for, buys = order.trigger, order.trigger.side is BUY
        stop, bps = waits_for.stop_price, waits_for.trailing_bps
        if seq <= order.after:
            return False
        above = waits_for.condition is (STOP_LOSS if buys else TAKE_PROFIT)
        met = stop is None or (price >= stop if above else price <= stop)
        if bps is None:
            return met
        if order.extreme is None:
            order.extreme = price if met else None
            return False
        if price < order.extreme if buys else price > order.extreme:
            order.extreme = price
            return False
        moved = (price - order.extreme) if buys else (order.extreme - price)
        return moved * 10_000 >= order.extreme * bps


# Few and close together, so that extremes meet.
prices = st.integers(12, 24).map(Decimal)
distances = st.sampled_from((1, 333, 500, 1_000, 1_001, 2_000, 5_000))
triggers = st.builds(
    Trigger,
    side=st.sampled_from(Side),
    condition=st.sampled_from(Condition),
    stop_price=prices,
    trailing_bps=st.none() | distances,
) | st.builds(
    Trigger,
    side=st.sampled_from(Side),
    condition=st.sampled_from(Condition),
    stop_price=st.none(),
    trailing_bps=distances,
)


class Arming(RuleBasedStateMachine):
    """Orders come and go between prints; now and then the process starts anew from what was kept."""

    def __init__(self) -> None:
        super().__init__()
        self.quick = Triggers()
        self.slow = SlowTriggers()
        self.seq = 0
        self.next_id = 1

    @rule(waits_for=triggers, ahead=st.integers(0, 2))
    def arm(self, waits_for: Trigger, ahead: int) -> None:
        self.quick.arm(self.next_id, waits_for, after=self.seq + ahead)
        self.slow.orders[self.next_id] = Slow(waits_for, self.seq + ahead)
        self.next_id += 1

    @precondition(lambda self: self.slow.orders)
    @rule(at=st.integers(0, 1_000))
    def disarm(self, at: int) -> None:
        order_id = sorted(self.slow.orders)[at % len(self.slow.orders)]
        self.quick.disarm(order_id)
        del self.slow.orders[order_id]

    @rule(price=prices)
    def trade(self, price: Decimal) -> None:
        self.seq += 1
        before = {order_id: order.extreme for order_id, order in self.slow.orders.items()}
        foreseen = self.quick.would_fire(price, self.seq)
        printed = self.quick.on_print(price, self.seq)
        assert printed.fired == foreseen == self.slow.on_print(price, self.seq)
        after = {order_id: order.extreme for order_id, order in self.slow.orders.items()}
        began = {order_id for order_id, extreme in after.items() if extreme is not None and before[order_id] is None}
        assert set(printed.started) == began
        assert printed.moved == any(extreme != before[order_id] for order_id, extreme in after.items())

    @rule()
    def restart(self) -> None:
        kept = json.loads(json.dumps(self.quick.state()))
        self.quick = restored({order_id: order.trigger for order_id, order in self.slow.orders.items()}, kept)
        for order in self.slow.orders.values():
            order.after = ANY_PRINT

    @invariant()
    def the_index_stands_as_the_list_does(self) -> None:
        self.quick.check()
        assert len(self.quick) == len(self.slow.orders)
        for order_id, order in self.slow.orders.items():
            standing = self.quick.standing(order_id)
            assert standing.extreme == order.extreme
            if order.trigger.trailing_bps is None:
                assert standing.fires_at == order.trigger.stop_price


TestArming = Arming.TestCase


followers = st.builds(
    Trigger,
    side=st.sampled_from(Side),
    condition=st.just(STOP_LOSS),
    stop_price=st.none(),
    trailing_bps=st.sampled_from((1_000, 2_000, 4_000)),
)


@given(st.lists(st.tuples(followers, prices), min_size=4, max_size=30))
def test_orders_that_only_follow_the_price_do_as_the_list_says(steps: list[tuple[Trigger, Decimal]]) -> None:
    quick, slow = Triggers(), SlowTriggers()
    for seq, (waits_for, price) in enumerate(steps):
        quick.arm(seq, waits_for, after=seq - 1)
        slow.orders[seq] = Slow(waits_for, seq - 1)
        assert quick.on_print(price, seq).fired == slow.on_print(price, seq)
        quick.check()
        assert {order_id: order.extreme for order_id, order in slow.orders.items()} == extremes_of(quick.state())


@settings(max_examples=30)
@given(st.lists(triggers, min_size=1, max_size=12), st.lists(prices, min_size=1, max_size=25), st.data())
def test_a_restart_at_any_cut_changes_nothing(
    waiting: list[Trigger], printed: list[Decimal], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(printed)))
    whole, part = armed(*waiting), armed(*waiting)
    fired = [whole.on_print(price, seq) for seq, price in enumerate(printed)]
    again = [part.on_print(price, seq) for seq, price in enumerate(printed[:cut])]
    left = dict(enumerate(waiting, start=1))
    for outcome in again:
        for order_id in outcome.fired:
            del left[order_id]
    part = restored(left, json.loads(json.dumps(part.state())))
    again += [part.on_print(price, seq) for seq, price in enumerate(printed[cut:], start=cut)]
    assert again == fired
    assert part.state() == whole.state()
