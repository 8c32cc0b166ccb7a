"""One process writes: a second one waits, and takes over when the first is gone, however it went."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trading_engine.store import Store

ROOT = Path(__file__).resolve().parents[2]

HOLDER = """
import sys, time
from trading_engine.store import Store
store = Store(sys.argv[1])
assert store.claim()
print(store.epoch, flush=True)
time.sleep(600)
"""


@pytest.fixture
def second(database: str) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.release()


def test_a_second_claim_waits_until_the_first_lets_go(store: Store, second: Store) -> None:
    assert not second.claim()
    assert store.claimed()
    assert store.claim(), "claiming again what one has is no loss"
    store.release()
    assert second.claim()
    assert second.epoch > store.epoch
    assert not store.claim()


def test_migrating_by_hand_is_refused_while_the_database_is_in_use(store: Store, second: Store) -> None:
    with pytest.raises(Exception, match="another process is using this database"):
        second.migrate()
    assert store.claimed()


def test_a_killed_process_leaves_the_claim_to_the_next(database: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        epoch = int(holder.stdout.readline())
        store = Store(database)
        assert not store.claim()
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        deadline = time.monotonic() + 5
        while not store.claim():
            assert time.monotonic() < deadline, "the claim of a dead process was not freed"
            time.sleep(0.02)
        assert store.epoch > epoch
        store.release()
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def test_a_lock_file_that_was_removed_is_no_claim_any_more(sqlite: str) -> None:
    store = Store(sqlite)
    assert store.claim()
    Path(sqlite.removeprefix("sqlite:///") + ".lock").unlink()
    assert not store.claimed()
    store.release()
