"""A small desk that follows one emulated feed and keeps paper orders in the queues of `queue_model`.

It keeps what the engine keeps of a market: sizes by level, prints that no size reflects yet, the best quotes. The best
price's size comes from the live quote, all others' from the diffs.
"""

import heapq
from collections.abc import Iterable
from decimal import Decimal

from bench.fidelity_feed import SIDES, Diff, Event, Join, Print, Quote, Truth, is_better
from trading_engine.exchange.queue_model import Level
from trading_engine.exchange.queue_rules import Rule

LINGER_NS = 10_000_000_000
"""How much longer a twin stays than its real order if that was filled: a late paper fill is late, not missing."""

RACE_NS = 5_000_000
"""A print that explains a fall comes at most that much after the quote that showed it."""

ZERO = Decimal(0)
NS_IN_MS = 1_000_000
BEFORE = -1
"""As a time of joining: the order of the file decides what came first, not the millisecond."""


class Twin:
    """The paper order beside a real one, and what it got."""

    __slots__ = ("filled", "last_fill_ns", "truth")

    def __init__(self, truth: Truth) -> None:
        self.truth = truth
        self.filled = ZERO
        self.last_fill_ns = 0

    @property
    def is_filled(self) -> bool:
        """Say whether it got all it wanted."""
        return self.filled == self.truth.size

    @property
    def agrees(self) -> bool:
        """Say whether paper and real order had the same fate."""
        return self.is_filled == self.truth.is_filled

    def fill(self, quantity: Decimal, time_ns: int) -> None:
        """Note what it was given."""
        self.filled += quantity
        self.last_fill_ns = time_ns


def run_twins(events: Iterable[Event], *, rule: Rule, step: Decimal, quotes_first: bool = False) -> list[Twin]:
    """Follow the feed with a twin at every join, each with an account of its own, and return all of them.

    `quotes_first`: expect prints that explain a fall which a quote has shown already.
    """
    desk = Desk(rule, step, quotes_first=quotes_first)
    for event in events:
        desk.on(event)
    return desk.twins


class Desk:
    """One symbol, all twins."""

    def __init__(self, rule: Rule, step: Decimal, *, quotes_first: bool) -> None:
        self.twins: list[Twin] = []
        self._rule = rule
        self._step = step
        self._shown: dict[str, dict[Decimal, Decimal]] = {side: {} for side in SIDES}
        self._waiting: dict[str, dict[Decimal, Decimal]] = {side: {} for side in SIDES}
        self._levels: dict[str, dict[Decimal, Level]] = {side: {} for side in SIDES}
        self._best: dict[str, Decimal | None] = dict.fromkeys(SIDES)
        self._ends: list[tuple[int, int]] = []
        self._quotes_first = quotes_first
        self._falls: dict[tuple[str, Decimal], list[tuple[int, Decimal]]] = {}

    def on(self, event: Event) -> None:
        """Withdraw the twins whose time is over, then do what the event says."""
        while self._ends and self._ends[0][0] <= event.time_ns:
            self._withdraw(heapq.heappop(self._ends)[1])
        if isinstance(event, Print):
            self._print(event)
        elif isinstance(event, Quote):
            self._quote(event)
        elif isinstance(event, Diff):
            for side, price, size in event.levels:
                if price != self._best[side]:
                    self._size(side, price, size, event.time_ns, live=False)
        else:
            self._join(event)

    def _join(self, event: Join) -> None:
        truth = event.truth
        number = len(self.twins)
        self.twins.append(Twin(truth))
        best = self._best[truth.side]
        inside = best is not None and is_better(truth.side, truth.price, best)
        waiting = self._waiting[truth.side].get(truth.price, ZERO)
        level = self._levels[truth.side].get(truth.price)
        if level is None:
            shown = ZERO if inside else self._shown[truth.side].get(truth.price, ZERO)
            now_ms = event.time_ns // NS_IN_MS
            level = Level(step=self._step, rule=self._rule, shown=shown, waiting=waiting, time_ms=now_ms)
            self._levels[truth.side][truth.price] = level
        level.join(number, number, truth.size, waiting=waiting, shown_ms=BEFORE, arrived_ms=BEFORE)
        if truth.end_ns is not None:
            heapq.heappush(self._ends, (truth.end_ns + (LINGER_NS if truth.is_filled else 0), number))

    def _withdraw(self, number: int) -> None:
        twin = self.twins[number]
        if not twin.is_filled:
            level = self._levels[twin.truth.side][twin.truth.price]
            level.leave(number)
            self._drop(twin.truth.side, twin.truth.price, level)

    def _drop(self, side: str, price: Decimal, level: Level) -> None:
        if level.is_empty:
            del self._levels[side][price]

    def _print(self, event: Print) -> None:
        levels = self._levels[event.side]
        late = self._quotes_first and self._explains(event)
        for price in [price for price in levels if not is_better(event.side, event.price, price)]:
            level = levels[price]
            through = price != event.price
            time_ms = event.time_ns // NS_IN_MS
            for given in level.on_print(event.quantity, time_ms=time_ms, late=late and not through, through=through):
                self.twins[given.order_id].fill(given.quantity, event.time_ns)
            self._drop(event.side, price, level)
        if not late:
            waiting = self._waiting[event.side]
            waiting[event.price] = waiting.get(event.price, ZERO) + event.quantity

    def _explains(self, event: Print) -> bool:
        """Say whether a quote has just shown the fall that this print explains: of its size, or a larger one."""
        key = event.side, event.price
        falls = [fall for fall in self._falls.pop(key, []) if event.time_ns - fall[0] <= RACE_NS]
        same = [index for index, (_, left) in enumerate(falls) if left == event.quantity]
        more = [index for index, (_, left) in enumerate(falls) if left > event.quantity]
        if not same and not more:
            self._falls[key] = falls
            return False
        time_ns, left = falls.pop((same or more)[-1])
        if left > event.quantity:
            falls.append((time_ns, left - event.quantity))
        self._falls[key] = falls
        return True

    def _quote(self, event: Quote) -> None:
        side = event.side
        self._best[side] = event.price
        for price in [price for price in self._shown[side] if is_better(side, price, event.price)]:
            self._size(side, price, ZERO, event.time_ns, live=True)
        self._size(side, event.price, event.quantity, event.time_ns, live=True)
        other = "ask" if side == "bid" else "bid"
        for price in [price for price in self._levels[other] if not is_better(side, price, event.price)]:
            self._cross(other, price, event)

    def _cross(self, side: str, price: Decimal, event: Quote) -> None:
        """The opposite best quote has come to a price where twins rest: each gets at most what it shows."""
        level = self._levels[side][price]
        level.come_to_front()
        for number in level.order_ids():
            twin = self.twins[number]
            left = twin.truth.size - twin.filled
            part = min(left, event.quantity)
            twin.fill(part, event.time_ns)
            level.amend(number, left - part)
        self._drop(side, price, level)

    def _size(self, side: str, price: Decimal, size: Decimal, time_ns: int, *, live: bool) -> None:
        """A level shows another size. A live quote has no time: prints told before it explain its fall first."""
        sizes = self._shown[side]
        before = sizes.get(price, ZERO)
        waiting = self._waiting[side].pop(price, ZERO)
        traded = min(waiting, max(ZERO, before - size)) if live else waiting
        if waiting > traded:
            self._waiting[side][price] = waiting - traded
        if before == size and not traded:
            return
        if self._quotes_first and before - traded > size:
            self._falls.setdefault((side, price), []).append((time_ns, before - traded - size))
        if size:
            sizes[price] = size
        else:
            sizes.pop(price, None)
        level = self._levels[side].get(price)
        if level is not None:
            level.on_size(size, traded=traded, time_ms=time_ns // NS_IN_MS)
