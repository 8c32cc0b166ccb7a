"""How long to wait before trying again: exponential with full jitter, and a limit on attempts in any five minutes.

Pure: no clock, no sleep, no randomness of its own (both are handed in). One owner; no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 30.0
REGION_S: Final = 300.0
"""Between attempts at a venue that has refused our region for longer than a minute: it will hardly change its mind."""
PROMPT_FOR_S: Final = 60.0
"""An outage of up to this length is asked about often, a longer one at leisure."""

ATTEMPTS: Final = 40
ATTEMPTS_WINDOW_S: Final = 300.0
"""Binance closes the door on an address after 300 connections in 5 minutes; one feed uses at most 40 of them."""


class Backoff:
    """Delays between attempts: `jitter` (0...1) times a ceiling that doubles from `first_s` to `longest_s`.

    In the first minute of failing the ceiling stays within `prompt_s`.
    """

    def __init__(
        self,
        *,
        jitter: Callable[[], float],
        first_s: float = FIRST_S,
        longest_s: float = LONGEST_S,
        prompt_s: float = LONGEST_S,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._jitter = jitter
        self._first_s = first_s
        self._longest_s = longest_s
        self._prompt_s = prompt_s
        self._allowed = attempts
        self._ceiling_s = first_s
        self._failing_since: float | None = None
        self._attempts: deque[float] = deque(maxlen=attempts)

    def attempt(self, now: float) -> None:
        """Note that an attempt begins."""
        self._attempts.append(now)

    def failed(self, now: float, *, region_refused: bool = False) -> float:
        """Note a failure and return the seconds to wait before the next attempt."""
        if self._failing_since is None:
            self._failing_since = now
        prompt = now - self._failing_since < PROMPT_FOR_S
        delay_s = self._jitter() * (min(self._ceiling_s, self._prompt_s) if prompt else self._ceiling_s)
        self._ceiling_s = min(self._longest_s, self._ceiling_s * 2)
        if region_refused and not prompt:
            delay_s = max(delay_s, REGION_S)
        if len(self._attempts) == self._allowed:
            delay_s = max(delay_s, self._attempts[0] + ATTEMPTS_WINDOW_S - now)
        return delay_s

    def succeeded(self) -> None:
        """Start again from the shortest delay; attempts already made still count."""
        self._ceiling_s = self._first_s
        self._failing_since = None
