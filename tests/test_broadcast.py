"""The streams' one thread: everybody gets everything, laggards get the newest, nobody waits for anybody."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import pytest

from trading_engine import broadcast
from trading_engine.broadcast import Broadcaster, Commit, Message, Subscription, TooManyStreams, frame


@dataclass(frozen=True)
class Stored:
    seq: int


class Script:
    """Says what the test tells it to."""

    def __init__(self) -> None:
        self.next: list[Message] = []
        self.fault: Exception | None = None

    def welcome(self, subscription: Subscription) -> Iterator[bytes]:
        yield frame("welcome", b"%d" % len(subscription.topics))

    def tick(self, now_ns: int, topics: AbstractSet[str]) -> Sequence[Message]:
        said, self.next = self.next, []
        return said

    def committed(self, commit: Commit, topics: AbstractSet[str]) -> Sequence[Message]:
        if self.fault is not None:
            raise self.fault
        return [Message(topic="account", frame=frame("order", b"%d" % commit.seq, commit.seq))]


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def running(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broadcaster]:
    """A broadcaster whose thread runs, at ten times the pace."""
    monkeypatch.setattr(broadcast, "TICK_S", 0.01)
    broadcaster, stop = Broadcaster(), threading.Event()
    broadcaster.attach(script)
    thread = threading.Thread(target=broadcaster.run, args=(stop,), daemon=True)
    thread.start()
    yield broadcaster
    stop.set()
    thread.join(3)
    assert not thread.is_alive()
    assert broadcaster.streams == 0


def subscription(*topics: str, after_seq: int = 0) -> Subscription:
    return Subscription(topics=frozenset(topics or {"market", "account"}), after_seq=after_seq, opening=b"OPEN\n\n")


@contextlib.contextmanager
def stream(broadcaster: Broadcaster, *topics: str, after_seq: int = 0) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    broadcaster.adopt(theirs, b"HEAD\r\n\r\n", subscription(*topics, after_seq=after_seq))
    with ours:
        yield ours


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    octets = b""
    while wanted not in octets:
        more = sock.recv(1 << 20)
        assert more, f"the stream ended after {octets[-200:]!r}"
        octets += more
    return octets


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_stream_opens_with_its_head_its_opening_and_a_welcome(running: Broadcaster) -> None:
    with stream(running) as sock:
        assert read_until(sock, b"data: 2\n\n") == b"HEAD\r\n\r\nOPEN\n\nevent: welcome\ndata: 2\n\n"
        assert running.streams == 1
    wait_for(lambda: running.streams == 0)


def test_everybody_gets_what_they_listen_to_and_nothing_else(running: Broadcaster, script: Script) -> None:
    with stream(running, "a") as one, stream(running, "b") as other:
        read_until(one, b"data: 1\n\n")
        read_until(other, b"data: 1\n\n")
        script.next = [Message(topic="a", frame=b"for a\n\n", key="a"), Message(topic="b", frame=b"for b\n\n", key="b")]
        assert read_until(one, b"\n\n") == b"for a\n\n"
        assert read_until(other, b"\n\n") == b"for b\n\n"


def test_commits_are_told_in_order(running: Broadcaster) -> None:
    with stream(running) as sock:
        read_until(sock, b"data: 2\n\n")
        for seq in range(1, 51):
            running.publish(Stored(seq))
        octets = read_until(sock, b"id: 50\ndata: 50\n\n")
        assert octets == b"".join(frame("order", b"%d" % seq, seq) for seq in range(1, 51))


def test_a_stream_opened_while_commits_happen_misses_none_and_gets_none_twice(running: Broadcaster) -> None:
    for seq in range(1, 11):
        running.publish(Stored(seq))
    with stream(running, after_seq=7) as sock:
        running.publish(Stored(11))
        octets = read_until(sock, b"data: 11\n\n")
    assert [b"data: %d\n" % seq in octets for seq in range(6, 12)] == [False, False, True, True, True, True]
    assert octets.count(b"event: order") == 4


def test_what_was_forgotten_is_announced_by_a_reset(running: Broadcaster, monkeypatch: pytest.MonkeyPatch) -> None:
    for seq in range(1, broadcast.KEPT_COMMITS + 3):
        running.publish(Stored(seq))
    with stream(running, after_seq=1) as sock:
        assert broadcast.RESET in read_until(sock, b"event: welcome")
    with stream(running, after_seq=2) as sock:
        assert broadcast.RESET not in read_until(sock, b"event: welcome")


def test_a_reader_that_lags_gets_only_the_newest_of_each_key(running: Broadcaster, script: Script) -> None:
    with stream(running) as slow, stream(running) as quick:
        read_until(quick, b"data: 2\n\n")
        sent = 0
        filler = b"x" * 50_000 + b"\n\n"
        while sent < 100:  # more than the kernel holds, each under the same key, no more than may wait
            script.next = [Message(topic="market", frame=b"%d " % sent + filler, key="book")]
            read_until(quick, b"%d " % sent + filler)
            sent += 1
            if running.dropped:
                pytest.fail("dropped a reader that could still catch up")
            if sent == 8:
                break
        running.publish(Stored(1))
        script.next = [Message(topic="market", frame=b"last\n\n", key="book")]
        read_until(quick, b"last\n\n")
        octets = read_until(slow, b"last\n\n")
        assert b"event: order\nid: 1\ndata: 1\n\n" in octets
        assert octets.count(filler) < sent


def test_a_lagging_reader_gets_the_parts_of_what_is_sent_together(running: Broadcaster, script: Script) -> None:
    with stream(running) as slow, stream(running) as quick:
        read_until(quick, b"data: 2\n\n")
        script.next = [Message(topic="market", frame=b"y" * 2_000_000 + b"\n\n", key="fill the buffer")]
        read_until(quick, b"y\n\n")
        for names in ("AB", "A"):
            parts = tuple((name, f"{name} of {names}\n\n".encode()) for name in names)
            script.next = [Message(topic="market", frame=b"all of %b\n\n" % names.encode(), key="all", parts=parts)]
            read_until(quick, b"all of %b\n\n" % names.encode())
        octets = read_until(slow, b"B of AB\n\n")
        assert b"A of A\n\n" in octets
        assert b"all of" not in octets
        assert b"A of AB" not in octets


def test_a_reader_that_takes_nothing_is_dropped_and_delays_nobody(running: Broadcaster, script: Script) -> None:
    with stream(running) as stuck, stream(running) as quick:
        read_until(quick, b"data: 2\n\n")
        for n in range(100):
            started = time.monotonic()
            script.next = [Message(topic="market", frame=b"%d" % n + b"z" * 40_000 + b"\n\n", key="book")]
            read_until(quick, b"z\n\n")
            assert time.monotonic() - started < 2
            if running.dropped:
                break
        assert running.dropped == 1
        assert running.streams == 1
        with contextlib.suppress(OSError):
            while stuck.recv(1 << 20):
                pass


def test_an_account_message_is_never_left_out(running: Broadcaster, script: Script) -> None:
    """A reader too slow for its account's messages is disconnected, not thinned out."""
    with stream(running) as slow, stream(running) as quick:
        read_until(quick, b"data: 2\n\n")
        script.next = [Message(topic="market", frame=b"y" * 2_000_000 + b"\n\n", key="fill the buffer")]
        read_until(quick, b"y\n\n")
        for seq in range(1, 101):
            running.publish(Stored(seq))
        read_until(quick, b"data: 100\n\n")
        octets = read_until(slow, b"data: 100\n\n")
        assert octets.count(b"event: order") == 100


def test_when_a_commit_cannot_be_told_the_streams_end_and_can_resume(running: Broadcaster, script: Script) -> None:
    with stream(running) as sock:
        read_until(sock, b"data: 2\n\n")
        script.fault = RuntimeError("the database is away")
        running.publish(Stored(1))
        assert sock.recv(100) == b""
    script.fault = None
    with stream(running, after_seq=0) as sock:
        assert b"id: 1\n" in read_until(sock, b"event: welcome")


def test_a_message_may_end_its_streams(running: Broadcaster, script: Script) -> None:
    with stream(running, "without-account") as sock:
        read_until(sock, b"data: 1\n\n")
        script.next = [Message(topic="without-account", frame=b"come back\n\n", closes=True)]
        assert read_until(sock, b"back\n\n") == b"come back\n\n"
        assert sock.recv(100) == b""


def test_quiet_streams_get_a_comment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "COMMENT_S", 0.02)
    broadcaster, stop = Broadcaster(), threading.Event()
    broadcaster.attach(script)
    thread = threading.Thread(target=broadcaster.run, args=(stop,), daemon=True)
    thread.start()
    with stream(broadcaster) as sock:
        read_until(sock, b"data: 2\n\n")
        assert read_until(sock, b"\n\n") == b":\n\n"
    stop.set()
    thread.join(3)


def test_goodbye_is_said_and_the_stream_closed_at_once(running: Broadcaster) -> None:
    with stream(running) as sock:
        read_until(sock, b"data: 2\n\n")
        started = time.monotonic()
        running.goodbye()
        assert read_until(sock, b"goodbye").endswith(broadcast.GOODBYE)
        assert sock.recv(100) == b""
        assert time.monotonic() - started < 1
        with pytest.raises(TooManyStreams):
            running.adopt(sock, b"", subscription())


def test_a_stuck_reader_does_not_hold_the_goodbye_up(running: Broadcaster, script: Script) -> None:
    with stream(running) as stuck, stream(running) as quick:
        read_until(quick, b"data: 2\n\n")
        script.next = [Message(topic="market", frame=b"y" * 2_000_000 + b"\n\n", key="fill the buffer")]
        read_until(quick, b"y\n\n")
        started = time.monotonic()
        running.goodbye()
        read_until(quick, b"goodbye")
        wait_for(lambda: running.streams == 0)
        assert time.monotonic() - started < 1.5
        del stuck


def test_there_is_a_limit(running: Broadcaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "MAX_STREAMS", 2)
    with stream(running), stream(running):
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(TooManyStreams):
            running.adopt(theirs, b"", subscription())
        assert theirs.fileno() == -1


def test_what_readers_send_is_thrown_away(running: Broadcaster, script: Script) -> None:
    with stream(running) as sock:
        read_until(sock, b"data: 2\n\n")
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n" * 100)
        script.next = [Message(topic="market", frame=b"still here\n\n", key="x")]
        assert read_until(sock, b"here\n\n") == b"still here\n\n"


def test_descriptors_are_given_back(script: Script) -> None:
    def once() -> None:
        broadcaster, stop = Broadcaster(), threading.Event()
        broadcaster.attach(script)
        thread = threading.Thread(target=broadcaster.run, args=(stop,), daemon=True)
        thread.start()
        with stream(broadcaster) as sock:
            read_until(sock, b"data: 2\n\n")
        stop.set()
        thread.join(3)

    once()
    probe = socket.socket()
    with probe:
        before = probe.fileno()
    for _ in range(5):
        once()
    probe = socket.socket()
    with probe:
        assert probe.fileno() <= before
