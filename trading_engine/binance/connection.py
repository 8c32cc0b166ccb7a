"""One WebSocket connection to a venue, from the handshake to its end, driven by the one thread that owns it.

`open_socket` blocks and belongs off the receive thread; `Connection` never blocks: it reads what is there, writes
what fits, and says when it has been silent for too long. It knows stream names, not what the messages mean. No lock:
one owner.

Why not the library's own loop (measured with websocket-client 1.9.2): a frame cut in the middle followed by silence
keeps its `recv` waiting, its ping timeout never fires then, and `close()` from another thread blocks as well.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import websocket

from trading_engine.binance import frames
from trading_engine.binance.rest import RegionRefused, VenueUnavailable, network_reason, proxy_of

HANDSHAKE_TIMEOUT_S: Final = 10.0
PING_EVERY_S: Final = 10.0
PING_WHEN_SILENT_S: Final = 2.5
"""A connection of quiet symbols is silent for seconds; a ping then earns a pong, so that real silence stands out."""
SILENCE_LIMIT_S: Final = 5.0
"""Nothing received, not even a pong, for this long: the connection is dead."""
CUT_FRAME_LIMIT_S: Final = 5.0
"""A message may take this long from its first byte to its last."""
ANSWER_LIMIT_S: Final = 10.0
"""A SUBSCRIBE is answered within this time."""

NAMES_PER_MESSAGE: Final = 200
MESSAGES_PER_SECOND: Final = 5
"""Binance, WebSocket Streams, General information: 5 incoming messages a second, pings and pongs counted."""
STREAMS_PER_CONNECTION: Final = 1024

_PACED_PER_SECOND: Final = MESSAGES_PER_SECOND - 1  # the fifth is kept for a pong
_READ_BYTES: Final = 1 << 16
_READS_A_TURN: Final = 16
"""One busy connection gives way to the others, and to the clock, after this many reads (at most 1 MB)."""
_CONTENT: Final = frozenset({frames.TEXT, frames.BINARY})
_UNSENT_LIMIT_BYTES: Final = 1 << 18


class ConnectionLost(Exception):
    """The connection is of no use any more; the text is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient a connection is, in seconds; tests use smaller ones."""

    handshake_s: float = HANDSHAKE_TIMEOUT_S
    ping_every_s: float = PING_EVERY_S
    ping_when_silent_s: float = PING_WHEN_SILENT_S
    silence_s: float = SILENCE_LIMIT_S
    cut_frame_s: float = CUT_FRAME_LIMIT_S
    answer_s: float = ANSWER_LIMIT_S


class Dial:
    """One attempt to open a connection: `open()` blocks in one thread, `abandon()` ends it from another."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._socket: Any = websocket.WebSocket(skip_utf8_validation=True)  # its methods carry no types
        self._abandoned = False

    def open(self) -> socket.socket:
        """Connect, shake hands, and return the socket; raise VenueUnavailable or RegionRefused with the reason."""
        options: dict[str, object] = {"timeout": self._timeout_s, "http_no_proxy": ["*"]}
        proxy = proxy_of(self.url)
        if proxy:
            parts = urlsplit(proxy)
            options = {
                "timeout": self._timeout_s,
                "http_proxy_host": parts.hostname,
                "http_proxy_port": parts.port or 80,
                "proxy_type": parts.scheme or "http",
            }
            if parts.username:
                options["http_proxy_auth"] = (unquote(parts.username), unquote(parts.password or ""))
        try:
            self._socket.connect(self.url, suppress_origin=True, **options)
        except websocket.WebSocketBadStatusException as error:
            if error.status_code in (451, 403):
                raise RegionRefused(f"{error.status_code} region refused") from error
            raise VenueUnavailable(f"HTTP {error.status_code} to the WebSocket handshake") from error
        except websocket.WebSocketTimeoutException as error:
            raise VenueUnavailable("timeout") from error
        except (websocket.WebSocketException, OSError, ValueError) as error:
            raise VenueUnavailable(network_reason(error)) from error
        sock: socket.socket = self._socket.sock
        if self._abandoned:
            sock.close()
            raise VenueUnavailable("timeout")
        sock.settimeout(0)
        return sock

    def abandon(self) -> None:
        """Wake `open()` out of a handshake that drags on; a connect in progress ends by its own timeout."""
        self._abandoned = True
        sock = self._socket.sock
        if sock is not None:
            wake(sock)


def open_socket(url: str, *, timeout_s: float = HANDSHAKE_TIMEOUT_S) -> socket.socket:
    """Open a WebSocket and return its non-blocking socket, past the handshake; raise VenueError with the reason."""
    return Dial(url, timeout_s=timeout_s).open()


def wake(sock: socket.socket) -> None:
    """End whatever blocks on `sock`, from any thread: shutdown does at once what close() would wait for."""
    with contextlib.suppress(OSError):
        # SSLSocket.shutdown drops the TLS layer under the reader's feet; the plain socket's leaves it an ordinary EOF.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Connection:
    """An open connection: frames in, subscriptions out, and its age, silence and manners.

    Times are seconds on the monotonic clock. `streams` are the names asked for; `acknowledged` those the venue
    confirmed.
    """

    def __init__(self, sock: socket.socket, *, number: int, monotonic: Callable[[], float], limits: Limits) -> None:
        self.number = number
        self.sock = sock
        self.streams: set[str] = set()
        self.acknowledged: set[str] = set()
        self._monotonic = monotonic
        self._limits = limits
        self._reader = frames.FrameReader()
        self._unsent = bytearray()
        # Questions not sent yet, as method and names; bounded by STREAMS_PER_CONNECTION names subscribed at a time.
        self._to_ask: deque[tuple[str, tuple[str, ...]]] = deque()
        self._asked: dict[int, tuple[str, tuple[str, ...], float]] = {}
        self._next_question = 1
        self._sent_at: deque[float] = deque(maxlen=MESSAGES_PER_SECOND)
        self._pong_due: bytes | None = None
        self._ended: ConnectionLost | None = None
        now = monotonic()
        self.opened_at = now
        self.received_at = now
        self.message_since: float | None = None
        self._pinged_at = now

    @property
    def wants_write(self) -> bool:
        """True while bytes wait for room in the socket's buffer."""
        return bool(self._unsent)

    def subscribe(self, names: Iterable[str]) -> None:
        """Ask for streams, in batches and at the permitted pace; raise ValueError beyond the connection's limit."""
        self._ask("SUBSCRIBE", [name for name in names if name not in self.streams])
        if len(self.streams) > STREAMS_PER_CONNECTION:
            raise ValueError(f"more than {STREAMS_PER_CONNECTION} streams on one connection")

    def unsubscribe(self, names: Iterable[str]) -> None:
        """Give streams up."""
        self._ask("UNSUBSCRIBE", [name for name in names if name in self.streams])

    def _ask(self, method: str, names: list[str]) -> None:
        if method == "SUBSCRIBE":
            self.streams.update(names)
        else:
            self.streams.difference_update(names)
            self.acknowledged.difference_update(names)
        for start in range(0, len(names), NAMES_PER_MESSAGE):
            self._to_ask.append((method, tuple(names[start : start + NAMES_PER_MESSAGE])))

    def receive(self) -> tuple[list[frames.Frame], bool]:
        """Return the data messages that have come, and whether more may wait unread (then do not wait for the socket).

        Answers pings by itself. Raise ConnectionLost on close, reset or bytes that are no WebSocket frames, once the
        messages before it have been returned.
        """
        messages: list[frames.Frame] = []
        if self._ended is not None:
            raise self._ended
        try:
            for _ in range(_READS_A_TURN):
                if not self._read(messages):
                    return messages, False
        except ConnectionLost as lost:
            self._ended = lost
            if not messages:
                raise
        return messages, True

    def _read(self, messages: list[frames.Frame]) -> bool:
        """Read once; return False when the socket has nothing more for now."""
        try:
            chunk = self.sock.recv(_READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise ConnectionLost(network_reason(error)) from error
        if not chunk:
            raise ConnectionLost("closed by the venue without a close frame (1006)")
        self.received_at = self._monotonic()
        try:
            arrived = self._reader.feed(chunk)
        except frames.FrameError as error:
            raise ConnectionLost(f"illegal frame: {error}") from error
        self._note_cut(completed=bool(arrived))
        for frame in arrived:
            opcode, payload = frame
            if opcode in _CONTENT:
                messages.append(frame)
            elif opcode == frames.PING:
                self._pong_due = payload  # only the latest needs an answer (RFC 6455, 5.5.3)
            elif opcode == frames.CLOSE:
                raise ConnectionLost(f"closed by the venue: {frames.close_reason(payload)}")
        # A short read has emptied the socket, or ended at a TLS record: what follows is still in the kernel, where the
        # selector sees it, because a record (16 kB at most) is always read whole.
        return len(chunk) == _READ_BYTES

    def _note_cut(self, *, completed: bool) -> None:
        """Remember since when a message has been incomplete."""
        if not self._reader.mid_message:
            self.message_since = None
        elif completed or self.message_since is None:
            self.message_since = self.received_at

    def answer(self, question: int, error: str | None) -> tuple[str, tuple[str, ...]]:
        """Take the venue's answer to our question; return its method and names. ConnectionLost: it was refused."""
        if question not in self._asked:
            raise ConnectionLost(f"an answer to question {question}, which was never asked: {error}")
        method, names, _ = self._asked.pop(question)
        if error is not None:
            raise ConnectionLost(f"{method} refused: {error}")
        if method == "SUBSCRIBE":
            self.acknowledged.update(name for name in names if name in self.streams)
        return method, names

    def tick(self) -> None:
        """Send what is due and may be sent; raise ConnectionLost when a limit of patience is passed."""
        now = self._monotonic()
        limits = self._limits
        if now - self.received_at >= limits.silence_s:
            raise ConnectionLost(f"silent for {limits.silence_s:g} s")
        if self.message_since is not None and now - self.message_since >= limits.cut_frame_s:
            raise ConnectionLost(f"a message is unfinished after {limits.cut_frame_s:g} s")
        for method, names, asked_at in self._asked.values():
            if now - asked_at >= limits.answer_s:
                raise ConnectionLost(f"no answer to {method} of {len(names)} streams in {limits.answer_s:g} s")
        if self._pong_due is not None and self._sent_within(1.0, now) < MESSAGES_PER_SECOND:
            self._send(frames.PONG, self._pong_due, now)
            self._pong_due = None
        silent_s = now - self.received_at
        unpinged_s = now - self._pinged_at
        if unpinged_s >= limits.ping_every_s or min(silent_s, unpinged_s) >= limits.ping_when_silent_s:
            self._send(frames.PING, b"", now)
            self._pinged_at = now
        while self._to_ask and self._sent_within(1.0, now) < _PACED_PER_SECOND:
            method, names = self._to_ask.popleft()
            question, self._next_question = self._next_question, self._next_question + 1
            self._asked[question] = (method, names, now)
            body = {"method": method, "params": list(names), "id": question}
            self._send(frames.TEXT, json.dumps(body, separators=(",", ":")).encode(), now)

    def _sent_within(self, span_s: float, now: float) -> int:
        return sum(1 for at in self._sent_at if now - at < span_s)

    def _send(self, opcode: int, payload: bytes, now: float) -> None:
        self._sent_at.append(now)
        self._unsent += frames.encode(opcode, payload)
        self.flush()

    def flush(self) -> None:
        """Write as much as the socket takes; raise ConnectionLost if it is gone, or too much waits for it."""
        try:
            while self._unsent:
                del self._unsent[: self.sock.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if len(self._unsent) > _UNSENT_LIMIT_BYTES:
                raise ConnectionLost("the venue reads nothing of what we send") from None
        except OSError as error:
            raise ConnectionLost(network_reason(error)) from error

    def close(self) -> None:
        """Drop the connection at once; only for the owning thread. The kernel tells the venue."""
        wake(self.sock)
        self.sock.close()
