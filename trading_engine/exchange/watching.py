"""The levels of one symbol whose every change somebody wants to hear about: where own orders rest, what was taken from.

Most messages change none of them, and that is found in one look at each price a message names. The exact price is kept
beside the float that indexes the book, so nothing is converted for a level nobody watches. No lock of its own: the
market's guards it.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import inf
from typing import NamedTuple

from trading_engine.exchange.book import Book, RawLevel
from trading_engine.exchange.grid import Grids
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Side
from trading_engine.exchange.waiting import LevelKey


class LevelChange(NamedTuple):
    """What a message did to a watched level: the size shown before and after, in the base asset.

    `traded` is how much of it is explained by prints that the book shows only now.
    """

    key: LevelKey
    before: Decimal
    after: Decimal
    traded: Decimal


class WatchedLevels:
    """Watched levels of both sides, each known by its exact price and found by the float that indexes it."""

    __slots__ = ("_keys", "_prices")

    def __init__(self) -> None:
        self._keys: dict[Side, dict[float, LevelKey]] = {Side.BUY: {}, Side.SELL: {}}
        self._prices: dict[Side, list[float]] = {Side.BUY: [], Side.SELL: []}

    def __bool__(self) -> bool:
        return bool(self._prices[Side.BUY] or self._prices[Side.SELL])

    def add(self, key: LevelKey) -> None:
        """Watch a level; harmless when it is watched."""
        price = float(key.price)
        if price not in self._keys[key.side]:
            self._keys[key.side][price] = key
            insort(self._prices[key.side], price)

    def remove(self, key: LevelKey) -> None:
        """Watch a level no more; harmless when it is not watched."""
        price = float(key.price)
        if self._keys[key.side].pop(price, None) is not None:
            prices = self._prices[key.side]
            del prices[bisect_left(prices, price)]

    def keys(self) -> tuple[LevelKey, ...]:
        """Return every watched level."""
        return tuple(key for keys in self._keys.values() for key in keys.values())

    def is_watched(self, key: LevelKey) -> bool:
        """Say whether a level is watched."""
        return float(key.price) in self._keys[key.side]

    def named(self, bids: Sequence[RawLevel], asks: Sequence[RawLevel]) -> list[LevelKey]:
        """Return the watched levels that a diff names."""
        if not self:
            return []
        return [*self._among(Side.BUY, bids), *self._among(Side.SELL, asks)]

    def quoted(self, book: Book, grids: Grids, bid: float, ask: float) -> list[LevelKey]:
        """Return the levels a quote may change: the new best ones, and those in front of them that it clears away.

        Of the latter the old best ones, watched or not, and those that are watched: what stood between is of no concern
        to anybody. A price of 0 clears the side.
        """
        keys: dict[LevelKey, None] = {}
        for side, old, new in ((Side.BUY, book.best_bid(), bid), (Side.SELL, book.best_ask(), ask)):
            for price in (old, new):
                if price:
                    keys[LevelKey(side, grids.prices.exact(price))] = None
            if old is not None and self._prices[side]:
                keys.update(dict.fromkeys(self._between(side, old, new or (0.0 if side is Side.BUY else inf))))
        return list(keys)

    def shown(self, book: Book, keys: Iterable[LevelKey]) -> dict[LevelKey, Decimal]:
        """Return what the book shows at these levels, 0 also where that is not known."""
        return {key: shown_at(book, key) or ZERO for key in keys}

    def changes(
        self, book: Book, before: Mapping[LevelKey, Decimal], traded: Mapping[LevelKey, Decimal]
    ) -> tuple[LevelChange, ...]:
        """Return what has become of the watched levels among those that a message named or that were traded at."""
        if not self or not (before or traded):
            return ()
        changes = []
        for key in dict.fromkeys((*before, *traded)):
            if self.is_watched(key):
                after = shown_at(book, key) or ZERO
                change = LevelChange(key, before.get(key, after), after, traded.get(key, ZERO))
                if change.before != change.after or change.traded:
                    changes.append(change)
        return tuple(changes)

    def _among(self, side: Side, levels: Sequence[RawLevel]) -> list[LevelKey]:
        keys = self._keys[side]
        if not keys or keys.keys().isdisjoint(price for price, _ in levels):
            return []
        return [keys[price] for price in dict.fromkeys(price for price, _ in levels) if price in keys]

    def _between(self, side: Side, one: float, other: float) -> list[LevelKey]:
        """Return the watched levels from one price to the other, both included."""
        prices, keys = self._prices[side], self._keys[side]
        low, high = min(one, other), max(one, other)
        return [keys[price] for price in prices[bisect_left(prices, low) : bisect_right(prices, high)]]


def shown_at(book: Book, key: LevelKey) -> Decimal | None:
    """Return what the book shows at a level; None where it lies beyond what is known."""
    price = float(key.price)
    return book.bid_quantity(price) if key.side is Side.BUY else book.ask_quantity(price)
