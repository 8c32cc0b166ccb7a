"""How a local book is kept in step: snapshot and diffs in, what to do out. Sans-I/O: no socket, lock, clock or book.

The venue's procedure ("How to manage a local order book correctly"): buffer the diffs and note the first one's U; fetch
a snapshot; when it is older than that, fetch again; drop the diffs it contains (u <= lastUpdateId); the first one kept
must bridge it (U <= lastUpdateId + 1 <= u); from then on every diff must follow on the one before, a missing one means
starting over. Levels pass through as they came, never copied.

A book that is in step may also be renewed (`renew`): diffs go on being applied and are kept besides, so that the new
snapshot can be brought forward to where the book is, without a moment out of step.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from trading_engine.binance.messages import DepthDiff, Snapshot

MAX_BUFFERED_LEVELS: Final = 20_000
"""Levels kept while a snapshot is on its way (2.5 MB, or 30 s of a very busy symbol). Beyond, the oldest diffs are
forgotten, which only asks for a snapshot that reaches the remaining ones."""

MAX_BUFFERED_DIFFS: Final = 2_000
"""The same bound for diffs that are empty or nearly so."""

STEADY_DIFFS: Final = 50
"""Diffs applied in a row (5 s) after which a book counts as held, and the next NeedSnapshot as a first attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBook:
    """Replace the book by `snapshot` brought forward by `diffs`, at once."""

    snapshot: Snapshot
    diffs: tuple[DepthDiff, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedSnapshot:
    """Fetch a snapshot and hand it to `on_snapshot`. `attempt` counts from 0 since a book last held: back off by it."""

    reason: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The book is out of step from here on: do not trade on it before the next LoadBook."""

    reason: str


Action = DepthDiff | LoadBook | NeedSnapshot | Gap
"""A DepthDiff: apply it."""

_NOTHING: Final[tuple[Action, ...]] = ()


class DepthSync:
    """The machine of one symbol. Actions are to be carried out in the order given.

    A NeedSnapshot stands until `on_snapshot` has got one: a request that fails is the caller's to repeat.
    """

    __slots__ = ("_attempt", "_buffer", "_buffered_levels", "_steps", "_waiting", "update_id")

    def __init__(self) -> None:
        self.update_id: int | None = None
        """The last update in the book; None while it is out of step."""
        # The diffs since the book was lost, or since its renewal was asked for.
        self._buffer: deque[DepthDiff] = deque()
        self._buffered_levels = 0
        self._waiting = False
        self._attempt = 0
        self._steps = 0

    def on_diff(self, diff: DepthDiff) -> Sequence[Action]:
        """Take the next diff from the stream."""
        update_id = self.update_id
        if update_id is None:
            return self._on_diff_unsynced(diff)
        if diff.update_id <= update_id:
            return _NOTHING
        if diff.first_update_id > update_id + 1:
            reason = f"update {update_id + 1} is missing: the next diff begins with {diff.first_update_id}"
            self._lose_book()
            self._keep(diff)
            return (Gap(reason=reason), *self._ask(reason))
        self.update_id = diff.update_id
        if self._waiting:
            self._keep(diff)
        if self._attempt:
            self._steps += 1
            if self._steps >= STEADY_DIFFS:
                self._attempt = 0
        return (diff,)

    def on_snapshot(self, snapshot: Snapshot) -> Sequence[Action]:
        """Take a snapshot; one that comes while the book is in step and none was asked for is ignored.

        Out of step with nothing buffered it is taken as it is; the next diff tells whether it was new enough.
        """
        if self.update_id is not None and not self._waiting:
            return _NOTHING
        kept = [diff for diff in self._buffer if diff.update_id > snapshot.update_id]
        # Where nothing is kept the snapshot must at least be as new as the book it replaces.
        first_needed = kept[0].first_update_id if kept else (self.update_id or 0) + 1
        if first_needed > snapshot.update_id + 1:
            return self._ask(
                f"the snapshot ends with update {snapshot.update_id}, needed is {first_needed - 1} or later"
            )
        self._empty_buffer()
        self._waiting = False
        self._steps = 0
        self.update_id = kept[-1].update_id if kept else snapshot.update_id
        return (LoadBook(snapshot=snapshot, diffs=tuple(kept)),)

    def restart(self, reason: str) -> Sequence[Action]:
        """Give the book up: the connection was cut, or the book turned out wrong. The next diff asks for a snapshot."""
        was_in_step = self.update_id is not None
        self._lose_book()
        return (Gap(reason=reason),) if was_in_step else _NOTHING

    def renew(self, reason: str) -> Sequence[Action]:
        """Ask for a newer snapshot while the book stays in step; nothing when one is on its way already."""
        return _NOTHING if self.update_id is None or self._waiting else self._ask(reason)

    def _on_diff_unsynced(self, diff: DepthDiff) -> Sequence[Action]:
        if self._buffer:
            last = self._buffer[-1].update_id
            if diff.update_id <= last:
                return _NOTHING
            if diff.first_update_id > last + 1:
                # A hole among the buffered ones: nothing before it is of use. The snapshot on its way may still do.
                self._empty_buffer()
        self._keep(diff)
        return _NOTHING if self._waiting else self._ask("no book yet")

    def _ask(self, reason: str) -> Sequence[Action]:
        needed = NeedSnapshot(reason=reason, attempt=self._attempt)
        self._waiting = True
        self._attempt += 1
        return (needed,)

    def _lose_book(self) -> None:
        self.update_id = None
        self._waiting = False
        self._empty_buffer()

    def _empty_buffer(self) -> None:
        self._buffer.clear()
        self._buffered_levels = 0

    def _keep(self, diff: DepthDiff) -> None:
        buffer = self._buffer
        buffer.append(diff)
        self._buffered_levels += len(diff.bids) + len(diff.asks)
        while len(buffer) > 1 and (self._buffered_levels > MAX_BUFFERED_LEVELS or len(buffer) > MAX_BUFFERED_DIFFS):
            oldest = buffer.popleft()
            self._buffered_levels -= len(oldest.bids) + len(oldest.asks)
