"""The supervisor: claims the store, loads the engine, and then watches over both; the body of one thread.

Standing by while another process has the store; answering a failed commit by loading again, a lost claim by standing
by, a fault of our own by halting and having the process ended, to be started again. Its attributes are read by any
thread, each a whole value; `note_failure` and `wake` may be called by any thread, everything else is its own thread's.
"""

from __future__ import annotations

import threading
import time
from typing import Final, Protocol

import structlog

from trading_engine.binance.venues import Venue
from trading_engine.config import Config
from trading_engine.exchange.accounts import Accounts
from trading_engine.exchange.door import EngineRole
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.messages import OpenAccount, Refused
from trading_engine.exchange.money import REPORTING_ASSET
from trading_engine.store import ClaimLost, CommitUnknown, Journal, Store, StoreUnavailable, StoreUnusable
from trading_engine.venue_link import Stopped, VenueLink

ACCOUNT: Final = "default"
"""The one account of single mode; each venue has its own of that name."""

KEEP_S: Final = 1.0
"""How often what is known of queues is kept: that much of it a crash may lose."""

WATCH_S: Final = 0.2
"""How often the supervisor looks round when nothing calls it."""
CLAIM_CHECK_S: Final = 2.0
STANDBY_S: Final = 0.5
"""How often a process that stands by tries for the claim."""
FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 5.0
HALT_S: Final = 2.0
"""From halting to the end of the process: callers hear 503 and the log is written."""

log = structlog.stdlib.get_logger(__name__)


class Threads(Protocol):
    """What the supervisor needs of the runtime, which owns the threads."""

    def start_working(self) -> None:
        """Start the journal's and the venue's threads, if they were not."""

    def dead(self) -> tuple[str, ...]:
        """Return the names of the threads that have ended."""

    def end_process(self) -> None:
        """End this process for good."""


class Supervisor:
    """Looks after store, engine and journal. `role`: starting, active, standby or halted."""

    def __init__(
        self,
        config: Config,
        *,
        store: Store,
        engine: Engine,
        journal: Journal,
        accounts: Accounts,
        link: VenueLink,
        threads: Threads,
    ) -> None:
        self.role = "starting"
        self.account_id: int | None = None
        self.trouble: str | None = None
        """Why we cannot commit: what the store, or our own fault, keeps us from."""
        self.waits: str | None = None
        """Why there is no account yet."""
        self.dead_threads: tuple[str, ...] = ()
        self._config = config
        self._store = store
        self._engine = engine
        self._journal = journal
        self._accounts = accounts
        self._link = link
        self._threads = threads
        self._attention = threading.Event()
        self._failure: BaseException | None = None
        self._retry_at, self._retry_s = 0.0, FIRST_RETRY_S

    def run(self, stop: threading.Event) -> None:
        """Supervise until `stop` is set. Never raises."""
        try:
            while True:
                self._claim(stop)
                self._load(self._venue(stop))
                self._watch(stop)
        except Stopped:
            return
        except Exception as fault:
            log.exception("the supervisor failed")
            self._halt(f"{type(fault).__name__}: {fault}", stop)

    def note_failure(self, failure: BaseException) -> None:
        """Take note of a failed commit, and look after it at once."""
        log.error("commit failed", reason=str(failure), kind=type(failure).__name__)
        self._failure = failure
        self._attention.set()

    def wake(self) -> None:
        """Have the thread look round at once, for instance at a stop event just set."""
        self._attention.set()

    # Claiming.

    def _claim(self, stop: threading.Event) -> None:
        """Return once the store is ours, its schema is up to date and no other process can write."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                if not self._store.lock():
                    self._stand_by("another process has the engine")
                    pause_s = STANDBY_S
                else:
                    self._link.begin()
                    if self._store.claim():
                        self.role, self.trouble = "starting", None
                        return
            except (StoreUnavailable, StoreUnusable) as error:
                self._note_trouble(str(error))
                pause_s = min(2 * pause_s, LONGEST_RETRY_S)
            except OSError as error:
                self._note_trouble(f"the simulator could not be started: {error}")
                pause_s = min(2 * pause_s, LONGEST_RETRY_S)
            if stop.wait(pause_s):
                raise Stopped

    def _stand_by(self, reason: str) -> None:
        if self.role != "standby":
            log.warning("standing by", reason=reason)
        self.role, self.trouble = "standby", None

    def _lose_claim(self, reason: str) -> None:
        self._failure = None
        self._stand_by(reason)
        self._store.release()

    # Loading.

    def _venue(self, stop: threading.Event) -> Venue:
        return self._link.venue or self._link.name_venue(stop)

    def _load(self, venue: Venue) -> None:
        """Bring memory to what is stored; where that fails, `_watch` tries again."""
        try:
            self._reload(venue)
        except StoreUnavailable as error:
            self._note_trouble(str(error))
            self._failure = error
        self._threads.start_working()

    def _reload(self, venue: Venue) -> None:
        state = self._store.load(time.time_ns() // 1_000_000, venue.name)
        generation = self._engine.load(state)
        self._accounts.load(state)
        self._journal.reopen(generation, venue.name)
        log.info("loaded", venue=venue.name, accounts=len(state.accounts), orders=len(state.orders))

    # Watching.

    def _watch(self, stop: threading.Event) -> None:
        """Look after everything until the claim is lost (return) or the stop event is set (raise Stopped)."""
        claim_check_at = time.monotonic() + CLAIM_CHECK_S
        keep_at = time.monotonic() + KEEP_S
        while True:
            if self.role != "active":
                self._open_account()
            self._attention.wait(WATCH_S)
            self._attention.clear()
            if stop.is_set():
                raise Stopped
            self._look_at_threads()
            status = self._engine.status
            if status.role is EngineRole.HALTED:
                self._halt(status.reason or "unknown", stop)
                raise Stopped
            if self._failure is not None and not self._recover(self._failure, stop):
                return
            if time.monotonic() >= keep_at:
                keep_at = time.monotonic() + KEEP_S
                self._engine.keep_memory()
            if time.monotonic() >= claim_check_at:
                claim_check_at = time.monotonic() + CLAIM_CHECK_S
                if not self._store.claimed():
                    self._lose_claim("the claim's connection or lock file is gone")
                    return

    def _recover(self, failure: BaseException, stop: threading.Event) -> bool:
        """After a failed commit, load what is stored and go on; False when another process may have taken over.

        Tried at once, then with growing pauses for as long as it takes.
        """
        if isinstance(failure, CommitUnknown) and failure.restart:
            self._halt(f"the disk failed in a commit, and only a restart tells what it holds: {failure}", stop)
            raise Stopped
        if isinstance(failure, ClaimLost) or not self._store.claimed():
            self._lose_claim(str(failure))
            return False
        if time.monotonic() < self._retry_at:
            return True
        self._failure = None
        try:
            self._store.fence()
            self._reload(self._venue(stop))
        except StoreUnavailable as error:
            self._note_trouble(str(error))
            self._failure = error
            self._retry_at = time.monotonic() + self._retry_s
            self._retry_s = min(2 * self._retry_s, LONGEST_RETRY_S)
            return True
        log.info("resumed after a failed commit")
        self.trouble = None
        # The next failure is answered at once only when this one is over for a while: no hot loop of the two.
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = FIRST_RETRY_S
        return True

    def _open_account(self) -> None:
        """Find or open this venue's account; without prices for its starting balance that must wait, and says so."""
        venue = self._link.venue
        if venue is None or self._failure is not None or self._engine.status.role is not EngineRole.RUNNING:
            return
        found = self._accounts.find(ACCOUNT, venue.name)
        try:
            if found is None:
                opening = OpenAccount(name=ACCOUNT, venue=venue.name, balances=dict(self._config.starting_balance))
                self.account_id = self._engine.submit(opening).id
                log.info("account opened", venue=venue.name, account_id=self.account_id)
            else:
                self.account_id = found.account.id
        except Refused as refused:
            reason = refused.detail
            if self._link.unvalued:
                assets = ", ".join(self._link.unvalued)
                reason = f"{venue.name} lists nothing that values {assets} in {REPORTING_ASSET} (STARTING_BALANCE)"
            waits = f"the account waits: {reason}"
            if waits != self.waits:
                log.warning("the account cannot be opened yet", reason=reason)
            self.waits = waits
            return
        self.role, self.waits = "active", None

    def _look_at_threads(self) -> None:
        dead = self._threads.dead()
        for name in dead:
            if name not in self.dead_threads:
                log.warning("a thread has ended", thread=name)
        self.dead_threads = dead
        if "journal" in dead:
            self._engine.halt("the journal's thread has ended")

    def _halt(self, reason: str, stop: threading.Event) -> None:
        """Refuse everything, say why, and have the process ended so that it is started again."""
        self.role, self.trouble = "halted", reason
        self._engine.halt(reason)
        log.critical("halted", reason=reason)
        if not stop.wait(HALT_S):
            self._threads.end_process()

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.error("the store cannot be used", reason=trouble)
        self.trouble = trouble
