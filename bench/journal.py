"""The journal: durable batches a second, beside the same transactions written by hand without an engine's needs.

Callers hand in a batch and wait for its commit, as requests do; SQLite, synchronous FULL, on this machine's disk. Two
kinds of batch: *simple* (an event, an order, a fill, two balances) and *market order* (two events, an order, a fill,
eight ledger entries, balances, a position). The floor is the smallest honest group commit: one thread, `executemany`,
one order, fill and two balances a caller, no index, no event. Rounds of all are interleaved; medians. CPU is that of
the journal's thread.
"""

import argparse
import json
import secrets
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path

from bench import Result
from trading_engine.exchange.messages import (
    Balance,
    Batch,
    Entry,
    LedgerAccount,
    OrderAccepted,
    OrderFilled,
    Position,
)
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.orders import Fill, Liquidity, Order, OrderStatus, OrderType, Side, TimeInForce
from trading_engine.store import Journal, Store

CALLERS = 64
BATCHES = 6_000
ROUNDS = 5
ACCOUNT = 1
D = Decimal

LEDGER = (
    *(LedgerAccount.HELD, LedgerAccount.FREE, LedgerAccount.HELD, LedgerAccount.MARKET),
    *(LedgerAccount.MARKET, LedgerAccount.FREE, LedgerAccount.FREE, LedgerAccount.FEES),
)
SHARED = {LedgerAccount.MARKET, LedgerAccount.FEES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One round: batches a second, microseconds of the writing thread's CPU a batch, batches a transaction."""

    rate: float
    cpu_us: float
    group: float


def run() -> list[Result]:
    """Measure and return the figures; takes about 20 seconds."""
    use_exact_arithmetic()
    rounds: dict[str, list[Run]] = {"floor": [], "simple": [], "market order": [], "one caller": []}
    for _ in range(ROUNDS):
        rounds["floor"].append(_floor(CALLERS, BATCHES))
        rounds["simple"].append(_journal(_simple, CALLERS, BATCHES))
        rounds["market order"].append(_journal(_market_order, CALLERS, BATCHES))
        rounds["one caller"].append(_journal(_market_order, 1, BATCHES // 20))
    ratios = [ours.rate / floor.rate for ours, floor in zip(rounds["simple"], rounds["floor"], strict=True)]

    def median(kind: str, figure: Callable[[Run], float]) -> float:
        return statistics.median(figure(one) for one in rounds[kind])

    def more(name: str, value: float, goal: float | None, unit: str) -> Result:
        return Result(name=name, value=value, goal=goal, unit=unit, better="higher")

    return [
        more(f"simple batches, {CALLERS} callers / floor", statistics.median(ratios), 0.64, "x"),
        more(f"floor, {CALLERS} callers", median("floor", lambda one: one.rate), None, "/s"),
        more(f"simple batches, {CALLERS} callers", median("simple", lambda one: one.rate), None, "/s"),
        more(f"market orders, {CALLERS} callers", median("market order", lambda one: one.rate), None, "/s"),
        more("market orders, 1 caller", median("one caller", lambda one: one.rate), None, "/s"),
        more(f"batches a transaction, {CALLERS} callers", median("market order", lambda one: one.group), None, ""),
        Result(name="CPU a simple batch", value=median("simple", lambda one: one.cpu_us), goal=None, unit="us"),
        Result(name="CPU a market order", value=median("market order", lambda one: one.cpu_us), goal=90, unit="us"),
    ]


def main(arguments: Sequence[str]) -> None:
    """Print the figures as a table, or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.journal", description=str(__doc__).splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    results = run()
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return
    for result in results:
        goal = "" if result.goal is None else f"   goal {result.goal:g}"
        print(f"{result.name:<44}{result.value:>10.2f} {result.unit:<4}{goal}")


def _journal(make: Callable[[int], Batch], callers: int, count: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/exchange.db")
        store.claim()
        groups: list[int] = []
        failures: list[BaseException] = []
        journal = Journal(
            store, lambda _batch: None, failures.append, committed=lambda batches, _seconds: groups.append(batches)
        )
        first = store.load(0).next_seq
        todo = iter([make(first + 2 * n) for n in range(count)])
        stop, cpu = threading.Event(), [0.0]

        def write() -> None:
            journal.run(stop)
            cpu[0] = time.thread_time()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        door = threading.Lock()

        def call() -> None:
            while True:
                with door:  # the engine's lock, under which sequence numbers are given out
                    batch = next(todo, None)
                    if batch is None:
                        return
                    ticket = journal.append(batch)
                ticket.wait()

        seconds = _all_at_once(call, callers)
        stop.set()
        journal.wake()
        writer.join()
        store.release()
        if failures:
            raise failures[0]
        return Run(rate=count / seconds, cpu_us=cpu[0] / count * 1e6, group=count / len(groups))


def _all_at_once(call: Callable[[], None], callers: int) -> float:
    threads = [threading.Thread(target=call, daemon=True) for _ in range(callers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _simple(seq: int) -> Batch:
    order, fill = _order(seq), _fill(seq)
    return Batch(
        generation=0,
        events=(OrderFilled(seq=seq + 1, time_ms=seq, account_id=ACCOUNT, fill=fill, held=D(0)),),
        accounts=(),
        orders=(order,),
        fills=(fill,),
        entries=(),
        balances=_balances(),
        positions=(),
    )


def _market_order(seq: int) -> Batch:
    order, fill = _order(seq), _fill(seq)
    entries = tuple(
        Entry(
            seq=seq + 1,
            n=n,
            ledger_account=ledger_account,
            account_id=None if ledger_account in SHARED else ACCOUNT,
            asset="USDT" if n < len(LEDGER) // 2 else "BTC",
            amount=D("-97.12345678"),
            balance_before=D("99876.12345678"),
            balance_after=D("99779.00000000"),
        )
        for n, ledger_account in enumerate(LEDGER)
    )
    position = Position(
        account_id=ACCOUNT,
        epoch=1,
        asset="BTC",
        quantity=D("0.00099900"),
        cost=D("97.12345678"),
        realized_pnl=D("-0.09712345"),
        fees_paid=D("0.09712345"),
    )
    return Batch(
        generation=0,
        events=(
            OrderAccepted(seq=seq, time_ms=seq, account_id=ACCOUNT, order=order),
            OrderFilled(seq=seq + 1, time_ms=seq, account_id=ACCOUNT, fill=fill, held=D(0)),
        ),
        accounts=(),
        orders=(order,),
        fills=(fill,),
        entries=entries,
        balances=_balances(),
        positions=(position,),
    )


def _order(seq: int) -> Order:
    return Order(
        id=seq,
        account_id=ACCOUNT,
        epoch=1,
        client_order_id=secrets.token_hex(12),
        symbol="BTCUSDT",
        base_asset="BTC",
        quote_asset="USDT",
        side=Side.BUY,
        type=OrderType.MARKET,
        time_in_force=TimeInForce.GTC,
        post_only=False,
        quantity=D("0.00100000"),
        quote_quantity=None,
        price=None,
        status=OrderStatus.FILLED,
        reason=None,
        filled_quantity=D("0.00100000"),
        filled_quote=D("97.12345678"),
        held=D(0),
        market_seq=123_456,
        venue="simulated",
        created_ms=seq,
        updated_ms=seq,
    )


def _fill(seq: int) -> Fill:
    return Fill(
        id=seq + 1,
        order_id=seq,
        account_id=ACCOUNT,
        epoch=1,
        symbol="BTCUSDT",
        side=Side.BUY,
        price=D("97123.45"),
        quantity=D("0.00100000"),
        quote_amount=D("97.12345678"),
        fee=D("0.00000100"),
        fee_asset="BTC",
        fee_value=D("0.09712345"),
        liquidity=Liquidity.TAKER,
        time_ms=seq,
        update_id=1_234_567_890,
        trade_id=None,
        level_quantity=D("1.23000000"),
        quote_rate=D(1),
    )


def _balances() -> tuple[Balance, ...]:
    return (
        Balance(account_id=ACCOUNT, asset="USDT", free=D("99779.00000000"), held=D(0)),
        Balance(account_id=ACCOUNT, asset="BTC", free=D("0.00099900"), held=D(0)),
    )


class _Floor:
    """One thread that writes what queued, in one transaction, and wakes those who waited."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.Lock()
        self.work = threading.Condition(self.lock)
        self.queue: deque[tuple[int, threading.Lock]] = deque()
        self.stopping = False
        self.groups = 0
        self.cpu_s = 0.0
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(
            """
            CREATE TABLE orders (id INTEGER PRIMARY KEY, account_id INTEGER, symbol TEXT, side TEXT, quantity TEXT,
                                 price TEXT, status TEXT, filled TEXT);
            CREATE TABLE fills (id INTEGER PRIMARY KEY, order_id INTEGER, price TEXT, quantity TEXT, fee TEXT);
            CREATE TABLE balances (account_id INTEGER, asset TEXT, free TEXT, held TEXT,
                                   PRIMARY KEY (account_id, asset)) WITHOUT ROWID;
            """
        )

    def run(self) -> None:
        while group := self._next():
            self._write([number for number, _ in group])
            for _, ticket in group:
                ticket.release()
        self.cpu_s = time.thread_time()
        self._database.close()

    def _next(self) -> list[tuple[int, threading.Lock]]:
        with self.lock:
            while not self.queue and not self.stopping:
                self.work.wait()
            group = list(self.queue)
            self.queue.clear()
            return group

    def _write(self, numbers: list[int]) -> None:
        many = self._database.executemany
        self.groups += 1
        self._database.execute("BEGIN IMMEDIATE")
        many(
            "INSERT INTO orders VALUES (?,?,?,?,?,?,?,?)",
            [(n, 1, "BTCUSDT", "buy", "0.00100000", "97123.45", "filled", "0.00100000") for n in numbers],
        )
        many("INSERT INTO fills VALUES (?,?,?,?,?)", [(n, n, "97123.45", "0.00100000", "0.00000100") for n in numbers])
        many(
            "INSERT INTO balances VALUES (?,?,?,?) ON CONFLICT DO UPDATE SET free=excluded.free",
            [(1, "USDT", "99779.00000000", "0"), (1, "BTC", "0.00099900", "0")],
        )
        self._database.execute("COMMIT")


def _floor(callers: int, count: int) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        floor = _Floor(Path(folder) / "floor.db")
        writer = threading.Thread(target=floor.run, daemon=True)
        writer.start()
        numbers = iter(range(1, count + 1))

        def call() -> None:
            while True:
                ticket = threading.Lock()
                ticket.acquire()
                with floor.lock:
                    number = next(numbers, None)
                    if number is None:
                        return
                    floor.queue.append((number, ticket))
                    floor.work.notify()
                ticket.acquire()

        seconds = _all_at_once(call, callers)
        with floor.lock:
            floor.stopping = True
            floor.work.notify()
        writer.join()
        return Run(rate=count / seconds, cpu_us=floor.cpu_s / count * 1e6, group=count / floor.groups)


if __name__ == "__main__":
    main(sys.argv[1:])
