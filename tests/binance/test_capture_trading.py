"""Trading on a recorded session: what orders get is what the recorded book and prints say, the same every time.

BTCUSDT and ETHUSDT with their own rules. `Desk` checks each fill as it comes about, against the market; what is here is
checked against the recording's JSON alone.
"""

import gzip
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.binance.test_capture_rebuild import SPOT_2024, Rebuild
from tests.binance.test_feed_capture import symbols_in
from tests.exchange.sessions import Desk, Message, Resting, leave_alone, trade
from trading_engine.binance import wire
from trading_engine.binance.depth_sync import DepthSync, LoadBook
from trading_engine.exchange.market import Level, Market, MarketChange
from trading_engine.exchange.messages import Placed
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.orders import Cause, Liquidity, OrderStatus, Side
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.symbols import Symbol

D = Decimal
ROOT = Path(__file__).parents[2]
NAMES = ("BTCUSDT", "ETHUSDT")
SIZES = ("0.0100", "0.0500", "0.4000", "3.0000")
SEED = 8
EVERY = 25
BURST_NS = 279_000_000_000
"""When the recording's busiest second is over."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recording(captures: Path) -> Path:
    """Return the folder that has the recording and the rules, or skip."""
    for name in (f"{SPOT_2024}.jsonl.gz", "rest/exchangeInfo_20240908_majors.json"):
        if not (captures / name).is_file():
            pytest.skip(f"no recording {captures / name}")
    return captures


def rules_in(captures: Path) -> list[Symbol]:
    found = symbols_in(captures / "rest" / "exchangeInfo_20240908_majors.json")
    return [found[name] for name in NAMES]


def rows_in(captures: Path) -> Iterator[tuple[int, str, str]]:
    """Give nanoseconds since the first, the symbol of a REST answer (else ""), and the text as it came."""
    first = None
    with gzip.open(captures / f"{SPOT_2024}.jsonl.gz") as lines:
        for line in lines:
            row = json.loads(line)
            at_us = round(row["t"] * 1_000_000)
            first = at_us if first is None else first
            symbol = next((name for name in NAMES if name in row["url"]), "") if row["kind"] == "http" else ""
            yield (at_us - first) * 1_000 + 1, symbol, row["data"]


class Wire:
    """From recorded texts to what a market hears."""

    def __init__(self, *, quotes: bool = True) -> None:
        self.machines = {name: DepthSync() for name in NAMES}
        self.quotes = quotes

    def messages(self, captures: Path, until_ns: int | None = None) -> Iterator[Message]:
        for at_ns, symbol, body in rows_in(captures):
            if until_ns is not None and at_ns > until_ns:
                return
            yield from self.read(at_ns, symbol, body)

    def read(self, at_ns: int, symbol: str, body: str) -> Iterator[Message]:
        if symbol:
            actions = self.machines[symbol].on_snapshot(wire.decode_snapshot(body.encode(), 1_000))
            yield from (Message(at_ns, symbol, partial(carry_out, action)) for action in actions)
            return
        message = wire.decode_frame(body.encode())
        if isinstance(message, wire.DepthDiff):
            actions = self.machines[message.symbol].on_diff(message)
            yield from (Message(at_ns, message.symbol, partial(carry_out, action)) for action in actions)
        elif isinstance(message, wire.Print):
            yield Message(at_ns, message.symbol, partial(tell_trade, message))
        elif isinstance(message, wire.Quote) and self.quotes:
            yield Message(at_ns, message.symbol, partial(tell_quote, message))


def carry_out(action: Any, market: Market) -> MarketChange | None:
    if isinstance(action, LoadBook):
        taken = action.snapshot
        diffs = [(each.update_id, each.bids, each.asks, each.event_time_ms) for each in action.diffs]
        return market.load_snapshot(taken.update_id, taken.bids, taken.asks, limit=taken.limit, diffs=diffs)
    if isinstance(action, wire.DepthDiff):
        return market.apply_diff(action.update_id, action.bids, action.asks, action.event_time_ms)
    return None


def tell_trade(message: wire.Print, market: Market) -> MarketChange | None:
    return market.apply_trade(message.trade)


def tell_quote(message: wire.Quote, market: Market) -> MarketChange | None:
    return market.apply_quote(message.update_id, message.bid, message.bid_quantity, message.ask, message.ask_quantity)


class HandBook:
    """BTCUSDT from the JSON alone: the depth, and the prints newer than its newest diff."""

    def __init__(self) -> None:
        self.rebuild: Rebuild | None = None
        self._early: list[dict[str, Any]] = []
        self._shown_ms = 0
        self._waiting: list[dict[str, Any]] = []

    def note(self, symbol: str, body: str) -> None:
        answer = json.loads(body)
        if symbol == "BTCUSDT":
            self.rebuild = Rebuild(answer)
            for event in self._early:
                self.rebuild.apply(event)
            self._waiting = []
        event = answer.get("data", {})
        if event.get("s") != "BTCUSDT":
            return
        if event.get("e") == "depthUpdate":
            self._shown_ms = event["E"]
            self._waiting = [each for each in self._waiting if each["T"] > self._shown_ms]
            if self.rebuild is None:
                self._early.append(event)
            else:
                self.rebuild.apply(event)
        elif event.get("e") == "trade" and self.rebuild is not None and event["T"] > self._shown_ms:
            self._waiting.append(event)

    def left(self, side: Side) -> list[Level]:
        """Return what each level an order of this side takes from truly has left, best first."""
        assert self.rebuild is not None
        ladder = self.rebuild.asks if side is Side.BUY else self.rebuild.bids
        printed: dict[Decimal, Decimal] = defaultdict(Decimal)
        for event in self._waiting:
            if event["m"] is (side is Side.SELL):
                printed[D(event["p"])] += D(event["q"])
        return [(price, max(D(0), size - printed[price])) for price, size in ladder.best(None, known=True)]

    def waits(self, side: Side) -> bool:
        return any(event["m"] is (side is Side.SELL) for event in self._waiting)


def walked(levels: list[Level], quantity: Decimal) -> tuple[list[Level], list[Level]]:
    """Take a quantity from the levels, by hand: return the pieces, and what is left."""
    pieces, left = [], []
    for price, size in levels:
        part = min(size, quantity)
        quantity -= part
        if part:
            pieces.append((price, part))
        left.append((price, size - part))
    assert not quantity
    return pieces, left


def test_five_btc_cost_what_a_hand_walk_of_the_recorded_book_says_and_are_not_had_twice(recording: Path) -> None:
    """At twenty moments, some with prints that the book does not show yet; the second order meets what is left.

    Depth and prints alone: with quotes the book is newer than any diff, which other tests look at.
    """
    desk, reader, book = Desk(rules_in(recording)), Wire(quotes=False), HandBook()
    moments, waited, since = 0, 0, 0
    for at_ns, symbol, body in rows_in(recording):
        for message in reader.read(at_ns, symbol, body):
            desk.hear(message)
        book.note(symbol, body)
        since += 1
        side = (Side.BUY, Side.SELL)[moments % 2]
        if since < 1_000 or book.rebuild is None or (moments % 4 < 2 and not book.waits(side)):
            continue
        levels = book.left(side)
        if sum(size for _, size in levels) < 3 * D(5):
            continue  # the price has all but left what the one recorded snapshot knows
        moments, waited, since = moments + 1, waited + book.waits(side), 0
        (account,) = desk.open(1)
        for _ in range(3):
            pieces, levels = walked(levels, D(5))
            placed: Placed = desk.submit(desk.order(account, "BTCUSDT", side, D(5)))
            assert [(fill.price, fill.quantity) for fill in placed.fills] == pieces
            assert placed.order.status is OrderStatus.FILLED
            average = sum((price * part for price, part in pieces), D(0)) / 5
            assert placed.order.average_price is not None
            assert abs(placed.order.average_price - average) < D("0.00000001")
            assert {fill.update_id for fill in placed.fills} == {book.rebuild.update_id}
    assert moments >= 15
    assert waited >= 5
    desk.engine.check()


def session(captures: Path) -> Desk:
    """Play all of it, with a trader who acts a few times a second."""
    use_exact_arithmetic()
    desk = Desk(rules_in(captures))
    trader = trade(desk, Wire().messages(captures), seed=SEED, sizes=SIZES, every=EVERY)
    assert len(trader.refused) < desk.sent / 5, trader.refused
    return desk


@pytest.fixture(scope="module")
def played(recording: Path) -> Desk:
    return session(recording)


def test_every_fill_has_its_cause_in_the_recording(recording: Path, played: Desk) -> None:
    played.engine.check()
    prints: dict[tuple[str, int], dict[str, Any]] = {}
    states: dict[str, set[int]] = defaultdict(set)
    for _, symbol, body in rows_in(recording):
        answer = json.loads(body)
        if symbol:
            states[symbol].add(answer["lastUpdateId"])
            continue
        event = answer["data"]
        if event.get("e") == "trade":
            prints[event["s"], event["t"]] = event
        else:
            states[event["s"]].add(event["u"])
    given: dict[tuple[str, int, int], Decimal] = defaultdict(Decimal)
    for fill in played.fills:
        if fill.trade_id is None:
            assert fill.update_id in states[fill.symbol]
            continue
        assert fill.liquidity is Liquidity.MAKER
        event = prints[fill.symbol, fill.trade_id]
        assert event["m"] is (fill.side is Side.BUY)
        assert D(event["p"]) <= fill.price if fill.side is Side.BUY else D(event["p"]) >= fill.price
        given[fill.symbol, fill.trade_id, fill.account_id] += fill.quantity
        assert given[fill.symbol, fill.trade_id, fill.account_id] <= D(event["q"])
    causes = [fill.receipt.cause for fill in played.fills if fill.receipt is not None]
    assert min(causes.count(cause) for cause in Cause) >= 10
    assert {fill.symbol for fill in played.fills} == set(NAMES)


@pytest.mark.timeout(300)
def test_the_session_is_the_same_in_every_run_and_process(recording: Path, played: Desk) -> None:
    """Hashes of strings differ between the processes, and with them the order of sets."""
    expected = played.digest()
    assert session(recording).digest() == expected
    program = (
        "import sys, pathlib; from tests.binance.test_capture_trading import session; "
        "print(session(pathlib.Path(sys.argv[1])).digest())"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(recording.resolve())],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in running] == [expected, expected]


def test_strict_fills_least_and_touch_most_at_every_moment(recording: Path) -> None:
    """Orders left alone at the touch of BTCUSDT, each of its own account, up to the end of the busiest second."""
    strict, ours, touch = (alone(recording, rule) for rule in (Rule.STRICT, Rule.INFERRED, Rule.TOUCH))
    assert len(strict) == len(ours) == len(touch) > 20
    for least, middle, most in zip(strict, ours, touch, strict=True):
        assert all(a <= b <= c for a, b, c in zip(least.filled, middle.filled, most.filled, strict=True))
    totals = [sum(sum(order.filled, D(0)) for order in orders) for orders in (strict, ours, touch)]
    assert totals[0] < totals[1] < totals[2]


def alone(captures: Path, rule: Rule) -> list[Resting]:
    messages = Wire().messages(captures, until_ns=BURST_NS)
    return leave_alone(Desk(rules_in(captures), rule=rule), messages, "BTCUSDT", D("0.5"), every=2_000)
