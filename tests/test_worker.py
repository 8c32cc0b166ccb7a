"""The worker on real sockets: slow, rude and broken clients cost it no thread, and polite ones lose nothing."""

import contextlib
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, send, wait_until
from tests.small_app import BIG

pytestmark = pytest.mark.slow

GET = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"


HASTE = """
from trading_engine import worker
worker.FIRST_BYTE_S, worker.WHOLE_REQUEST_S, worker.STALLED_ANSWER_S = 1.0, 2.0, 1.0
worker.PROMISE_S = 0.5
"""


def gunicorn(folder: Path, settings: str = "") -> Server:
    """Start the worker with four threads on the small application."""
    config = folder / "test.conf.py"
    config.write_text(settings)
    command = [
        sys.executable, "-m", "gunicorn", "-c", str(config), "-k", "trading_engine.worker.Worker", "-b",
        "127.0.0.1:{port}", "--threads", "4", "--graceful-timeout", "6", "--keep-alive", "30", "--no-control-socket",
        "tests.small_app:app",
    ]  # fmt: skip
    return Server(folder, {}, command=command)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The worker, up."""
    with gunicorn(tmp_path_factory.mktemp("worker")) as started:
        started.wait_for("/")
        yield started


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The worker with little patience, so that the test needs little too."""
    with gunicorn(tmp_path_factory.mktemp("hasty"), HASTE) as started:
        started.wait_for("/")
        yield started


@contextlib.contextmanager
def connected(server: Server, octets: bytes = b"", *, receive_bytes: int | None = None) -> Iterator[socket.socket]:
    """A socket that has sent something."""
    with socket.socket() as sock:
        if receive_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.settimeout(15)
        sock.connect(("127.0.0.1", server.port))
        sock.sendall(octets)
        yield sock


def read_answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a length."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        more = sock.recv(65536)
        assert more, f"closed after {octets!r}"
        octets += more
    head, _, body = octets.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += sock.recv(65536)
    return int(status_line.split()[1]), headers, body


def read_to_end(sock: socket.socket) -> bytes:
    octets = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(65536):
            octets += more
    return octets


def answers_quickly(server: Server) -> float:
    """Return the slowest of five answers to a polite client."""
    slowest = 0.0
    for _ in range(5):
        started = time.monotonic()
        assert send(server.port, "GET", "/health").status == 200
        slowest = max(slowest, time.monotonic() - started)
    return slowest


def test_a_connection_is_kept_for_the_next_request(server: Server) -> None:
    with connected(server) as sock:
        for _ in range(3):
            sock.sendall(GET)
            status, headers, body = read_answer(sock)
            assert (status, headers["connection"], json.loads(body)["path"]) == (200, "keep-alive", "/x")


def kept_back(what: str) -> bytes:
    return f"POST /kept-back/{what} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".encode()


def test_an_answer_that_is_kept_back_holds_up_nobody_else(server: Server) -> None:
    with contextlib.ExitStack() as clients:
        socks = [clients.enter_context(connected(server, kept_back("late"))) for _ in range(12)]
        started = time.monotonic()
        assert answers_quickly(server) < 0.4, "four threads serve others while twelve answers wait"
        for sock in socks:
            status, _, body = read_answer(sock)
            assert (status, json.loads(body)["body"], json.loads(body)["outcome"]) == (200, "hi", "None")
        assert time.monotonic() - started > 0.3
        socks[0].sendall(GET)
        assert read_answer(socks[0])[0] == 200, "the connection goes on"


def test_an_answer_whose_promise_was_kept_at_once_leaves_at_once(server: Server) -> None:
    with connected(server, kept_back("kept")) as sock:
        for _ in range(3):
            assert read_answer(sock)[0] == 200
            sock.sendall(kept_back("kept"))


def test_a_broken_promise_is_answered_by_the_application_as_its_outcome(server: Server) -> None:
    with connected(server, kept_back("broken")) as sock:
        status, headers, body = read_answer(sock)
        assert (status, headers["connection"]) == (200, "keep-alive")
        said = json.loads(body)
        assert (said["body"], said["outcome"]) == ("hi", "not_committed: as the test wants")
        sock.sendall(GET)
        assert read_answer(sock)[0] == 200


def test_a_promise_that_nobody_keeps_ends_as_an_unknown_outcome(hasty: Server) -> None:
    with connected(hasty, kept_back("never")) as sock:
        _, _, body = read_answer(sock)
        assert json.loads(body)["outcome"].startswith("outcome_unknown: ")


def test_a_client_that_hangs_up_before_its_answer_harms_nobody(server: Server) -> None:
    with connected(server, kept_back("late")):
        pass
    with connected(server, kept_back("late")) as sock:
        assert read_answer(sock)[0] == 200


def test_requests_sent_together_are_answered_in_order(server: Server) -> None:
    with connected(server, b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20))) as sock:
        octets = b""
        while octets.count(b'"path"') < 20:
            octets += sock.recv(65536)
    positions = [octets.index(b'"path": "/%d"' % n) for n in range(20)]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    "request_",
    (
        b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    ),
)
def test_a_body_arrives_in_whatever_pieces_it_comes(server: Server, request_: bytes) -> None:
    with connected(server) as sock:
        for octet in request_:
            sock.sendall(bytes([octet]))
        status, _, body = read_answer(sock)
        assert (status, json.loads(body)["body"]) == (200, "hello")
        sock.sendall(GET)
        assert read_answer(sock)[0] == 200


def test_a_client_that_waits_to_be_asked_is_asked(server: Server) -> None:
    with connected(server, b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n") as sock:
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"hello")
        assert json.loads(read_answer(sock)[2])["body"] == "hello"


def test_a_body_nobody_reads_does_not_become_the_next_request(server: Server) -> None:
    body = GET + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with connected(server, b"POST /fails HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body) as sock:
        octets = read_to_end(sock)
    assert octets.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in octets


@pytest.mark.parametrize(
    ("octets", "status"),
    (
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n0\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n", 413),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n", 500),
    ),
    ids=lambda value: repr(value)[:50],
)
def test_what_is_not_http_is_answered_in_json_and_closed(server: Server, octets: bytes, status: int) -> None:
    with connected(server, octets) as sock:
        said, headers, body = read_answer(sock)
        assert (said, headers["content-type"], headers["connection"]) == (status, "application/problem+json", "close")
        assert json.loads(body)["status"] == status
        assert read_to_end(sock) == b""
    assert answers_quickly(server) < 2


SLOW = {
    "nothing": b"",
    "half a request line": b"GET /hea",
    "half a head": b"GET /health HTTP/1.1\r\nHost: loc",
    "half a body": b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
    "half a chunk": b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    "no wish to read": b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("octets", SLOW.values(), ids=SLOW)
def test_two_hundred_slow_clients_stop_nobody(server: Server, octets: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(server, octets, receive_bytes=4096))
        assert answers_quickly(server) < 3  # a thread that waits for one of them would wait five


def test_a_client_that_trickles_is_ended_when_its_time_is_over(hasty: Server) -> None:
    started = time.monotonic()
    with connected(hasty, b"GET /x HTTP/1.1\r\n") as sock, connected(hasty) as silent:
        sock.settimeout(0.2)
        octets = b""
        while not octets.endswith(b"}"):
            with contextlib.suppress(TimeoutError, BrokenPipeError):
                sock.sendall(b"X")
            with contextlib.suppress(TimeoutError):
                more = sock.recv(65536)
                octets += more
                if not more:
                    break
        assert octets.startswith(b"HTTP/1.1 408 ")
        assert 1.9 < time.monotonic() - started < 5
        assert silent.recv(10) == b""  # said nothing for a second


def test_a_slow_reader_gets_everything(server: Server) -> None:
    with connected(server, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", receive_bytes=4096) as sock:
        time.sleep(0.3)
        assert read_answer(sock)[2] == BIG
        sock.sendall(GET)
        assert read_answer(sock)[0] == 200


def is_open_at(server: Server, sock: socket.socket) -> bool:
    """Whether the server still has its end of a connection, which a client that does not read cannot tell."""
    ends = f"0100007F:{server.port:04X} 0100007F:{sock.getsockname()[1]:04X} 01"
    return ends in Path("/proc/net/tcp").read_text()


def test_a_reader_that_stops_reading_loses_its_answer(hasty: Server) -> None:
    with connected(hasty, b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n", receive_bytes=4096) as sock:
        wait_until(lambda: not is_open_at(hasty, sock), "it is cut off")
        assert len(read_to_end(sock)) < len(BIG)


def test_a_client_that_hangs_up_early_disturbs_nobody(server: Server) -> None:
    for _ in range(8):
        with connected(server, b"GET /sleeps HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: answers_quickly(server) < 0.5, "the requests nobody waits for are done")


def test_a_socket_can_be_given_away(server: Server) -> None:
    with connected(server, b"GET /given-away HTTP/1.1\r\nHost: a\r\n\r\n") as sock:
        assert read_to_end(sock) == b"raw bytes"
    assert answers_quickly(server) < 1


def test_an_old_client_is_answered_and_closed(server: Server) -> None:
    with connected(server, b"GET /x HTTP/1.0\r\nHost: a\r\n\r\n") as sock:
        assert b"Connection: close" in read_to_end(sock)


PIECES = (
    GET,
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n0\r\n\r\n",
    b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /given-away HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /fails HTTP/1.1\r\nHost: a\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"\0\xff",
    b"x" * 5000,
)


def make_noise(server: Server, seed: int) -> None:
    """Send pieces of requests, whole, cut and broken, and hang up in every way."""
    dice = random.Random(seed)
    for _ in range(150):
        with contextlib.suppress(OSError), connected(server) as sock:
            sock.settimeout(0.02)
            for _ in range(dice.randint(1, 5)):
                piece = bytearray(dice.choice(PIECES))
                if dice.random() < 0.3:
                    piece[dice.randrange(len(piece))] = dice.randrange(256)
                sock.sendall(piece[: dice.randrange(len(piece) + 1)] if dice.random() < 0.3 else piece)
                if dice.random() < 0.5:
                    with contextlib.suppress(TimeoutError):
                        sock.recv(dice.choice((1, 100, 65536)))
            if dice.random() < 0.4:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # hang up by a reset


def test_noise_does_not_end_the_worker(hasty: Server) -> None:
    worker = hasty.worker
    threads = [threading.Thread(target=make_noise, args=(hasty, seed)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers_quickly(hasty) < 3
    assert hasty.worker == worker
    assert "Exception in worker process" not in hasty.log


def test_when_it_is_told_to_stop_what_runs_is_finished(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        server.wait_for("/")
        with connected(server, b"GET /sleeps HTTP/1.1\r\nHost: a\r\n\r\n") as running, connected(server, GET) as idle:
            read_answer(idle)
            wait_until(lambda: "sleeping" in server.log, "the slow request runs")
            assert server.terminate() < 8
            status, headers, _ = read_answer(running)
            assert (status, headers["connection"]) == (200, "close")
            assert idle.recv(10) == b""
        assert server.popen.returncode == 0


def test_a_worker_whose_master_is_gone_ends_too(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        server.wait_for("/")
        worker = server.worker
        os.kill(server.popen.pid, signal.SIGKILL)
        server.popen.wait()
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the orphan has ended", timeout_s=5)


def test_interrupted_it_ends_at_once(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as server:
        server.wait_for("/")
        os.killpg(server.popen.pid, signal.SIGINT)
        server.popen.wait(20)
        assert "Traceback" not in server.log
