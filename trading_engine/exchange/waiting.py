"""Prints that the book does not show yet: real trades newer than the last diff, by the level they took from.

Trades and depth come on different streams. A print whose trade time T lies after the event time E of the newest diff is
not in that diff, so the level still shows what is gone; until a newer diff or quote shows it, the print *waits* here.
What a level truly has left is what it shows less what waits (`shown - waiting`); and when the level then falls, the
prints that waited explain that much of the fall, and only the rest was cancelled.

A best quote comes in real time and has no event time of its own, and mostly it overtakes the print that moved it (of
those that can be matched in a recording of BTCUSDT, 81 %, by 0.9 ms in the middle). So both orders are met: a fall of a
quoted level is explained by the prints that wait there; what they do not explain is remembered for `RACE_NS`, and a
print of its size or less told within that time *comes late*: the level shows it already. Trade and event times are the
venue's, in UTC milliseconds; the race is timed by our monotonic clock. No lock of its own: the market's guards it.
"""

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, NamedTuple

from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Side
from trading_engine.exchange.prints import Trade


class LevelKey(NamedTuple):
    """A level of the book: whose orders rest there, and at what price."""

    side: Side
    price: Decimal


RACE_NS: Final = 20_000_000
"""How far a quote may run ahead of its print."""

NOTHING: Final[Mapping[LevelKey, Decimal]] = {}


def side_hit(trade: Trade) -> Side:
    """Return the side a print took from: the bids when its buyer was the maker."""
    return Side.BUY if trade.buyer_is_maker else Side.SELL


class WaitingPrints:
    """What waits at each level, oldest trade first, and the falls of quotes that no print has explained yet."""

    __slots__ = ("_falls", "_levels", "shown_until_ms")

    def __init__(self) -> None:
        self._levels: dict[LevelKey, deque[tuple[int, Decimal]]] = {}
        self._falls: dict[LevelKey, list[tuple[int, Decimal]]] = {}
        self.shown_until_ms = 0
        """The event time of the newest diff: prints up to it are in the book. Never goes back."""

    def __bool__(self) -> bool:
        return bool(self._levels)

    def add(self, trade: Trade, now_ns: int) -> bool:
        """Let a print wait unless the book shows it already; say whether it waits."""
        key = LevelKey(side_hit(trade), trade.price)
        if trade.time_ms <= self.shown_until_ms or self._has_fallen(key, trade.quantity, now_ns):
            return False
        self._levels.setdefault(key, deque()).append((trade.time_ms, trade.quantity))
        return True

    def at(self, key: LevelKey) -> Decimal:
        """Return what waits at a level."""
        queue = self._levels.get(key)
        return sum((quantity for _, quantity in queue), ZERO) if queue else ZERO

    def levels(self) -> Mapping[LevelKey, Decimal]:
        """Return what waits at every level where anything does."""
        return {key: self.at(key) for key in self._levels} if self._levels else NOTHING

    def show_until(self, event_time_ms: int) -> Mapping[LevelKey, Decimal]:
        """A diff with this event time has come: return, by level, the prints it shows for the first time."""
        self.shown_until_ms = max(self.shown_until_ms, event_time_ms)
        self._falls.clear()
        if not self._levels:
            return NOTHING
        shown = {}
        for key, queue in list(self._levels.items()):
            traded = sum((quantity for time_ms, quantity in queue if time_ms <= self.shown_until_ms), ZERO)
            if not traded:
                continue
            shown[key] = traded
            self._keep(key, deque(each for each in queue if each[0] > self.shown_until_ms))
        return shown

    def explain(self, key: LevelKey, fall: Decimal, now_ns: int) -> Decimal:
        """A quote shows `fall` less at a level: return how much of that the waiting prints explain, oldest first."""
        if fall <= 0:
            return ZERO
        queue = self._levels.get(key) or deque()
        explained = ZERO
        while queue and explained < fall:
            time_ms, quantity = queue.popleft()
            part = min(quantity, fall - explained)
            explained += part
            if part < quantity:
                queue.appendleft((time_ms, quantity - part))
        self._keep(key, queue)
        if explained < fall:
            falls = [each for each in self._falls.get(key, ()) if now_ns - each[0] <= RACE_NS]
            self._falls[key] = [*falls, (now_ns, fall - explained)]
        return explained

    def clear(self) -> None:
        """Forget what waits: a new book has come, and what it shows is all that is known."""
        self._levels.clear()
        self._falls.clear()

    def _has_fallen(self, key: LevelKey, quantity: Decimal, now_ns: int) -> bool:
        """Say whether a quote has just shown the fall a print explains: of its very size, or the newest larger one.

        What the print leaves unexplained of it stays for the next.
        """
        falls = [each for each in self._falls.pop(key, ()) if now_ns - each[0] <= RACE_NS]
        same = [index for index, (_, left) in enumerate(falls) if left == quantity]
        larger = [index for index, (_, left) in enumerate(falls) if left > quantity]
        if same or larger:
            at_ns, left = falls.pop((same or larger)[-1])
            if left > quantity:
                falls.append((at_ns, left - quantity))
        if falls:
            self._falls[key] = falls
        return bool(same or larger)

    def _keep(self, key: LevelKey, queue: deque[tuple[int, Decimal]]) -> None:
        if queue:
            self._levels[key] = queue
        else:
            self._levels.pop(key, None)
