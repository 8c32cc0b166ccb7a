"""What stands in front of our resting orders at one price: the real queue as the market shows it, and our places in it.

A `Level` is one side's price at which own orders rest. It is told what the market tells (`on_print`, `on_size`) and
says what each own order is given. Several accounts share a level: each sees the same real queue and only its own
orders. How cancellations in front are judged is a `Rule`; `INFERRED` is ours, the others are there to be compared with.
All but `TOUCH` keep, beside their own estimate, what `STRICT` would say, which is never less than the truth.

Quantities come and go as exact Decimals on the lot grid; inside they are whole lots, what is ahead in whole grains of a
lot, rounded up. Nothing here is a float and nothing depends on the machine. Guarded by `Engine.lock`.
"""

from collections.abc import MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trading_engine.exchange.money import ZERO
from trading_engine.exchange.queue_line import GRAINS, LONGEST, Line, Removed
from trading_engine.exchange.queue_rules import JUDGED, POWERS, Rule, powered

FALLS_KEPT = 8
"""Falls that a late print may still explain."""

CLOCKS_APART_MS = 10
"""A trade comes before the fall it explains, but for what the clocks of the two feeds may differ."""

BEFORE_ALL = -1
LATEST = 1 << 62
"""As numbers of a market's changes: older than any, newer than any."""

DUST = GRAINS >> 10
"""Less than that of a lot ahead is what rounding up left there, not an order."""

DOUBT = GRAINS // 4
"""By `INFERRED`, less than that ahead is taken for nothing: an order of one lot that has most likely gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a print gives one order. `likely`: even if every cancellation had been behind it, it would have got this."""

    order_id: int
    quantity: Decimal
    ahead_before: Decimal
    ahead_after: Decimal
    likely: bool


@dataclass(slots=True)
class _Spot:
    """A place in the line that orders of one account share, since nothing happened between their joins.

    `ahead` and `strict` in grains; `orders` is what is left of each, in lots, oldest first. Prints up to `shown_ms` are
    in the size they joined behind; up to `arrived_ms` they pass without filling them. The size is as of the market's
    change `after`: they know of all changes up to that one.
    """

    account_id: int
    place: int
    ahead: int
    strict: int
    shown_ms: int
    arrived_ms: int
    after: int
    orders: dict[int, int]


@dataclass(slots=True)
class _Fall:
    """A fall that no print explained, in lots, and what it did, so that a print that comes late can undo it.

    `place` is the last one when it happened: who joined later had it in the size shown. `steps` by spot how far it came
    forward, in grains, by the rule and strictly.
    """

    lots: int
    place: int
    time_ms: int
    removed: Removed
    steps: dict[int, tuple[int, int]]


class Level:
    """The queue at one price of one side: created before the first order joins, dropped when it `is_empty` again.

    `shown` is the size the market shows after its change `after`, `waiting` how much of it prints have taken that it
    does not reflect yet. Changes up to `after` are ignored, should they be told later. All quantities are multiples of
    `step`; the venue trades whole `lot`s (None: the same), so what is ahead counts as the next whole lot.
    """

    def __init__(
        self,
        *,
        step: Decimal,
        rule: Rule,
        shown: Decimal,
        waiting: Decimal,
        time_ms: int,
        after: int = BEFORE_ALL,
        lot: Decimal | None = None,
    ) -> None:
        self.rule = rule
        self._after = after
        self._step = step
        self._lot = 1 if lot is None else self._lots(lot)
        self._shown = self._lots(shown)
        self._place = 0
        self._sealed = 0
        self._spots: list[_Spot] = []
        self._spot_of: dict[int, _Spot] = {}
        self._falls: list[_Fall] = []
        self._line = Line() if rule is Rule.INFERRED else None
        if self._line is not None:
            self._line.find(max(0, self._shown - self._lots(waiting)) * GRAINS, self._next(), time_ms)

    # --- our orders ---

    def __contains__(self, order_id: int) -> bool:
        return order_id in self._spot_of

    @property
    def is_empty(self) -> bool:
        """Say whether no own order rests here any more."""
        return not self._spots

    @property
    def shown(self) -> Decimal:
        """Return the size the market last showed."""
        return self._shown * self._step

    def join(
        self,
        order_id: int,
        account_id: int,
        quantity: Decimal,
        *,
        waiting: Decimal,
        shown_ms: int,
        arrived_ms: int,
        after: int = BEFORE_ALL,
    ) -> Decimal:
        """Put an order at the back and return what is ahead of it.

        `waiting`: as at the level's creation, now. `shown_ms`: time of the book that the size is from, whose prints it
        ignores; prints from then until it arrived, at `arrived_ms`, pass it without filling it. `after`: the market's
        change that all this is as of.
        """
        if order_id in self._spot_of:
            raise ValueError(f"order {order_id} rests here already")
        lots = self._lots(quantity)
        strict = max(0, self._shown - self._lots(waiting)) * GRAINS
        ahead = 0 if self.rule is Rule.TOUCH else strict
        mine = next((spot for spot in reversed(self._spots) if spot.account_id == account_id), None)
        if mine is not None:
            ahead = max(ahead, mine.ahead)
            strict = max(strict, mine.strict)
        spot = mine
        if (
            spot is None
            or spot.place <= self._sealed
            or (spot.ahead, spot.strict) != (ahead, strict)
            or (spot.shown_ms, spot.arrived_ms, spot.after) != (shown_ms, arrived_ms, after)
        ):
            spot = _Spot(account_id, self._next(), ahead, strict, shown_ms, arrived_ms, after, {})
            self._spots.append(spot)
        spot.orders[order_id] = lots
        self._spot_of[order_id] = spot
        return self._quantity(spot.ahead)

    def order_ids(self) -> list[int]:
        """Return the orders that rest here, each account's oldest first."""
        return [order_id for spot in self._spots for order_id in spot.orders]

    def ahead(self, order_id: int) -> Decimal:
        """Return the real quantity ahead of an order, rounded up to a lot."""
        return self._quantity(self._spot(order_id).ahead)

    def ahead_of_last(self, account_id: int) -> Decimal:
        """Return what is ahead of an account's newest order here, 0 where it has none."""
        return max((self._quantity(spot.ahead) for spot in self._spots if spot.account_id == account_id), default=ZERO)

    def most_ahead(self, order_id: int) -> Decimal:
        """Return what would be ahead of an order had every cancellation been behind it."""
        return self._whole(self._spot(order_id).strict, DUST) * self._step

    def leaves(self, order_id: int) -> Decimal:
        """Return what is left of an order, as this queue knows it."""
        return self._spot(order_id).orders[order_id] * self._step

    def restore_leaves(self, order_id: int, leaves: Decimal) -> None:
        """Set what is left of an order, after what it was given here came to nothing."""
        self._spot(order_id).orders[order_id] = self._lots(leaves)

    def amend(self, order_id: int, leaves: Decimal) -> None:
        """Make an order smaller, or note what it was given elsewhere; it keeps its place, and goes at 0."""
        spot = self._spot(order_id)
        lots = self._lots(leaves)
        if lots > spot.orders[order_id]:
            raise ValueError(
                f"order {order_id} cannot grow from {spot.orders[order_id]} to {lots} lots and keep its place"
            )
        spot.orders[order_id] = lots
        if not lots:
            self.leave(order_id)

    def leave(self, order_id: int) -> None:
        """Take an order out."""
        spot = self._spot(order_id)
        del self._spot_of[order_id], spot.orders[order_id]
        if not spot.orders:
            self._spots = [other for other in self._spots if other is not spot]

    def come_to_front(self) -> None:
        """The market is through this price: nothing is ahead of anybody any more."""
        for spot in self._spots:
            spot.ahead = spot.strict = 0

    # --- the market ---

    def on_print(
        self,
        quantity: Decimal,
        *,
        time_ms: int,
        seq: int = LATEST,
        late: bool = False,
        through: bool = False,
        spent: MutableMapping[int, Decimal] | None = None,
    ) -> list[Given]:
        """A public trade at this price, or `through` it: return what it gives, each account's oldest order first.

        `late`: the shown size fell before the print was told. `spent`: by account, what its orders have had of this
        print at better prices; what they get here is added.
        """
        if seq <= self._after:
            return []
        lots = self._lots(quantity)
        self._sealed = self._place
        undone = self._undo(lots, time_ms - CLOCKS_APART_MS) if late else None
        known = self._place if undone is None else undone.place
        if through:
            self.come_to_front()
        elif self._line is not None:
            self._line.eat(lots)
        had = {account_id: self._lots(part) for account_id, part in (spent or {}).items()}
        given: list[Given] = []
        for spot in self._spots:
            if time_ms <= spot.shown_ms or spot.place > known or seq <= spot.after:
                continue
            reaches = lots - had.get(spot.account_id, 0)
            part = reaches - self._whole(spot.ahead) if time_ms > spot.arrived_ms else 0
            part -= part % self._lot
            before = spot.ahead
            strictly = reaches - self._whole(spot.strict, DUST)
            spot.ahead = max(0, before - reaches * GRAINS)
            spot.strict = max(0, spot.strict - reaches * GRAINS)
            if part > 0:
                got = self._serve(spot, part, strictly, before, given)
                had[spot.account_id] = had.get(spot.account_id, 0) + got
        if given:
            self._spots = [spot for spot in self._spots if spot.orders]
        if late:
            self._redo(undone)
        if spent is not None:
            spent.update((account_id, part * self._step) for account_id, part in had.items())
        return given

    def _redo(self, undone: _Fall | None) -> None:
        """Judge anew what a late print left unexplained of the falls it undid."""
        if undone is not None and undone.lots > 0:
            self._fall(undone.lots, place=undone.place, time_ms=undone.time_ms)
        else:
            self._cap()

    def _serve(self, spot: _Spot, part: int, strictly: int, before: int, given: list[Given]) -> int:
        """Give a spot's orders `part` lots, oldest first, and return what they took; `strictly` is surely theirs."""
        took = 0
        for order_id, leaves in list(spot.orders.items()):
            got = min(leaves, part - took)
            if not got:
                break
            took += got
            spot.orders[order_id] = leaves - got
            if got == leaves:
                del spot.orders[order_id], self._spot_of[order_id]
            given.append(
                Given(
                    order_id=order_id,
                    quantity=got * self._step,
                    ahead_before=self._quantity(before),
                    ahead_after=self._quantity(spot.ahead),
                    likely=took <= strictly,
                )
            )
        return took

    def on_size(self, after: Decimal, *, traded: Decimal, time_ms: int, seq: int = LATEST) -> None:
        """The market shows another size; `traded`: how much of a fall the prints told so far explain."""
        if seq <= self._after:
            return
        aware = [(spot, spot.ahead, spot.strict) for spot in self._spots if seq <= spot.after]
        shown = self._lots(after)
        left = max(0, self._shown - self._lots(traded))
        self._shown = shown
        self._sealed = self._place
        if shown > left and self._line is not None:
            self._line.add(shown - left, self._next(), time_ms)
            if len(self._line.entries) > LONGEST:
                self._line.shorten([spot.place for spot in self._spots])
        if shown < left:
            self._fall(left - shown, place=self._place, time_ms=time_ms)
        else:
            self._cap()
        for spot, ahead, strict in aware:
            spot.ahead, spot.strict = ahead, strict

    def resume(self, shown: Decimal, time_ms: int, after: int = BEFORE_ALL) -> None:
        """Take up the size shown after a gap: what went meanwhile is taken to have stood behind, as far as it can.

        `after`: the market's change this is as of; those up to it are ignored.
        """
        self._after = after
        for spot in self._spots:
            spot.after = BEFORE_ALL
        self._shown = self._lots(shown)
        self._falls.clear()
        self._cap()
        if self._line is not None:
            line = self._line
            line.entries.clear()
            front = 0
            for spot in self._spots:
                line.find(max(0, spot.ahead - front), self._next(), time_ms)
                front = max(front, spot.ahead)
                spot.place = self._next()
            line.find(max(0, self._shown * GRAINS - front), self._next(), time_ms)
        self._sealed = self._place

    def _fall(self, lots: int, *, place: int, time_ms: int) -> None:
        """The size shown is what a cancellation of `lots` left; who joined after `place` joined behind that."""
        removed = self._line.cancel(lots, time_ms) if self._line is not None else []
        figures = [(spot.ahead, spot.strict) for spot in self._spots]
        if self.rule is Rule.INFERRED:
            self._advance(removed, place)
        elif self.rule in POWERS:
            for spot in self._spots:
                if spot.place <= place:
                    before = (self._shown + lots) * GRAINS
                    spot.ahead = powered(spot.ahead, lots * GRAINS, before, POWERS[self.rule])
        self._cap()
        steps = {
            spot.place: (ahead - spot.ahead, strict - spot.strict)
            for spot, (ahead, strict) in zip(self._spots, figures, strict=True)
            if ahead != spot.ahead or strict != spot.strict
        }
        self._falls.append(_Fall(lots, place, time_ms, removed, steps))
        del self._falls[:-FALLS_KEPT]

    def _advance(self, removed: Removed, place: int) -> None:
        """Bring each spot up to `place` forward by what was removed in front of it."""
        forward = 0
        index = 0
        for spot in self._spots:
            while index < len(removed) and removed[index][0] < spot.place:
                forward += removed[index][1]
                index += 1
            if forward and spot.place <= place:
                spot.ahead = max(0, spot.ahead - forward)

    def _cap(self) -> None:
        """Keep what is ahead within the size shown and the strict figure, and no newer order before an older one."""
        if self.rule not in JUDGED:
            return
        shown = self._shown * GRAINS
        fronts: dict[int, int] = {}
        is_strict = self.rule is Rule.STRICT
        for spot in self._spots:
            spot.strict = min(spot.strict, shown)
            ahead = spot.strict if is_strict else spot.ahead
            front = fronts.get(spot.account_id, 0)
            ahead = max(ahead, front)
            ahead = min(ahead, spot.strict)
            spot.ahead = fronts[spot.account_id] = ahead

    def _undo(self, lots: int, since_ms: int) -> _Fall | None:
        """Take back the falls that a late print of `lots` explains: one of its very size, or else the newest.

        None older than `since_ms`. Returns a fall of what the print leaves unexplained (0 or less: nothing), to be done
        again after it; None if nothing fell.
        """
        self._falls = [fall for fall in self._falls if fall.time_ms >= since_ms]
        same = [fall for fall in self._falls if fall.lots == lots]
        place, explained = self._place, 0
        while explained < lots and self._falls:
            fall = same[-1] if same else self._falls[-1]
            self._falls.remove(fall)
            if self._line is not None:
                self._line.restore(fall.removed)
            for spot in self._spots:
                step, strict = fall.steps.get(spot.place, (0, 0))
                spot.strict += strict
                spot.ahead = min(spot.ahead + step, spot.strict) if self.rule in JUDGED else spot.ahead
            place, explained, time_ms = min(place, fall.place), explained + fall.lots, fall.time_ms
        return _Fall(explained - lots, place, time_ms, [], {}) if explained else None

    # --- kept across a restart ---

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as what JSON can carry."""
        line = self._line
        return {
            "rule": str(self.rule),
            "shown": self._shown,
            "place": self._place,
            "sealed": self._sealed,
            "after": self._after,
            "lot": self._lot,
            "spots": [
                [
                    *(spot.account_id, spot.place, spot.ahead, spot.strict),
                    *(spot.shown_ms, spot.arrived_ms, spot.after),
                    [list(order) for order in spot.orders.items()],
                ]
                for spot in self._spots
            ],
            "falls": [
                [
                    *(fall.lots, fall.place, fall.time_ms, [list(part) for part in fall.removed]),
                    [[place, *step] for place, step in fall.steps.items()],
                ]
                for fall in self._falls
            ],
            "line": None
            if line is None
            else [
                line.joined,
                line.joined_lots,
                [[entry.place, entry.mass, entry.size, entry.time_ms] for entry in line.entries],
            ],
        }

    @classmethod
    def restore(cls, state: dict[str, Any], *, step: Decimal) -> "Level":
        """Return the level that `snapshot` was taken of."""
        level = cls(step=step, rule=Rule(state["rule"]), shown=ZERO, waiting=ZERO, time_ms=0)
        level._shown = state["shown"]
        level._place = state["place"]
        level._sealed = state["sealed"]
        level._after = state["after"]
        level._lot = state["lot"]
        level._spots = [
            _Spot(account_id, place, ahead, strict, shown_ms, arrived_ms, after, dict(orders))
            for account_id, place, ahead, strict, shown_ms, arrived_ms, after, orders in state["spots"]
        ]
        level._spot_of = {order_id: spot for spot in level._spots for order_id in spot.orders}
        level._falls = [
            _Fall(lots, place, time_ms, [tuple(part) for part in removed], {key: (a, b) for key, a, b in steps})
            for lots, place, time_ms, removed, steps in state["falls"]
        ]
        if level._line is not None:
            level._line = Line.restored(*state["line"])
        return level

    # --- lots and grains ---

    def _next(self) -> int:
        self._place += 1
        return self._place

    def _spot(self, order_id: int) -> _Spot:
        spot = self._spot_of.get(order_id)
        if spot is None:
            raise KeyError(f"order {order_id} does not rest here")
        return spot

    def _lots(self, quantity: Decimal) -> int:
        lots, rest = divmod(quantity, self._step)
        if rest:
            raise ValueError(f"{quantity} is not a whole number of lots of {self._step}")
        return int(lots)

    def _whole(self, grains: int, but_for: int | None = None) -> int:
        """Return steps, rounded up to a whole lot but for so many grains in a lot's (None: the rule's)."""
        if but_for is None:
            but_for = DOUBT if self.rule is Rule.INFERRED else DUST
        return max(0, -((but_for * self._lot - grains) // (GRAINS * self._lot))) * self._lot

    def _quantity(self, grains: int) -> Decimal:
        return self._whole(grains) * self._step
