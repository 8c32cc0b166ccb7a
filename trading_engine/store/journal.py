"""The journal: one thread that commits whatever the engine has handed over, all of it in one transaction.

Natural group commit: while one transaction is being synced the next group gathers; nothing ever waits a fixed time.
After a commit each batch is published in order and its caller woken, so nothing is seen or answered before it is
stored.

When a transaction fails the journal stops accepting: everything that waited is refused, and `on_failure` tells the
supervisor, who loads memory from the store again and calls `reopen` with the engine's new generation. The lock guards
the queue and the state; it is held for an append, and nothing is called under it. The writing connection belongs to
the thread in `run`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from trading_engine.exchange.messages import Batch, Refused
from trading_engine.store.database import Store
from trading_engine.store.grouping import Group, Statement
from trading_engine.store.writer import CommitUnknown, Writer

MOST_BATCHES: Final = 1024
"""Batches in one transaction: some 20 ms of work, so that the first caller in it does not wait for the thousandth."""

MOST_WAITING: Final = 20_000
"""Batches that may wait. Callers are bounded by the server's threads; this bounds what feeds add while a disk hangs."""

LONGEST_WAIT_S: Final = 30.0
"""After this a caller stops waiting and is told that the outcome is unknown."""

POLL_S: Final = 0.2
"""How long the idle thread may take to notice the stop event (it has no way to wait for two things at once)."""


class ClaimLost(Exception):
    """Another process has claimed the database since: this one must not write any more."""


class CommitTicket:
    """One caller's place in the queue. Who waits does so on a bare lock, held until the outcome is known."""

    __slots__ = ("_calls", "_is_known", "_landed", "_refusal")

    def __init__(self) -> None:
        self._landed = threading.Lock()
        self._landed.acquire()
        self._refusal: tuple[str, str] | None = None
        self._is_known = False
        self._calls: list[Callable[[Refused | None], None]] = []

    def wait(self) -> None:
        """Return once the batch is stored and published. Raise Refused("not_committed" or "outcome_unknown") if not."""
        if not self._landed.acquire(timeout=LONGEST_WAIT_S):
            raise Refused("outcome_unknown", f"storing took longer than {LONGEST_WAIT_S:.0f} s")
        self._landed.release()  # another caller may be waiting for the same batch
        if self._refusal is not None:
            raise Refused(*self._refusal)

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        """Have `tell` called once with the outcome, by the journal's thread, or at once where it is known.

        `tell` holds up everyone behind it: it must be quick, and not raise.
        """
        self._calls.append(tell)
        if self._is_known:  # the journal may have looked before the append
            self._tell()

    def land(self, refusal: tuple[str, str] | None = None) -> None:
        """Tell the outcome to whoever waits for it. Called once, by the journal."""
        self._refusal = refusal
        self._is_known = True
        self._landed.release()
        self._tell()

    def _tell(self) -> None:
        """Make the calls that were not made yet. Two threads may be here: each call is popped by one of them."""
        refused = None if self._refusal is None else Refused(*self._refusal)
        while True:
            try:
                tell = self._calls.pop()
            except IndexError:
                return
            tell(refused)


Waiting = tuple[Batch, CommitTicket]


class Journal:
    """Takes batches in the engine's order, commits and publishes them in that order."""

    def __init__(
        self,
        store: Store,
        publish: Callable[[Batch], None],
        on_failure: Callable[[BaseException], None],
        *,
        committed: Callable[[int, float], None] | None = None,
    ) -> None:
        """`publish` runs in the journal's thread after each commit; `on_failure` must only take note.

        `committed` is told the number of batches and the seconds of each transaction.
        """
        self._store = store
        self._statements = store.statements
        self._publish = publish
        self._on_failure = on_failure
        self._committed = committed
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._queue: deque[Waiting] = deque()
        self._generation = 0
        self._venue = ""
        self._refusing: str | None = None
        self._writer: Writer | None = None

    @property
    def refusing(self) -> str | None:
        """Why batches are refused at present; None while they are taken."""
        return self._refusing

    def append(self, batch: Batch) -> CommitTicket:
        """Queue a batch behind all earlier ones. Raise Refused("not_committed") while none are taken."""
        ticket = CommitTicket()
        with self._lock:
            if self._refusing is not None:
                raise Refused("not_committed", self._refusing)
            if batch.generation != self._generation:
                raise Refused("not_committed", "the engine's memory was loaded again meanwhile")
            if len(self._queue) >= MOST_WAITING:
                raise Refused("not_committed", f"{MOST_WAITING} changes are waiting to be stored")
            self._queue.append((batch, ticket))
            self._work.notify()
        return ticket

    def reopen(self, generation: int, venue: str = "") -> None:
        """Accept batches of `generation` from now on: memory and store agree again.

        The exchange's own ledger accounts are kept per `venue`, the one whose accounts were loaded.
        """
        with self._lock:
            self._generation = generation
            self._venue = venue
            self._refusing = None

    def wake(self) -> None:
        """Have the idle thread look at its stop event at once (it does so every POLL_S anyway)."""
        with self._lock:
            self._work.notify()

    def run(self, stop: threading.Event) -> None:
        """Commit until `stop` is set and nothing waits any more. The body of the journal's thread."""
        group: list[Waiting] = []
        try:
            while group := self._next_group(stop):
                self._commit(group)
        finally:
            # Also when something unforeseen ends the thread: nobody may be left waiting.
            with contextlib.suppress(RuntimeError):  # some of them may have been told before
                self._refuse_all("the journal has stopped", [(group, "outcome_unknown", "the journal failed")])
            self._close_writer()

    def _next_group(self, stop: threading.Event) -> list[Waiting]:
        """Wait for work and take what is there, oldest first. Empty: stopped, and from now on nothing is accepted."""
        with self._lock:
            while not self._queue:
                if stop.is_set():
                    self._refusing = "the journal has stopped"
                    return []
                self._work.wait(POLL_S)
            if len(self._queue) <= MOST_BATCHES:
                group = list(self._queue)
                self._queue.clear()
            else:
                group = [self._queue.popleft() for _ in range(MOST_BATCHES)]
        return group

    def _commit(self, group: list[Waiting]) -> None:
        started = time.perf_counter()
        try:
            writer = self._writer
            if writer is None:
                writer = self._writer = self._store.writer()
            gathered = Group(self._statements, writer.amount, self._venue)
            for batch, _ in group:
                gathered.add(batch)
            _must_be_ours(writer.run([self._claim_check(group), *gathered.statements()]))
        except Exception as error:  # noqa: BLE001 - whatever it was, the callers must hear of it
            # Nothing was committed: COMMIT was never sent.
            self._fail(group, "not_committed", error)
            return
        try:
            writer.commit()
        except CommitUnknown as error:
            self._fail(group, "outcome_unknown", error)
            return
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(group, "not_committed", error)
            return
        if self._committed is not None:
            self._committed(len(group), time.perf_counter() - started)
        try:
            self._show(group)
        except Exception as error:  # noqa: BLE001 - the thread goes on; the supervisor hears of it
            # Stored, but not shown: the views are loaded again like the rest. The callers get their answer.
            self._refuse_all("what is shown must be loaded again", (), error)
        for _, ticket in group:
            ticket.land()

    def _show(self, group: list[Waiting]) -> None:
        for batch, _ in group:
            if batch.events:
                self._publish(batch)

    def _fail(self, group: list[Waiting], code: str, error: Exception) -> None:
        """Give up a group. The writing connection is closed, so that its locks do not bar the reload."""
        if self._writer is not None:
            self._writer.rollback()
        self._close_writer()
        detail = "the commit's answer was lost" if code == "outcome_unknown" else "the database did not take it"
        self._refuse_all("the last commit failed; loading what is stored", [(group, code, detail)], error)

    def _refuse_all(
        self, reason: str, failed: Sequence[tuple[list[Waiting], str, str]], error: Exception | None = None
    ) -> None:
        """Stop accepting, tell the supervisor, then wake everyone: who failed, and who waited behind them."""
        with self._lock:
            self._refusing = reason
            behind = list(self._queue)
            self._queue.clear()
        if error is not None:
            self._on_failure(error)
        for group, code, detail in (*failed, (behind, "not_committed", "a change before it could not be stored")):
            for _, ticket in group:
                ticket.land((code, detail))

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _claim_check(self, group: list[Waiting]) -> Statement:
        return self._statements.check_claim, (group[-1][0].seq, self._store.epoch)


def _must_be_ours(claims_found: int) -> None:
    if claims_found != 1:
        raise ClaimLost("another process has claimed the database")
