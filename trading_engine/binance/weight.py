"""The request weight one address may spend at a venue, shared by every caller of one client.

A venue counts weight per IP address and minute and answers 429 beyond its limit, 418 (a ban) for going on. Ours stays
at half of it, and ours with what others behind the address spend at nine tenths. Nothing here sleeps or asks the
clock by itself: a caller that may not ask now is told how long to wait. Lock: the budget's own, a leaf, held for
arithmetic only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

VENUE_LIMIT_PER_MINUTE: Final = 6_000
"""Binance Spot, exchangeInfo `rateLimits` REQUEST_WEIGHT; Binance.US says 1,200 (set from its answer)."""
OUR_SHARE: Final = 0.5
TOTAL_SHARE: Final = 0.9
"""With what other programs behind our address spend: they must not be able to silence us below the venue's limit."""
WINDOW_S: Final = 60.0


class WeightBudget:
    """Admit requests while ours stay under our share of the limit, and this address under its total share."""

    def __init__(self, monotonic: Callable[[], float], limit_per_minute: int = VENUE_LIMIT_PER_MINUTE) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._limit = limit_per_minute
        self._spent: deque[tuple[float, int]] = deque()  # bounded: weights are >= 1, so never longer than the limit
        self._spent_sum = 0
        self._foreign = 0
        self._foreign_until = 0.0
        self._closed_until = 0.0

    def set_limit(self, venue_limit_per_minute: int) -> None:
        """Take the venue's own figure for its limit (exchangeInfo); our share of it holds from now on."""
        with self._lock:
            self._limit = venue_limit_per_minute

    def take(self, weight: int) -> float:
        """Spend `weight` and return 0.0, or spend nothing and return the seconds to wait before asking again."""
        with self._lock:
            now = self._monotonic()
            if now < self._closed_until:
                return self._closed_until - now
            self._forget(now)
            foreign = self._foreign if now < self._foreign_until else 0
            ours = self._spent_sum + weight
            if ours <= self._limit * OUR_SHARE and ours + foreign <= self._limit * TOTAL_SHARE:
                self._spent.append((now, weight))
                self._spent_sum += weight
                return 0.0
            waits = [self._spent[0][0] + WINDOW_S - now] if self._spent else []
            if foreign:
                waits.append(self._foreign_until - now)
            return max(0.05, min(waits, default=WINDOW_S))

    def report(self, used: int, rest_of_minute_s: float) -> None:
        """Correct our count by the venue's (`X-MBX-USED-WEIGHT-1M`): what is more than ours was spent by others here.

        The venue's window is the clock minute, so its figure is forgotten `rest_of_minute_s` from now.
        """
        with self._lock:
            now = self._monotonic()
            self._forget(now)
            self._foreign = max(0, used - self._spent_sum)
            self._foreign_until = now + rest_of_minute_s

    def close_for(self, wait_s: float) -> None:
        """Admit nobody for `wait_s` seconds (429 or 418 with Retry-After)."""
        with self._lock:
            self._closed_until = max(self._closed_until, self._monotonic() + wait_s)

    @property
    def crowded(self) -> bool:
        """True when half of our share is spent: what can wait should, so that what cannot still may."""
        with self._lock:
            self._forget(self._monotonic())
            return self._spent_sum > self._limit * OUR_SHARE / 2

    @property
    def used(self) -> int:
        """Weight spent in the last minute: ours, and what the venue says others added."""
        with self._lock:
            now = self._monotonic()
            self._forget(now)
            return self._spent_sum + (self._foreign if now < self._foreign_until else 0)

    def _forget(self, now: float) -> None:
        spent = self._spent
        while spent and spent[0][0] <= now - WINDOW_S:
            self._spent_sum -= spent.popleft()[1]
