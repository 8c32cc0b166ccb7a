"""Whether what a market holds is recent enough to trade on. Monotonic nanoseconds; no lock (the market's guards it).

A symbol is measured against its own rhythm, since a quiet one may be silent for a minute and be right, while a busy one
that is silent for two seconds is cut off.
"""

from collections import deque
from statistics import median_low
from typing import Final

_SECOND_NS: Final = 1_000_000_000

CONNECTION_SILENCE_NS: Final = 5 * _SECOND_NS
"""No message at all for this long: the connection is dead, whatever TCP says."""

DEPTH_SILENCE_NS: Final = 1_500_000_000
"""Silence every symbol may keep."""

USUAL_INTERVALS: Final = 20
"""Silence a symbol may keep, in its own usual intervals between two diffs."""

LONGEST_SILENCE_NS: Final = 60 * _SECOND_NS
"""Silence no symbol may keep; also the limit while fewer than MIN_INTERVALS are known."""

MIN_INTERVALS: Final = 3
INTERVALS_KEPT: Final = 64

NO_CONNECTION: Final = "no message on the connection for 5 s"
NO_DEPTH: Final = "no depth change for longer than this symbol's rhythm allows"


class Freshness:
    """When the connection last spoke and when the depth last changed."""

    __slots__ = ("_depth_ns", "_frame_ns", "_intervals")

    def __init__(self) -> None:
        self._frame_ns: int | None = None
        self._depth_ns: int | None = None
        self._intervals: deque[int] = deque(maxlen=INTERVALS_KEPT)

    def frame_seen(self, at_ns: int) -> None:
        """Note any message on the symbol's connection."""
        if self._frame_ns is None or at_ns > self._frame_ns:
            self._frame_ns = at_ns

    def depth_seen(self, at_ns: int, *, in_rhythm: bool) -> None:
        """Note a depth message; `in_rhythm`: it is one diff after another, so that their distance tells something."""
        if in_rhythm and self._depth_ns is not None:
            self._intervals.append(at_ns - self._depth_ns)
        self._depth_ns = self._frame_ns = at_ns

    def depth_age_ns(self, now_ns: int) -> int | None:
        """Return the age of the depth, None before the first."""
        return None if self._depth_ns is None else now_ns - self._depth_ns

    def depth_limit_ns(self) -> int:
        """Return the silence this symbol may keep."""
        if len(self._intervals) < MIN_INTERVALS:
            return LONGEST_SILENCE_NS
        return min(LONGEST_SILENCE_NS, max(DEPTH_SILENCE_NS, USUAL_INTERVALS * median_low(self._intervals)))

    def stale_reason(self, now_ns: int) -> str | None:
        """Return why the depth is too old, None while it is not."""
        if self._frame_ns is None or now_ns - self._frame_ns >= CONNECTION_SILENCE_NS:
            return NO_CONNECTION
        if self._depth_ns is None:
            return NO_DEPTH
        age_ns = now_ns - self._depth_ns
        # The median is looked at only where it can matter.
        if age_ns >= DEPTH_SILENCE_NS and age_ns >= self.depth_limit_ns():
            return NO_DEPTH
        return None
