"""Where open orders are found again: by symbol, side and price for the market, by account for their owner.

A `Shelf` is all of our own at one symbol: the resting orders in the order the market reaches them, the queue at each of
their prices, the orders that wait for a live book, and what each account has taken of the book. Looking whether a
market change touches any of it is O(1), adding or removing an order O(log n). It holds no money and decides nothing;
what it says is rebuilt from the open orders at every load. Guarded by `Engine.lock`.
"""

import json
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from trading_engine.exchange.conditions import trigger_of
from trading_engine.exchange.fills import key_of, limit_of, opposite_side, reaches
from trading_engine.exchange.grid import WIRE_DECIMALS
from trading_engine.exchange.impact import Impact
from trading_engine.exchange.market import MarketView, Trade
from trading_engine.exchange.messages import Memory
from trading_engine.exchange.money import ZERO, plain, unit
from trading_engine.exchange.orders import Fill, Order, Side
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.queue_model import Given, Level
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.symbols import step_of
from trading_engine.exchange.taking import Slice
from trading_engine.exchange.triggers import ANY_PRINT, Triggers, extremes_of
from trading_engine.exchange.waiting import LevelKey
from trading_engine.exchange.watching import LevelChange

ACCOUNT = "account"
"""In the key of a memory: what an account took. A queue's begins with its side."""

TRIGGERS = "triggers"
"""The key of the memory of what trailing orders follow."""

FINEST = unit(WIRE_DECIMALS)
"""The step of a queue: books hold quantities between the lot steps, from orders older than the step."""


class Took(NamedTuple):
    """What an account took of the book in one go, to be remembered against it. `step`: the symbol's lot step."""

    account_id: int
    side: Side
    slices: tuple[Slice, ...]
    step: Decimal


class Ladder:
    """The resting orders of one side of a symbol, best price first, then age."""

    __slots__ = ("_keys", "best", "side")

    def __init__(self, side: Side) -> None:
        self.side = side
        self.best: Decimal | None = None
        """The limit the market reaches first: the highest of the buys, the lowest of the sells."""
        self._keys: list[tuple[Decimal, int]] = []

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, order: Order) -> None:
        """Add an order."""
        insort(self._keys, self.key(order))
        self.best = self._price(self._keys[0][0])

    def remove(self, order: Order) -> None:
        """Take an order out."""
        key = self.key(order)
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(f"order {order.id} does not rest here")
        del self._keys[index]
        self.best = self._price(self._keys[0][0]) if self._keys else None

    def reached_by(self, price: Decimal | None) -> bool:
        """Say, in O(1), whether `price` is at or through any order's limit."""
        return price is not None and self.best is not None and reaches(self.side, self.best, price)

    def reached(self, price: Decimal) -> Iterator[tuple[Decimal, int]]:
        """Give limit and id of the orders whose limit `price` is at or through, best first, then age."""
        for rank, order_id in self._keys:
            limit = self._price(rank)
            if not reaches(self.side, limit, price):
                return
            yield limit, order_id

    def ids(self) -> list[int]:
        """Return the ids in the ladder's order."""
        return [order_id for _, order_id in self._keys]

    def key(self, order: Order) -> tuple[Decimal, int]:
        """Return what the ladder sorts by."""
        limit = limit_of(order)
        return (-limit if self.side is Side.BUY else limit, order.id)

    def _price(self, rank: Decimal) -> Decimal:
        return -rank if self.side is Side.BUY else rank


class Shelf:
    """All of our own at one symbol.

    `missed` is set while market changes go by that the queues are not told of, since the book is not live.
    """

    __slots__ = (
        "_markets",
        "_rule",
        "_symbol",
        "_touched",
        "buys",
        "forget_at_ms",
        "impacts",
        "missed",
        "queues",
        "sells",
        "triggers",
        "unplaced",
        "waiting",
    )

    def __init__(self, symbol: str, markets: Mapping[str, MarketSource], rule: Rule) -> None:
        self._symbol = symbol
        self._markets = markets
        # Queues and accounts (and `TRIGGERS`) whose memory has changed since it was last kept.
        self._touched: set[LevelKey | int | str] = set()
        self._rule = rule
        self.buys = Ladder(Side.BUY)
        self.sells = Ladder(Side.SELL)
        self.waiting: dict[int, None] = {}
        """Orders that wait for a live book, oldest first."""
        self.queues: dict[LevelKey, Level] = {}
        self.unplaced: dict[int, Order] = {}
        """Resting orders whose queue is not known yet, oldest first."""
        self.impacts: dict[int, Impact] = {}
        """What each account has taken, by account id."""
        self.triggers = Triggers()
        """The conditional orders that wait for the last price."""
        self.missed = False
        self.forget_at_ms = 0
        """When memories are looked through next, by the venue's clock."""

    @property
    def market(self) -> MarketSource:
        """Return the symbol's market; it must be followed by now."""
        return self._markets[self._symbol]

    def ladder(self, side: Side) -> Ladder:
        """Return one side's resting orders."""
        return self.buys if side is Side.BUY else self.sells

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is here, nor anything to be kept of what was here."""
        return not (self.buys or self.sells or self.waiting or self.triggers or self.impacts or self._touched)

    def arm(self, order: Order, *, after: int) -> None:
        """Let a conditional order wait for the prints after the market's change `after`."""
        self.triggers.arm(order.id, trigger_of(order), after=after)

    def disarm(self, order: Order) -> None:
        """Take a conditional order out, that has triggered or ended."""
        self.triggers.disarm(order.id)
        if order.trailing_bps is not None:
            self._touched.add(TRIGGERS)

    def printed(self, price: Decimal, seq: int) -> None:
        """Let a print move the extremes, once what it set off is stored."""
        printed = self.triggers.on_print(price, seq)
        if printed.moved or printed.started:
            self._touched.add(TRIGGERS)

    def rest(self, order: Order, *, queue_it: bool) -> None:
        """Let an order rest; without `queue_it` its place is found at the next live change of the market."""
        self.ladder(order.side).add(order)
        if queue_it and not self.missed:
            self._queue(order)
        else:
            self.unplaced[order.id] = order

    def remove(self, order: Order) -> None:
        """Take an order out."""
        self.ladder(order.side).remove(order)
        self.unplaced.pop(order.id, None)
        key = key_of(order)
        queue = self.queues.get(key)
        if queue is not None:
            if order.id in queue:
                queue.leave(order.id)
            self._touched.add(key)
            if queue.is_empty:
                del self.queues[key]
                self._look_away(key)

    def shrink(self, order: Order) -> None:
        """Note that an order has less left, whatever took it; it keeps its place."""
        if order.id in self.unplaced:
            self.unplaced[order.id] = order
            return
        queue = self.queues.get(key_of(order))
        if queue is not None and order.id in queue:
            queue.amend(order.id, order.leaves)
            self._touched.add(key_of(order))

    def undo(self, order: Order) -> None:
        """Take back what a queue gave an order: it was not stored. One that has left its queue joins it anew."""
        key = key_of(order)
        queue = self.queues.get(key)
        if queue is not None and order.id in queue:
            queue.restore_leaves(order.id, order.leaves)
            return
        if queue is not None and queue.is_empty:
            del self.queues[key]
            self._look_away(key)
        self._queue(order)

    def ahead(self, order: Order) -> Decimal | None:
        """Return the real quantity ahead of a resting order; None where it is not known."""
        queue = self.queues.get(key_of(order))
        return queue.ahead(order.id) if queue is not None and order.id in queue else None

    def ahead_of_newcomer(self, key: LevelKey, account_id: int) -> Decimal | None:
        """Return what would be ahead of an order of the account that came to rest here now; None where not known."""
        seen = self.market.watch(key)
        self._look_away(key)
        if seen.shown is None:
            return None
        ahead = max(ZERO, seen.shown - seen.waiting)
        queue = self.queues.get(key)
        return ahead if queue is None else max(ahead, queue.ahead_of_last(account_id))

    def place_known(self) -> None:
        """Find a place for the orders that have none, as far from the touch as the book is known."""
        for ladder in (self.buys, self.sells):
            for order_id in ladder.ids() if self.unplaced else ():
                order = self.unplaced.get(order_id)
                if order is not None and not self._queue(order):
                    break

    def follow(self, changes: Sequence[LevelChange], *, seq: int, time_ms: int, now_ms: int) -> None:
        """Tell queues and memories what happened to their levels."""
        for change in changes:
            queue = self.queues.get(change.key)
            if queue is not None:
                queue.on_size(change.after, traded=change.traded, time_ms=time_ms, seq=seq)
                self._touched.add(change.key)
            taker = opposite_side(change.key.side)
            for account_id, impact in self.impacts.items():
                impact.on_level(taker, change.key.price, traded=change.traded, after=change.after, now_ms=now_ms)
                self._touched.add(account_id)

    def serve(
        self, key: LevelKey, trade: Trade, *, seq: int, late: bool, through: bool, spent: dict[int, Decimal]
    ) -> list[Given]:
        """Let a print serve the queue at a level; see `Level.on_print`."""
        if through and key not in self.queues:
            self._place_at_front(key)
        queue = self.queues.get(key)
        if queue is None:
            return []
        self._touched.add(key)
        return queue.on_print(trade.quantity, time_ms=trade.time_ms, seq=seq, late=late, through=through, spent=spent)

    def catch_up(self, view: MarketView, now_ms: int) -> None:
        """Go on with a book whose changes were missed; `view` shows all of it."""
        self.missed = False
        shown = {Side.BUY: dict(view.bids), Side.SELL: dict(view.asks)}
        for key, queue in self.queues.items():
            seen = self.market.watch(key)
            if seen.shown is not None:
                queue.resume(seen.shown, seen.venue_ms, after=seen.seq)
                self._touched.add(key)
        for impact in self.impacts.values():
            impact.step = step_of(view.symbol)
            for side in Side:
                impact.gap(side, shown[opposite_side(side)], now_ms)
                for price in impact.prices(side):
                    self.market.watch(LevelKey(opposite_side(side), price))
        self.place_known()

    def took(self, took: Took, now_ms: int) -> None:
        """Remember what an account took, and watch those levels."""
        impact = self.impacts.get(took.account_id)
        if impact is None:
            impact = self.impacts[took.account_id] = Impact(step=took.step)
        self._touched.add(took.account_id)
        known = impact.prices(took.side)
        for part in took.slices:
            if part.price not in known:
                self.market.watch(LevelKey(opposite_side(took.side), part.price))
            impact.took(took.side, part.price, part.quantity, part.shown, now_ms)

    def recall(self, fill: Fill) -> None:
        """Remember a fill from before memory was loaded, if it took from the book."""
        receipt = fill.receipt
        if receipt is None or receipt.level_price is None or fill.level_quantity is None:
            return
        impact = self.impacts.get(fill.account_id)
        if impact is None:
            impact = self.impacts[fill.account_id] = Impact(step=FINEST)
        impact.recall(fill.side, receipt.level_price, fill.quantity, fill.level_quantity, fill.time_ms)

    def memory(self, seq: int, *, whole: bool) -> list[Memory]:
        """Return what has changed since the last call, or all, as of event `seq`."""
        keys: set[LevelKey | int | str] = {*self.queues, *self.impacts} if whole else self._touched
        if whole and self.triggers.state():
            keys.add(TRIGGERS)
        if not whole:
            self._touched = set()
        return [
            Memory(symbol=self._symbol, key=_text_of(key), seq=seq, body=self._body(key))
            for key in sorted(keys, key=_text_of)
        ]

    def restore(self, memory: Memory, orders: Mapping[int, Order]) -> None:
        """Find the queue of orders again, or what an account took; the market was not seen meanwhile."""
        if memory.body is None:
            return
        self.missed = True
        kept = json.loads(memory.body)
        if memory.key == TRIGGERS:
            for order_id, extreme in extremes_of(kept).items():
                if order_id in self.triggers:
                    self.triggers.disarm(order_id)
                    self.triggers.arm(order_id, trigger_of(orders[order_id]), after=ANY_PRINT, extreme=extreme)
            return
        kind, _, which = memory.key.partition(" ")
        if kind == ACCOUNT:
            impact = self.impacts[int(which)] = Impact(step=FINEST)
            impact.restore(kept)
            return
        queue = Level.restore(kept, step=FINEST)
        for order_id in queue.order_ids():
            if self.unplaced.pop(order_id, None) is None:
                queue.leave(order_id)
            else:
                queue.restore_leaves(order_id, orders[order_id].leaves)
        if not queue.is_empty:
            self.queues[LevelKey(Side(kind), Decimal(which))] = queue

    def forget_account(self, account_id: int) -> None:
        """Forget what an account took: it begins anew."""
        impact = self.impacts.pop(account_id, None)
        if impact is not None:
            self._touched.add(account_id)
            for side in Side:
                for price in impact.prices(side):
                    self._look_away(LevelKey(opposite_side(side), price))

    def forget(self, now_ms: int) -> None:
        """Drop memories that have faded away."""
        for account_id, impact in list(self.impacts.items()):
            known = [LevelKey(opposite_side(side), price) for side in Side for price in impact.prices(side)]
            impact.forget(now_ms)
            if impact.is_empty:
                del self.impacts[account_id]
                self._touched.add(account_id)
            for key in known:
                self._look_away(key)

    def _place_at_front(self, key: LevelKey) -> None:
        """The market is through a price whose queue was never known: then nobody is ahead there any more."""
        for order in [order for order in self.unplaced.values() if key_of(order) == key]:
            queue = self.queues.get(key)
            if queue is None:
                lot = self.market.watch(key).lot
                queue = Level(step=FINEST, rule=self._rule, shown=ZERO, waiting=ZERO, time_ms=0, lot=lot)
                self.queues[key] = queue
            queue.join(order.id, order.account_id, order.leaves, waiting=ZERO, shown_ms=0, arrived_ms=0)
            del self.unplaced[order.id]

    def _queue(self, order: Order) -> bool:
        """Put an order at the back of the queue at its price; return False where nobody knows what rests there."""
        key = key_of(order)
        seen = self.market.watch(key)
        if seen.shown is None:
            self.unplaced[order.id] = order
            self._look_away(key)
            return False
        self.unplaced.pop(order.id, None)
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = Level(
                step=FINEST,
                rule=self._rule,
                shown=seen.shown,
                waiting=seen.waiting,
                time_ms=seen.venue_ms,
                after=seen.seq,
                lot=seen.lot,
            )
        queue.join(
            order.id,
            order.account_id,
            order.leaves,
            waiting=seen.waiting,
            shown_ms=seen.shown_until_ms,
            arrived_ms=seen.venue_ms,
            after=seen.seq,
        )
        self._touched.add(key)
        return True

    def _body(self, key: LevelKey | int | str) -> str | None:
        if isinstance(key, str):
            followed = self.triggers.state()
            return json.dumps(followed) if followed else None
        if isinstance(key, int):
            impact = self.impacts.get(key)
            return None if impact is None else json.dumps(impact.state())
        queue = self.queues.get(key)
        return None if queue is None else json.dumps(queue.snapshot())

    def _look_away(self, key: LevelKey) -> None:
        """Watch a level no more if nothing here is concerned with it."""
        taker = opposite_side(key.side)
        market = self._markets.get(self._symbol)
        if market is None or key in self.queues:
            return
        if not any(key.price in impact.prices(taker) for impact in self.impacts.values()):
            market.unwatch(key)


def account_key(fill: Fill) -> str:
    """Return the key of the memory of what a fill's account took."""
    return _text_of(fill.account_id)


def _text_of(key: LevelKey | int | str) -> str:
    if isinstance(key, str):
        return key
    return f"{ACCOUNT} {key}" if isinstance(key, int) else f"{key.side} {plain(key.price)}"
