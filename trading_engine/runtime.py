"""The running program: the only owner of threads, and the one place where the rooms are wired together.

`start` spawns the supervisor and returns; the supervisor (`supervisor`) claims the store, loads the engine and watches;
the venue has a thread of its own (`venue_link`), so neither a slow disk nor a dead venue delays the other. `stop` ends
everything in order. Lock order: engine, market, journal, following; none is held across I/O.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Final, TypeVar, overload

import structlog

from trading_engine import __version__
from trading_engine.binance.venues import Venue
from trading_engine.broadcast import Broadcaster
from trading_engine.config import Config
from trading_engine.exchange.accounts import Accounts
from trading_engine.exchange.candles import Candle
from trading_engine.exchange.door import Ticket
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.market import Market
from trading_engine.exchange.messages import (
    Account,
    AmendOrder,
    Batch,
    CancelAll,
    CancelOrder,
    OpenAccount,
    Placed,
    PlaceOrder,
    Preview,
    Refused,
    ResetAccount,
)
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.orders import Order
from trading_engine.exchange.symbols import Symbol
from trading_engine.following import Following, Markets
from trading_engine.health import feed_ages_s, feed_health, process_health, venue_health
from trading_engine.store import Journal, Queries, Store
from trading_engine.supervisor import Supervisor
from trading_engine.telemetry import Metrics, configure_logging
from trading_engine.venue_link import VenueLink

STOP_S: Final = 4.0
"""All of `stop`, at most (the simulator's last second included)."""

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")


class Runtime:
    """Everything that runs.

    Attributes for the API: `config`, `metrics`, `broadcaster`, `accounts` (committed views), `queries` (history),
    `markets` (followed symbols), `account_id` (None until the account is there), `role` (starting, active, standby or
    halted), `started_ns` (monotonic).
    """

    def __init__(self, config: Config, *, end_process: Callable[[], None] | None = None) -> None:
        """Wire; nothing is started or opened. `end_process` ends this process for good (default: SIGTERM to itself)."""
        use_exact_arithmetic()
        self.config = config
        self.started_ns = time.monotonic_ns()
        self.metrics = Metrics()
        self.broadcaster = Broadcaster()
        self.accounts = Accounts()
        self._store = Store(config.database)
        self.queries = Queries(self._store)
        self._journal = Journal(self._store, self._publish, self._note_failure, committed=self.metrics.committed)
        self._following = Following(new_market=_new_market, accounts=self.accounts.all)
        self.markets: Markets = self._following.markets
        self.engine = Engine(
            journal=self._journal,
            markets=self.markets,
            now_ms=_wall_ms,
            maker_fee_rate=config.maker_fee_rate,
            taker_fee_rate=config.taker_fee_rate,
        )
        self._link = VenueLink(
            config,
            self._following,
            on_change=self.engine.on_market,
            watched=lambda: self.engine.watched,
            spawn=lambda name, body: self._spawn(name, body, self._feed_stop),
            prober=_DaemonExecutor("probe"),
        )
        self._supervisor = Supervisor(
            config,
            store=self._store,
            engine=self.engine,
            journal=self._journal,
            accounts=self.accounts,
            link=self._link,
            threads=self,
        )
        self._end_process = end_process or _end_process
        self._threads: dict[str, threading.Thread] = {}
        self._stop, self._feed_stop, self._journal_stop = threading.Event(), threading.Event(), threading.Event()
        self._stop_lock = threading.Lock()
        self._stopped = False
        self.metrics.open_orders.set_function(lambda: self.engine.status.open_orders)
        self.metrics.watch_feed(
            lambda: None if self._link.feed is None else self._link.feed.status,
            lambda: feed_ages_s(config.symbols, self.markets),
        )

    @property
    def role(self) -> str:
        """What this process is: starting, active, standby or halted."""
        return self._supervisor.role

    @property
    def account_id(self) -> int | None:
        """The account that requests act for; None until it is there."""
        return self._supervisor.account_id

    @property
    def venue(self) -> Venue | None:
        """The venue; None until it is chosen. Its name is settled before its hosts are."""
        return self._link.venue

    @property
    def symbols(self) -> Mapping[str, Symbol]:
        """Every symbol of the venue by name; empty until the venue was reached, the configured ones first."""
        return self._following.symbols

    def start(self) -> None:
        """Spawn the supervisor and return at once; never raises. A second call does nothing."""
        if "supervisor" in self._threads or self._stop.is_set():
            return
        try:
            configure_logging(self.config)
            self._spawn("broadcaster", self.broadcaster.run, self._stop)
            self._spawn("supervisor", self._supervisor.run, self._stop)
        except Exception:  # a hook that raises would stop gunicorn for good
            log.exception("the runtime could not be started")

    def stop(self) -> None:
        """Stop everything in order, within STOP_S: feeds, streams, engine, journal, claim, simulator. Never raises."""
        with self._stop_lock:
            if self._stopped:
                return
            self._stopped = True
        deadline = time.monotonic() + STOP_S - 1.0  # the last second is the simulator's
        feed = self._link.feed
        for step in (
            self._stop.set,
            self._supervisor.wake,
            self._feed_stop.set,
            feed.wake if feed is not None else lambda: None,
            self.broadcaster.goodbye,
            self.engine.close,
            self._journal_stop.set,
            self._journal.wake,
            lambda: self._join(deadline),
            self._store.release,
            self._link.end,
        ):
            try:
                step()
            except Exception:  # the steps after it must still be taken
                log.exception("a step of the stop failed")
        log.info("stopped")

    def follow(self, symbol: str, timeout_s: float = 3.0) -> Market:
        """Return a symbol's market, following it if nobody did. Raise Refused `unknown_symbol` or `syncing`."""
        return self._following.follow(symbol, timeout_s)

    def touch(self, symbols: list[str]) -> None:
        """Note that somebody looks at these symbols: one followed on demand is dropped when nobody does."""
        self._following.touch(symbols)

    @overload
    def submit(self, command: AmendOrder) -> Placed: ...

    @overload
    def submit(self, command: CancelOrder | CancelAll) -> tuple[Order, ...]: ...

    @overload
    def submit(self, command: OpenAccount | ResetAccount) -> Account: ...

    def submit(
        self, command: AmendOrder | CancelOrder | CancelAll | OpenAccount | ResetAccount
    ) -> Placed | tuple[Order, ...] | Account:
        """Carry a command out; return when it is committed. Raise Refused when it is not.

        With a modelled latency changes and cancels take their time to the engine and back: a fill may come first.
        """
        if self.role != "active":
            raise self._not_active()
        if self.config.latency_ms.is_off or isinstance(command, OpenAccount | ResetAccount):
            return self.engine.submit(command)
        which = "all" if isinstance(command, CancelAll) else command.order_id
        key = f"{type(command).__name__} {which} at {time.time_ns()}"
        with self._underway(command.account_id, key):
            return self.engine.submit(command)

    def place(self, command: PlaceOrder, *, new_id: bool = False) -> tuple[Placed, Ticket | None]:
        """Place an order; raise Refused when it is not. Nothing may be told of it before the ticket's commit.

        `new_id`: the client order id was made up just now, so the store need not be asked for an order that has it.
        With a modelled latency the calling thread waits: before the engine sees the order, and before it returns.
        """
        if self.role != "active":
            raise self._not_active()
        orders = self.metrics.orders
        try:
            if command.symbol not in self.markets:
                self.follow(command.symbol)
            known_order = None if new_id else self.queries.order_by_client_id
            if self.config.latency_ms.is_off:
                placed, ticket = self.engine.place(command, known_order)
            else:
                with self._underway(command.account_id, command.client_order_id):
                    placed, ticket = self.engine.place(command, known_order)
        except Refused as refused:
            orders.labels(refused.code).inc()
            raise

        def count(refused: Refused | None) -> None:
            orders.labels(refused.code if refused else "accepted" if placed.created else "repeated").inc()

        if ticket is None:
            count(None)
        else:
            ticket.then(count)
        return placed, ticket

    def preview(self, command: PlaceOrder) -> Preview:
        """Say what an order would do if it arrived now; change nothing. Raise Refused as `place` does."""
        if self.role != "active":
            raise self._not_active()
        if command.symbol not in self.markets:
            self.follow(command.symbol)
        return self.engine.preview(command)

    def candles(self, symbol: str, interval: str, limit: int, before_ms: int | None) -> tuple[Candle, ...]:
        """Return up to `limit` candles opening before `before_ms` (None: now), oldest first, the running one last.

        Raise Refused `unknown_symbol` or `syncing` as `follow`, and `syncing` when the venue does not answer.
        """
        return self._link.candles(self.follow(symbol), interval, limit, before_ms)

    def health(self) -> dict[str, Any]:
        """Say how everything stands: what /health answers. `status` is ok while we can commit or stand by."""
        feed, supervisor = self._link.feed, self._supervisor
        feed_reason = self._link.trouble or (None if feed is None else feed.status.reason)
        return {
            **process_health(
                role=self.role,
                reason=supervisor.trouble or supervisor.waits,
                failing=supervisor.trouble is not None,
                engine=self.engine.status,
                refusing=self._journal.refusing,
                dead_threads=supervisor.dead_threads,
            ),
            **venue_health(self.venue),
            "feed": feed_health(self.config.symbols, self.markets, feed_reason),
            "version": __version__,
            "uptime_s": round((time.monotonic_ns() - self.started_ns) / 1e9, 1),
        }

    @contextlib.contextmanager
    def _underway(self, account_id: int, key: str) -> Iterator[None]:
        """Hold a command back for as long as it is on its way, and its answer, refusals too, on the way back.

        A stop ends both waits; what had not arrived by then is refused.
        """
        drawn = self.config.latency_ms.draw(str(account_id), key)
        if self._stop.wait(drawn.in_us / 1e6):
            raise Refused("standby", "the server is stopping")
        back_ns = time.monotonic_ns() + drawn.out_us * 1_000
        try:
            yield
        finally:
            self._stop.wait(max(0, back_ns - time.monotonic_ns()) / 1e9)

    # Called by other threads.

    def _publish(self, batch: Batch) -> None:
        """Show a committed batch; the journal's thread."""
        self.accounts.apply(batch)
        self.broadcaster.publish(batch)

    def _note_failure(self, failure: BaseException) -> None:
        """Take note of a failed commit; the journal's thread."""
        self.metrics.commit_failures.inc()
        self._supervisor.note_failure(failure)

    def _not_active(self) -> Refused:
        if self.role == "standby":
            return Refused("standby", "another process has the engine; this one takes over when that one ends")
        if self.role == "halted":
            return Refused("halted", self._supervisor.trouble or "the engine is halted")
        return Refused("starting", "the engine is starting")

    # Threads: what the supervisor asks for.

    def start_working(self) -> None:
        """Start the journal's and the venue's threads, if they were not; for the supervisor."""
        for name, body, stop in (
            ("journal", self._journal.run, self._journal_stop),
            ("venue", self._link.run, self._feed_stop),
        ):
            if name not in self._threads:
                self._spawn(name, body, stop)

    def dead(self) -> tuple[str, ...]:
        """Return the names of the threads that have ended; for the supervisor."""
        dead = tuple(name for name, thread in list(self._threads.items()) if not thread.is_alive())
        self.metrics.threads_dead.set(len(dead))
        return dead

    def end_process(self) -> None:
        """End this process for good; for the supervisor."""
        self._end_process()

    def _spawn(self, name: str, body: Callable[[threading.Event], None], stop: threading.Event) -> None:
        def run() -> None:
            try:
                body(stop)
            except Exception:  # the supervisor sees that the thread is gone; here it is said why
                log.exception("a thread failed", thread=name)

        thread = threading.Thread(target=run, name=name, daemon=True)
        self._threads[name] = thread
        thread.start()

    def _join(self, deadline: float) -> None:
        for name, thread in list(self._threads.items()):
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    log.warning("a thread did not end in time", thread=name)


class _DaemonExecutor(Executor):
    """Runs each task in a daemon thread of its own: unlike a pool's, none of them holds up the end of the process."""

    def __init__(self, name: str) -> None:
        self._name = name

    def submit(self, task: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Begin a task; cancelling the future does not stop it."""
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(task(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001 - it belongs to whoever asks for the result
                    future.set_exception(error)

        threading.Thread(target=run, name=self._name, daemon=True).start()
        return future


def _new_market(symbol: Symbol) -> Market:
    return Market(symbol, monotonic_ns=time.monotonic_ns, wall_ms=_wall_ms)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _end_process() -> None:
    """Ask for an orderly end: gunicorn starts another worker, a platform another process."""
    with contextlib.suppress(OSError):
        os.kill(os.getpid(), signal.SIGTERM)
