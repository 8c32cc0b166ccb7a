"""Blocking questions asked on behalf of a thread that may not block.

A feed's receive thread hands in tasks (a depth snapshot, a connection to open, a look at the rules); worker threads,
started by the runtime and running `Errands.run`, do them and deliver the outcome. Policy (what to ask, when to ask
again) stays with the thread that asked. Lock: the list's own condition, a leaf; it is never held while a task runs or
an outcome is delivered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ERRANDS_LIMIT: Final = 1024
"""Four for each of the 256 symbols a connection can carry; more would mean that tasks are handed in and never done."""
IDLE_WAIT_S: Final = 0.5
"""A worker looks at its stop event at least this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a task ended, well (`value`) or badly (`error`); `key` and `ticket` are those it was handed in with."""

    key: str
    ticket: int
    value: object = None
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class _Task:
    key: str
    ticket: int
    do: Callable[[], object]
    due_at: float
    urgent: bool


class Errands:
    """Tasks by key: a task not yet begun is replaced by a newer one of its key. Any number of threads may run it."""

    def __init__(self, *, monotonic: Callable[[], float], deliver: Callable[[Outcome], None]) -> None:
        self._monotonic = monotonic
        self._deliver = deliver
        self._changed = threading.Condition()
        self._waiting: dict[str, _Task] = {}
        self._tickets = 0

    def put(self, key: str, do: Callable[[], object], *, delay_s: float = 0.0, urgent: bool = False) -> int:
        """Hand in a task to be begun in `delay_s` seconds, urgent ones first; return the ticket its outcome will carry.

        Raise OverflowError when ERRANDS_LIMIT tasks are waiting.
        """
        with self._changed:
            if key not in self._waiting and len(self._waiting) >= ERRANDS_LIMIT:
                raise OverflowError(f"{ERRANDS_LIMIT} errands are waiting")
            self._tickets += 1
            due_at = self._monotonic() + delay_s
            self._waiting[key] = _Task(key=key, ticket=self._tickets, do=do, due_at=due_at, urgent=urgent)
            self._changed.notify()
            return self._tickets

    def cancel(self, key: str) -> None:
        """Forget a task that has not begun; one that has still delivers its outcome."""
        with self._changed:
            self._waiting.pop(key, None)

    def wake(self) -> None:
        """Have idle workers look at their stop event now."""
        with self._changed:
            self._changed.notify_all()

    def run(self, stop: threading.Event) -> None:
        """Do tasks as they fall due until `stop` is set (noticed within IDLE_WAIT_S, or when the running task ends)."""
        while not stop.is_set():
            task = self._next()
            if task is None:
                continue
            try:
                outcome = Outcome(key=task.key, ticket=task.ticket, value=task.do())
            except Exception as error:  # noqa: BLE001 - whatever a task raises belongs to the thread that handed it in
                outcome = Outcome(key=task.key, ticket=task.ticket, error=error)
            self._deliver(outcome)

    def _next(self) -> _Task | None:
        """Take the task whose turn it is, or wait a little and return None."""
        with self._changed:
            now = self._monotonic()
            due = [task for task in self._waiting.values() if task.due_at <= now]
            if due:
                task = min(due, key=lambda task: (not task.urgent, task.due_at))
                return self._waiting.pop(task.key)
            soonest = min((task.due_at - now for task in self._waiting.values()), default=IDLE_WAIT_S)
            self._changed.wait(min(soonest, IDLE_WAIT_S))
            return None
