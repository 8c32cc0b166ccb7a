"""Many threads at the door: the locks are taken in their order, nobody waits for a commit inside, the books balance."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, ListJournal, Ticket, filled, symbol
from trading_engine.exchange import history
from trading_engine.exchange.messages import Batch, CancelAll, Refused, ResetAccount
from trading_engine.exchange.orders import Side

RANKS = {"engine": 0, "market": 1, "journal": 2}


class Witness:
    """Locks that know who holds what, and fail on a reversed order."""

    def __init__(self) -> None:
        self._held = threading.local()
        self.taken: set[str] = set()

    def held(self) -> list[str]:
        return getattr(self._held, "names", [])

    def lock(self, name: str) -> "WitnessLock":
        return WitnessLock(self, name)

    def enter(self, name: str) -> None:
        held = self.held()
        for other in held:
            assert (other, name) != ("engine", "engine"), "engine is taken twice: a public method called another"
            assert RANKS[other] <= RANKS[name], f"{name} is taken while {other} is held"
        self._held.names = [*held, name]
        self.taken.add(name)

    def leave(self) -> None:
        self._held.names = self.held()[:-1]


class WitnessLock:
    def __init__(self, witness: Witness, name: str) -> None:
        self._witness, self._name, self._lock = witness, name, threading.RLock()

    def __enter__(self) -> bool:
        self._witness.enter(self._name)
        return self._lock.acquire()

    def __exit__(self, *fault: object) -> None:
        self._lock.release()
        self._witness.leave()


class WitnessedJournal(ListJournal):
    """Commits on another thread's time: a ticket may be waited for only by who holds nothing."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self.witness = witness
        self.lock = witness.lock("journal")
        self.waits = 0

    def append(self, batch: Batch) -> Ticket:
        assert self.witness.held() == ["engine"]
        with self.lock:
            super().append(batch)
        return WitnessedTicket(self)


class WitnessedTicket(Ticket):
    def __init__(self, journal: WitnessedJournal) -> None:
        super().__init__()
        self.journal = journal

    def wait(self) -> None:
        assert self.journal.witness.held() == [], "a commit is waited for under a lock"
        self.journal.waits += 1


Witnessed = tuple[Exchange, WitnessedJournal, Witness]


@pytest.fixture
def witnessed() -> Witnessed:
    witness = Witness()
    market = FakeMarket(symbol(), "99x50", "100x50", lock=witness.lock("market"))
    exchange = Exchange(market, balances="USDT=100000,BTC=10", lock=witness.lock("engine"))
    journal = WitnessedJournal(witness)
    exchange.journal = exchange.engine._journal = journal
    return exchange, journal, witness


def test_every_command_takes_the_locks_in_order_and_waits_outside(
    witnessed: Witnessed,
) -> None:
    exchange, journal, witness = witnessed
    exchange.buy("1")
    exchange.buy("5", "99.5")
    exchange.sell("5", "110")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.print_("98", "1", buyer_is_maker=True))
    exchange.tell(market.quote(asks="99x1"))
    with pytest.raises(Refused):
        exchange.buy("5000")
    exchange.engine.submit(CancelAll(account_id=exchange.account.id, symbol=None))
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances={"USDT": D(1)}))
    exchange.engine.check()
    assert witness.taken == set(RANKS)
    # Five commands were accepted; the two fills of the market waited for nobody.
    assert journal.waits == 5
    assert len(journal.batches) == 7


def test_the_witness_would_notice(witnessed: Witnessed) -> None:
    """The net itself: each thing it is there to catch, it catches."""
    exchange, journal, witness = witnessed
    with (
        pytest.raises(AssertionError, match="engine is taken while market is held"),
        exchange.markets["BTCUSDT"].lock,
    ):
        exchange.buy("1")
    with pytest.raises(AssertionError, match="taken twice"), exchange.engine.lock:
        exchange.buy("1")
    with pytest.raises(AssertionError, match="waited for under a lock"), witness.lock("market"):
        WitnessedTicket(journal).wait()


class Worker(threading.Thread):
    """A thread whose fault the test gets to see."""

    def __init__(self, job: Callable[[], None], start_together: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self._job, self._start_together = job, start_together
        self.fault: BaseException | None = None

    def run(self) -> None:
        self._start_together.wait(10)
        try:
            self._job()
        except BaseException as fault:  # noqa: BLE001 - whatever it is, the test reports it
            self.fault = fault


ROUNDS, TRADERS = 60, 8


def trade(exchange: Exchange, account_id: int, number: int, accepted: list[int]) -> None:
    """Buy and sell at and around the market, repeat every order, and cancel what rests now and then."""
    for n in range(ROUNDS):
        side = Side.BUY if n % 2 else Side.SELL
        price = None if n % 3 == 0 else str(100 + (1 if side is Side.BUY else -1) * (n % 4 - 2))
        command = exchange.order(side, "0.5", price, account_id=account_id, client_order_id=f"{number}-{n}")
        accepted.append(exchange.engine.submit(command).order.id)
        assert not exchange.engine.submit(command).created
        if n % 10 == 9:
            exchange.engine.submit(CancelAll(account_id=account_id, symbol="BTCUSDT"))


def move(exchange: Exchange, market: FakeMarket, stop: threading.Event) -> None:
    """Print and quote around 100, as a feed does, until told to stop."""
    for n in itertools.count():
        if stop.is_set():
            return
        price = 100 + n % 5 - 2
        change = market.print_(str(price), "0.7", buyer_is_maker=bool(n % 2))
        if change.symbol in exchange.engine.watched:
            exchange.engine.on_market(change)
        change = market.quote(bids=f"{price - 1}x3 90x5000", asks=f"{price + 1}x3 110x5000")
        if change.symbol in exchange.engine.watched:
            exchange.engine.on_market(change)


def test_eight_threads_trade_while_the_market_moves() -> None:
    """Whatever the interleaving: the invariants hold, history rebuilds, every accepted order is there once."""
    market = FakeMarket(symbol(market_max_quantity=ZERO), "99x5000", "101x5000")
    exchange = Exchange(market, balances="USDT=100000,BTC=100")
    accounts = [exchange.account, exchange.open("other", "USDT=100000,BTC=100")]
    accepted: list[int] = []
    together = threading.Barrier(TRADERS + 1)
    crew = [
        Worker(partial(trade, exchange, accounts[number % 2].id, number, accepted), together)
        for number in range(TRADERS)
    ]
    stop = threading.Event()
    feed = Worker(partial(move, exchange, market, stop), together)
    for worker in (*crew, feed):
        worker.start()
    for worker in crew:
        worker.join(60)
    stop.set()
    feed.join(60)
    crew.append(feed)
    assert not any(worker.is_alive() for worker in crew), "a deadlock"
    assert [worker.fault for worker in crew if worker.fault] == []
    exchange.engine.check()
    assert len(accepted) == len(set(accepted)) == ROUNDS * TRADERS
    events = exchange.history()
    assert {text.split()[1] for text in filled(events)} == {"maker", "taker"}
    rebuilt, state = history.rebuild(events), exchange.engine.state()
    assert set(rebuilt.orders) == set(state.orders)
    assert replace(rebuilt, orders=()) == replace(state, orders=())
