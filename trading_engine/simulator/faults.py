"""The switches that break things on purpose: what they are set to, and what they do to a message or a request.

Pure but for the monotonic clock handed in (`seconds`). The control endpoint sets them, the server asks them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BAN_S = 120  # the shortest ban the venue gives

_BODIES = {
    418: '{"code":-1003,"msg":"Way too much request weight used; IP banned until {until}. Please use WebSocket Streams '
    'for live updates to avoid bans."}',
    429: '{"code":-1003,"msg":"Too much request weight used; current limit is 6000 request weight per 1 MINUTE. Please '
    'use WebSocket Streams for live updates to avoid polling the API."}',
    451: '{"code":0,"msg":"Service unavailable from a restricted location according to \'b. Eligibility\' in '
    "https://www.binance.com/en/terms. Please contact customer service if you believe you received this message in "
    'error."}',
}


@dataclass(slots=True, kw_only=True)
class StatusRule:
    """Requests on a path that get an HTTP status instead of an answer.

    Attributes:
        path: exact path, or a prefix ending in `*`.
        left: how many requests it still applies to, None without end.
        until: monotonic second it ends at, None without end.
        retry_after: seconds of the Retry-After header, None for no header.
        body: what to send, None for the venue's usual text for that status.
    """

    path: str
    status: int
    left: int | None
    until: float | None
    retry_after: int | None
    body: str | None

    def matches(self, path: str) -> bool:
        """Whether the rule is meant for `path`."""
        return path.startswith(self.path[:-1]) if self.path.endswith("*") else path == self.path

    def text(self, now_ms: int) -> str:
        """Body of the answer."""
        if self.body is not None:
            return self.body
        usual = '{"code":-1000,"msg":"An unknown error occurred while processing the request."}'
        until_ms = now_ms + 1_000 * (BAN_S if self.retry_after is None else self.retry_after)
        return _BODIES.get(self.status, usual).replace("{until}", str(until_ms))


@dataclass(slots=True, kw_only=True)
class DiffFaults:
    """What still has to go wrong with the depth diffs of one symbol."""

    drop: int = 0
    duplicate: int = 0
    swap: int = 0
    held: list[tuple[str, str]] = field(default_factory=list)


class Faults:
    """All switches. Everything is off at first, and again after `clear`."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self.clear()

    def clear(self) -> None:
        """Switch everything off."""
        self.diffs: dict[str, DiffFaults] = {}
        self.lost_trades: dict[str, int] = {}  # symbol to how many are still to be lost
        self.trade_delays: dict[str, float] = {}  # symbol to seconds
        self.late: deque[tuple[float, str, str]] = deque()  # trades held back: second they are due, stream, text
        self.muted: dict[str, float | None] = {}  # symbol, or "*", to the second it ends at
        self.statuses: list[StatusRule] = []
        self.hang_left: int | None = 0  # handshakes not to answer, None = all
        self.hang_until: float | None = None
        self.reset_until = 0.0
        self.refuse_until = 0.0

    # -- messages ------------------------------------------------------------------------------------------------------

    def diffs_of(self, symbol: str) -> DiffFaults:
        """The diff switches of one symbol."""
        return self.diffs.setdefault(symbol, DiffFaults())

    def is_muted(self, symbol: str) -> bool:
        """Whether nothing is sent for `symbol` ("*" asks for the streams of all)."""
        return any(name in self.muted and self._running(self.muted[name], self.muted, name) for name in ("*", symbol))

    def pass_diff(self, symbol: str, stream: str, message: str) -> list[tuple[str, str]]:
        """What to send in the place of this depth diff: nothing, it, it twice, or it after the next one."""
        faults = self.diffs.get(symbol)
        if faults is None:
            return [(stream, message)]
        if faults.drop:
            faults.drop -= 1
            return []
        if faults.swap and not any(stream == held for held, _ in faults.held):
            faults.swap -= 1
            faults.held.append((stream, message))
            return []
        late = [kept for kept in faults.held if kept[0] == stream]
        faults.held = [kept for kept in faults.held if kept[0] != stream]
        if faults.duplicate:
            faults.duplicate -= 1
            return [(stream, message), (stream, message), *late]
        return [(stream, message), *late]

    def lose_trade(self, symbol: str) -> bool:
        """Whether this trade of `symbol` is lost; counts it."""
        left = self.lost_trades.get(symbol, 0)
        if not left:
            return False
        self.lost_trades[symbol] = left - 1
        return True

    def hold_back(self, symbol: str, stream: str, message: str) -> bool:
        """Keep a trade for later when trades of `symbol` are late."""
        delay_s = self.trade_delays.get(symbol)
        if delay_s is None:
            return False
        self.late.append((self._seconds() + delay_s, stream, message))
        return True

    def due(self) -> list[tuple[str, str]]:
        """The trades whose time has come, in order."""
        now, rows = self._seconds(), []
        while self.late and self.late[0][0] <= now:
            rows.append(self.late.popleft()[1:])
        return rows

    # -- requests ------------------------------------------------------------------------------------------------------

    def status_for(self, path: str) -> StatusRule | None:
        """The rule that answers this request, counted; None when it is to be answered normally."""
        now = self._seconds()
        self.statuses = [rule for rule in self.statuses if rule.until is None or rule.until > now]
        for rule in self.statuses:
            if rule.matches(path):
                if rule.left is not None:
                    rule.left -= 1
                    if not rule.left:
                        self.statuses.remove(rule)
                return rule
        return None

    def hangs(self) -> bool:
        """Whether this handshake stays unanswered; counts it."""
        if self.hang_until is not None and self.hang_until <= self._seconds():
            self.hang_left, self.hang_until = 0, None
        if self.hang_left is None:
            return True
        if self.hang_left:
            self.hang_left -= 1
            return True
        return False

    def resets(self) -> bool:
        """Whether a new connection is cut at once."""
        return self._seconds() < self.reset_until

    def refuses(self) -> bool:
        """Whether nobody may connect at all."""
        return self._seconds() < self.refuse_until

    def describe(self) -> dict[str, Any]:
        """What is switched on, for GET /control/faults."""
        now = self._seconds()
        return {
            "diffs": {
                name: {"drop": row.drop, "duplicate": row.duplicate, "swap": row.swap}
                for name, row in self.diffs.items()
                if row.drop or row.duplicate or row.swap or row.held
            },
            "lost_trades": {name: left for name, left in self.lost_trades.items() if left},
            "trade_delays_s": dict(self.trade_delays),
            "muted": sorted(name for name in list(self.muted) if self.is_muted(name)),
            "statuses": [{"path": rule.path, "status": rule.status, "left": rule.left} for rule in self.statuses],
            "hanging_handshakes": self.hang_left if self.hang_left is not None else "all",
            "resets_for_s": max(0.0, self.reset_until - now),
            "refuses_for_s": max(0.0, self.refuse_until - now),
        }

    def _running(self, until: float | None, table: dict[str, float | None], name: str) -> bool:
        if until is not None and until <= self._seconds():
            del table[name]
            return False
        return True
