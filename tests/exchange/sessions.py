"""Whole sessions in one thread: real markets, the engine over them, traders who draw what they do from a seed.

A `Desk` is told what the markets hear, one message at a time, and checks every fill against the market and the prints
of that moment. `invented` makes a market up, with what a real feed has: prints that come before the diff that shows
them or after it, quotes that run ahead, cancellations nobody explains.
"""

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

from tests.exchange.fakes import ZERO, D, ListJournal, symbol
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.market import Market, MarketChange, Trade
from trading_engine.exchange.messages import (
    EMPTY_STATE,
    CancelAll,
    CancelOrder,
    EngineState,
    OpenAccount,
    OrderFilled,
    Placed,
    PlaceOrder,
    Refused,
)
from trading_engine.exchange.orders import Cause, Fill, Liquidity, Order, OrderType, Side, TimeInForce
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.symbols import Symbol, step_of
from trading_engine.exchange.waiting import side_hit
from trading_engine.store.rows import event_row

START_MS = 1_723_161_254_000
FEES = D("0.001")
RICH = {"USDT": D(10) ** 12, "BTC": D(10) ** 8, "ETH": D(10) ** 8}


class Message(NamedTuple):
    """What a market hears, when (nanoseconds since the session began); `apply` tells the market."""

    at_ns: int
    symbol: str
    apply: Callable[[Market], MarketChange | None]


class Desk:
    """Markets, an engine, its accounts and its journal."""

    def __init__(self, rules: Iterable[Symbol], *, rule: Rule = Rule.INFERRED) -> None:
        self.now_ns = 0
        self.journal = ListJournal()
        self.rule = rule
        self.markets = {
            each.name: Market(each, monotonic_ns=lambda: self.now_ns, wall_ms=self.wall_ms) for each in rules
        }
        self.engine = self._engine(EMPTY_STATE)
        self.accounts: list[int] = []
        self.sent = 0
        self.prints: dict[tuple[str, int], Trade] = {}
        self.given: dict[tuple[str, int, int], Decimal] = defaultdict(Decimal)
        self.fills: list[Fill] = []
        self.orders: dict[int, Order] = {}
        self._looked_at = 0

    def wall_ms(self) -> int:
        return START_MS + self.now_ns // 1_000_000

    def _engine(self, state: EngineState) -> Engine:
        engine = Engine(
            journal=self.journal,
            markets=self.markets,
            now_ms=self.wall_ms,
            maker_fee_rate=FEES,
            taker_fee_rate=FEES,
            queue_rule=self.rule,
        )
        engine.load(state)
        return engine

    def cut(self) -> None:
        """Go on with another engine that knows what this one would have stored, and has missed nothing.

        After a load an engine takes it that something was missed, and with the first change goes on as after a gap; so
        here it is told that nothing was, and what it learns then: the lot step, and when to look for what has faded.
        """
        stored, before = self.engine.state(), self.engine._open.shelves
        self.engine = self._engine(stored)
        assert everything(self.engine.state()) == everything(stored)
        for name, shelf in self.engine._open.shelves.items():
            shelf.missed = False
            shelf.forget_at_ms = before[name].forget_at_ms
            for impact in shelf.impacts.values():
                impact.step = step_of(self.markets[name].symbol)

    def open(self, count: int) -> list[int]:
        """Open accounts; the markets must be live, to value what is deposited."""
        known = len(self.accounts)
        deposits = {
            asset: amount for asset, amount in RICH.items() if asset == "USDT" or asset + "USDT" in self.markets
        }
        for number in range(known, known + count):
            command = OpenAccount(name=f"account {number}", venue="test", balances=deposits)
            self.accounts.append(self.engine.submit(command).id)
        self.check_new()
        return self.accounts[known:]

    def order(self, account_id: int, name: str, side: Side, quantity: Decimal | None, **more: Any) -> PlaceOrder:
        """Return a market order, or whatever else `more` makes of it."""
        self.sent += 1
        command = PlaceOrder(
            account_id=account_id,
            symbol=name,
            side=side,
            type=OrderType.MARKET,
            quantity=quantity,
            quote_quantity=None,
            price=None,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            client_order_id=f"order-{self.sent}",
        )
        return replace(command, **more)

    def submit(self, command: Any) -> Any:
        result = self.engine.submit(command)
        self.check_new()
        return result

    def hear(self, message: Message) -> None:
        """Let a market hear a message, and the engine its change, as the feed does."""
        self.now_ns = message.at_ns
        change = message.apply(self.markets[message.symbol])
        if change is None:
            return
        if change.trade is not None:
            self.prints[message.symbol, change.trade.id] = change.trade
        if change.symbol in self.engine.watched:
            self.engine.on_market(change)
            self.check_new()

    def check_new(self) -> None:
        """Look at the fills since the last look, while the market is as it was when they came about."""
        for batch in self.journal.batches[self._looked_at :]:
            self.orders.update((order.id, order) for order in batch.orders)
            for event in batch.events:
                if isinstance(event, OrderFilled):
                    self.fills.append(event.fill)
                    self._check(event.fill)
        self._looked_at = len(self.journal.batches)

    def _check(self, fill: Fill) -> None:
        order = self.orders[fill.order_id]
        market = self.markets[fill.symbol]
        assert fill.quantity % market.symbol.step_size == 0
        assert fill.receipt is not None
        if fill.liquidity is Liquidity.MAKER:
            assert fill.price == order.price
        elif order.price is not None:
            assert fill.price <= order.price if fill.side is Side.BUY else fill.price >= order.price
        if fill.trade_id is None:
            self._check_level(fill)
            return
        trade = self.prints[fill.symbol, fill.trade_id]
        key = (fill.symbol, fill.trade_id, fill.account_id)
        self.given[key] += fill.quantity
        assert self.given[key] <= trade.quantity == fill.level_quantity
        assert fill.side is side_hit(trade)
        through = trade.price < fill.price if fill.side is Side.BUY else trade.price > fill.price
        assert (fill.receipt.cause is Cause.PRINT_THROUGH) == through
        assert through or trade.price == fill.price

    def _check_level(self, fill: Fill) -> None:
        assert fill.receipt is not None
        price = fill.receipt.level_price
        assert price is not None
        for levels in (100, None):
            view = self.markets[fill.symbol].view(levels)
            assert fill.update_id == view.update_id
            shown = dict(view.asks if fill.side is Side.BUY else view.bids).get(price)
            if shown is not None:
                break
        assert shown is not None
        assert shown == fill.level_quantity
        assert fill.quantity <= shown - fill.receipt.waiting - fill.receipt.taken_before
        assert price <= fill.price if fill.side is Side.BUY else price >= fill.price

    def digest(self) -> str:
        """Return the hash of all events, each as it is stored."""
        found = hashlib.sha256()
        for number, batch in enumerate(self.journal.batches):
            for event in batch.events:
                found.update(repr(event_row(event, number)).encode())
        return found.hexdigest()


def everything(state: EngineState) -> list[Any]:
    """Return all that a state holds, what is known of queues too; in which order things were touched does not count."""
    rows = (state.accounts, state.orders, state.balances, state.positions, state.memory)
    return [
        state.next_seq,
        dict(state.system_balances),
        dict(state.net_deposits),
        *(sorted(table, key=repr) for table in rows),
    ]


class Trader:
    """Places and cancels, by chance: most at the touch or near it, of every type, sizes from `sizes`."""

    def __init__(self, desk: Desk, seed: int, sizes: tuple[str, ...]) -> None:
        self.refused: list[str] = []
        self._desk = desk
        self._random = random.Random(seed)
        self._sizes = tuple(D(size) for size in sizes)

    def act(self) -> None:
        """Do one thing."""
        draw, desk = self._random, self._desk
        account = draw.choice(desk.accounts)
        name = draw.choice(sorted(desk.markets))
        try:
            what = draw.random()
            if what < 0.15:
                self._cancel(account)
            elif what < 0.16:
                desk.submit(CancelAll(account_id=account, symbol=name))
            else:
                desk.submit(self._order(account, name))
        except Refused as refused:
            self.refused.append(refused.code)

    def _cancel(self, account_id: int) -> None:
        mine = [row.id for row in self._desk.orders.values() if row.account_id == account_id and row.is_open]
        if mine:
            self._desk.submit(CancelOrder(account_id=account_id, order_id=self._random.choice(sorted(mine))))

    def _order(self, account_id: int, name: str) -> PlaceOrder:
        draw, desk = self._random, self._desk
        view = desk.markets[name].view(1)
        side, size = draw.choice((Side.BUY, Side.SELL)), draw.choice(self._sizes)
        best = view.best_bid if side is Side.BUY else view.best_ask
        assert best is not None
        sign = -1 if side is Side.BUY else 1
        tick = view.symbol.tick_size

        def away(low: int, high: int) -> Decimal:
            return best + sign * draw.randint(low, high) * tick

        what = draw.random()
        if what < 0.2:
            return desk.order(account_id, name, side, size)
        if what < 0.25:
            return desk.order(account_id, name, side, None, quote_quantity=D(draw.randint(20, 5_000)))
        if what < 0.35:  # a stop, or one that trails
            stop = best - sign * draw.randint(1, 300) * tick
            limit = stop - sign * draw.randint(-5, 50) * tick
            far: dict[str, Any] = {"type": OrderType.STOP_LIMIT, "stop_price": stop, "price": limit}
            if draw.random() < 0.5:
                far = {"type": OrderType.STOP_LIMIT, "trailing_bps": draw.randint(10, 50), "price": limit}
            return desk.order(account_id, name, side, size, **far)
        force = draw.choice((*(6 * [TimeInForce.GTC]), TimeInForce.IOC, TimeInForce.FOK))
        post_only = force is TimeInForce.GTC and draw.random() < 0.2
        return desk.order(
            account_id,
            name,
            side,
            size,
            type=OrderType.LIMIT,
            price=away(-3, 12) if draw.random() < 0.6 else away(0, 0),
            time_in_force=force,
            post_only=post_only,
        )


def trade(
    desk: Desk, messages: Iterable[Message], *, seed: int, sizes: tuple[str, ...], every: int, cut_at: int | None = None
) -> Trader:
    """Play a session with a trader who acts after every so many messages, once all books are live."""
    trader = Trader(desk, seed, sizes)
    for number, message in enumerate(messages):
        desk.hear(message)
        if not desk.accounts:
            if all(market.view(1).best_bid and market.view(1).best_ask for market in desk.markets.values()):
                desk.open(3)
        elif number % every == 0:
            trader.act()
        if number == cut_at:
            desk.cut()
    return trader


class Resting(NamedTuple):
    """What an order that was left alone got: by number of message, all it had by then."""

    quantity: Decimal
    filled: list[Decimal]


def leave_alone(desk: Desk, messages: Iterable[Message], name: str, size: Decimal, *, every: int) -> list[Resting]:
    """Place an order at the best price after every so many messages, each by an account of its own; watch them."""
    orders: dict[int, Resting] = {}
    had: dict[int, Decimal] = {}
    sides = (Side.BUY, Side.SELL)
    for number, message in enumerate(messages):
        desk.hear(message)
        view = desk.markets[name].view(1)
        if number % every == 0 and all(market.view(1).best_ask for market in desk.markets.values()):
            side = sides[number // every % 2]
            (account,) = desk.open(1)
            best = view.best_bid if side is Side.BUY else view.best_ask
            placed = desk.submit(
                desk.order(account, name, side, size, type=OrderType.LIMIT, price=best, post_only=True)
            )
            assert isinstance(placed, Placed)
            orders[placed.order.id] = Resting(size, [ZERO] * number)
            had[placed.order.id] = ZERO
        for fill in desk.fills:
            had[fill.order_id] += fill.quantity
        desk.fills.clear()
        for order_id, resting in orders.items():
            resting.filled.append(had[order_id])
    return list(orders.values())


RULES = symbol("BTCUSDT", step_size=D("0.001"))


def invented(seed: int, count: int) -> Iterator[Message]:
    """Make up a session of BTCUSDT around 100: `count` messages after the first book."""
    return iter(_Venue(seed).session(count))


class _Venue:
    """The true book, in ticks and lots, and the messages it sends about itself."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._book: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        for n in range(60):
            self._book[Side.BUY][9_999 - n] = self._random.randint(100, 5_000)
            self._book[Side.SELL][10_001 + n] = self._random.randint(100, 5_000)
        self._changed: dict[Side, set[int]] = {Side.BUY: set(), Side.SELL: set()}
        self._update_id = 100
        self._trade_id = 0
        self._now_ms = 1_000
        self._emitted_ms = 1_000
        self._late: list[Trade] = []
        self._messages: list[Message] = []

    def session(self, count: int) -> list[Message]:
        bids, asks = (self._rows(side, self._book[side]) for side in Side)
        update_id = self._update_id
        self._send(lambda market: market.load_snapshot(update_id, bids, asks))
        while len(self._messages) < count:
            self._now_ms += self._random.randint(1, 25)
            quote = self._quote()
            self._random.choices((self._aggress, self._change), (2, 3))[0]()
            if self._quote() != quote and self._random.random() < 0.8:
                self._tell_quote()
            if self._now_ms - self._emitted_ms >= 100:
                self._tell_diff()
            late, self._late = self._late, []
            for each in late:
                self._tell_trade(each)
        return self._messages

    def _best(self, side: Side) -> int:
        return max(self._book[side]) if side is Side.BUY else min(self._book[side])

    def _quote(self) -> tuple[int, int, int, int]:
        bid, ask = self._best(Side.BUY), self._best(Side.SELL)
        return bid, self._book[Side.BUY][bid], ask, self._book[Side.SELL][ask]

    def _set(self, side: Side, tick: int, lots: int) -> None:
        self._update_id += 1
        self._changed[side].add(tick)
        if lots:
            self._book[side][tick] = lots
        else:
            del self._book[side][tick]

    def _aggress(self) -> None:
        """Somebody takes from one side; now and then through several levels."""
        side = self._random.choice((Side.BUY, Side.SELL))
        left = self._random.randint(1, 400) if self._random.random() < 0.9 else self._random.randint(2_000, 9_000)
        while left and len(self._book[side]) > 20:
            tick = self._best(side)
            part = min(left, self._book[side][tick])
            left -= part
            self._set(side, tick, self._book[side][tick] - part)
            self._trade_id += 1
            print_ = Trade(
                id=self._trade_id,
                price=D(tick) / 100,
                quantity=D(part) / 1_000,
                buyer_is_maker=side is Side.BUY,
                time_ms=START_MS + self._now_ms,
            )
            self._late.append(print_)
        if self._random.random() < 0.7:
            for each in self._late:
                self._tell_trade(each)
            self._late = []

    def _change(self) -> None:
        """Somebody adds or cancels near the touch; nobody crosses."""
        side = self._random.choice((Side.BUY, Side.SELL))
        sign = 1 if side is Side.BUY else -1
        if self._random.random() < 0.5:
            inside = self._best(Side.SELL) - self._best(Side.BUY) - 1
            tick = self._best(side) + sign * min(inside, self._random.randint(-6, 12))
            self._set(side, tick, self._book[side].get(tick, 0) + self._random.randint(1, 2_000))
        elif len(self._book[side]) > 20:
            tick = self._random.choice(sorted(self._book[side], key=lambda tick: -sign * tick)[:6])
            lots = self._book[side][tick]
            self._set(side, tick, lots - self._random.choice((lots, self._random.randint(1, lots))))

    def _send(self, apply: Callable[[Market], MarketChange | None]) -> None:
        self._messages.append(Message(self._now_ms * 1_000_000, "BTCUSDT", apply))

    def _tell_trade(self, each: Trade) -> None:
        self._send(lambda market: market.apply_trade(each))

    def _tell_quote(self) -> None:
        bid, bid_lots, ask, ask_lots = self._quote()
        update_id = self._update_id
        self._send(
            lambda market: market.apply_quote(update_id, bid / 100, bid_lots / 1_000, ask / 100, ask_lots / 1_000)
        )

    def _tell_diff(self) -> None:
        bids, asks = (
            self._rows(side, {tick: self._book[side].get(tick, 0) for tick in self._changed[side]}) for side in Side
        )
        self._changed = {Side.BUY: set(), Side.SELL: set()}
        self._emitted_ms = self._now_ms
        update_id, time_ms = self._update_id, START_MS + self._now_ms
        self._send(lambda market: market.apply_diff(update_id, bids, asks, time_ms))

    def _rows(self, side: Side, levels: dict[int, int]) -> list[tuple[float, float]]:
        return [(tick / 100, levels[tick] / 1_000) for tick in sorted(levels, reverse=side is Side.BUY)]
