"""The queue model against random markets whose every order is known: what must hold for any rule, and for any cut."""

import json
from collections.abc import Sequence
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.queues import InLine, RealQueue
from trading_engine.exchange.queue_model import Level
from trading_engine.exchange.queue_rules import JUDGED, Rule

STEP = Decimal("0.01")
ACCOUNTS = 2

Step = tuple[str, int]

lots = st.integers(1, 9)
market = st.one_of(
    st.tuples(st.just("add"), lots),
    st.tuples(st.just("add"), lots),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("trade"), lots),
    st.tuples(st.just("sweep"), lots),
    st.tuples(st.just("late"), lots),
    st.tuples(st.just("late sweep"), lots),
)
ours = st.one_of(st.tuples(st.just("join"), lots), st.tuples(st.just("leave"), st.integers(0, 20)))
one_order = st.lists(market, max_size=40)
many_orders = st.lists(st.one_of(market, market, ours), max_size=40)
in_time = st.lists(st.one_of(market, market, ours).filter(lambda step: not step[0].startswith("late")), max_size=40)
first_size = st.lists(lots, max_size=6)


class Session:
    """A real queue, a level that is told what a feed shows of it, and what was given."""

    def __init__(self, rule: Rule, first: Sequence[int]) -> None:
        self.real = RealQueue()
        for size in first:
            self.real.add(size)
        self.level = Level(step=STEP, rule=rule, shown=self._shown(), waiting=Decimal(0), time_ms=0)
        self.leaves: dict[int, int] = {}
        self.account: dict[int, int] = {}
        self.got: dict[int, int] = {}
        self.now_ms = 0

    def join(self, quantity: int) -> int:
        number = len(self.account) + 1
        self.account[number] = number % ACCOUNTS
        self.leaves[number] = quantity
        self.got[number] = 0
        self.real.join(number)
        self.level.join(number, self.account[number], quantity * STEP, waiting=Decimal(0), shown_ms=-1, arrived_ms=-1)
        return number

    def step(self, what: str, value: int) -> None:
        self.now_ms += 50
        traded = 0
        if what == "join":
            self.join(value)
            return
        if what == "leave":
            if self.leaves:
                number = sorted(self.leaves)[value % len(self.leaves)]
                del self.leaves[number]
                self.level.leave(number)
            return
        if what == "add":
            self.real.add(value)
        elif what == "cancel":
            self.real.cancel(value)
        else:
            # A sweep clears more than one order; each is a print of its own, as the venue tells it.
            whole = min(value, self.real.shown)
            parts = [1] * whole if what.endswith("sweep") else [whole] * (whole > 0)
            is_late = what.startswith("late")
            self.real.trade(whole)
            if is_late and whole:
                self._size(0)
            for part in parts:
                self._print(part, late=is_late)
            traded = 0 if is_late else whole
        if self._shown() != self.level.shown:
            self._size(traded)

    def aheads(self) -> dict[int, int]:
        return {number: self.ahead(number) for number in self.leaves}

    def ahead(self, number: int) -> int:
        return int(self.level.ahead(number) / STEP)

    def _size(self, traded: int) -> None:
        self.level.on_size(self._shown(), traded=traded * STEP, time_ms=self.now_ms)

    def _print(self, quantity: int, *, late: bool) -> None:
        spent: dict[int, int] = dict.fromkeys(range(ACCOUNTS), 0)
        for part in self.level.on_print(quantity * STEP, time_ms=self.now_ms, late=late):
            number, got = part.order_id, int(part.quantity / STEP)
            assert 0 < got <= self.leaves[number]
            spent[self.account[number]] += got
            self.got[number] += got
            self.leaves[number] -= got
            if not self.leaves[number]:
                del self.leaves[number]
        assert all(total <= quantity for total in spent.values()), "a print gave more than it is"

    def _shown(self) -> Decimal:
        return self.real.shown * STEP


@given(st.sampled_from(JUDGED), first_size, many_orders)
def test_what_is_ahead_stays_within_what_is_shown_never_grows_and_keeps_the_order_of_arrival(
    rule: Rule, first: list[int], steps: list[Step]
) -> None:
    session = Session(rule, first)
    for what, value in steps:
        before = session.aheads()
        session.step(what, value)
        after = session.aheads()
        for number, ahead in after.items():
            assert ahead >= 0
            assert what == "join" or ahead <= session.real.shown or not session.real.shown
            assert what.startswith("late") or ahead <= before.get(number, ahead)
        for account in range(ACCOUNTS):
            line = [ahead for number, ahead in sorted(after.items()) if session.account[number] == account]
            assert line == sorted(line)
        assert sorted(session.level.order_ids()) == sorted(session.leaves)


@given(first_size, in_time)
def test_strict_is_never_less_than_the_truth_and_no_estimate_is_more_than_strict(
    first: list[int], steps: list[Step]
) -> None:
    strict = Session(Rule.STRICT, first)
    others = [Session(rule, first) for rule in JUDGED if rule is not Rule.STRICT]
    for session in (strict, *others):
        session.join(9)
    for what, value in (step for step in steps if step[0] not in {"join", "leave"}):
        for session in (strict, *others):
            session.step(what, value)
        for number in strict.leaves:
            assert strict.ahead(number) >= strict.real.ahead(number)
            for session in others:
                if number in session.leaves:
                    assert session.ahead(number) <= strict.ahead(number)


@given(st.sampled_from([Rule.INFERRED, Rule.PRO_RATA]), first_size, lots, one_order)
def test_an_order_gets_no_less_than_by_the_strict_rule_and_no_more_than_with_nobody_ahead(
    rule: Rule, first: list[int], quantity: int, steps: list[Step]
) -> None:
    strict, expected, touch = (Session(which, first) for which in (Rule.STRICT, rule, Rule.TOUCH))
    for session in (strict, expected, touch):
        session.join(quantity)
    for what, value in steps:
        for session in (strict, expected, touch):
            session.step(what, value)
        assert strict.got[1] <= expected.got[1] <= touch.got[1]


@given(first_size, in_time)
def test_strict_serves_own_orders_in_line_as_counting_lot_by_lot_does(first: list[int], steps: list[Step]) -> None:
    session = Session(Rule.STRICT, first)
    lines = [InLine() for _ in range(ACCOUNTS)]
    for line in lines:
        line.size(session.real.shown)
    for what, value in steps:
        known, shown, got_before = set(session.leaves), session.real.shown, dict(session.got)
        session.step(what, value)
        for number in session.leaves:
            if number not in known:
                line = lines[session.account[number]]
                line.size(session.real.shown)
                line.join(number, value)
        counted: dict[int, int] = {}
        for line in lines:
            if what == "leave":
                for number in known - set(session.leaves):
                    line.leave(number)
            if what in {"trade", "sweep"}:
                counted |= line.trade(min(value, shown))
            line.size(session.real.shown)
        assert {number: got - got_before.get(number, 0) for number, got in session.got.items()} == {
            number: counted.get(number, 0) for number in session.got
        }
        for number, ahead in session.aheads().items():
            assert ahead == lines[session.account[number]].ahead(number)


@given(st.sampled_from(JUDGED), first_size, many_orders, st.sampled_from(["trade", "sweep"]), lots)
def test_prints_that_come_late_do_what_they_had_done_in_time(
    rule: Rule, first: list[int], steps: list[Step], what_happens: str, quantity: int
) -> None:
    late, on_time = Session(rule, first), Session(rule, first)
    for session in (late, on_time):
        for what, value in steps:
            session.step(what, value)
    late.step({"trade": "late", "sweep": "late sweep"}[what_happens], quantity)
    on_time.step(what_happens, quantity)
    assert late.got == on_time.got
    assert late.aheads() == on_time.aheads()


@given(st.sampled_from(Rule), first_size, many_orders, st.integers(0, 40))
def test_a_market_cut_at_any_event_and_taken_up_again_goes_on_as_if_it_had_not_been(
    rule: Rule, first: list[int], steps: list[Step], cut: int
) -> None:
    uncut, resumed = Session(rule, first), Session(rule, first)
    for index, (what, value) in enumerate(steps):
        if index == cut:
            resumed.level = Level.restore(json.loads(json.dumps(resumed.level.snapshot())), step=STEP)
        uncut.step(what, value)
        resumed.step(what, value)
    assert resumed.level.snapshot() == uncut.level.snapshot()
    assert resumed.got == uncut.got
