"""Order lists: which orders make one, what ends and enters what, and that their funds are set aside once."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trading_engine.exchange.conditions import Trigger, Unfit, hold_of_conditional
from trading_engine.exchange.order_lists import (
    OTHER_ENDED,
    OTHER_FILLED,
    OTHER_TRIGGERED,
    Action,
    EndLeg,
    EnterLegs,
    LegTerms,
    ListKind,
    ListStatus,
    OrderList,
    Role,
    after_end,
    after_fill,
    after_trigger,
    begun,
    check_list,
    check_positions,
    entered,
    holds,
    noted,
)
from trading_engine.exchange.orders import Condition, IllegalTransitionError, OrderStatus, Side, Stage, hold_of

D = Decimal
ZERO = D(0)
BUY, SELL = Side.BUY, Side.SELL
OCO, OTO, OTOCO = ListKind.OCO, ListKind.OTO, ListKind.OTOCO
CANCELLED, EXPIRED = OrderStatus.CANCELLED, OrderStatus.EXPIRED
LAST = D(40_000)


def order(
    side: Side,
    price: str | None = None,
    *,
    stop: str | None = None,
    profit: str | None = None,
    bps: int | None = None,
    quantity: str | None = "1",
    symbol: str = "BTCUSDT",
) -> LegTerms:
    """A limit at `price`, or what waits at `stop` or `profit` (then at market, or with `price`), or a market order."""
    trigger = None
    if stop is not None or profit is not None or bps is not None:
        at = stop if stop is not None else profit
        trigger = Trigger(
            side=side,
            condition=Condition.TAKE_PROFIT if profit is not None else Condition.STOP_LOSS,
            stop_price=D(at) if at is not None else None,
            trailing_bps=bps,
        )
    return LegTerms(
        symbol=symbol,
        side=side,
        quantity=D(quantity) if quantity is not None else None,
        price=D(price) if price is not None else None,
        trigger=trigger,
    )


def taken(kind: ListKind, *legs: tuple[int, Role, bool]) -> OrderList:
    return begun(list_id=1, account_id=7, epoch=1, kind=kind, client_id="mine", symbol="BTCUSDT", legs=legs)


def oco(*, profit_waits: bool = False) -> OrderList:
    """Order 2 takes the profit, order 3 stops the loss."""
    return taken(OCO, (2, Role.PROFIT, profit_waits), (3, Role.STOP, True))


def otoco() -> OrderList:
    return taken(OTOCO, (2, Role.WORKING, False), (3, Role.PROFIT, False), (4, Role.STOP, True))


# --- which orders make a list ---

STOPS = [{"stop": "39000"}, {"stop": "39000", "price": "38900"}, {"bps": 100}, {"stop": "39000", "bps": 100}]
PROFITS = [{"price": "42000"}, {"profit": "42000"}, {"profit": "42000", "price": "41900"}]


@pytest.mark.parametrize("stop", STOPS, ids=str)
@pytest.mark.parametrize("profit", PROFITS, ids=str)
def test_an_oco_is_a_profit_and_a_stop_in_any_order(profit: dict[str, Any], stop: dict[str, Any]) -> None:
    legs = [order(SELL, **profit), order(SELL, **stop)]
    assert check_list(OCO, legs, LAST) == (Role.PROFIT, Role.STOP)
    assert check_list(OCO, legs[::-1], LAST) == (Role.STOP, Role.PROFIT)
    check_positions(*legs)


def test_an_oco_of_buys_lies_the_other_way_round() -> None:
    legs = [order(BUY, "38000"), order(BUY, stop="41000")]
    assert check_list(OCO, legs, LAST) == (Role.PROFIT, Role.STOP)
    check_positions(legs[1], legs[0])


@pytest.mark.parametrize(
    ("legs", "rule", "field"),
    [
        ([order(SELL, "42000")], "leg_count", "orders"),
        ([order(SELL, "42000"), order(SELL, stop="39000"), order(SELL, stop="38000")], "leg_count", "orders"),
        ([order(SELL, "42000"), order(SELL, stop="39000", symbol="ETHUSDT")], "one_symbol", "orders.1.symbol"),
        ([order(SELL, "42000"), order(BUY, stop="41000")], "one_side", "orders.1.side"),
        ([order(SELL, "42000"), order(SELL, stop="39000", quantity="0.9")], "one_quantity", "orders.1.quantity"),
        ([order(SELL, "42000"), order(SELL, stop="39000", quantity=None)], "quantity", "orders.1.quantity"),
        ([order(SELL, "42000"), order(SELL, "43000")], "both_limit", "orders.1.type"),
        ([order(SELL, "42000"), order(SELL, profit="43000")], "leg_type", "orders.1.type"),
        ([order(SELL, stop="39000"), order(SELL, bps=100)], "leg_type", "orders.1.type"),
        ([order(SELL), order(SELL, stop="39000")], "leg_type", "orders.0.type"),
        ([order(SELL, "42000"), order(SELL)], "leg_type", "orders.1.type"),
    ],
)
def test_orders_that_make_no_oco(legs: list[LegTerms], rule: str, field: str) -> None:
    with pytest.raises(Unfit) as refusal:
        check_list(OCO, legs, LAST)
    assert (refusal.value.code, refusal.value.rule, refusal.value.field) == ("invalid_order_list", rule, field)


@pytest.mark.parametrize(
    ("legs", "field"),
    [
        ([order(SELL, "40000"), order(SELL, stop="39000")], "orders.0.price"),
        ([order(SELL, "39999"), order(SELL, stop="39000")], "orders.0.price"),
        ([order(SELL, profit="39999"), order(SELL, stop="39000")], "orders.0.stop_price"),
        ([order(SELL, "42000"), order(SELL, stop="40000")], "orders.1.stop_price"),
        ([order(SELL, stop="40001"), order(SELL, "42000")], "orders.0.stop_price"),
        ([order(BUY, "40000"), order(BUY, stop="41000")], "orders.0.price"),
        ([order(BUY, "39000"), order(BUY, stop="40000")], "orders.1.stop_price"),
    ],
)
def test_an_oco_with_the_last_price_outside_is_refused(legs: list[LegTerms], field: str) -> None:
    with pytest.raises(Unfit, match="last price 40000") as refusal:
        check_list(OCO, legs, LAST)
    assert (refusal.value.code, refusal.value.field) == ("list_prices", field)


def test_an_oco_needs_a_last_price_to_be_judged_by() -> None:
    with pytest.raises(Unfit) as refusal:
        check_list(OCO, [order(SELL, "42000"), order(SELL, stop="39000")], None)
    assert refusal.value.code == "no_last_price"


def test_an_oto_begins_with_a_limit_and_may_go_on_with_anything() -> None:
    for pending in (order(SELL), order(SELL, "42000", quantity="0.5"), order(BUY, stop="50000"), order(SELL, bps=50)):
        assert check_list(OTO, [order(BUY, "39000"), pending], LAST) == (Role.WORKING, Role.PENDING)
    for working in (order(BUY), order(BUY, stop="41000"), order(BUY, "41000", stop="41000")):
        with pytest.raises(Unfit) as refusal:
            check_list(OTO, [working, order(SELL)], LAST)
        assert (refusal.value.rule, refusal.value.field) == ("working_type", "orders.0.type")


def test_the_oco_inside_an_otoco_is_judged_in_itself_not_against_the_last_price() -> None:
    working = order(BUY, "30000")
    legs = [working, order(SELL, stop="29000"), order(SELL, "31000")]
    for last in (LAST, None):
        assert check_list(OTOCO, legs, last) == (Role.WORKING, Role.STOP, Role.PROFIT)
    for stop in ("31000", "31001"):
        with pytest.raises(Unfit) as refusal:
            check_list(OTOCO, [working, order(SELL, "31000"), order(SELL, stop=stop)], LAST)
        assert refusal.value.code == "list_prices"
    with pytest.raises(Unfit) as refusal:
        check_list(OTOCO, [working, order(SELL, "31000"), order(SELL, "32000")], LAST)
    assert (refusal.value.rule, refusal.value.field) == ("both_limit", "orders.2.type")


@pytest.mark.parametrize(
    ("above", "below", "rule"),
    [
        (order(BUY, "39000"), order(BUY, stop="38000"), "buy_limit_must_be_below"),
        (order(SELL, stop="41000"), order(SELL, "39000"), "sell_stop_loss_must_be_below"),
        (order(SELL, "42000"), order(SELL, "39000"), "sell_limit_must_be_above"),
        (order(BUY, stop="41000"), order(BUY, stop="39000"), "buy_stop_loss_must_be_above"),
        (order(BUY, profit="41000"), order(BUY, profit="39000"), "buy_take_profit_must_be_below"),
        (order(SELL, profit="41000"), order(SELL, profit="39000"), "sell_take_profit_must_be_above"),
        (order(SELL), order(SELL, stop="39000"), "leg_type"),
    ],
)
def test_a_leg_called_above_or_below_must_be_able_to_lie_there(above: LegTerms, below: LegTerms, rule: str) -> None:
    with pytest.raises(Unfit) as refusal:
        check_positions(above, below)
    assert refusal.value.rule == rule


# --- what follows from what ---


def test_the_first_fill_of_the_limit_ends_the_stop_and_the_rest_goes_on() -> None:
    """W12: SELL 1 BTC at 42,000 / 39,000 locks 1; the limit fills 0.2: the stop is gone, 0.8 rests."""
    order_list = oco()
    needs = {2: D(1), 3: D(1)}
    assert sum(holds(order_list, needs).values()) == 1
    order_list = noted(order_list, 2, Stage.LIVE)
    assert after_fill(order_list, 2) == (EndLeg(order_id=3, status=EXPIRED, reason=OTHER_FILLED),)
    order_list = noted(order_list, 3, Stage.ENDED)
    assert holds(order_list, {2: D("0.8"), 3: D(1)}) == {2: D("0.8"), 3: ZERO}
    assert order_list.status is ListStatus.EXECUTING
    assert after_fill(noted(order_list, 2, Stage.LIVE), 2) == ()
    order_list = noted(order_list, 2, Stage.ENDED)
    assert after_fill(order_list, 2) == ()
    assert order_list.status is ListStatus.DONE


def test_a_stop_that_triggers_ends_the_limit_before_it_enters() -> None:
    order_list = oco()
    assert after_trigger(order_list, 3) == (EndLeg(order_id=2, status=EXPIRED, reason=OTHER_TRIGGERED),)
    order_list = noted(noted(order_list, 2, Stage.ENDED), 3, Stage.LIVE)
    assert holds(order_list, {2: D(1), 3: D(1)}) == {2: ZERO, 3: D(1)}
    order_list = noted(order_list, 3, Stage.ENDED)
    assert after_fill(order_list, 3) == ()
    assert order_list.status is ListStatus.DONE


def test_a_take_profit_that_triggers_ends_the_stop() -> None:
    order_list = oco(profit_waits=True)
    assert after_trigger(order_list, 2) == (EndLeg(order_id=3, status=EXPIRED, reason=OTHER_TRIGGERED),)


@pytest.mark.parametrize(("cancelled", "other"), [(2, 3), (3, 2)])
def test_who_cancels_one_leg_of_an_oco_cancels_both(cancelled: int, other: int) -> None:
    order_list = noted(oco(), cancelled, Stage.ENDED)
    assert after_end(order_list, cancelled, CANCELLED) == (
        EndLeg(order_id=other, status=CANCELLED, reason=OTHER_ENDED),
    )


def test_the_larger_need_is_set_aside_once_whichever_leg_has_it() -> None:
    assert holds(oco(), {2: D(380), 3: D(418)}) == {2: D(418), 3: ZERO}
    assert holds(oco(), {2: D(418), 3: D(380)}) == {2: D(418), 3: ZERO}


def test_pending_legs_enter_when_the_working_one_is_filled_whole_and_not_before() -> None:
    order_list = otoco()
    assert [leg.stage for leg in order_list.legs] == [Stage.LIVE, Stage.PENDING, Stage.PENDING]
    needs = {2: D(300), 3: D(1), 4: D(1)}
    assert holds(order_list, needs) == {2: D(300), 3: ZERO, 4: ZERO}
    order_list = noted(order_list, 2, Stage.LIVE)
    assert after_fill(order_list, 2) == ()
    order_list = noted(order_list, 2, Stage.ENDED)
    assert after_fill(order_list, 2) == (EnterLegs(order_ids=(3, 4)),)
    order_list = entered(order_list)
    assert [leg.stage for leg in order_list.legs] == [Stage.ENDED, Stage.LIVE, Stage.ARMED]
    assert holds(order_list, needs) == {2: ZERO, 3: D(1), 4: ZERO}
    assert after_trigger(order_list, 4) == (EndLeg(order_id=3, status=EXPIRED, reason=OTHER_TRIGGERED),)


@pytest.mark.parametrize("ended", [2, 3, 4])
@pytest.mark.parametrize("status", [CANCELLED, EXPIRED])
def test_an_otoco_ends_as_a_whole_while_its_first_order_is_open(ended: int, status: OrderStatus) -> None:
    others = [order_id for order_id in (2, 3, 4) if order_id != ended]
    actions = after_end(noted(otoco(), ended, Stage.ENDED), ended, status)
    assert actions == tuple(EndLeg(order_id=other, status=status, reason=OTHER_ENDED) for other in others)


def test_what_cannot_follow_is_our_own_fault() -> None:
    for wrong in (
        lambda: noted(noted(oco(), 2, Stage.ENDED), 2, Stage.LIVE),
        lambda: noted(oco(), 3, Stage.PENDING),
        lambda: noted(otoco(), 4, Stage.LIVE),
        lambda: noted(otoco(), 3, Stage.ARMED),
        lambda: after_trigger(oco(), 2),
        lambda: after_trigger(noted(oco(), 3, Stage.LIVE), 3),
        lambda: after_end(oco(), 3, CANCELLED),
    ):
        with pytest.raises(IllegalTransitionError):
            wrong()
    with pytest.raises(KeyError):
        oco().leg(9)


# --- any life of any list, with its money ---

FUNDS = D(10_000)
QUANTITY = D(4)
LIMITS = {(SELL, Role.PROFIT): D(110), (BUY, Role.PROFIT): D(90), (SELL, Role.STOP): D(89), (BUY, Role.STOP): D(112)}
STOP_PRICES = {SELL: D(90), BUY: D(110)}


class Life(RuleBasedStateMachine):
    """A desk that does what the list says, event by event, and a wallet of the one asset the pair pays with.

    The working order of an OTO pays with another, so that the wallet is the pair's alone.
    """

    @initialize(
        kind=st.sampled_from(ListKind),
        side=st.sampled_from(Side),
        at_market=st.booleans(),
        profit_waits=st.booleans(),
        funds=st.sampled_from((FUNDS, D(3), D(370))),
    )
    def take(self, kind: ListKind, side: Side, at_market: bool, profit_waits: bool, funds: Decimal) -> None:
        self.kind, self.side, self.at_market = kind, side, at_market
        pair = [(3, Role.PROFIT, profit_waits), (4, Role.STOP, True)]
        legs = {
            OCO: pair,
            OTO: [(2, Role.WORKING, False), (3, Role.PENDING, profit_waits)],
            OTOCO: [(2, Role.WORKING, False), *pair],
        }[kind]
        self.first = taken(kind, *legs)
        self.order_list = self.first
        self.log: list[tuple[int, Stage]] = []
        self.filled = {leg.order_id: ZERO for leg in self.first.legs}
        self.held = {leg.order_id: ZERO for leg in self.first.legs}
        self.releases = {leg.order_id: 0 for leg in self.first.legs}
        self.spent = ZERO
        # An OCO that cannot be paid for is refused before it is a list.
        needed = sum(self.due(self.first).values(), ZERO)
        self.funds = max(funds, needed)
        self.free = self.funds
        for order_id, held in self.due(self.first).items():
            self.hold(order_id, held)

    def need(self, order_id: int) -> Decimal:
        leg = self.order_list.leg(order_id)
        leaves = QUANTITY - self.filled[order_id]
        if leg.role is Role.WORKING:
            return ZERO
        if leg.role is Role.STOP:
            waits_for = Trigger(
                side=self.side, condition=Condition.STOP_LOSS, stop_price=STOP_PRICES[self.side], trailing_bps=None
            )
            price = None if self.at_market else LIMITS[self.side, Role.STOP]
            return hold_of_conditional(waits_for, leaves, price, None, 8)
        return hold_of(self.side, LIMITS[self.side, Role.PROFIT], leaves, 8)

    def due(self, order_list: OrderList) -> dict[int, Decimal]:
        return holds(order_list, {order_id: self.need(order_id) for order_id in self.filled})

    def hold(self, order_id: int, held: Decimal) -> None:
        """Let an order set aside `held`, taking from free or giving back."""
        if self.held[order_id] and not held:
            self.releases[order_id] += 1
        self.free -= held - self.held[order_id]
        self.held[order_id] = held
        assert self.free >= 0

    def note(self, order_id: int, stage: Stage) -> None:
        self.log.append((order_id, stage))
        self.order_list = noted(self.order_list, order_id, stage)

    def end(self, order_id: int) -> None:
        self.hold(order_id, ZERO)
        self.note(order_id, Stage.ENDED)

    def follow(self, actions: tuple[Action, ...]) -> None:
        for action in actions:
            if isinstance(action, EndLeg):
                assert self.order_list.leg(action.order_id).is_open
                self.end(action.order_id)
            else:
                self.enter(action.order_ids)

    def enter(self, order_ids: tuple[int, ...]) -> None:
        due = self.due(entered(self.order_list))
        if sum(due.values(), ZERO) > self.free:
            for order_id in order_ids:
                self.end(order_id)
            return
        for order_id in order_ids:
            self.hold(order_id, due[order_id])
            conditional = self.order_list.leg(order_id).conditional
            self.note(order_id, Stage.ARMED if conditional else Stage.LIVE)

    def those(self, *stages: Stage) -> list[int]:
        return [leg.order_id for leg in self.order_list.legs if leg.stage in stages]

    @precondition(lambda self: self.those(Stage.LIVE))
    @rule(at=st.integers(0, 5), lots=st.integers(1, 4))
    def fill(self, at: int, lots: int) -> None:
        live = self.those(Stage.LIVE)
        order_id = live[at % len(live)]
        quantity = min(D(lots), QUANTITY - self.filled[order_id])
        before = self.held[order_id]
        self.filled[order_id] += quantity
        # As a fill is posted: what it costs is paid from the hold, and what the rest does not need goes back.
        cost = quantity * (D(1) if self.side is SELL else LIMITS[self.side, Role.PROFIT])
        cost = ZERO if self.order_list.leg(order_id).role is Role.WORKING else min(cost, before)
        self.hold(order_id, min(before - cost, self.need(order_id)))
        self.free -= cost
        self.spent += cost
        whole = self.filled[order_id] == QUANTITY
        self.note(order_id, Stage.ENDED if whole else Stage.LIVE)
        self.follow(after_fill(self.order_list, order_id))

    @precondition(lambda self: self.those(Stage.ARMED))
    @rule(at=st.integers(0, 5))
    def trigger(self, at: int) -> None:
        waiting = self.those(Stage.ARMED)
        order_id = waiting[at % len(waiting)]
        self.follow(after_trigger(self.order_list, order_id))
        self.hold(order_id, self.need(order_id))
        self.note(order_id, Stage.LIVE)

    @precondition(lambda self: self.those(Stage.PENDING, Stage.ARMED, Stage.LIVE))
    @rule(at=st.integers(0, 5), status=st.sampled_from((CANCELLED, EXPIRED)))
    def end_one(self, at: int, status: OrderStatus) -> None:
        still_open = self.those(Stage.PENDING, Stage.ARMED, Stage.LIVE)
        order_id = still_open[at % len(still_open)]
        self.end(order_id)
        self.follow(after_end(self.order_list, order_id, status))

    @rule()
    def restart(self) -> None:
        """What is kept is the list as it was taken, and its orders' events; both go through the journal's JSON."""
        again = msgspec.json.decode(msgspec.json.encode(self.first), type=OrderList)
        for order_id, stage in self.log:
            again = noted(again, order_id, stage)
        assert again == self.order_list
        assert msgspec.json.decode(msgspec.json.encode(self.order_list), type=OrderList) == self.order_list
        self.order_list = again

    @invariant()
    def funds_are_set_aside_once_and_returned_once(self) -> None:
        assert self.held == self.due(self.order_list)
        assert self.free + sum(self.held.values(), ZERO) + self.spent == self.funds
        assert max(self.releases.values()) <= 1

    @invariant()
    def never_do_both_legs_of_an_oco_trade(self) -> None:
        if self.kind is not OTO:
            assert not (self.filled[3] and self.filled[4])
        open_legs = self.those(Stage.PENDING, Stage.ARMED, Stage.LIVE)
        assert (self.order_list.status is ListStatus.DONE) == (not open_legs)
        if self.order_list.status is ListStatus.DONE:
            assert self.free + self.spent == self.funds
        if self.kind is not OCO and any(stage is not Stage.ENDED for id_, stage in self.log if id_ in (3, 4)):
            assert self.filled[2] == QUANTITY


TestLife = Life.TestCase
