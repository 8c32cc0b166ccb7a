"""Every open order, found by symbol and by account, and the shelves of the symbols that have any.

An index over the books' open orders: it decides nothing and is rebuilt at every load. Guarded by `Engine.lock`.
"""

from collections.abc import Mapping

from trading_engine.exchange.messages import EngineState
from trading_engine.exchange.orders import Order, Stage
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.resting import Shelf, account_key
from trading_engine.exchange.triggers import ANY_PRINT


class OpenOrders:
    """Every open order, by symbol and by account; and the shelves, kept as long as anything is on them."""

    def __init__(self, markets: Mapping[str, MarketSource], rule: Rule) -> None:
        self.shelves: dict[str, Shelf] = {}
        self.size = 0
        self._markets = markets
        self._rule = rule
        self._symbols: dict[int, dict[int, str]] = {}
        self._counts: dict[tuple[int, str], int] = {}
        self._resting: dict[int, Order] = {}

    def recall(self, state: EngineState) -> None:
        """Find again what was known of queues and of what accounts took, once the open orders are in place.

        Fills that came after it was kept are read too, those of the present epochs.
        """
        orders = {order.id: order for order in state.orders}
        epochs = {account.id: account.epoch for account in state.accounts}
        known: dict[tuple[str, str], int] = {}
        for memory in state.memory:
            self.shelf(memory.symbol).restore(memory, orders)
            known[memory.symbol, memory.key] = memory.seq
        for fill in state.recent_fills:
            if epochs.get(fill.account_id) == fill.epoch and fill.id > known.get((fill.symbol, account_key(fill)), 0):
                self.shelf(fill.symbol).recall(fill)
        for symbol, shelf in list(self.shelves.items()):
            shelf.missed = True
            self.drop_if_empty(symbol)

    def shelf(self, symbol: str) -> Shelf:
        """Return the shelf of a symbol, made when there is none."""
        shelf = self.shelves.get(symbol)
        if shelf is None:
            shelf = self.shelves[symbol] = Shelf(symbol, self._markets, self._rule)
        return shelf

    def drop_if_empty(self, symbol: str) -> None:
        """Put a shelf away on which nothing is left."""
        shelf = self.shelves.get(symbol)
        if shelf is not None and shelf.is_empty:
            del self.shelves[symbol]

    def put(self, order: Order, *, queue_it: bool) -> None:
        """Keep an open order as it is now; one that rests already keeps its place."""
        shelf = self.shelf(order.symbol)
        known = self._symbols.setdefault(order.account_id, {})
        if order.id not in known:
            known[order.id] = order.symbol
            self.size += 1
            key = (order.account_id, order.symbol)
            self._counts[key] = self._counts.get(key, 0) + 1
        rests = self._resting.get(order.id)
        if order.stage is Stage.ARMED:
            if order.id not in shelf.triggers:
                shelf.arm(order, after=order.market_seq if queue_it and order.market_seq is not None else ANY_PRINT)
            return
        if rests is not None and not _arrives_anew(rests, order):
            shelf.shrink(order)
            self._resting[order.id] = order
            return
        if rests is not None:
            shelf.remove(rests)
            del self._resting[order.id]
        if order.market_seq is None:
            shelf.waiting[order.id] = None
            return
        shelf.waiting.pop(order.id, None)
        if order.id in shelf.triggers:
            shelf.disarm(order)
        shelf.rest(order, queue_it=queue_it)
        self._resting[order.id] = order

    def remove(self, order: Order) -> None:
        """Take an order that has ended out, if it was ever kept."""
        known = self._symbols.get(order.account_id, {})
        if known.pop(order.id, None) is None:
            return
        self.size -= 1
        shelf = self.shelves[order.symbol]
        rested = self._resting.pop(order.id, None)
        if rested is not None:
            shelf.remove(rested)
        elif order.id in shelf.triggers:
            shelf.disarm(order)
        else:
            del shelf.waiting[order.id]
        key = (order.account_id, order.symbol)
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
        if not known:
            del self._symbols[order.account_id]
        self.drop_if_empty(order.symbol)

    def of(self, account_id: int, symbol: str | None = None) -> list[int]:
        """Return the ids of an account's open orders, of one symbol or all, oldest first."""
        known = self._symbols.get(account_id, {})
        return sorted(order_id for order_id, name in known.items() if symbol is None or name == symbol)

    def count(self, account_id: int, symbol: str | None = None) -> int:
        """Return how many orders an account has open, of one symbol or in all."""
        if symbol is None:
            return len(self._symbols.get(account_id, {}))
        return self._counts.get((account_id, symbol), 0)


def _arrives_anew(rests: Order, order: Order) -> bool:
    """Say whether an order that rests was amended so that it lost its place."""
    if rests.quantity is None or order.quantity is None:
        return False
    return order.market_seq is None or order.price != rests.price or order.quantity > rests.quantity
