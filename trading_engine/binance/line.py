"""The connection in use and, during a renewal, the next one: opened, kept, renewed, replaced when it breaks.

Make before break: the next connection is opened, subscribed and delivering before the old one is dropped; each symbol
moves to it when its messages join those of the old one (`follower.py`). Owned by the feed's thread, which never waits
for a connection to open: that is an errand. No lock.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from trading_engine.binance.backoff import Backoff
from trading_engine.binance.connection import Connection, ConnectionLost, Dial, Limits
from trading_engine.binance.errands import Errands, Outcome
from trading_engine.binance.follower import Follower
from trading_engine.binance.rest import RegionRefused
from trading_engine.binance.tally import Tally

DIAL: Final = "dial"
"""Key of the errand that opens a connection."""
RENEW_AFTER_S: Final = 23 * 3600.0
RENEW_JITTER_S: Final = 1800.0
"""Binance cuts every connection after 24 hours; ours are renewed between 22:30 and 23:00, not all at once."""
SETTLE_S: Final = 5.0
"""Both connections deliver for this long at most; then symbols too quiet to prove it are moved as they are."""
HELD_S: Final = 5.0
"""A book in step for this long on a connection ends its backoff."""
RENEWAL_RETRY_S: Final = 1.0

log = structlog.stdlib.get_logger(__name__)


class Line:
    """Connections of one feed to `url`. `followers` is the feed's own table of them, read here, changed there."""

    def __init__(
        self,
        url: str,
        *,
        followers: Mapping[str, Follower],
        errands: Errands,
        tally: Tally,
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
        limits: Limits,
        renew_after_s: float,
        settle_s: float,
    ) -> None:
        self.current: Connection | None = None
        self.heir: Connection | None = None
        self.reason: str | None = "not connected yet"
        self._url = url
        self._followers = followers
        self._errands = errands
        self._tally = tally
        self._monotonic = monotonic
        self._jitter = jitter
        self._limits = limits
        self._renew_after_s = renew_after_s
        self._renew_jitter_s = min(RENEW_JITTER_S, renew_after_s / 10)
        self._settle_s = settle_s
        self._backoff = Backoff(jitter=jitter)
        self._dial: tuple[Dial, int, float] | None = None
        self._dial_at = 0.0
        self._renew_at = float("inf")
        self._heir_settles_at: float | None = None
        self._opened = 0
        self._selector = selectors.DefaultSelector()
        self._unread: set[Connection] = set()

    # Sockets.

    def listen_to(self, wake_up: socket.socket) -> None:
        """Return early from `ready` when `wake_up` can be read."""
        self._selector.register(wake_up, selectors.EVENT_READ)

    def ready(self, timeout_s: float) -> tuple[Connection, ...]:
        """Wait until a connection has something to read, or the wake-up socket, or the time is up."""
        for key, mask in self._selector.select(0 if self._unread else timeout_s):
            connection = key.data
            if isinstance(connection, Connection):
                if mask & selectors.EVENT_WRITE:
                    self._guarded(connection, connection.flush)
                self._unread.add(connection)
        return tuple(self._unread)

    def receive(self, connection: Connection) -> list[tuple[int, bytes]]:
        """Return what has come on a connection; one that is lost brings nothing, and is dropped."""
        if connection not in self._unread:
            return []
        try:
            messages, more = connection.receive()
        except ConnectionLost as lost:
            self.lose(connection, str(lost))
            return []
        if not more:
            self._unread.discard(connection)
        return messages

    def shut(self) -> None:
        """Close everything for good."""
        self.rest("stopped")
        if self._dial is not None:
            self._dial[0].abandon()
        self._selector.close()

    # Symbols.

    def carry(self, follower: Follower) -> None:
        """Subscribe a new symbol on the newest connection, or have it wait for one."""
        connection = self.heir or self.current
        if connection is None:
            follower.detach(self.reason or "not connected")
        else:
            self._attach(follower, connection, "subscribing")

    def release(self, follower: Follower) -> None:
        """Give a symbol's streams up."""
        for connection in (self.current, self.heir):
            if connection is not None:
                connection.unsubscribe(follower.streams)

    def subscribe_again(self, follower: Follower) -> None:
        """Unsubscribe and subscribe a symbol where it is."""
        connection = self.carrier_of(follower)
        if connection is not None:
            connection.unsubscribe(follower.streams)
            connection.subscribe(follower.streams)

    def carrier_of(self, follower: Follower) -> Connection | None:
        """Return the connection a symbol's messages are taken from."""
        for connection in (self.current, self.heir):
            if connection is not None and connection.number == follower.owner:
                return connection
        return None

    def acknowledged(self, connection: Connection) -> list[Follower]:
        """Return the symbols that wait for `connection` and now have all their streams on it."""
        return [
            follower
            for follower in self._followers.values()
            if (follower.heir == connection.number or not follower.acknowledged)
            and connection.acknowledged.issuperset(follower.streams)
        ]

    # The clock.

    def tick(self, now: float) -> None:
        """Do what is due: pings, silence alarms, an attempt to connect, a renewal."""
        for connection in (self.current, self.heir):
            if connection is not None:
                self._guarded(connection, connection.tick)
        if self._dial is not None:
            dial, _, begun_at = self._dial
            if now - begun_at >= self._limits.handshake_s:
                self._dial = None
                dial.abandon()
                self._dial_failed("timeout", region_refused=False)
        elif self.current is None:
            if self._followers and now >= self._dial_at:
                self._open()
        elif not self._followers:
            self.rest("nothing to follow")
        if self.current is not None:
            self._tick_renewal(self.current, now)

    def _tick_renewal(self, current: Connection, now: float) -> None:
        if now - current.opened_at >= HELD_S and any(
            follower.live_since is not None and now - follower.live_since >= HELD_S
            for follower in self._followers.values()
        ):
            self._backoff.succeeded()
        if now >= self._renew_at:
            self.renew("it has lasted long enough")
        heir = self.heir
        if heir is None:
            return
        if self._heir_settles_at is None and heir.acknowledged >= heir.streams:
            self._heir_settles_at = now + self._settle_s
        if self._heir_settles_at is not None and now >= self._heir_settles_at:
            for follower in self._followers.values():
                if follower.heir is not None:
                    follower.settle_heir()
        if all(follower.owner == heir.number for follower in self._followers.values()):
            self.current, self.heir = heir, None
            self._renew_at = self._renewal_of(heir)
            self._tally.renewals += 1
            log.info("connection renewed", connection=heir.number)
            self._close(current)

    # Opening, losing, renewing.

    def renew(self, reason: str) -> None:
        """Open the next connection while this one goes on; nothing when that is being done."""
        if self.heir is None and self._dial is None and self.current is not None:
            log.info("renewing the connection", reason=reason)
            self._renew_at = float("inf")
            self._open()

    def dialled(self, outcome: Outcome) -> None:
        """Take the outcome of an attempt to open a connection."""
        sock = outcome.value
        if self._dial is None or self._dial[1] != outcome.ticket:
            if isinstance(sock, socket.socket):
                sock.close()  # too late: it was given up, another attempt may be under way
            return
        self._dial = None
        if outcome.error is not None:
            self._dial_failed(str(outcome.error), region_refused=isinstance(outcome.error, RegionRefused))
            return
        assert isinstance(sock, socket.socket)
        self._opened += 1
        connection = Connection(sock, number=self._opened, monotonic=self._monotonic, limits=self._limits)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        log.info("connected", url=self._url, connection=connection.number)
        if self.current is None:
            self.current = connection
            self.reason = None
            self._renew_at = self._renewal_of(connection)
            for follower in self._followers.values():
                self._attach(follower, connection, "subscribing")
        else:
            self.heir = connection
            self._heir_settles_at = None
            for follower in self._followers.values():
                follower.expect_heir(connection.number)
                connection.subscribe(follower.streams)
        self._guarded(connection, connection.tick)

    def lose(self, connection: Connection, reason: str) -> None:
        """Drop a connection that is of no use; symbols it carried are out of step from this moment."""
        if connection not in (self.current, self.heir):
            return
        self._close(connection)
        now = self._monotonic()
        self._tally.last_error = reason
        self._tally.reconnects += 1
        log.warning("connection lost", connection=connection.number, reason=reason)
        left = self.heir if connection is self.current else self.current
        self.current, self.heir = left, None
        for follower in self._followers.values():
            if left is not None and follower.owner == left.number:
                follower.drop_heir()
            elif left is not None:
                self._attach(follower, left, reason)
            else:
                follower.detach(reason)
        delay_s = self._backoff.failed(now)
        if left is None:
            self.reason = reason
            self._dial_at = now + delay_s
        else:
            self._renew_at = min(self._renewal_of(left), now + max(delay_s, RENEWAL_RETRY_S))

    def rest(self, reason: str) -> None:
        """Close the connections on purpose."""
        for connection in (self.heir, self.current):
            if connection is not None:
                self._close(connection)
        self.current = self.heir = None
        self.reason = reason
        for follower in self._followers.values():
            follower.detach(reason)

    def _open(self) -> None:
        now = self._monotonic()
        self._backoff.attempt(now)
        dial = Dial(self._url, timeout_s=self._limits.handshake_s)
        self._dial = (dial, self._errands.put(DIAL, dial.open, urgent=True), now)

    def _dial_failed(self, reason: str, *, region_refused: bool) -> None:
        now = self._monotonic()
        delay_s = self._backoff.failed(now, region_refused=region_refused)
        self._tally.last_error = reason
        log.warning("not connected", url=self._url, reason=reason, again_in_s=round(delay_s, 1))
        if self.current is not None:
            self._renew_at = now + max(delay_s, RENEWAL_RETRY_S)
            return
        self._dial_at = now + delay_s
        self.reason = reason
        for follower in self._followers.values():
            follower.detach(reason)

    def _attach(self, follower: Follower, connection: Connection, reason: str) -> None:
        """Begin a symbol anew on a connection."""
        follower.attach(connection.number, reason)
        connection.subscribe(follower.streams)
        if connection.acknowledged.issuperset(follower.streams):
            follower.acknowledge(connection.number)

    def _renewal_of(self, connection: Connection) -> float:
        return connection.opened_at + self._renew_after_s - self._jitter() * self._renew_jitter_s

    def _close(self, connection: Connection) -> None:
        self._unread.discard(connection)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.sock)
        connection.close()

    def _guarded(self, connection: Connection, act: Callable[[], None]) -> None:
        """Let a connection send; drop it if it cannot, else watch for room while bytes wait for it."""
        try:
            act()
        except ConnectionLost as lost:
            self.lose(connection, str(lost))
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_write else 0)
        if self._selector.get_key(connection.sock).events != events:
            self._selector.modify(connection.sock, events, connection)
