"""One connection: what it sends and how often, what it reads however it is cut, and when it loses patience."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.sync.server import ServerConnection, serve

from tests.binance.feeding import wait_until
from tests.binance.scripted import Scripted, answer, reset
from trading_engine.binance import frames
from trading_engine.binance.connection import (
    STREAMS_PER_CONNECTION,
    Connection,
    ConnectionLost,
    Dial,
    Limits,
    open_socket,
)
from trading_engine.binance.rest import RegionRefused, VenueUnavailable


class Wire:
    """A connection on a virtual clock, and the venue's end of its socket."""

    def __init__(self) -> None:
        self.now = 1_000.0
        ours, self.venue = socket.socketpair()
        ours.settimeout(0)
        self.venue.settimeout(2)
        self.connection = Connection(ours, number=1, monotonic=lambda: self.now, limits=Limits())
        self._reader = bytearray()

    def tell(self, opcode: Opcode, payload: bytes = b"") -> None:
        self.venue.sendall(Frame(opcode, payload).serialize(mask=False))

    def heard(self) -> list[tuple[int, bytes]]:
        """Return the frames the venue has received, unmasked."""
        self.venue.settimeout(0.05)
        try:
            while part := self.venue.recv(1 << 16):
                self._reader += part
        except TimeoutError:
            pass
        found = []
        while len(self._reader) >= 2:
            size, start = self._reader[1] & 0x7F, 2
            if size == 126:
                (size,), start = struct.unpack_from("!H", self._reader, 2), 4
            mask = self._reader[start : start + 4]
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self._reader[start + 4 : start + 4 + size]))
            found.append((self._reader[0] & 0x0F, payload))
            del self._reader[: start + 4 + size]
        return found

    def tick_for(self, seconds: float) -> list[tuple[float, int, bytes]]:
        """Let time pass in steps of 0.1 s, the venue answering each ping; return what it heard, and when."""
        heard: list[tuple[float, int, bytes]] = []
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.connection.tick()
            for opcode, payload in self.heard_quickly():
                heard.append((self.now, opcode, payload))
                if opcode == frames.PING:
                    self.tell(Opcode.PONG)
            self.connection.receive()
        return heard

    def heard_quickly(self) -> list[tuple[int, bytes]]:
        self.venue.setblocking(False)
        try:
            self._reader += self.venue.recv(1 << 16)
        except BlockingIOError:
            return []
        return self.heard()


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.connection.close()
    wire.venue.close()


# --- what it sends ---


def test_streams_are_asked_for_in_batches_at_the_permitted_pace(wire: Wire) -> None:
    names = [f"s{number}@trade" for number in range(STREAMS_PER_CONNECTION)]
    wire.connection.subscribe(names)
    heard = wire.tick_for(4)
    questions = [json.loads(payload) for _, opcode, payload in heard if opcode == frames.TEXT]
    assert [len(question["params"]) for question in questions] == [200, 200, 200, 200, 200, 24]
    assert [name for question in questions for name in question["params"]] == names
    assert {question["method"] for question in questions} == {"SUBSCRIBE"}
    assert len({question["id"] for question in questions}) == 6
    for begun, _, _ in heard:
        assert sum(1 for at, _, _ in heard if begun <= at < begun + 1.0) <= 5


def test_one_stream_too_many_is_refused(wire: Wire) -> None:
    wire.connection.subscribe(f"s{number}@trade" for number in range(STREAMS_PER_CONNECTION))
    with pytest.raises(ValueError, match="1024"):
        wire.connection.subscribe(["one@toomany"])


def test_answers_are_matched_to_questions(wire: Wire) -> None:
    wire.connection.subscribe(["a@trade", "b@trade"])
    wire.connection.tick()
    assert wire.connection.acknowledged == set()
    (_, asked), *_ = wire.heard()
    assert wire.connection.answer(json.loads(asked)["id"], None) == ("SUBSCRIBE", ("a@trade", "b@trade"))
    assert wire.connection.acknowledged == {"a@trade", "b@trade"}
    wire.connection.unsubscribe(["a@trade", "never@asked"])
    assert wire.connection.acknowledged == {"b@trade"}
    wire.now += 1
    wire.connection.tick()
    (_, asked), *_ = wire.heard()
    assert json.loads(asked) == {"method": "UNSUBSCRIBE", "params": ["a@trade"], "id": json.loads(asked)["id"]}
    with pytest.raises(ConnectionLost, match="UNSUBSCRIBE refused: too many"):
        wire.connection.answer(json.loads(asked)["id"], "too many")
    with pytest.raises(ConnectionLost, match="never asked"):
        wire.connection.answer(77, None)


def test_a_question_without_an_answer_ends_the_connection(wire: Wire) -> None:
    wire.connection.subscribe(["a@trade"])
    wire.tick_for(9.9)
    with pytest.raises(ConnectionLost, match="no answer to SUBSCRIBE"):
        wire.tick_for(0.3)


def test_a_quiet_connection_is_pinged_often_enough_to_tell_it_from_a_dead_one(wire: Wire) -> None:
    pings = [at - 1_000 for at, opcode, _ in wire.tick_for(12) if opcode == frames.PING]
    assert pings == pytest.approx([2.5, 5.0, 7.5, 10.0], abs=0.35)


def test_a_busy_connection_is_pinged_every_ten_seconds(wire: Wire) -> None:
    pings: list[float] = []
    for _ in range(250):
        wire.tell(Opcode.TEXT, b"{}")
        pings += [at - 1_000 for at, opcode, _ in wire.tick_for(0.1) if opcode == frames.PING]
    assert pings == pytest.approx([10.0, 20.0], abs=0.35)


def test_the_venues_ping_is_answered_with_its_payload_and_a_flood_of_them_within_the_pace(wire: Wire) -> None:
    wire.tell(Opcode.PING, b"1700000000")
    wire.connection.receive()
    wire.connection.tick()
    assert wire.heard() == [(frames.PONG, b"1700000000")]
    pongs: list[bytes] = []
    for number in range(100):
        wire.tell(Opcode.PING, str(number).encode())
        wire.connection.receive()
        wire.now += 0.01
        wire.connection.tick()
        pongs += [payload for opcode, payload in wire.heard_quickly() if opcode == frames.PONG]
    assert 1 <= len(pongs) <= 5
    wire.now += 1
    wire.connection.tick()
    assert wire.heard()[-1] == (frames.PONG, b"99")


def test_what_does_not_fit_the_socket_waits_and_a_venue_that_reads_nothing_is_given_up(wire: Wire) -> None:
    wire.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def keep_asking() -> None:
        for number in range(2_000):
            wire.connection.subscribe([f"{number}{'x' * 2000}@trade"])
            wire.connection.unsubscribe([f"{number}{'x' * 2000}@trade"])
            wire.now += 0.5
            wire.connection.received_at = wire.now
            wire.connection.tick()
            wire.connection._asked.clear()

    with pytest.raises(ConnectionLost, match="reads nothing"):
        keep_asking()
    assert wire.connection.wants_write


# --- what it reads ---


def test_messages_are_returned_in_order_and_all_of_them(wire: Wire) -> None:
    texts = [str(number).encode() * (number % 50 + 1) for number in range(500)]
    stream = b"".join(Frame(Opcode.TEXT, text).serialize(mask=False) for text in texts)
    sender = threading.Thread(target=wire.venue.sendall, args=(stream,), daemon=True)
    sender.start()
    got: list[bytes] = []

    def all_got() -> bool:
        got.extend(payload for _, payload in wire.connection.receive()[0])
        return len(got) == 500

    wait_until(all_got, 5)
    sender.join(5)
    assert got == texts


def test_a_large_backlog_is_read_in_turns(wire: Wire) -> None:
    whole = Frame(Opcode.TEXT, b"x" * 60_000).serialize(mask=False) * 40
    sender = threading.Thread(target=lambda: wire.venue.sendall(whole), daemon=True)
    sender.start()
    counts: list[int] = []

    def all_counted() -> bool:
        counts.append(len(wire.connection.receive()[0]))
        return sum(counts) == 40

    wait_until(all_counted, 5, step_s=0.001)
    sender.join(5)
    assert max(counts) < 40


def test_messages_before_the_end_are_returned_before_the_end_is_told(wire: Wire) -> None:
    wire.tell(Opcode.TEXT, b"last words")
    wire.tell(Opcode.CLOSE, struct.pack("!H", 1008) + b"policy")
    messages, more = wire.connection.receive()
    assert (messages, more) == ([(frames.TEXT, b"last words")], True)
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="closed by the venue: 1008 policy"):
            wire.connection.receive()


def test_an_end_without_a_word_is_1006(wire: Wire) -> None:
    wire.venue.close()
    with pytest.raises(ConnectionLost, match="1006"):
        wire.connection.receive()


def test_bytes_that_are_no_frames_end_it(wire: Wire) -> None:
    wire.venue.sendall(b"\xff\xff")
    with pytest.raises(ConnectionLost, match="illegal frame"):
        wire.connection.receive()


# --- patience ---


def test_silence_ends_it_after_five_seconds(wire: Wire) -> None:
    wire.now += 4.9
    wire.connection.tick()
    wire.now += 0.1
    with pytest.raises(ConnectionLost, match="silent for 5 s"):
        wire.connection.tick()


def test_a_message_that_never_ends_is_not_taken_for_life_although_bytes_come(wire: Wire) -> None:
    whole = Frame(Opcode.TEXT, b"x" * 256).serialize(mask=False)

    def drip() -> None:
        for at in range(200):
            wire.venue.sendall(whole[at : at + 1])
            wire.connection.receive()
            wire.now += 0.5
            wire.connection.tick()

    with pytest.raises(ConnectionLost, match="unfinished after 5 s"):
        drip()


def test_a_busy_stream_always_in_the_middle_of_a_message_is_fine(wire: Wire) -> None:
    whole = Frame(Opcode.TEXT, b"x" * 100).serialize(mask=False)
    stream = whole * 100
    for at in range(0, len(stream), 51):
        wire.venue.sendall(stream[at : at + 51])
        wire.connection.receive()
        wire.now += 1
        wire.connection.tick()


# --- opening ---


def refusals(act: Any) -> Scripted:
    return Scripted(lambda number: act)


@pytest.mark.parametrize("status", (451, 403))
def test_a_handshake_refused_for_the_region_says_so(status: int) -> None:
    with refusals(answer("", status=status)) as server, pytest.raises(RegionRefused, match=f"{status} region refused"):
        open_socket(server.url.replace("http", "ws") + "/stream", timeout_s=2)


def test_handshakes_that_fail_name_their_reason() -> None:
    for act, reason in (
        (answer("", status=503), "HTTP 503"),
        (answer("hello"), "HTTP 200"),
        (reset, "connection"),
    ):
        with refusals(act) as server, pytest.raises(VenueUnavailable, match=reason):
            open_socket(server.url.replace("http", "ws") + "/stream", timeout_s=2)
    for url, reason in (
        ("ws://no-such-host.invalid/stream", "DNS failure"),
        ("ws://127.0.0.1:1/stream", "connection refused"),
        ("http://127.0.0.1:1/stream", "ValueError"),
    ):
        with pytest.raises(VenueUnavailable, match=reason):
            open_socket(url, timeout_s=2)


def test_a_hanging_handshake_can_be_abandoned_from_another_thread() -> None:
    with Scripted(lambda number: server.hang) as server:
        dial = Dial(server.url.replace("http", "ws") + "/stream", timeout_s=20)
        ended: list[Exception] = []

        def open_it() -> None:
            try:
                dial.open()
            except VenueUnavailable as error:
                ended.append(error)

        thread = threading.Thread(target=open_it, daemon=True)
        thread.start()
        wait_until(lambda: server.targets)
        begun = time.monotonic()
        dial.abandon()
        thread.join(5)
        assert not thread.is_alive()
        assert time.monotonic() - begun < 1
        assert len(ended) == 1


# --- TLS ---


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a fresh certificate for this machine, with its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program to make a certificate with")
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    key = path.with_suffix(".key")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[str]:
    """Return the URL of a TLS server that sends bursts of messages of all sizes when spoken to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def burst(connection: ServerConnection) -> None:
        for message in connection:
            for number in range(int(message)):
                connection.send("x" * (number * 37 % 40_000))

    with serve(burst, "127.0.0.1", 0, ssl=context, compression=None, ping_interval=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"wss://127.0.0.1:{server.socket.getsockname()[1]}/stream"
        server.shutdown()
        thread.join(5)


def test_a_certificate_nobody_vouches_for_is_refused(secure: str) -> None:
    with pytest.raises(VenueUnavailable, match="TLS failure"):
        open_socket(secure, timeout_s=5)


def test_nothing_stays_behind_in_the_layer_of_encryption(
    secure: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decrypted bytes wait where no selector sees them: whatever `receive` leaves there it must own up to."""
    monkeypatch.setenv("WEBSOCKET_CLIENT_CA_BUNDLE", str(certificate))
    sock = open_socket(secure, timeout_s=5)
    assert isinstance(sock, ssl.SSLSocket)
    connection = Connection(sock, number=1, monotonic=time.monotonic, limits=Limits())
    got: list[int] = []
    for _ in range(3):
        connection._send(frames.TEXT, b"400", time.monotonic())
        expected = len(got) + 400
        deadline = time.monotonic() + 10
        while len(got) < expected and time.monotonic() < deadline:
            messages, more = connection.receive()
            got += [len(payload) for _, payload in messages]
            assert more or sock.pending() == 0
            time.sleep(0 if more else 0.001)
    assert got == [number * 37 % 40_000 for number in range(400)] * 3
    connection.close()
