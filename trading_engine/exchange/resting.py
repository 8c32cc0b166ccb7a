"""Where open orders are found again: by symbol, side and price for the market, by account for their owner.

An index over the books' open orders, rebuilt from them at every load; it holds no money and decides nothing. Looking
whether a market change touches any order is O(1), adding or removing one O(log n). Guarded by `Engine.lock`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from decimal import Decimal

from trading_engine.exchange.fills import Levels, Part, is_through, limit_of
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Order, Side

ANY_CHANGE = -1
"""As an order's `market_seq`: no change of the market is older than it (it rested before this process began)."""


class Ladder:
    """The resting orders of one side of a symbol, best price first, then age."""

    __slots__ = ("_after", "_keys", "_unplaced", "given", "side")

    def __init__(self, side: Side) -> None:
        self.side = side
        self._keys: list[tuple[Decimal, int]] = []
        self._after: dict[int, int] = {}
        self.given: dict[int, dict[Decimal, Decimal]] = {}
        self._unplaced: dict[int, Decimal] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, order_id: int) -> bool:
        return order_id in self._after

    @property
    def best(self) -> Decimal | None:
        """Return the limit the market reaches first: the highest of the buys, the lowest of the sells."""
        if not self._keys:
            return None
        rank = self._keys[0][0]
        return -rank if self.side is Side.BUY else rank

    def add(self, order: Order, after: int) -> None:
        """Add an order that ignores market changes up to `after`."""
        insort(self._keys, self.key(order))
        self._after[order.id] = after

    def remove(self, order: Order) -> None:
        """Take an order out."""
        key = self.key(order)
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(f"order {order.id} does not rest here")
        del self._keys[index]
        del self._after[order.id]

    def touched_by(self, price: Decimal | None) -> bool:
        """Say whether `price` is through any order's limit."""
        best = self.best
        return price is not None and best is not None and is_through(self.side, best, price)

    def through(self, price: Decimal) -> Iterator[int]:
        """Give the ids of the orders whose limit `price` is through, best first, then age."""
        for rank, order_id in self._keys:
            if not is_through(self.side, -rank if self.side is Side.BUY else rank, price):
                return
            yield order_id

    def after(self, order_id: int) -> int:
        """Return the market change up to which the order ignores prints."""
        return self._after[order_id]

    def took(self, account_id: int, parts: Sequence[Part]) -> None:
        """Remember what an arriving order took, so that the account's resting orders are not given it again."""
        for part in parts:
            if self.touched_by(part.price):
                had = self.given.setdefault(account_id, {})
                had[part.price] = min(part.shown, had.get(part.price, ZERO) + part.quantity)

    def filled_before(self, account_id: int, quantity: Decimal) -> None:
        """Note what the account's orders got before memory was loaded: at which levels, and how much is still shown?

        Nobody knows, so the first quotes through a limit are taken to have given it: too little rather than twice.
        """
        self._unplaced[account_id] = self._unplaced.get(account_id, ZERO) + quantity

    def given_at(self, levels: Levels) -> dict[int, dict[Decimal, Decimal]]:
        """Return what each account was given, with what was given before the load laid over `levels`, best first."""
        if not self._unplaced:
            return self.given
        given = {account_id: dict(had) for account_id, had in self.given.items()}
        for account_id, quantity_before in self._unplaced.items():
            left = quantity_before
            had = given.setdefault(account_id, {})
            for price, shown in levels:
                quantity = max(ZERO, min(left, shown - had.get(price, ZERO)))
                had[price] = had.get(price, ZERO) + quantity
                left -= quantity
        return given

    def remember(self, given: dict[int, dict[Decimal, Decimal]]) -> None:
        """Set what the levels shown now have given; what lay before the load is in it, or shown no more."""
        self.given = given
        self._unplaced.clear()

    def ids(self) -> list[int]:
        """Return the ids in the ladder's order, for checks."""
        return [order_id for _, order_id in self._keys]

    def key(self, order: Order) -> tuple[Decimal, int]:
        """Return what the ladder sorts by."""
        limit = limit_of(order)
        return (-limit if self.side is Side.BUY else limit, order.id)


class Shelf:
    """The open orders of one symbol: two ladders, and those that wait for a live book, oldest first."""

    __slots__ = ("buys", "sells", "waiting")

    def __init__(self) -> None:
        self.buys = Ladder(Side.BUY)
        self.sells = Ladder(Side.SELL)
        self.waiting: dict[int, None] = {}

    def ladder(self, side: Side) -> Ladder:
        """Return one side's resting orders."""
        return self.buys if side is Side.BUY else self.sells

    @property
    def is_empty(self) -> bool:
        """Say whether no order is here."""
        return not (self.buys or self.sells or self.waiting)


class OpenOrders:
    """Every open order, by symbol and by account."""

    def __init__(self) -> None:
        self.shelves: dict[str, Shelf] = {}
        self.size = 0
        self._symbols: dict[int, dict[int, str]] = {}
        self._counts: dict[tuple[int, str], int] = {}

    def put(self, order: Order, after: int | None) -> None:
        """Keep an open order; `after` is None while it waits for a live book. One kept before moves if it waited."""
        shelf = self.shelves.setdefault(order.symbol, Shelf())
        ladder = shelf.ladder(order.side)
        known = self._symbols.setdefault(order.account_id, {})
        if order.id not in known:
            known[order.id] = order.symbol
            self.size += 1
            key = (order.account_id, order.symbol)
            self._counts[key] = self._counts.get(key, 0) + 1
        if after is None:
            shelf.waiting[order.id] = None
        elif order.id not in ladder:
            shelf.waiting.pop(order.id, None)
            ladder.add(order, after)

    def remove(self, order: Order) -> None:
        """Take an order that has ended out, if it was ever kept."""
        known = self._symbols.get(order.account_id, {})
        if known.pop(order.id, None) is None:
            return
        self.size -= 1
        shelf = self.shelves[order.symbol]
        if order.id in shelf.waiting:
            del shelf.waiting[order.id]
        else:
            shelf.ladder(order.side).remove(order)
        key = (order.account_id, order.symbol)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
        if not known:
            del self._symbols[order.account_id]
        if shelf.is_empty:
            del self.shelves[order.symbol]

    def of(self, account_id: int, symbol: str | None = None) -> list[int]:
        """Return the ids of an account's open orders, of one symbol or all, oldest first."""
        known = self._symbols.get(account_id, {})
        return sorted(order_id for order_id, name in known.items() if symbol is None or name == symbol)

    def count(self, account_id: int, symbol: str | None = None) -> int:
        """Return how many orders an account has open, of one symbol or in all."""
        if symbol is None:
            return len(self._symbols.get(account_id, {}))
        return self._counts.get((account_id, symbol), 0)
