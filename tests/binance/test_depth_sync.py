"""The venue's depth procedure step by step, and a property: in step means right, whatever the network does."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.binance import depth_sync
from trading_engine.binance.depth_sync import Action, DepthSync, Gap, LoadBook, NeedSnapshot
from trading_engine.binance.messages import DepthDiff, Snapshot


def diff(first: int, last: int, bids: list[tuple[float, float]] | None = None) -> DepthDiff:
    return DepthDiff(symbol="BTCUSDT", event_time_ms=0, first_update_id=first, update_id=last, bids=bids or [], asks=[])


def snapshot(update_id: int, bids: list[tuple[float, float]] | None = None) -> Snapshot:
    return Snapshot(update_id=update_id, bids=bids or [], asks=[], limit=1000)


def in_step(last: int = 10) -> DepthSync:
    sync = DepthSync()
    sync.on_diff(diff(last, last))
    sync.on_snapshot(snapshot(last))
    assert sync.update_id == last
    return sync


# --- the first book ---


def test_the_first_diff_asks_for_a_snapshot_and_the_next_ones_wait() -> None:
    sync = DepthSync()
    assert sync.on_diff(diff(1, 2)) == (NeedSnapshot(reason="no book yet", attempt=0),)
    assert sync.on_diff(diff(3, 4)) == ()
    assert sync.update_id is None


def test_diffs_the_snapshot_contains_are_dropped_and_the_others_come_with_it() -> None:
    sync = DepthSync()
    waiting = [diff(1, 2), diff(3, 6), diff(7, 7), diff(8, 9)]
    for each in waiting:
        sync.on_diff(each)
    taken = snapshot(6)
    assert sync.on_snapshot(taken) == (LoadBook(snapshot=taken, diffs=(waiting[2], waiting[3])),)
    assert sync.update_id == 9


def test_the_first_diff_kept_may_begin_before_the_snapshot() -> None:
    sync = DepthSync()
    sync.on_diff(diff(3, 6))
    (load,) = sync.on_snapshot(snapshot(4))
    assert isinstance(load, LoadBook)
    assert [each.update_id for each in load.diffs] == [6]


def test_a_snapshot_newer_than_all_diffs_is_loaded_alone() -> None:
    sync = DepthSync()
    sync.on_diff(diff(3, 6))
    (load,) = sync.on_snapshot(snapshot(20))
    assert isinstance(load, LoadBook)
    assert load.diffs == ()
    assert sync.on_diff(diff(19, 21)) == (diff(19, 21),)


def test_a_snapshot_older_than_the_first_diff_is_asked_for_again_and_again() -> None:
    sync = DepthSync()
    sync.on_diff(diff(10, 12))
    for attempt in (1, 2, 3):
        (needed,) = sync.on_snapshot(snapshot(8))
        assert isinstance(needed, NeedSnapshot)
        assert needed.attempt == attempt
        assert "ends with update 8, needed is 9" in needed.reason
    (load,) = sync.on_snapshot(snapshot(9))
    assert isinstance(load, LoadBook)


def test_a_hole_among_the_waiting_diffs_forgets_those_before_it() -> None:
    sync = DepthSync()
    sync.on_diff(diff(1, 2))
    sync.on_diff(diff(5, 6))
    (needed,) = sync.on_snapshot(snapshot(2))
    assert isinstance(needed, NeedSnapshot)
    (load,) = sync.on_snapshot(snapshot(4))
    assert isinstance(load, LoadBook)
    assert load.diffs == (diff(5, 6),)


def test_waiting_diffs_that_come_twice_or_swapped_count_once() -> None:
    sync = DepthSync()
    for each in (diff(1, 2), diff(3, 4), diff(1, 2), diff(3, 4), diff(5, 6)):
        sync.on_diff(each)
    (load,) = sync.on_snapshot(snapshot(2))
    assert isinstance(load, LoadBook)
    assert load.diffs == (diff(3, 4), diff(5, 6))


def test_the_buffer_is_bounded_and_then_needs_a_newer_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_sync, "MAX_BUFFERED_LEVELS", 10)
    sync = DepthSync()
    levels = [(float(price), 1.0) for price in range(4)]
    for update_id in range(1, 9):
        sync.on_diff(diff(update_id, update_id, levels))
    assert len(sync._buffer) == 2
    (needed,) = sync.on_snapshot(snapshot(5))
    assert isinstance(needed, NeedSnapshot)
    (load,) = sync.on_snapshot(snapshot(6))
    assert isinstance(load, LoadBook)


def test_one_diff_is_kept_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_sync, "MAX_BUFFERED_LEVELS", 10)
    monkeypatch.setattr(depth_sync, "MAX_BUFFERED_DIFFS", 3)
    sync = DepthSync()
    sync.on_diff(diff(1, 1, [(float(price), 1.0) for price in range(1, 50)]))
    assert len(sync._buffer) == 1
    for update_id in range(2, 9):
        sync.on_diff(diff(update_id, update_id))
    assert len(sync._buffer) == 3


# --- in step ---


def test_a_diff_that_follows_is_applied_as_it_is() -> None:
    sync, next_diff = in_step(10), diff(11, 15, [(1.0, 2.0)])
    (action,) = sync.on_diff(next_diff)
    assert action is next_diff
    assert sync.update_id == 15


def test_old_and_repeated_diffs_are_skipped() -> None:
    sync = in_step(10)
    for each in (diff(8, 9), diff(10, 10), diff(1, 10)):
        assert sync.on_diff(each) == ()
    assert sync.update_id == 10


def test_a_missing_diff_is_a_gap_and_the_one_after_it_starts_the_next_book() -> None:
    sync = in_step(10)
    gap, needed = sync.on_diff(diff(12, 13))
    assert isinstance(gap, Gap)
    assert "update 11 is missing" in gap.reason
    assert isinstance(needed, NeedSnapshot)
    assert sync.update_id is None
    (load,) = sync.on_snapshot(snapshot(11))
    assert isinstance(load, LoadBook)
    assert load.diffs == (diff(12, 13),)


def test_swapped_diffs_are_a_gap() -> None:
    sync = in_step(10)
    assert isinstance(sync.on_diff(diff(12, 12))[0], Gap)
    assert sync.on_diff(diff(11, 11)) == ()


def test_a_diff_that_ends_before_it_begins_is_a_gap() -> None:
    assert isinstance(in_step(10).on_diff(diff(15, 12))[0], Gap)


def test_a_restart_forgets_the_book_and_what_was_waiting() -> None:
    sync = in_step(10)
    assert sync.restart("connection lost") == (Gap(reason="connection lost"),)
    assert sync.restart("connection lost") == ()
    (needed,) = sync.on_diff(diff(30, 31))
    assert isinstance(needed, NeedSnapshot)


def test_a_snapshot_nobody_asked_for_is_ignored_while_in_step() -> None:
    sync = in_step(10)
    assert sync.on_snapshot(snapshot(50)) == ()
    assert sync.update_id == 10


def test_attempts_are_counted_until_a_book_has_held_for_a_while() -> None:
    sync = DepthSync()
    seen = []
    update_id = 0
    for _ in range(3):
        update_id += 2
        seen += [
            action.attempt for action in sync.on_diff(diff(update_id, update_id)) if isinstance(action, NeedSnapshot)
        ]
        sync.on_snapshot(snapshot(update_id))
    for _ in range(depth_sync.STEADY_DIFFS):
        update_id += 1
        sync.on_diff(diff(update_id, update_id))
    seen += [
        action.attempt
        for action in sync.on_diff(diff(update_id + 2, update_id + 2))
        if isinstance(action, NeedSnapshot)
    ]
    assert seen == [0, 1, 2, 0]


# --- renewing ---


def test_a_book_is_renewed_without_leaving_step() -> None:
    sync = in_step(10)
    (needed,) = sync.renew("thin")
    assert isinstance(needed, NeedSnapshot)
    assert sync.renew("thin") == (), "one is on its way"
    assert sync.on_diff(diff(11, 12)) == (diff(11, 12),)
    assert sync.on_diff(diff(13, 14)) == (diff(13, 14),)
    (load,) = sync.on_snapshot(snapshot(12))
    assert isinstance(load, LoadBook)
    assert load.diffs == (diff(13, 14),)
    assert sync.update_id == 14


def test_a_renewal_never_takes_the_book_back() -> None:
    sync = in_step(10)
    sync.on_diff(diff(11, 12))
    sync.renew("thin")
    (needed,) = sync.on_snapshot(snapshot(11))
    assert isinstance(needed, NeedSnapshot)
    assert sync.update_id == 12
    (load,) = sync.on_snapshot(snapshot(12))
    assert isinstance(load, LoadBook)


def test_a_gap_during_a_renewal_starts_over() -> None:
    sync = in_step(10)
    sync.renew("thin")
    assert isinstance(sync.on_diff(diff(20, 21))[0], Gap)
    (load,) = sync.on_snapshot(snapshot(20))
    assert isinstance(load, LoadBook)
    assert load.diffs == (diff(20, 21),)


def test_nothing_is_renewed_while_out_of_step() -> None:
    assert DepthSync().renew("thin") == ()


# --- the property ---

PRICES = range(1, 9)


class Truth:
    """The venue's book after each update: one change of one level an update."""

    def __init__(self, changes: list[tuple[int, int]]) -> None:
        self.books: list[dict[float, float]] = [{}]
        self.changes = [(float(price), float(quantity)) for price, quantity in changes]
        for price, quantity in self.changes:
            book = dict(self.books[-1])
            book[price] = quantity
            self.books.append({level: size for level, size in book.items() if size})

    def diff(self, first: int, last: int) -> DepthDiff:
        return diff(first, last, list(dict(self.changes[first - 1 : last]).items()))

    def snapshot(self, update_id: int) -> Snapshot:
        return snapshot(update_id, list(self.books[update_id].items()))


class Follower:
    """A plain book that does what the machine says."""

    def __init__(self) -> None:
        self.sync = DepthSync()
        self.book: dict[float, float] = {}

    def carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, LoadBook):
                self.book = dict(action.snapshot.bids)
                for each in action.diffs:
                    self.book.update(each.bids)
            elif isinstance(action, DepthDiff):
                self.book.update(action.bids)
        self.book = {price: quantity for price, quantity in self.book.items() if quantity}


@given(st.integers(0, 2**32))
def test_whatever_is_lost_doubled_or_swapped_a_book_in_step_is_the_true_book(seed: int) -> None:
    """A hundred diffs over a bad network; snapshots are a little older or newer than the stream."""
    dice = random.Random(seed)
    truth, follower = Truth([(dice.choice(PRICES), dice.randint(0, 3)) for _ in range(250)]), Follower()
    diffs, last = [], 0
    while last < 250:
        first, last = last + 1, min(250, last + dice.randint(1, 4))
        diffs.append(truth.diff(first, last))
    in_step = 0
    for each in over_a_bad_network(diffs, dice):
        event = dice.random()
        if event < 0.03:
            follower.sync.restart("test")
        elif event < 0.08:
            follower.carry_out(list(follower.sync.renew("test")))
        follower.carry_out(list(follower.sync.on_diff(each)))
        assert_true(follower, truth)
        if dice.random() < 0.3:
            moment = min(250, max(0, each.update_id + dice.randint(-8, 5)))
            follower.carry_out(list(follower.sync.on_snapshot(truth.snapshot(moment))))
            assert_true(follower, truth)
        in_step += follower.sync.update_id is not None
    assert in_step > 0


def over_a_bad_network(diffs: list[DepthDiff], dice: random.Random) -> list[DepthDiff]:
    delivered: list[DepthDiff] = []
    for each in diffs:
        fate = dice.random()
        if fate < 0.04 and delivered:
            delivered.insert(-1, each)
        elif fate < 0.08:
            delivered += [each, each]
        elif fate > 0.14:
            delivered.append(each)
    return delivered


def assert_true(follower: Follower, truth: Truth) -> None:
    update_id = follower.sync.update_id
    if update_id is not None:
        assert follower.book == truth.books[update_id]
