"""The deep book: how many levels lie how far from the price, and the gardener who keeps it so while the price walks.

Around the price lie rings: dense ones that hold `DENSE_LEVELS` levels at the symbol's usual gap, then ones that grow in
width and hold `FAR_LEVELS` in all out to `EDGE`, so that a snapshot of a thousand levels always has an edge with more
behind it. Once a second rings that have become too thin are planted, those too thick are weeded, what lies beyond goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

from trading_engine.simulator.book import Book, Side
from trading_engine.simulator.grains import on_grid, parse
from trading_engine.simulator.listings import Listing
from trading_engine.simulator.sizes import Sizes

DENSE_LEVELS = 1_000
FAR_LEVELS = 700
EDGE = 0.12  # distance of the outermost levels, as a ratio of the price, where the dense ones do not reach further
THIN, THICK = 0.93, 1.10  # a ring is left alone between these shares of its target
_DENSE_RINGS = (0, 50, 150, 300, 500, 750, DENSE_LEVELS)  # in levels
_FAR_RINGS = 6
_QUEUED_LEVELS = 20  # near the touch queues have several orders


class Garden:
    """Plants and weeds both sides of a book.

    Attributes:
        tick: the price grid, in grains.
    """

    def __init__(self, listing: Listing, rng: Random, book: Book, sizes: Sizes) -> None:
        self.tick = listing.tick
        self._listing = listing
        self._rng = rng
        self._book = book
        self._sizes = sizes
        self._max_price = parse(listing.max_price)

    @property
    def gap(self) -> float:
        """Mean distance of neighbouring levels near the touch, in ticks."""
        return max(1.0, self._listing.gap_ticks * self._listing.tick / self.tick)

    def plant(self, fair: float) -> None:
        """Fill both sides of an empty book around the fair price (grains)."""
        middle = on_grid(fair, self.tick)
        self.plant_side(self._book.bids, middle)
        self.plant_side(self._book.asks, middle + self.tick)

    def plant_side(self, side: Side, near: int) -> None:
        """Fill one side from the price `near` outwards."""
        for nearest, width, count in self._rings(near):
            price = near - side.sign * nearest * self.tick
            self._sow(side, price, width, count)
        for price, _ in side.levels(_QUEUED_LEVELS):
            for _ in range(int(self._rng.expovariate(0.4))):
                self._book.place(side, price, self._sizes.maker(price, 0))

    def tend(self, fair: float) -> None:
        """Bring every ring back to its density around the fair price (grains)."""
        for side in (self._book.bids, self._book.asks):
            best = side.best
            near = on_grid(fair, self.tick) if best is None else best
            outer = near
            inside = side.count_from(near)
            for nearest, width, count in self._rings(near):
                start = near - side.sign * nearest * self.tick
                outer = start - side.sign * width * self.tick
                present = side.count_from(outer) - inside
                if present < count * THIN:
                    self._sow(side, start, width, count - present)
                elif present > count * THICK:
                    self._weed(side, inside, present, present - count)
                inside = side.count_from(outer)
            for _ in range(len(side.keys) - inside):
                self._book.pull(side, side.price_at(len(side.keys) - 1))

    def hop(self, mean: float) -> int:
        """Random distance of two neighbouring levels, in ticks."""
        return 1 if mean <= 1.0 else 1 + int(self._rng.expovariate(1.0 / (mean - 0.5)))

    def _rings(self, near: int) -> Iterator[tuple[int, int, int]]:
        """(distance, width, levels) of each ring around `near`; distances in ticks."""
        gap = self.gap
        for first, last in pairwise(_DENSE_RINGS):
            yield int(first * gap), int(last * gap) - int(first * gap), last - first
        distance = int(DENSE_LEVELS * gap)
        edge = max(distance + FAR_LEVELS * gap, EDGE * near / self.tick)
        ratio = (edge / distance) ** (1 / _FAR_RINGS)
        for ring in range(_FAR_RINGS):
            width = max(FAR_LEVELS // _FAR_RINGS, int(edge / ratio ** (_FAR_RINGS - 1 - ring)) - distance)
            yield distance, width, FAR_LEVELS // _FAR_RINGS
            distance += width

    def _sow(self, side: Side, price: int, width: int, count: int) -> None:
        """Spread `count` new levels over `width` ticks from `price` outwards; fewer where there are levels already."""
        book, mean = self._book, max(1.0, width / count)
        end = price - side.sign * width * self.tick
        facing = book.opposite(side).best
        while (price - end) * side.sign > 0:
            inside = facing is None or price * side.sign < facing * side.sign
            if inside and self.tick <= price <= self._max_price and side.queue(price) is None:
                book.place(side, price, self._sizes.maker(price, len(side.keys)))
            price -= side.sign * self.hop(mean) * self.tick

    def _weed(self, side: Side, inside: int, present: int, surplus: int) -> None:
        """Pull `surplus` of the `present` levels that follow the `inside` nearest ones."""
        for taken in range(surplus):
            depth = inside + int(self._rng.random() * (present - taken))
            self._book.pull(side, side.price_at(depth))
