"""The line of real orders at one price, guessed from what the market shows: how much of it stands where.

The venue shows how much rests at a price, not whose orders, so this is an *estimate*. Every rise of the shown size is
taken for one order that joined at the back. A print eats from the front. A fall that no print explains is a
cancellation of its very size: it is spread over the orders it may have been, most on the young and those near the back,
which are cancelled most. What stood here before we looked is one entry of unknown orders.

Whole numbers throughout, so that every machine finds the same: sizes in lots, what is left of an order in grains
(`GRAINS` to a lot), since half an order may be thought to be left. The formulas and how they were chosen are in
docs/decisions/0014-cancellations-are-inferred.md. Pure: no lock.
"""

from bisect import bisect_left
from itertools import pairwise
from math import isqrt

GRAINS = 1 << 20
"""Grains in a lot: fine enough that what rounding leaves never adds up to a lot."""

LONGEST = 64
"""Entries kept; beyond, the oldest neighbours become one entry of unknown orders."""

YOUNG_MS = 20
"""Added to an order's age: differences below it say nothing."""

WHOLE = 200
"""A cancellation takes a whole order that many times as often as a part of a larger one."""

Removed = list[tuple[int, int, int, int]]
"""What a cancellation is thought to have taken, front to back: (place, grains, size in lots, time it joined)."""


class Entry:
    """One order as we suppose it, or several unknown ones (`size` 0).

    `place` grows from front to back. `size` in lots as it joined, less what was executed of it while it was surely
    whole; `mass` in grains: what is expected to be left.
    """

    __slots__ = ("mass", "place", "size", "time_ms")

    def __init__(self, place: int, mass: int, size: int, time_ms: int) -> None:
        self.place = place
        self.mass = mass
        self.size = size
        self.time_ms = time_ms


class Line:
    """The entries of one price, front to back."""

    __slots__ = ("entries", "joined", "joined_lots")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.joined = 0
        self.joined_lots = 0

    @classmethod
    def restored(cls, joined: int, joined_lots: int, entries: list[list[int]]) -> "Line":
        """Return the line that had these counts and entries (place, mass, size, time)."""
        line = cls()
        line.joined = joined
        line.joined_lots = joined_lots
        line.entries = [Entry(*entry) for entry in entries]
        return line

    def find(self, grains: int, place: int, time_ms: int) -> None:
        """Orders nobody saw joining stand at the back."""
        if grains:
            self.entries.append(Entry(place, grains, 0, time_ms))

    def add(self, lots: int, place: int, time_ms: int) -> None:
        """One order joins at the back."""
        self.entries.append(Entry(place, lots * GRAINS, lots, time_ms))
        self.joined += 1
        self.joined_lots += lots

    def eat(self, lots: int) -> None:
        """A print takes from the front."""
        left = lots * GRAINS
        gone = 0
        for entry in self.entries:
            if entry.mass > left:
                if entry.mass == entry.size * GRAINS:
                    entry.size -= left // GRAINS
                entry.mass -= left
                break
            left -= entry.mass
            gone += 1
        del self.entries[:gone]

    def cancel(self, lots: int, time_ms: int) -> Removed:
        """Spread a cancellation over the orders it may have been; what fits none comes off the back."""
        entries = self.entries
        grains = left = lots * GRAINS
        weights = self._weights(lots, time_ms)
        total = sum(weights)
        taken = [
            min(entry.mass, grains * weight // total) if weight else 0
            for entry, weight in zip(entries, weights, strict=True)
        ]
        left -= sum(taken)
        for index in range(len(entries) - 1, -1, -1):
            if not left:
                break
            part = min(entries[index].mass - taken[index], left)
            taken[index] += part
            left -= part
        removed = []
        for entry, part in zip(entries, taken, strict=True):
            if part:
                entry.mass -= part
                removed.append((entry.place, part, entry.size, entry.time_ms))
        self.entries = [entry for entry in entries if entry.mass]
        return removed

    def _weights(self, lots: int, time_ms: int) -> list[int]:
        """Return how likely each entry is to be what was cancelled.

        Orders it may be x how likely each is to be there still / (age^3/2 x (1 + orders behind)^1/4).
        """
        mean = self.joined_lots // self.joined if self.joined else lots
        weights = []
        behind = GRAINS
        for entry in reversed(self.entries):
            there = entry.mass // (entry.size or mean)
            fits = WHOLE if entry.size == lots or (not entry.size and entry.mass >= lots * GRAINS) else 1
            if fits == WHOLE or entry.size > lots:
                age = max(0, time_ms - entry.time_ms) + YOUNG_MS
                weights.append((fits * there << 60) // (age * isqrt(age << 10) * isqrt(isqrt(behind << 20))))
            else:
                weights.append(0)
            behind += there
        weights.reverse()
        return weights

    def restore(self, removed: Removed) -> None:
        """Give back what was removed."""
        for place, grains, size, time_ms in removed:
            index = bisect_left(self.entries, place, key=_place_of)
            if index < len(self.entries) and self.entries[index].place == place:
                self.entries[index].mass += grains
            else:
                self.entries.insert(index, Entry(place, grains, size, time_ms))

    def shorten(self, boundaries: list[int]) -> None:
        """Make one entry of the oldest two neighbours with none of the (growing) `boundaries` between them."""
        entries = self.entries
        for first, second in pairwise(entries):
            index = bisect_left(boundaries, first.place)
            if index == len(boundaries) or boundaries[index] > second.place:
                first.mass += second.mass
                first.size = 0
                entries.remove(second)
                return


def _place_of(entry: Entry) -> int:
    return entry.place
