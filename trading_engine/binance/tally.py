"""What a feed has counted, and how it stands: the figures behind health and metrics. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counters of one feed since it started; written by its thread only, so no lock.

    `gaps`: books that fell out of step by a missing diff; `resyncs`: books given up for another reason; `mutes`:
    streams proven silent while the venue's book moved; `trade_gaps`, `missed_prints`: holes in the trade ids and
    their width; `backfilled`: how many of those were fetched and told after all; `backfills_failed`: holes that were
    given up; `malformed`: messages that were none; `faults`: exceptions while handling a message; `reconnects`:
    connections lost; `renewals`: connections replaced before they ended.
    """

    frames: int = 0
    diffs: int = 0
    prints: int = 0
    snapshots: int = 0
    snapshot_failures: int = 0
    gaps: int = 0
    resyncs: int = 0
    duplicates: int = 0
    trade_gaps: int = 0
    missed_prints: int = 0
    backfilled: int = 0
    backfills_failed: int = 0
    mutes: int = 0
    malformed: int = 0
    faults: int = 0
    reconnects: int = 0
    renewals: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStatus:
    """A feed at one moment. `reason` says why it is not connected; the rest as in `Tally`, seconds for durations.

    `symbols` are followed, `in_step` of them have a book (that may yet be stale: the market knows). `used_weight` is
    the request weight of the last minute, of all that share the client.
    """

    connected: bool
    reason: str | None
    last_error: str | None
    symbols: int
    in_step: int
    connected_s: float | None
    silent_s: float | None
    used_weight: int
    frames: int
    diffs: int
    prints: int
    snapshots: int
    snapshot_failures: int
    gaps: int
    resyncs: int
    duplicates: int
    trade_gaps: int
    missed_prints: int
    backfilled: int
    backfills_failed: int
    mutes: int
    malformed: int
    faults: int
    reconnects: int
    renewals: int
