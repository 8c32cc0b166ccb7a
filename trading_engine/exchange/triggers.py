"""The armed conditional orders of one symbol, and which of them a print fires.

The rules are in `conditions`, how extremes are followed in `trailing`. Whether a print does anything at all is O(1);
one that fires k of n orders costs O(k log n), and a new high as much as one order, however many follow it.

An index over the books' open orders: it holds no money and decides nothing. `Triggers` is guarded by `Engine.lock`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from trading_engine.exchange.conditions import Trigger, reversal
from trading_engine.exchange.orders import Side
from trading_engine.exchange.trailing import Levels, Trail

ANY_PRINT: Final = -1
"""As `after` of an armed order: no print is older than it (it was armed before this process began)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an armed order stands: `extreme` since it follows the price (None: not yet), `fires_at` the price it awaits.

    `fires_at` is None while a trailing order does not follow the price: it waits to begin, and cannot fire.
    """

    extreme: Decimal | None
    fires_at: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What a print did: orders it fired, in order of id; those that began to follow it; whether any extreme moved."""

    fired: tuple[int, ...]
    started: tuple[int, ...]
    moved: bool


NOTHING: Final = Printed(fired=(), started=(), moved=False)


class Triggers:
    """The armed orders of one symbol.

    Prints come in the order of the market's `seq`; an order ignores those up to its `after`.
    """

    __slots__ = ("_armed", "_falling", "_new", "_rising", "_trails")

    def __init__(self) -> None:
        self._armed: dict[int, Trigger] = {}
        # Orders no print has come to yet, and the market's `seq` each was armed at.
        self._new: dict[int, int] = {}
        self._rising = Levels(rises=True)
        self._falling = Levels(rises=False)
        self._trails = {side: Trail(side) for side in Side}

    def __len__(self) -> int:
        return len(self._armed)

    def __contains__(self, order_id: int) -> bool:
        return order_id in self._armed

    def arm(self, order_id: int, trigger: Trigger, *, after: int, extreme: Decimal | None = None) -> None:
        """Arm an order for the prints after `after`; `extreme` where it followed the price before a restart."""
        if order_id in self._armed:
            raise ValueError(f"order {order_id} is armed already")
        if extreme is not None and trigger.trailing_bps is None:
            raise ValueError(f"order {order_id} does not trail and has no extreme")
        self._armed[order_id] = trigger
        if extreme is not None and trigger.trailing_bps is not None:
            self._trails[trigger.side].add(order_id, trigger.trailing_bps, extreme)
        else:
            self._new[order_id] = after

    def disarm(self, order_id: int) -> None:
        """Take an order out that has ended; raise KeyError if it is not armed (an order that fired no longer is)."""
        trigger = self._armed.pop(order_id)
        if self._new.pop(order_id, None) is not None:
            return
        trail = self._trails[trigger.side]
        if order_id in trail:
            trail.remove(order_id)
        elif trigger.stop_price is not None:
            self._levels(trigger).remove(trigger.stop_price, order_id)

    def touched_by(self, price: Decimal) -> bool:
        """Say, in O(1), whether a print at `price` could fire or move anything."""
        return bool(
            self._new
            or self._rising.touched_by(price)
            or self._falling.touched_by(price)
            or any(trail.touched_by(price) for trail in self._trails.values())
        )

    def would_fire(self, price: Decimal, seq: int) -> tuple[int, ...]:
        """Return what `on_print` would fire, in order of id, and change nothing."""
        fired = [
            order_id
            for levels in (self._rising, self._falling)
            for order_id in levels.met_by(price)
            if self._armed[order_id].trailing_bps is None
        ]
        fired += [
            order_id for order_id, after in self._new.items() if after < seq and self._fires_at_once(order_id, price)
        ]
        for trail in self._trails.values():
            fired += trail.would_fire(price)
        return tuple(sorted(fired))

    def on_print(self, price: Decimal, seq: int) -> Printed:
        """Let a print fire orders, which are armed no longer, and move extremes."""
        if not self.touched_by(price):
            return NOTHING
        fired: list[int] = []
        starting: dict[Side, list[tuple[int, int]]] = {side: [] for side in Side}
        self._admit(seq, starting)
        for levels in (self._rising, self._falling):
            for order_id in levels.take(price):
                trigger = self._armed[order_id]
                if trigger.trailing_bps is None:
                    fired.append(order_id)
                else:
                    starting[trigger.side].append((order_id, trigger.trailing_bps))
        moved = False
        for side, trail in self._trails.items():
            fired += trail.take(price)
            moved = trail.follow(price, starting[side]) or moved
        for order_id in fired:
            del self._armed[order_id]
        started = tuple(sorted(order_id for orders in starting.values() for order_id, _ in orders))
        return Printed(fired=tuple(sorted(fired)), started=started, moved=moved)

    def standing(self, order_id: int) -> Standing:
        """Return how an armed order stands; raise KeyError if it is not armed."""
        trigger = self._armed[order_id]
        if trigger.trailing_bps is None:
            return Standing(extreme=None, fires_at=trigger.stop_price)
        trail = self._trails[trigger.side]
        if order_id not in trail:
            return Standing(extreme=None, fires_at=None)
        extreme = trail.extreme_of(order_id)
        return Standing(extreme=extreme, fires_at=reversal(trigger.side, extreme, trigger.trailing_bps))

    def state(self) -> dict[str, list[list[object]]]:
        """Return what the orders themselves do not say, as JSON can write it: by side, each extreme and who follows it.

        `{"sell": [["41000.00", [3, 5]]]}`. Orders that follow no price yet are not in it.
        """
        return {side.value: trail.state() for side, trail in self._trails.items() if trail}

    def check(self) -> None:
        """Walk every invariant of the index; raise AssertionError."""
        waiting = self._rising.ids() + self._falling.ids()
        following = [order_id for trail in self._trails.values() for order_id in trail.check()]
        found = waiting + following + list(self._new)
        assert len(found) == len(self._armed), f"{found} are indexed, {list(self._armed)} are armed"
        assert sorted(found) == sorted(self._armed), f"{found} are indexed, {list(self._armed)} are armed"
        for order_id in following:
            assert self._armed[order_id].trailing_bps is not None, f"order {order_id} follows the price for nothing"

    def _levels(self, trigger: Trigger) -> Levels:
        return self._rising if trigger.rises else self._falling

    def _fires_at_once(self, order_id: int, price: Decimal) -> bool:
        """Say whether the first print an order sees fires it: one that trails is only set going by it."""
        trigger = self._armed[order_id]
        return trigger.trailing_bps is None and trigger.met_by(price)

    def _admit(self, seq: int, starting: dict[Side, list[tuple[int, int]]]) -> None:
        """Put the new orders that this print may meet where they belong: at their stop price, or following already."""
        if not self._new:
            return
        new, self._new = self._new, {}  # a dictionary that was emptied is walked as if it were full
        for order_id, after in new.items():
            trigger = self._armed[order_id]
            if after >= seq:
                self._new[order_id] = after
            elif trigger.stop_price is not None:
                self._levels(trigger).add(trigger.stop_price, order_id)
            elif trigger.trailing_bps is not None:
                starting[trigger.side].append((order_id, trigger.trailing_bps))


def restored(armed: Mapping[int, Trigger], state: Mapping[str, object]) -> Triggers:
    """Return the triggers of a symbol's open conditional orders, with the extremes of a `Triggers.state()`.

    Extremes of orders that are not armed any more are ignored. Raises ValueError for a state nobody wrote.
    """
    extremes = extremes_of(state)
    triggers = Triggers()
    for order_id, trigger in sorted(armed.items()):
        triggers.arm(order_id, trigger, after=ANY_PRINT, extreme=extremes.get(order_id))
    return triggers


def extremes_of(state: Mapping[str, object]) -> dict[int, Decimal]:
    """Return by order id the extremes that a `Triggers.state()` states; raise ValueError where it is malformed."""
    extremes: dict[int, Decimal] = {}
    for side, groups in state.items():
        Side(side)
        for group in _list_of(groups):
            text, order_ids = _list_of(group)
            if not isinstance(text, str) or not (extreme := Decimal(text)).is_finite() or extreme <= 0:
                raise ValueError(f"{text!r} is not an extreme")
            for order_id in _list_of(order_ids):
                if not isinstance(order_id, int) or order_id in extremes:
                    raise ValueError(f"{order_id!r} is not an order's id, or has two extremes")
                extremes[order_id] = extreme
    return extremes


def _list_of(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list")  # noqa: TRY004 - a stored value is wrong, not a caller's type
    return value
