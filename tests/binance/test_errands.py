"""Errands: what a receive thread may not wait for is done by workers and delivered, urgent things first."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trading_engine.binance.errands import ERRANDS_LIMIT, Errands, Outcome


@contextmanager
def workers(errands: Errands, count: int) -> Iterator[None]:
    stop = threading.Event()
    threads = [threading.Thread(target=errands.run, args=(stop,), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()


def test_urgent_tasks_come_first_and_a_newer_one_replaces_one_that_waits() -> None:
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    errands = Errands(monotonic=time.monotonic, deliver=outcomes.put)
    old = errands.put("depth BTCUSDT", lambda: "old")
    errands.put("depth ETHUSDT", lambda: "calm")
    new = errands.put("depth BTCUSDT", lambda: "new")
    errands.put("depth SOLUSDT", lambda: "held by an order", urgent=True)
    with workers(errands, 1):
        done = [outcomes.get(timeout=5) for _ in range(3)]
    assert [outcome.value for outcome in done] == ["held by an order", "calm", "new"]
    assert done[2].ticket == new != old
    assert outcomes.empty()


def test_what_a_task_raises_is_its_outcome() -> None:
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    errands = Errands(monotonic=time.monotonic, deliver=outcomes.put)
    fault = ConnectionError("no route")

    def fail() -> None:
        raise fault

    with workers(errands, 1):
        errands.put("dial", fail)
        errands.put("later", lambda: 1, delay_s=0.05)
        assert outcomes.get(timeout=5).error is fault
        assert outcomes.get(timeout=5).value == 1


def test_a_delayed_task_waits_and_a_cancelled_one_never_runs() -> None:
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    errands = Errands(monotonic=time.monotonic, deliver=outcomes.put)
    begun = time.monotonic()
    errands.put("never", lambda: None, delay_s=0.1)
    errands.put("later", time.monotonic, delay_s=0.2)
    errands.cancel("never")
    with workers(errands, 2):
        outcome = outcomes.get(timeout=5)
    assert outcome.key == "later"
    assert isinstance(outcome.value, float)
    assert outcome.value - begun >= 0.2


def test_a_hanging_task_does_not_hold_up_the_other_worker() -> None:
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    errands = Errands(monotonic=time.monotonic, deliver=outcomes.put)
    release = threading.Event()
    with workers(errands, 2):
        errands.put("dial", lambda: release.wait(5))
        errands.put("depth BTCUSDT", lambda: "answered")
        assert outcomes.get(timeout=5).value == "answered"
        release.set()


def test_the_list_has_a_limit() -> None:
    errands = Errands(monotonic=time.monotonic, deliver=lambda outcome: None)
    for number in range(ERRANDS_LIMIT):
        errands.put(str(number), lambda: None)
    errands.put("0", lambda: None)  # replacing is no growth
    with pytest.raises(OverflowError):
        errands.put("one too many", lambda: None)
