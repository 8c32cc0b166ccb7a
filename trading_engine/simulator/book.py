"""The true book of one symbol: price levels with their queues of orders, matching, and what changed since a diff.

A side keeps its levels by *key*: the price times the side's sign (+1 bids, -1 asks), so that the best level has the
largest key on both sides and one code serves both. Prices and quantities are grains. Every change of a level takes the
next update id; a market order takes one id per maker order it meets.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

Level = tuple[int, int]  # price, quantity
Quote = tuple[int, int, int, int]  # best bid, its quantity, best ask, its quantity; 0 where a side is empty


class Side:
    """One side of the book.

    Attributes:
        sign: +1 for bids, -1 for asks.
        keys: sorted, best last.
        queues: the order sizes at each key, oldest first.
        touched: prices changed since the diff window was last closed.
    """

    __slots__ = ("keys", "queues", "sign", "touched")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.queues: dict[int, list[int]] = {}
        self.touched: set[int] = set()

    @property
    def best(self) -> int | None:
        """Best price, None when the side is empty."""
        return self.keys[-1] * self.sign if self.keys else None

    def queue(self, price: int) -> list[int] | None:
        """The order sizes at `price`, oldest first."""
        return self.queues.get(price * self.sign)

    def total(self, price: int) -> int:
        """Quantity shown at `price`, 0 when there is no such level."""
        return sum(self.queues.get(price * self.sign, ()))

    def levels(self, limit: int) -> list[Level]:
        """The best `limit` levels, best first."""
        return [(key * self.sign, sum(self.queues[key])) for key in reversed(self.keys[-limit:])]

    def price_at(self, depth: int) -> int:
        """Price of the level `depth` places behind the best (0 = best)."""
        return self.keys[-1 - depth] * self.sign

    def better_than(self, price: int) -> list[int]:
        """Prices of the levels strictly better than `price`, worst of them first."""
        return [key * self.sign for key in self.keys[bisect_right(self.keys, price * self.sign) :]]

    def count_from(self, price: int) -> int:
        """How many levels are at `price` or better."""
        return len(self.keys) - bisect_left(self.keys, price * self.sign)

    def close_window(self) -> list[Level]:
        """Present quantity (0 = gone) of every price touched since the last call, best first."""
        rows = [(price, self.total(price)) for price in sorted(self.touched, reverse=self.sign > 0)]
        self.touched.clear()
        return rows


class Book:
    """Both sides of one symbol with the id of the last change."""

    def __init__(self, update_id: int) -> None:
        self.bids = Side(1)
        self.asks = Side(-1)
        self.update_id = update_id

    def opposite(self, side: Side) -> Side:
        """The other side."""
        return self.asks if side is self.bids else self.bids

    def place(self, side: Side, price: int, quantity: int) -> None:
        """Rest one order at the back of the queue at `price`.

        Raises:
            ValueError: when it would cross the other side, or is not above zero.
        """
        key = price * side.sign
        facing = self.opposite(side).keys
        if facing and key >= -facing[-1]:
            raise ValueError(f"an order at {price} would cross {abs(facing[-1])}")
        if price <= 0 or quantity <= 0:
            raise ValueError(f"price {price} and quantity {quantity} must be above zero")
        queue = side.queues.get(key)
        if queue is not None:
            queue.append(quantity)
        else:
            side.queues[key] = [quantity]
            if side.keys and key < side.keys[-1]:
                insort(side.keys, key)
            else:
                side.keys.append(key)
        self._touch(side, price)

    def cancel(self, side: Side, price: int, position: int) -> None:
        """Take the order at `position` of the queue at `price` away."""
        key = price * side.sign
        queue = side.queues[key]
        del queue[position]
        if not queue:
            _drop(side, key)
        self._touch(side, price)

    def pull(self, side: Side, price: int) -> None:
        """Take the whole level at `price` away, one update id per order."""
        key = price * side.sign
        self.update_id += len(side.queues[key]) - 1
        _drop(side, key)
        self._touch(side, price)

    def take(self, makers: Side, quantity: int, limit: int) -> list[Level]:
        """Execute a taker order against `makers`, no worse than `limit`; the rest of it expires.

        Returns:
            One (price, quantity) per maker order met, in order of execution.
        """
        prints: list[Level] = []
        worst = limit * makers.sign
        while quantity > 0 and makers.keys and makers.keys[-1] >= worst:
            key = makers.keys[-1]
            queue = makers.queues[key]
            filled = min(quantity, queue[0])
            quantity -= filled
            prints.append((key * makers.sign, filled))
            queue[0] -= filled
            if not queue[0]:
                del queue[0]
                if not queue:
                    _drop(makers, key)
            self._touch(makers, key * makers.sign)
        return prints

    def replace(self, bids: list[Level], asks: list[Level]) -> None:
        """Put exactly these levels, one order each, in the place of all others.

        Raises:
            ValueError: when they cross or name a price twice; the book is then as it was.
        """
        if len(dict(bids)) != len(bids) or len(dict(asks)) != len(asks):
            raise ValueError("a price is given twice")
        if bids and asks and max(bids)[0] >= min(asks)[0]:
            raise ValueError("bids and asks cross")
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for key in list(side.keys):
                self.pull(side, key * side.sign)
            side.touched.update(price for price, _ in levels)
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            for price, quantity in levels:
                self.place(side, price, quantity)

    def restate(self) -> None:
        """Touch the best bid without changing it, as an order added and cancelled within one diff does."""
        if self.bids.best is not None:
            self.update_id += 1
            self._touch(self.bids, self.bids.best)

    def quote(self) -> Quote:
        """Best bid and ask with their quantities."""
        bids, asks = self.bids, self.asks
        bid = bids.keys[-1] if bids.keys else 0
        ask = asks.keys[-1] if asks.keys else 0
        return bid, sum(bids.queues[bid]) if bid else 0, -ask, sum(asks.queues[ask]) if ask else 0

    def check(self) -> None:
        """Walk every invariant; raises AssertionError when one is broken."""
        for side in (self.bids, self.asks):
            if side.keys != sorted(side.queues):
                raise AssertionError("keys and queues disagree")
            if not all(queue and min(queue) > 0 for queue in side.queues.values()):
                raise AssertionError("an empty order rests")
        if self.bids.keys and self.asks.keys and self.bids.keys[-1] >= -self.asks.keys[-1]:
            raise AssertionError(f"crossed: {self.quote()}")

    def _touch(self, side: Side, price: int) -> None:
        self.update_id += 1
        side.touched.add(price)


def _drop(side: Side, key: int) -> None:
    """Remove an empty level."""
    del side.queues[key]
    if side.keys[-1] == key:
        side.keys.pop()
    else:
        del side.keys[bisect_left(side.keys, key)]
