"""Every live stream, written by one thread.

A stream's socket leaves the thread that accepted the request and comes here; from then on only `Broadcaster.run`
touches it. Messages are encoded once, whoever listens; writes never block. A reader that lags gets only the newest
value of each market key, and is disconnected when it is `MAX_BEHIND_BYTES` behind: it resumes by `Last-Event-ID`, so
nothing about an account is ever skipped in silence.

This module knows sockets and framing, not what is said: a `Source` (`api/stream.py`) makes the messages, on this
thread, so feed threads and callers do no work for readers. A leaf: it imports nothing of ours. `Broadcaster._lock`
guards the inbox and the count of streams, is held for an append, and nothing is called under it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

MAX_STREAMS = 2_000
"""Streams at once; more are refused. Each costs a file descriptor and at most `MAX_BEHIND_BYTES` of memory."""

MAX_BEHIND_BYTES = 256 * 1024
"""A reader that owes us more than this is disconnected."""

SEND_BUFFER_BYTES = 128 * 1024
"""Kernel buffer of a stream: without a bound the kernel keeps megabytes of old prices for a stuck reader."""

TICK_S = 0.1
"""How often the source is asked for news: the fastest topic goes out ten times a second."""

COMMENT_S = 15.0
"""A comment line keeps proxies from closing a quiet stream."""

GOODBYE_S = 0.5
"""How long the last bytes may take when the server stops."""

KEPT_COMMITS = 1_000
"""Commits kept for a stream that is being opened while they happen, and for quick resumes."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close by a reset."""

_log = logging.getLogger(__name__)


class Commit(Protocol):
    """What was committed; the source knows the rest."""

    @property
    def seq(self) -> int:
        """Journal sequence of its last event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One encoded event for everybody who listens to `topic`.

    `key` names the value it carries: a lagging reader gets only the newest message of each key. Without a key the
    message is never left out. `parts` are the (key, frame) pairs it is made of, for readers that lag. `closes` ends the
    stream.
    """

    topic: str
    frame: bytes
    key: str | None = None
    parts: tuple[tuple[str, bytes], ...] = ()
    closes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a stream asked for: its topics, the journal sequence it has seen, and the frames that open it."""

    topics: frozenset[str]
    after_seq: int
    opening: bytes


class Source(Protocol):
    """Makes the messages. Called by the broadcaster's thread only."""

    def welcome(self, subscription: Subscription) -> Iterable[bytes]:
        """Frames with the current state of everything the new stream listens to."""

    def tick(self, now_ns: int, topics: AbstractSet[str]) -> Sequence[Message]:
        """News since the last call, for the topics somebody listens to. `now_ns` is monotonic."""

    def committed(self, commit: Commit, topics: AbstractSet[str]) -> Sequence[Message]:
        """What a commit changed for the topics somebody listens to."""


class Released(Protocol):
    """Told once for each stream that ends."""

    def __call__(self, *, dropped: bool) -> None:
        """`dropped`: it was too far behind."""


class TooManyStreams(Exception):
    """The server already writes `MAX_STREAMS` streams, or is stopping."""


def frame(event: str, body: bytes, event_id: int | None = None) -> bytes:
    """Encode one server-sent event; `body` is JSON without line breaks."""
    identity = b"" if event_id is None else b"id: %d\n" % event_id
    return b"event: %b\n%bdata: %b\n\n" % (event.encode(), identity, body)


COMMENT = b":\n\n"
RESET = frame("reset", b"{}")
GOODBYE = frame("goodbye", b"{}")


@dataclass(slots=True, eq=False)
class _Client:
    """One stream. `unsent` is what the socket has not taken; `newest` what waits behind it, by key.

    `behind` counts the bytes of news since the socket last took everything; `watching` the selector's events for it
    (0: the writer does not have it).
    """

    sock: socket.socket
    subscription: Subscription
    head: bytes
    unsent: deque[bytes] = field(default_factory=deque)
    newest: dict[str, bytes] = field(default_factory=dict)
    behind: int = 0
    watching: int = 0


class Broadcaster:
    """The way to the streams: `run` is their thread, everything else may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inbox: deque[Commit | _Client] = deque()
        self._streams = 0
        self._closing = False
        self._wake_fd = -1
        self._source: Source | None = None
        self.dropped = 0
        """Readers disconnected because they were too far behind."""

    def attach(self, source: Source) -> None:
        """Say who makes the messages; before the first stream."""
        self._source = source

    @property
    def streams(self) -> int:
        """Streams open now."""
        return self._streams

    def publish(self, commit: Commit) -> None:
        """Announce a commit; called by the journal's thread in commit order, costs an append."""
        with self._lock:
            self._inbox.append(commit)
        if self._streams:
            self._wake()

    def adopt(self, sock: socket.socket, head: bytes, subscription: Subscription) -> None:
        """Take a connected socket over and write `head`, the opening frames and then all news to it.

        Raises:
            TooManyStreams: the socket stays the caller's.
        """
        with self._lock:
            if self._closing or self._source is None or self._streams >= MAX_STREAMS:
                raise TooManyStreams
            self._streams += 1
            self._inbox.append(_Client(sock=sock, subscription=subscription, head=head))
        self._wake()

    def goodbye(self) -> None:
        """Say goodbye to every stream and take no more; may be called from a signal handler."""
        self._closing = True
        self._wake()

    def run(self, stop: threading.Event) -> None:
        """Write streams until `stop` is set or `goodbye` is called, then close them all."""
        read_fd, self._wake_fd = os.pipe()
        os.set_blocking(read_fd, False)
        os.set_blocking(self._wake_fd, False)
        writer = _Writer(self._source, read_fd, self._released)
        try:
            while not (stop.is_set() or self._closing):
                writer.step(self._take_inbox())
            writer.say_goodbye(self._take_inbox())
        finally:
            with self._lock:
                self._closing = True
                write_fd, self._wake_fd = self._wake_fd, -1
            writer.close(self._take_inbox())
            os.close(read_fd)
            os.close(write_fd)

    def _wake(self) -> None:
        # Full: it is awake anyway. No descriptor: it has not started or has ended.
        with contextlib.suppress(OSError):
            os.write(self._wake_fd, b"\0")

    def _take_inbox(self) -> list[Commit | _Client]:
        with self._lock:
            items = list(self._inbox)
            self._inbox.clear()
        return items

    def _released(self, *, dropped: bool) -> None:
        with self._lock:
            self._streams -= 1
            self.dropped += dropped


class _Writer:
    """The sockets and what each still has to get; belongs to the broadcaster's thread alone."""

    def __init__(self, source: Source | None, wake_fd: int, released: Released) -> None:
        self._source = source
        self._wake_fd = wake_fd
        self._released = released
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_fd, selectors.EVENT_READ)
        self._groups: dict[frozenset[str], set[_Client]] = {}
        self._commits: deque[Commit] = deque(maxlen=KEPT_COMMITS)
        self._forgotten_seq = 0
        self._next_tick = time.monotonic()
        self._next_comment = self._next_tick + COMMENT_S

    def step(self, inbox: Sequence[Commit | _Client]) -> None:
        """Deal with what came in, then with what is due, then wait for sockets until the next tick."""
        self._take(inbox)
        now = time.monotonic()
        if now >= self._next_tick:
            self._next_tick = max(self._next_tick + TICK_S, now)
            self._publish(self._news(lambda source, topics: source.tick(time.monotonic_ns(), topics)))
        if now >= self._next_comment:
            self._next_comment = now + COMMENT_S
            self._send_to_all(Message(topic="", frame=COMMENT, key="comment"))
        self._select(max(0.0, self._next_tick - time.monotonic()))

    def say_goodbye(self, inbox: Sequence[Commit | _Client]) -> None:
        """Tell every stream that we stop; readers that cannot take it within `GOODBYE_S` are cut."""
        self._take(inbox)
        self._send_to_all(Message(topic="", frame=GOODBYE))
        deadline = time.monotonic() + GOODBYE_S
        while any(client.unsent for client in self._clients()) and (remaining := deadline - time.monotonic()) > 0:
            self._select(remaining)

    def close(self, inbox: Sequence[Commit | _Client]) -> None:
        """Close every stream, those that were not yet opened too."""
        for client in self._clients():
            self._drop(client)
        for item in inbox:
            if isinstance(item, _Client):
                self._release(item)
        self._selector.close()

    def _select(self, timeout_s: float) -> None:
        for key, events in self._selector.select(timeout_s):
            client = key.data
            if client is None:
                os.read(self._wake_fd, 4096)
            elif events & selectors.EVENT_READ and not _is_there(client.sock):
                self._drop(client)
            elif events & selectors.EVENT_WRITE:
                self._flush(client)

    def _take(self, inbox: Sequence[Commit | _Client]) -> None:
        news: list[Message] = []
        for item in inbox:
            if isinstance(item, _Client):
                self._publish(news)
                news = []
                self._welcome(item)
            else:
                if len(self._commits) == KEPT_COMMITS:
                    self._forgotten_seq = self._commits[0].seq
                self._commits.append(item)
                news += self._news_of(item)
        self._publish(news)

    def _news(self, ask: Callable[[Source, AbstractSet[str]], Sequence[Message]]) -> Sequence[Message]:
        topics = frozenset().union(*self._groups)
        if self._source is None or not topics:
            return ()
        try:
            return ask(self._source, topics)
        except Exception:  # noqa: BLE001 - one bad message must not end every stream
            _log.exception("no news for the streams this time")
            return ()

    def _news_of(self, commit: Commit) -> Sequence[Message]:
        """What to say about a commit. If that cannot be found out, all streams end, and resume by themselves."""
        topics = frozenset().union(*self._groups)
        if self._source is None or not topics:
            return ()
        try:
            return self._source.committed(commit, topics)
        except Exception:  # noqa: BLE001 - the streams end and resume; the thread goes on
            _log.exception("the streams could not be told of commit %d and must resume", commit.seq)
            for client in self._clients():
                self._drop(client)
            return ()

    def _welcome(self, client: _Client) -> None:
        subscription = client.subscription
        try:
            client.sock.settimeout(0)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            octets = client.head + b"".join(self._opening(subscription))
            self._selector.register(client.sock, selectors.EVENT_READ, client)
        except Exception:  # noqa: BLE001 - that stream ends; the thread goes on
            _log.exception("a stream could not be opened")
            self._release(client)
            return
        client.watching = selectors.EVENT_READ
        self._groups.setdefault(subscription.topics, set()).add(client)
        self._write(client, octets)

    def _opening(self, subscription: Subscription) -> Iterator[bytes]:
        yield subscription.opening
        if subscription.after_seq < self._forgotten_seq:
            yield RESET
        if self._source is None:
            return
        for commit in self._commits:
            if commit.seq > subscription.after_seq:
                for message in self._source.committed(commit, subscription.topics):
                    yield message.frame
        yield from self._source.welcome(subscription)

    def _clients(self) -> list[_Client]:
        return [client for group in self._groups.values() for client in group]

    def _send_to_all(self, message: Message) -> None:
        for topics in list(self._groups):
            self._send(topics, [message])

    def _publish(self, messages: Sequence[Message]) -> None:
        if messages:
            for topics in list(self._groups):
                self._send(topics, [message for message in messages if message.topic in topics])

    def _send(self, topics: frozenset[str], messages: Sequence[Message]) -> None:
        """Write messages to all streams that listen to exactly `topics`: joined once, one write each."""
        if not messages:
            return
        joined = b"".join([message.frame for message in messages])
        closes = any(message.closes for message in messages)
        for client in list(self._groups.get(topics, ())):
            if client.unsent:
                self._queue(client, messages)
            else:
                self._write(client, joined)
            if closes:
                self._drop(client)

    def _queue(self, client: _Client, messages: Sequence[Message]) -> None:
        for message in messages:
            client.behind += len(message.frame)
            if message.parts:
                client.newest.update(message.parts)
            elif message.key is not None:
                client.newest[message.key] = message.frame
            else:
                client.unsent.append(message.frame)
        if client.behind > MAX_BEHIND_BYTES:
            self._drop(client, too_slow=True)

    def _flush(self, client: _Client) -> None:
        """Write what waited: first what may not be left out, then the newest of each key."""
        waiting = b"".join([*client.unsent, *client.newest.values()])
        client.unsent.clear()
        client.newest.clear()
        self._write(client, waiting)
        if client.watching and not client.unsent:
            client.behind = 0
            self._watch(client, selectors.EVENT_READ)

    def _write(self, client: _Client, octets: bytes) -> None:
        try:
            sent = client.sock.send(octets)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(client)
            return
        if sent < len(octets):
            client.unsent.append(octets[sent:])
            self._watch(client, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _watch(self, client: _Client, events: int) -> None:
        if client.watching != events:
            client.watching = events
            self._selector.modify(client.sock, events, client)

    def _drop(self, client: _Client, *, too_slow: bool = False) -> None:
        if not client.watching:
            return
        client.watching = 0
        self._selector.unregister(client.sock)
        group = self._groups[client.subscription.topics]
        group.discard(client)
        if not group:
            del self._groups[client.subscription.topics]
        self._release(client, too_slow=too_slow)

    def _release(self, client: _Client, *, too_slow: bool = False) -> None:
        with contextlib.suppress(OSError):
            if too_slow:  # a reset, so that the kernel does not keep offering what nobody reads
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:
                client.sock.shutdown(socket.SHUT_RDWR)
        client.sock.close()
        self._released(dropped=too_slow)


def _is_there(sock: socket.socket) -> bool:
    """Throw away what a reader sends; False once it has hung up."""
    try:
        return bool(sock.recv(4096))
    except BlockingIOError:
        return True
    except OSError:
        return False
