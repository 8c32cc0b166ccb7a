"""Order lists: orders that end or enter one another. Frozen values, checks before entry, and what follows from what.

*OCO*, one cancels the other: a *profit* leg (a limit, or a take-profit) and a *stop* leg for the same quantity, one on
each side of the last price. The first fill of the profit leg ends the stop; what triggers ends the other before it
enters the book itself; whoever cancels one cancels both. Only one of them can ever trade, so what they set aside is set
aside **once**, the larger need of the two: the profit leg carries it while both are open, and the stop holds nothing.
That leg, because a fill then returns the surplus by itself; and when the stop triggers, its sibling ends first, which
frees what the stop sets aside in the next event of the same batch.

*OTO*, one triggers the other: when the *working* leg, a limit, is filled whole, the *pending* leg enters. *OTOCO*: two
pending legs enter, and are an OCO. A pending leg sets nothing aside. If either side of an OTO ends otherwise, all ends.

A leg's stage follows from its order's events by `noted`, live and when rebuilding; `after_fill`, `after_trigger` and
`after_end` say what has to be done next, completely: what they name is not asked about again. Pure: no lock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final

from trading_engine.exchange.conditions import Trigger, Unfit
from trading_engine.exchange.money import ZERO, short
from trading_engine.exchange.orders import Condition, IllegalTransitionError, OrderStatus, Side, Stage


class ListKind(StrEnum):
    """How the orders of a list depend on one another."""

    OCO = "oco"
    OTO = "oto"
    OTOCO = "otoco"


class ListStatus(StrEnum):
    """Whether any leg is open still."""

    EXECUTING = "executing"
    DONE = "done"


class Role(StrEnum):
    """What a leg is in its list: `profit` and `stop` are an OCO, `pending` is an OTO's second order."""

    WORKING = "working"
    PENDING = "pending"
    PROFIT = "profit"
    STOP = "stop"


_STAGES: Final = {
    Stage.PENDING: frozenset({Stage.ARMED, Stage.LIVE, Stage.ENDED}),
    Stage.ARMED: frozenset({Stage.LIVE, Stage.ENDED}),
    Stage.LIVE: frozenset({Stage.LIVE, Stage.ENDED}),
    Stage.ENDED: frozenset[Stage](),
}
"""From each stage, the stages an event may lead to."""

LEGS: Final = {ListKind.OCO: 2, ListKind.OTO: 2, ListKind.OTOCO: 3}
"""How many orders a list has."""

OTHER_FILLED: Final = "other_leg_filled"
OTHER_TRIGGERED: Final = "other_leg_triggered"
OTHER_ENDED: Final = "other_leg_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One order of a list. `conditional`: it waits for a trigger once it has entered."""

    order_id: int
    role: Role
    conditional: bool
    stage: Stage

    @property
    def is_open(self) -> bool:
        """Say whether the leg is not over."""
        return self.stage is not Stage.ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderList:
    """One list as it stands. `client_id` is its owner's name for it. Legs: working first, profit before stop."""

    id: int
    account_id: int
    epoch: int
    kind: ListKind
    client_id: str
    symbol: str
    legs: tuple[Leg, ...]
    status: ListStatus

    def leg(self, order_id: int) -> Leg:
        """Return a leg; raise KeyError if the order is none of this list's."""
        for leg in self.legs:
            if leg.order_id == order_id:
                return leg
        raise KeyError(f"order {order_id} is not in list {self.id}")

    def sibling(self, leg: Leg) -> Leg | None:
        """Return the other leg of an OCO, None for a leg that is in none."""
        other = {Role.PROFIT: Role.STOP, Role.STOP: Role.PROFIT}.get(leg.role)
        return next((one for one in self.legs if one.role is other), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndLeg:
    """End an order for the list's sake: cancelled (`status`) where a person wanted it, else expired."""

    order_id: int
    status: OrderStatus
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterLegs:
    """Let the pending orders arrive now, profit before stop, with the holds of the list as `entered` returns it.

    Together: if one of them cannot enter, each of them expires for the same reason, and none ever sets anything aside.
    """

    order_ids: tuple[int, ...]


Action = EndLeg | EnterLegs


# The life of a list


def begun(
    *,
    list_id: int,
    account_id: int,
    epoch: int,
    kind: ListKind,
    client_id: str,
    symbol: str,
    legs: Sequence[tuple[int, Role, bool]],
) -> OrderList:
    """Return the list as it is taken: `legs` as order id, role (of `check_list`) and whether it is conditional."""
    order = list(Role)
    return OrderList(
        id=list_id,
        account_id=account_id,
        epoch=epoch,
        kind=kind,
        client_id=client_id,
        symbol=symbol,
        legs=tuple(
            Leg(order_id=order_id, role=role, conditional=conditional, stage=_first_stage(kind, role, conditional))
            for order_id, role, conditional in sorted(legs, key=lambda leg: order.index(leg[1]))
        ),
        status=ListStatus.EXECUTING,
    )


def noted(order_list: OrderList, order_id: int, stage: Stage) -> OrderList:
    """Return the list after an event of one of its orders: it entered, triggered, was filled, ended.

    Raises IllegalTransitionError for a stage that cannot follow, which would be our own fault.
    """
    leg = order_list.leg(order_id)
    skips = stage is (Stage.LIVE if leg.conditional else Stage.ARMED) and leg.stage is Stage.PENDING
    if stage not in _STAGES[leg.stage] or skips:
        raise IllegalTransitionError(f"order {order_id} of list {order_list.id} is {leg.stage}, it cannot be {stage}")
    legs = tuple(replace(one, stage=stage) if one is leg else one for one in order_list.legs)
    executing = any(one.is_open for one in legs)
    return replace(order_list, legs=legs, status=ListStatus.EXECUTING if executing else ListStatus.DONE)


def entered(order_list: OrderList) -> OrderList:
    """Return the list as it is once every pending leg has entered: what `holds` is asked about before they do."""
    for leg in order_list.legs:
        if leg.stage is Stage.PENDING:
            order_list = noted(order_list, leg.order_id, Stage.ARMED if leg.conditional else Stage.LIVE)
    return order_list


def after_fill(order_list: OrderList, order_id: int) -> tuple[Action, ...]:
    """Return what follows a fill, part or whole, that is noted already."""
    leg = order_list.leg(order_id)
    if leg.role is Role.WORKING:
        pending = tuple(one.order_id for one in order_list.legs if one.stage is Stage.PENDING)
        return (EnterLegs(order_ids=pending),) if pending and not leg.is_open else ()
    return _end_sibling(order_list, leg, OTHER_FILLED)


def after_trigger(order_list: OrderList, order_id: int) -> tuple[Action, ...]:
    """Return what has to be done **before** a leg that is still armed triggers: its sibling frees what they share."""
    leg = order_list.leg(order_id)
    if leg.stage is not Stage.ARMED:
        raise IllegalTransitionError(f"order {order_id} of list {order_list.id} is {leg.stage}, it cannot trigger")
    return _end_sibling(order_list, leg, OTHER_TRIGGERED)


def after_end(order_list: OrderList, order_id: int, status: OrderStatus) -> tuple[Action, ...]:
    """Return what follows when a leg was cancelled, or expired, without the list having wanted it; noted already.

    A working leg that is filled whole has not ended in this sense; nor has a leg that an action of the list ended.
    """
    if order_list.leg(order_id).is_open:
        raise IllegalTransitionError(f"order {order_id} of list {order_list.id} has not ended")
    return tuple(
        EndLeg(order_id=one.order_id, status=status, reason=OTHER_ENDED) for one in order_list.legs if one.is_open
    )


def holds(order_list: OrderList, needs: Mapping[int, Decimal]) -> dict[int, Decimal]:
    """Return by order id what each leg sets aside now, given what each would need by itself.

    While both legs of an OCO are open the profit leg carries the larger need; a leg that is pending or over holds none.
    """
    held = {}
    for leg in order_list.legs:
        sibling = order_list.sibling(leg)
        need = needs[leg.order_id] if leg.stage in {Stage.ARMED, Stage.LIVE} else ZERO
        if need and sibling is not None and sibling.stage in {Stage.ARMED, Stage.LIVE}:
            need = max(need, needs[sibling.order_id]) if leg.role is Role.PROFIT else ZERO
        held[leg.order_id] = need
    return held


def _first_stage(kind: ListKind, role: Role, conditional: bool) -> Stage:  # noqa: FBT001 - a leg's own field
    if kind is not ListKind.OCO and role is not Role.WORKING:
        return Stage.PENDING
    return Stage.ARMED if conditional else Stage.LIVE


def _end_sibling(order_list: OrderList, leg: Leg, reason: str) -> tuple[Action, ...]:
    sibling = order_list.sibling(leg)
    if sibling is None or not sibling.is_open:
        return ()
    return (EndLeg(order_id=sibling.order_id, status=OrderStatus.EXPIRED, reason=reason),)


# Checks before a list is taken


@dataclass(frozen=True, slots=True, kw_only=True)
class LegTerms:
    """What a list's check looks at in an order: a market order has neither `price` nor `trigger`."""

    symbol: str
    side: Side
    quantity: Decimal | None
    price: Decimal | None
    trigger: Trigger | None

    @property
    def is_limit(self) -> bool:
        """Say whether it is a limit order that waits for no trigger."""
        return self.trigger is None and self.price is not None

    @property
    def condition(self) -> Condition | None:
        """Return what it waits for, None for an order that waits for nothing."""
        return self.trigger.condition if self.trigger is not None else None

    @property
    def reference(self) -> tuple[str, Decimal] | None:
        """Return the field and the price that must lie on its side of the last price; None for a mere distance."""
        if self.trigger is None:
            return ("price", self.price) if self.price is not None else None
        return ("stop_price", self.trigger.stop_price) if self.trigger.stop_price is not None else None


def check_list(kind: ListKind, legs: Sequence[LegTerms], last: Decimal | None) -> tuple[Role, ...]:
    """Return the role of each leg, in their order; raise Unfit where they do not make such a list.

    `last` is the last price; an OCO is judged against it now, the OCO inside an OTOCO only in itself, since it enters
    another day. Fields are named `orders.0.price` and so on. What each order must fulfil by itself is checked apart.
    """
    if len(legs) != LEGS[kind]:
        raise _unfit("leg_count", f"an {kind.value} list has {LEGS[kind]} orders, not {len(legs)}", "orders")
    for index, leg in enumerate(legs):
        if leg.symbol != legs[0].symbol:
            raise _unfit("one_symbol", "the orders of a list are of one symbol", _field(index, "symbol"))
        if leg.quantity is None:
            raise _unfit("quantity", "an order of a list states its quantity", _field(index, "quantity"))
    if kind is ListKind.OCO:
        return _check_pair(legs, 0, last, judged=True)
    if not legs[0].is_limit:
        raise _unfit("working_type", "the first order of the list must be a limit order", _field(0, "type"))
    if kind is ListKind.OTO:
        return (Role.WORKING, Role.PENDING)
    return (Role.WORKING, *_check_pair(legs[1:], 1, last, judged=False))


def check_positions(above: LegTerms, below: LegTerms) -> None:
    """Raise Unfit unless two legs of an OCO that are called above and below can lie there; `rule` says which cannot."""
    side = above.side.value
    for leg, named, is_above in ((above, "above", True), (below, "below", False)):
        if leg.is_limit:
            rule, called, belongs_above = "limit", "limit order", leg.side is Side.SELL
        elif leg.condition is not None:
            belongs_above = (leg.condition is Condition.STOP_LOSS) == (leg.side is Side.BUY)
            rule, called = leg.condition.value, f"{leg.condition.value.replace('_', ' ')} order"
        else:
            raise _unfit("leg_type", "a market order cannot be in an OCO", named)
        if belongs_above != is_above:
            must = "above" if belongs_above else "below"
            raise _unfit(f"{side}_{rule}_must_be_{must}", f"a {called} in a {side} OCO must be {must}", named)


def _check_pair(legs: Sequence[LegTerms], first: int, last: Decimal | None, *, judged: bool) -> tuple[Role, ...]:
    """Check two legs that are to be an OCO; `first` is the index of the first in its list."""
    one, other = legs
    if one.side is not other.side:
        raise _unfit("one_side", "both orders of an OCO are on one side", _field(first + 1, "side"))
    if one.quantity != other.quantity:
        raise _unfit("one_quantity", "both orders of an OCO have the same quantity", _field(first + 1, "quantity"))
    roles = tuple(Role.STOP if leg.condition is Condition.STOP_LOSS else Role.PROFIT for leg in legs)
    for index, leg in enumerate(legs, start=first):
        if leg.trigger is None and not leg.is_limit:
            raise _unfit("leg_type", "a market order cannot be in an OCO", _field(index, "type"))
    if roles[0] is roles[1]:
        rule = "both_limit" if one.is_limit and other.is_limit else "leg_type"
        raise _unfit(rule, "an OCO is a limit or take-profit order and a stop order", _field(first + 1, "type"))
    _check_prices(legs, roles, first, last, judged=judged)
    return roles


def _check_prices(
    legs: Sequence[LegTerms], roles: tuple[Role, ...], first: int, last: Decimal | None, *, judged: bool
) -> None:
    """SELL: profit above the last price above stop; BUY the reverse. Without a last price to judge by, among them."""
    above, below = (Role.PROFIT, Role.STOP) if legs[0].side is Side.SELL else (Role.STOP, Role.PROFIT)
    prices: dict[Role, Decimal] = {}
    for index, (leg, role) in enumerate(zip(legs, roles, strict=True), start=first):
        if leg.reference is None:
            continue
        name, price = leg.reference
        prices[role] = price
        if not judged:
            continue
        if last is None:
            raise Unfit("no_last_price", f"no last price is known to judge {name} against", _field(index, name))
        if price <= last if role is above else price >= last:
            must = "above" if role is above else "below"
            raise Unfit(
                "list_prices",
                f"{name} {short(price)} of a {leg.side.value} OCO must lie {must} the last price {short(last)}",
                _field(index, name),
            )
    if len(prices) == len(legs) and prices[above] <= prices[below]:
        raise Unfit(
            "list_prices",
            f"in a {legs[0].side.value} OCO the {above.value} order lies above the {below.value} order, "
            f"not at {short(prices[above])} and {short(prices[below])}",
            _field(first, "price"),
        )


def _unfit(rule: str, detail: str, field: str) -> Unfit:
    return Unfit("invalid_order_list", detail, field, rule)


def _field(index: int, name: str) -> str:
    return f"orders.{index}.{name}"
