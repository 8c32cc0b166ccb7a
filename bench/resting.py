"""Resting orders in the feed's way: a recorded session through markets and engine, with more and more orders open.

The recording of BTCUSDT and ETHUSDT (346 s, 75,000 messages, 1,588 in its busiest second) is decoded, applied and, as
the feed does for symbols somebody has orders at, told to the engine, which has three loads at BTCUSDT:
- *far*: 100,000 orders of 125 accounts, 20 to 50 % from the touch, where no message concerns them. What they add is
  compared with no orders at all, second by second of the recording in turn. As many again with one order near the
  touch, so that the engine has something to do while they are there.
- *near*: 1,000 orders of 10 accounts within the best 50 ticks of both sides. Every one that fills is replaced.

CPU time of this thread. The journal keeps nothing. Skipped without the recording (`CAPTURES_DIR`).
"""

import gzip
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from bench import Result
from bench.__main__ import main
from bench.symbols import btcusdt
from trading_engine.binance import wire
from trading_engine.binance.depth_sync import Action, DepthSync, LoadBook
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.market import Market, MarketChange
from trading_engine.exchange.messages import EMPTY_STATE, Batch, OpenAccount, OrderFilled, PlaceOrder, Refused
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.orders import OrderType, Side, TimeInForce
from trading_engine.exchange.symbols import Symbol

CAPTURE = "binance_spot_btc_eth_20240808.jsonl.gz"
SYMBOL = "BTCUSDT"
TICK = Decimal("0.01")
FAR_ORDERS, FAR_ACCOUNTS = 100_000, 125
NEAR_ORDERS, NEAR_ACCOUNTS = 1_000, 10
NEAR_TICKS = 50
WARM_UP_S = 2

Row = tuple[int, str, bytes]
"""Nanoseconds since the first, the symbol of a REST answer (else ""), and the message as it came."""


def run() -> Iterator[Result]:
    """Measure and return the figures; takes about a minute and 0.6 GB."""
    use_exact_arithmetic()
    file = Path(os.environ.get("CAPTURES_DIR", Path(__file__).parents[2] / "shared" / "data")) / CAPTURE
    if not file.exists():
        print(f"  (resting: no recorded market data at {file}; set CAPTURES_DIR)")
        return
    seconds = _seconds(file)
    busiest = max(range(WARM_UP_S, len(seconds)), key=lambda second: len(seconds[second]))
    for name, one_near in (("100,000 far", False), ("100,000 far and 1 near", True)):
        worlds = _World(), _World()
        worlds[1].prepare(seconds[:WARM_UP_S], partial(_World.place_far, one_near=one_near))
        worlds[0].prepare(seconds[:WARM_UP_S], partial(_World.place_near, count=int(one_near)))
        none, far = _in_turn(worlds, seconds[WARM_UP_S:])
        yield Result(name=f"{name}: feed and engine / without", value=sum(far) / sum(none), goal=1.05, unit="x")
        yield Result(name=f"{name}: without", value=sum(none) / len(none), goal=None, unit="of a core")
    world = _World()
    world.prepare(seconds[:WARM_UP_S], lambda world: world.place_near(NEAR_ORDERS))
    (near,) = _in_turn((world,), seconds[WARM_UP_S:])
    yield Result(name="1,000 near: feed and engine", value=sum(near) / len(near), goal=0.25, unit="of a core")
    yield Result(name="1,000 near: the busiest second", value=near[busiest - WARM_UP_S], goal=1.0, unit="s")
    yield Result(name="1,000 near: the slowest second", value=max(near), goal=1.0, unit="s")
    yield Result(name="1,000 near: fills", value=world.journal.fills, goal=None, unit="")


def _seconds(file: Path) -> list[list[Row]]:
    """Read the recording, cut into seconds."""
    seconds: list[list[Row]] = []
    first = None
    with gzip.open(file) as lines:
        for line in lines:
            row = json.loads(line)
            first = row["t"] if first is None else first
            symbol = parse_qs(urlsplit(row["url"]).query)["symbol"][0] if row["kind"] == "http" else ""
            at_ns = round((row["t"] - first) * 1e6) * 1_000
            while len(seconds) <= at_ns // 1_000_000_000:
                seconds.append([])
            seconds[-1].append((at_ns, symbol, row["data"].encode()))
    return seconds


def _in_turn(worlds: tuple["_World", ...], seconds: list[list[Row]]) -> list[list[float]]:
    """Play second by second to each in turn, another one first each time; return the CPU seconds of each."""
    spent: list[list[float]] = [[] for _ in worlds]
    for number, rows in enumerate(seconds):
        order = list(range(len(worlds)))
        for index in order if number % 2 else reversed(order):
            before = time.thread_time_ns()
            worlds[index].play(rows)
            spent[index].append((time.thread_time_ns() - before) / 1e9)
    return spent


class _Ticket:
    def wait(self) -> None:
        pass

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        tell(None)


class _Journal:
    """Stores nothing; remembers whose orders have gone, and counts fills."""

    def __init__(self) -> None:
        self.gone: list[int] = []
        self.fills = 0

    def append(self, batch: Batch) -> _Ticket:
        self.fills += sum(type(event) is OrderFilled for event in batch.events)
        self.gone += [order.account_id for order in batch.orders if not order.is_open]
        return _Ticket()


class _World:
    """Markets, engine and accounts that live by the recording's clock."""

    def __init__(self) -> None:
        self.now_ns = 1
        self.journal = _Journal()
        self._machines = {name: DepthSync() for name in (SYMBOL, "ETHUSDT")}
        self._markets = {
            name: Market(_rules_of(name), monotonic_ns=lambda: self.now_ns, wall_ms=self._wall_ms)
            for name in self._machines
        }
        self._engine = Engine(
            journal=self.journal,
            markets=self._markets,
            now_ms=self._wall_ms,
            maker_fee_rate=Decimal("0.001"),
            taker_fee_rate=Decimal("0.001"),
        )
        self._engine.load(EMPTY_STATE)
        self._random = random.Random(7)
        self._accounts: list[int] = []
        self._sent = 0

    def prepare(self, seconds: list[list[Row]], place: Callable[["_World"], None]) -> None:
        """Play the beginning, until books are live; then open accounts and place orders."""
        for rows in seconds:
            self.play(rows)
        for number in range(max(FAR_ACCOUNTS, NEAR_ACCOUNTS)):
            balances = {"USDT": Decimal(10) ** 12, "BTC": Decimal(10) ** 8}
            account = self._engine.submit(OpenAccount(name=f"account {number}", venue="bench", balances=balances))
            self._accounts.append(account.id)
        place(self)

    def place_far(self, *, one_near: bool) -> None:
        """Place 100,000 orders 20 to 50 % from the touch, half of them on each side."""
        view = self._markets[SYMBOL].view(1)
        assert view.mid is not None
        for number in range(FAR_ORDERS):
            share = Decimal(self._random.randint(2_000, 5_000)) / 10_000
            side = Side.BUY if number % 2 else Side.SELL
            price = view.mid * (1 - share if side is Side.BUY else 1 + share)
            self._place(self._accounts[number % FAR_ACCOUNTS], side, price - price % TICK, Decimal("0.01"))
        self.place_near(int(one_near))

    def place_near(self, count: int) -> None:
        """Place orders that do not cross within the best ticks of both sides."""
        for number in range(count):
            self._place_near(self._accounts[number % NEAR_ACCOUNTS])

    def play(self, rows: list[Row]) -> None:
        """Let messages come in; replace what filled."""
        for at_ns, symbol, body in rows:
            self.now_ns = at_ns + 1
            for change in self._apply(symbol, body):
                if change is not None and change.symbol in self._engine.watched:
                    self._engine.on_market(change)
            while self.journal.gone:
                self._place_near(self.journal.gone.pop())

    def _apply(self, symbol: str, body: bytes) -> Iterator[MarketChange | None]:
        if symbol:
            yield from self._book(symbol, self._machines[symbol].on_snapshot(wire.decode_snapshot(body, 1_000)))
            return
        message = wire.decode_frame(body)
        if type(message) is wire.DepthDiff:
            yield from self._book(message.symbol, self._machines[message.symbol].on_diff(message))
        elif type(message) is wire.Quote:
            market = self._markets[message.symbol]
            yield market.apply_quote(
                message.update_id, message.bid, message.bid_quantity, message.ask, message.ask_quantity
            )
        elif type(message) is wire.Print:
            yield self._markets[message.symbol].apply_trade(message.trade)

    def _book(self, symbol: str, actions: Sequence[Action]) -> Iterator[MarketChange | None]:
        market = self._markets[symbol]
        for action in actions:
            if type(action) is LoadBook:
                taken = action.snapshot
                diffs = [(each.update_id, each.bids, each.asks, each.event_time_ms) for each in action.diffs]
                yield market.load_snapshot(taken.update_id, taken.bids, taken.asks, limit=taken.limit, diffs=diffs)
            elif type(action) is wire.DepthDiff:
                yield market.apply_diff(action.update_id, action.bids, action.asks, action.event_time_ms)

    def _place_near(self, account_id: int) -> None:
        view = self._markets[SYMBOL].view(1)
        side = self._random.choice((Side.BUY, Side.SELL))
        best = view.best_bid if side is Side.BUY else view.best_ask
        if best is None or view.best_bid is None or view.best_ask is None:
            raise AssertionError(f"{SYMBOL} has an empty side")
        away = self._random.randrange(NEAR_TICKS) * TICK
        quantity = self._random.randint(1, 1_000) * Decimal("0.0001")
        self._place(account_id, side, best - away if side is Side.BUY else best + away, quantity)

    def _place(self, account_id: int, side: Side, price: Decimal, quantity: Decimal) -> None:
        self._sent += 1
        command = PlaceOrder(
            account_id=account_id,
            symbol=SYMBOL,
            side=side,
            type=OrderType.LIMIT,
            quantity=quantity,
            quote_quantity=None,
            price=price,
            time_in_force=TimeInForce.GTC,
            post_only=False,
            client_order_id=f"order-{self._sent}",
        )
        self._engine.submit(command)

    def _wall_ms(self) -> int:
        return 1_723_161_254_000 + self.now_ns // 1_000_000


def _rules_of(name: str) -> Symbol:
    return replace(
        btcusdt(),
        name=name,
        base_asset=name[:3],
        step_size=Decimal("0.00001"),
        min_notional=Decimal(0),
        max_open_orders=None,
    )


if __name__ == "__main__":
    sys.exit(main(["resting"]))
