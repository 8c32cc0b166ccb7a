"""The price levels of one symbol: for each side a dictionary of the near levels, in order, and one of the far ones.

The clever idea: a diff goes into the near dictionary with one `dict.update` (its levels are float pairs as the decoder
made them), and a dictionary keeps the order of insertion, so the prices that were not there before are exactly its last
`len(after) - len(before)` keys. Only those are looked at: sorted in, or moved to the far levels. A near level of
quantity zero stays as a tombstone, for it mostly comes back; tombstones are swept out when they outnumber the levels.
That the near ones are few keeps the work in the processor's cache.

A level is a float until somebody looks at it: `bids` and `asks` put the exact pair of decimals in the float's place,
where it stays until that level changes, so that a view converts only what has changed since the last one.

What is known: a snapshot of the best N levels proves everything up to its last price, the *edge*. Beyond it a level is
heard of only when it changes, so such levels are not kept: what the book holds is what it knows completely. The edge
moves inwards when a side grows past `MAX_LEVELS`; when the price walks towards it the side becomes thin.

Pure: no lock (the market's guards it), no clock, no idea where levels come from. See `grid` for floats and decimals.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import islice
from math import inf
from operator import length_hint, neg
from typing import Final, NamedTuple

from trading_engine.exchange.grid import USUAL_PRICES, Grids, Level
from trading_engine.exchange.money import ZERO

RawLevel = tuple[float, float]
"""Price, quantity; a quantity of 0 removes the level."""

RawLevels = tuple[list[float], list[float | Level]]
"""Prices best first, and beside each its quantity or, where somebody has looked, the whole exact level."""

MAX_LEVELS: Final = 5_000
"""Levels kept a side, as many as the venue's largest snapshot (0.5 MB), and a quarter more before they are cut."""

FAR_BOUND: Final = MAX_LEVELS + MAX_LEVELS // 4

NEAR_LEVELS: Final = 400
"""Levels kept in order, as long as there are so many; between half and twice as many at times."""

SPARE_TOMBSTONES: Final = 200
"""A side is swept when it has more near tombstones than near levels and this many besides."""

LEADING_TOMBSTONES: Final = 8
"""Tombstones tolerated in front of the best price before they are removed at once."""

CROWD: Final = 128
"""Tombstones a reader may have to look past before they are swept out at the next diff."""

THIN_SHARE: Final = 4
MIN_KNOWN_LEVELS: Final = 25
"""A cut-off side is thin with fewer than a quarter of the snapshot's levels, or fewer than this, before its edge."""

MAX_PENDING_QUOTES: Final = 256
"""Quotes remembered until a diff has caught up with them (0.1 s; a burst brings about 100); the oldest goes first."""


class SideCopy(NamedTuple):
    """One side as it stood: near prices best first, tombstones included, and both kinds of levels."""

    near_prices: list[float]
    near: dict[float, float | Level]
    far: dict[float, float | Level]
    descending: bool

    def prices(self) -> list[float]:
        """Return all prices, best first."""
        return [price for price in self.near_prices if self.near[price]] + sorted(self.far, reverse=self.descending)

    def exact(self, grids: Grids) -> tuple[Level, ...]:
        """Return all levels, best first; raise OffGrid."""
        prices = self.prices()
        return grids.levels(prices, [self.near.get(price) or self.far[price] for price in prices], {})


class Book:
    """Bids and asks of one symbol. Best means highest bid, lowest ask."""

    __slots__ = ("_asks", "_bids", "_quotes")

    def __init__(self, bids: Sequence[RawLevel], asks: Sequence[RawLevel], *, limit: int | None, grids: Grids) -> None:
        """Start from a snapshot of at most `limit` levels a side (None: unknown, so take both sides to be cut off).

        Raises OffGrid, here and in every later call, for a number that is not on `grids`.
        """
        self._bids = _Side(bids, limit, grids, 1.0)
        self._asks = _Side(asks, limit, grids, -1.0)
        # Quotes that may be newer than a diff still to come: update id, bid, ask. Most are caught up with at once.
        self._quotes: list[tuple[int, float, float]] = []

    def apply_diff(self, update_id: int, bids: Sequence[RawLevel], asks: Sequence[RawLevel]) -> None:
        """Set the quantities a diff up to `update_id` states, except where a newer quote has already spoken."""
        if self._quotes:
            bids, asks = self._without_quoted(update_id, bids, asks)
        if bids:
            self._bids.update(bids)
        if asks:
            self._asks.update(asks)

    def apply_quote(self, update_id: int, bid: RawLevel, ask: RawLevel) -> None:
        """Set the best level of both sides as of `update_id`; better levels are gone. Price 0: the side is empty."""
        self._bids.set_best(*bid)
        self._asks.set_best(*ask)
        if len(self._quotes) >= MAX_PENDING_QUOTES:
            del self._quotes[0]
        self._quotes.append((update_id, bid[0], ask[0] or inf))

    def best_bid(self) -> float | None:
        """Return the highest bid, None when there is none."""
        return self._bids.best()

    def best_ask(self) -> float | None:
        """Return the lowest ask, None when there is none."""
        return self._asks.best()

    def bids(self, count: int) -> tuple[Level, ...]:
        """Return the `count` best bids, best first."""
        return self._bids.exact(count)

    def asks(self, count: int) -> tuple[Level, ...]:
        """Return the `count` best asks, best first."""
        return self._asks.exact(count)

    def raw_bids(self, count: int) -> RawLevels:
        """Return the `count` best bids as they are kept: quick, for whoever needs no decimals."""
        return self._bids.front(count)

    def raw_asks(self, count: int) -> RawLevels:
        """Return the `count` best asks as they are kept."""
        return self._asks.front(count)

    def bid_quantity(self, price: float) -> Decimal | None:
        """Return the quantity bid at `price`, 0 where there is no level, None beyond what is known."""
        return self._bids.quantity(price)

    def ask_quantity(self, price: float) -> Decimal | None:
        """Return the quantity asked at `price`, 0 where there is no level, None beyond what is known."""
        return self._asks.quantity(price)

    def copy(self) -> tuple[SideCopy, SideCopy]:
        """Return bids and asks to be put in order and made exact elsewhere: quick, for thousands of levels."""
        return self._bids.copy(), self._asks.copy()

    def use(self, grids: Grids) -> None:
        """Replace the grids: the symbol's rules have changed."""
        self._bids.use(grids)
        self._asks.use(grids)

    @property
    def is_thin(self) -> bool:
        """True when the price has come so near an edge that a new snapshot is due."""
        return self._bids.is_thin or self._asks.is_thin

    @property
    def is_used_up(self) -> bool:
        """True when a side has no level left before its edge: its best price is anybody's guess."""
        return self._bids.is_used_up or self._asks.is_used_up

    def check(self) -> None:
        """Walk every invariant; raises AssertionError. For tests."""
        self._bids.check()
        self._asks.check()

    def _without_quoted(
        self, update_id: int, bids: Sequence[RawLevel], asks: Sequence[RawLevel]
    ) -> tuple[Sequence[RawLevel], Sequence[RawLevel]]:
        """Drop what quotes newer than `update_id` know better: levels at their best prices or in front of them."""
        self._quotes = [quote for quote in self._quotes if quote[0] > update_id]
        if not self._quotes:
            return bids, asks
        lowest_bid = min(quote[1] for quote in self._quotes)
        highest_ask = max(quote[2] for quote in self._quotes)
        return [level for level in bids if level[0] < lowest_bid], [level for level in asks if level[0] > highest_ask]


class _Side:
    """One side. `_prices` runs from the worst to the best and holds exactly the keys of `_near`, tombstones included.

    `_sign` makes a higher number the better price on both sides (asks count negative); the best is last in `_prices`
    because most changes are at the touch and a list is quick at its end. Signed limits: all levels from `_reach` on are
    near, those before it far; before `_edge` nothing is kept. `_thin_below` is the number of levels under which the
    side is thin (0: never); at the last count it had `_margin` more, and of `_changes` since each removed one at most.
    """

    __slots__ = (
        "_changes",
        "_crowded",
        "_edge",
        "_far",
        "_grids",
        "_key",
        "_margin",
        "_near",
        "_prices",
        "_reach",
        "_sign",
        "_sweep_above",
        "_thin_below",
    )

    def __init__(self, levels: Sequence[RawLevel], limit: int | None, grids: Grids, sign: float) -> None:
        self._grids = grids
        self._sign = sign
        self._key = neg if sign < 0 else None
        self._near: dict[float, float | Level] = {}
        self._far: dict[float, float | Level] = {price: quantity for price, quantity in levels if quantity}
        self._prices: list[float] = []
        self._reach = inf
        self._edge = -inf
        self._thin_below = 0
        self._changes = self._margin = self._sweep_above = 0
        if levels and (limit is None or len(levels) >= limit):
            self._edge = min(sign * price for price, _ in levels)
            self._thin_below = max(MIN_KNOWN_LEVELS, len(levels) // THIN_SHARE)
        self._sweep()

    @property
    def is_thin(self) -> bool:
        if self._changes >= self._margin:
            living = len(self._far) + len(self._near) - list(self._near.values()).count(0.0)
            self._margin = living - self._thin_below
            self._changes = 0
        return self._margin < 0

    @property
    def is_used_up(self) -> bool:
        return self._edge > -inf and self.best() is None

    def update(self, changes: Sequence[RawLevel]) -> None:
        """Set quantities; find a place for the prices that were not near before."""
        near = self._near
        before = len(near)
        near.update(changes)
        self._changes += len(changes)
        entered = len(near) - before
        if entered:
            self._admit(tuple(islice(reversed(near.items()), entered)))
            if len(near) > self._sweep_above:
                self._crowded = True
        if self._crowded:
            self._sweep()

    def set_best(self, price: float, quantity: float) -> None:
        """Remove what is better than `price`, and set it; price 0 empties the side, and then all of it is known."""
        if not price:
            self._far.clear()
            self._remove_from(0)
            self._reach = self._edge = -inf
            self._thin_below = 0
            return
        signed = self._sign * price
        if signed < self._reach:
            # The quote lies beyond all that is near: bring the far levels near, as many as it takes to find its place.
            self._far = {far: level for far, level in self._far.items() if self._sign * far <= signed}
            self._remove_from(0)
            self._sweep()
            self._reach = min(self._reach, signed)
            self._changes = self._margin = 0
        else:
            self._remove_from(bisect_right(self._prices, signed, key=self._key))
        if price not in self._near:
            self._prices.append(price)
        self._near[price] = quantity
        self._edge = min(self._edge, signed)

    def best(self) -> float | None:
        """Return the best price, None when there is none."""
        prices, near = self._prices, self._near
        if prices and near[prices[-1]]:
            return prices[-1]
        walk = reversed(prices)
        best = next(filter(near.__getitem__, walk), None)
        if best is None and self._far:
            self._sweep()
            return self._prices[-1]
        passed = len(prices) - length_hint(walk)
        if passed > LEADING_TOMBSTONES + 1:
            self._remove_from(len(prices) - passed + (best is not None))
        return best

    def exact(self, count: int) -> tuple[Level, ...]:
        """Return the best `count` levels as decimals, which stay in the place of their floats."""
        return self._grids.levels(*self.front(count), self._near)

    def front(self, count: int) -> RawLevels:
        """Return the best `count` levels that are no tombstones; `count` is at most half of NEAR_LEVELS."""
        near = self._near
        walk = reversed(self._prices)
        prices = list(islice(filter(near.__getitem__, walk), count))
        if len(self._prices) - length_hint(walk) > count + CROWD:
            self._crowded = True
        if len(prices) < count and self._far:
            self._sweep()
            near = self._near
            prices = list(islice(reversed(self._prices), count))
        return prices, list(map(near.__getitem__, prices))

    def quantity(self, price: float) -> Decimal | None:
        level = self._near.get(price)
        if level is None:
            level = self._far.get(price)
        if level is None:
            return None if self._sign * price < self._edge else ZERO
        return level[1] if isinstance(level, tuple) else self._grids.quantities.exact(level)

    def copy(self) -> SideCopy:
        return SideCopy(self._prices[::-1], self._near.copy(), self._far.copy(), descending=self._sign > 0)

    def use(self, grids: Grids) -> None:
        """Go back to floats and take other grids."""
        self._grids = grids
        for levels in (self._near, self._far):
            for price, level in levels.items():
                if isinstance(level, tuple):
                    levels[price] = float(level[1])

    def check(self) -> None:
        signed = [self._sign * price for price in self._prices]
        assert signed == sorted(set(signed)), "near prices are not in strict order"
        assert set(self._prices) == set(self._near), "near prices and levels differ"
        assert all(price >= self._reach for price in signed), "a far level among the near"
        assert all(self._edge <= self._sign * price < self._reach for price in self._far), (
            "a far level out of its range"
        )
        assert all(self._far.values()), "a tombstone among the far"
        assert len(self._near) <= 4 * NEAR_LEVELS + SPARE_TOMBSTONES, "more near levels than the bound"
        assert len(self._far) <= 2 * MAX_LEVELS, "more far levels than the bound"

    def _admit(self, entered: Iterable[tuple[float, float | Level]]) -> None:
        """Sort new prices in, or move them to the far; forget what is beyond the edge, and removals of nothing."""
        prices, near, far = self._prices, self._near, self._far
        sign, key, edge, reach = self._sign, self._key, self._edge, self._reach
        scale, decimal_step = self._grids.prices.scale, self._grids.prices.decimal_step
        for price, quantity in entered:
            signed = sign * price
            if quantity and not signed < edge:  # "not <", so that NaN is kept, and refused
                # The usual price; anything else, NaN and infinity too, is for the grids to judge.
                if not (decimal_step and 0.0 < price < USUAL_PRICES and round(price * scale) / scale == price):
                    self._grids.check_price(price)
                if signed >= reach:
                    insort(prices, price, key=key)
                    continue
                far[price] = quantity
            elif signed < reach:
                far.pop(price, None)
            del near[price]
        if len(far) > FAR_BOUND:
            self._crowded = True

    def _remove_from(self, place: int) -> None:
        """Remove the near prices from `place` on."""
        prices = self._prices
        self._changes += len(prices) - place
        for price in prices[place:]:
            del self._near[price]
        del prices[place:]

    def _sweep(self) -> None:
        """Remove the tombstones, restore the balance of near and far, and cut what exceeds MAX_LEVELS."""
        self._crowded = False
        near, far = self._near, self._far
        prices = [price for price in self._prices if near[price]]
        if len(prices) < NEAR_LEVELS // 2 and far:
            ordered = sorted(far, key=self._key)
            taken = ordered[len(prices) - NEAR_LEVELS :]
            for price in taken:
                near[price] = far.pop(price)
            prices = taken + prices
            self._reach = self._sign * prices[0] if far else -inf
        elif len(prices) > 2 * NEAR_LEVELS:
            for price in prices[:-NEAR_LEVELS]:
                far[price] = near[price]
            del prices[:-NEAR_LEVELS]
            self._reach = self._sign * prices[0]
        if len(prices) + len(far) > MAX_LEVELS:
            kept = sorted(far, key=self._key)[len(prices) - MAX_LEVELS :]
            self._far = {price: far[price] for price in kept}
            self._edge = self._sign * kept[0]
            self._thin_below = MAX_LEVELS // THIN_SHARE
        # Made anew in the order of prices, so that neighbours in price are neighbours in memory.
        self._near = {price: near[price] for price in prices}
        self._prices = prices
        self._sweep_above = 2 * len(prices) + SPARE_TOMBSTONES
