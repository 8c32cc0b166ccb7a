"""The live stream of a real server: what it says, how it is resumed, and that it costs nobody else anything."""

import contextlib
import errno
import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, Stream, Venue, send, wait_until

pytestmark = pytest.mark.slow

BUY = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.001"}


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    with Venue(tmp_path_factory.mktemp("venue")) as started:
        yield started


@pytest.fixture(scope="module")
def server(venue: Venue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), venue.settings) as started:
        yield started.wait_live()


def test_a_stream_opens_with_everything_a_page_needs(server: Server) -> None:
    with Stream(server.port) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["connection"] == "close"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["cache-control"] == "no-store"
        assert "content-security-policy" in stream.headers
        first: dict[str, Any] = {}
        for event in stream.events():
            first.setdefault(event.name, event)
            if event.name == "portfolio":
                break
    assert list(first) == ["hello", "status", "prices", "book", "portfolio"]
    hello = first["hello"].data
    assert set(hello) == {"version", "venue", "simulated", "account", "seq", "server_time_ms"}
    assert int(first["hello"].id) == hello["seq"]
    assert hello["account"] == "default"
    assert first["status"].data["feed"]["state"] == "live"
    assert set(first["prices"].data) >= {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    assert len(first["book"].data["bids"]) == 20


def test_the_market_comes_as_it_moves(server: Server) -> None:
    with Stream(server.port, "?symbols=btcusdt") as stream:
        started = time.monotonic()
        seen: dict[str, list[Any]] = {"book": [], "trades": [], "prices": [], "status": []}
        for event in stream.events():
            if event.name in seen:
                seen[event.name].append(event.data)
            if time.monotonic() - started > 3:
                break
    assert {book["symbol"] for book in seen["book"]} == {"BTCUSDT"}
    assert 5 <= len(seen["book"]) <= 35
    ids = [book["update_id"] for book in seen["book"]]
    assert ids == sorted(ids)
    # The first is the opening's: the next may be the same book, where it has not changed since.
    assert all(one != other for one, other in itertools.pairwise(seen["book"][1:]))
    assert 2 <= len(seen["prices"]) <= 14
    assert 2 <= len(seen["status"]) <= 6
    trades = [trade for message in seen["trades"] for trade in message["trades"]]
    assert [trade["id"] for trade in trades] == sorted({trade["id"] for trade in trades})
    assert all(set(trade) == {"id", "price", "quantity", "side", "time_ms"} for trade in trades)


def test_an_order_is_told_with_its_fills_then_the_portfolio(server: Server) -> None:
    with Stream(server.port) as stream:
        stream.wait_for("portfolio")
        placed = server.post("/api/v1/orders", BUY).json
        told = stream.wait_for("order")
        assert told == placed
        portfolio = stream.wait_for("portfolio")
        assert portfolio["positions"]["BTCUSDT"]["quantity"]
        assert stream.last_id is not None
        assert stream.last_id > placed["id"]


def test_what_was_missed_is_told_after_a_reconnect(server: Server) -> None:
    with Stream(server.port) as stream:
        stream.wait_for("portfolio")
        server.post("/api/v1/orders", BUY)
        stream.wait_for("order")
        seen = stream.last_id
    missed = [server.post("/api/v1/orders", BUY).json for _ in range(3)]
    resting = server.post("/api/v1/orders", {**BUY, "price": "20000"}).json
    server.delete(f"/api/v1/orders/{resting['id']}")
    with Stream(server.port, last_event_id=seen) as stream:
        events = stream.events()
        assert next(events).name == "hello"
        replayed = [next(events) for _ in range(4)]
    assert [event.data["id"] for event in replayed] == [*(order["id"] for order in missed), resting["id"]]
    assert replayed[-1].data["status"] == "cancelled"
    assert [int(event.id or 0) for event in replayed] == sorted(int(event.id or 0) for event in replayed)


@pytest.mark.parametrize("last_event_id", (10**15, 0))
def test_a_place_in_another_history_is_a_reset(server: Server, last_event_id: int) -> None:
    with Stream(server.port, last_event_id=last_event_id) as stream:
        assert stream.wait_for("reset") == {}


def test_after_a_reset_of_the_account_everything_is_to_be_fetched_again(server: Server) -> None:
    with Stream(server.port) as stream:
        stream.wait_for("portfolio")
        assert server.post("/api/v1/account/reset", {}).status == 200
        assert stream.wait_for("reset") == {}
        assert stream.wait_for("portfolio")["positions"] == {}


def test_a_configured_symbol_that_is_not_listed_is_told_of_and_does_not_end_the_stream(
    venue: Venue, tmp_path: Path
) -> None:
    with Server(tmp_path, {**venue.settings, "SYMBOLS": "BTCUSDT,NOPEUSDT"}) as server:
        server.wait_for("/health")
        wait_until(lambda: server.get("/health").json["engine"]["role"] == "active", "the account is there")
        for query in ("", "?symbols=NOPEUSDT,BTCUSDT"):
            with Stream(server.port, query) as stream:
                status = stream.wait_for("status", lambda data: "(SYMBOLS)" in (data["feed"]["reason"] or ""))
                assert status["feed"]["symbols"]["NOPEUSDT"]["state"] == "down"
                assert stream.wait_for("book", lambda book: book["state"] == "live")["symbol"] == "BTCUSDT"


def test_a_symbol_is_followed_for_the_stream_that_asks(server: Server) -> None:
    with Stream(server.port, "?symbols=XRPUSDT,BTCUSDT") as stream:
        assert stream.wait_for("book", lambda book: book["symbol"] == "XRPUSDT" and book["state"] == "live")
        assert stream.wait_for("prices", lambda prices: "XRPUSDT" in prices)


@pytest.mark.parametrize(
    ("query", "status", "code"),
    (
        ("?symbols=NOPEUSDT", 422, "unknown_symbol"),
        ("?symbols=", 422, "validation_failed"),
        ("?symbol=BTCUSDT", 422, "validation_failed"),
    ),
)
def test_a_stream_that_makes_no_sense_is_refused(server: Server, query: str, status: int, code: str) -> None:
    reply = server.get(f"/api/v1/stream{query}")
    assert (reply.status, reply.json["code"]) == (status, code)


def test_only_a_get_is_a_stream(server: Server) -> None:
    assert server.post("/api/v1/stream", {}).status == 405
    head = send(server.port, "HEAD", "/api/v1/stream")
    assert (head.status, head.headers["content-type"], head.text) == (200, "text/event-stream; charset=utf-8", "")


def test_a_stale_market_is_told_at_once(server: Server, venue: Venue) -> None:
    with Stream(server.port) as stream:
        stream.wait_for("portfolio")
        venue.control("mute", symbol="BTCUSDT")
        try:
            status = stream.wait_for("status", lambda data: data["feed"]["symbols"]["BTCUSDT"]["state"] != "live")
            assert status["feed"]["state"] != "live"
            assert stream.wait_for("book", lambda book: book["symbol"] == "BTCUSDT" and book["state"] != "live")
        finally:
            venue.control("unmute")
        stream.wait_for("status", lambda data: data["feed"]["state"] == "live")


def test_a_hundred_streams_hold_no_thread(server: Server) -> None:
    def threads() -> int:
        return len(list(Path(f"/proc/{server.worker}/task").iterdir()))

    before = threads()
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(Stream(server.port)) for _ in range(100)]
        assert all(stream.status == 200 for stream in streams)
        server.post("/api/v1/orders", BUY)
        for stream in streams:
            stream.wait_for("order")
        assert threads() <= before
        started = time.monotonic()
        assert server.get("/health").status == 200
        assert time.monotonic() - started < 1


def test_a_reader_that_stops_reading_is_dropped(server: Server) -> None:
    stuck = Stream(server.port, "?symbols=BTCUSDT,ETHUSDT,SOLUSDT,XRPUSDT", receive_bytes=2048)
    with stuck, Stream(server.port) as quick:

        def is_cut_off() -> bool:
            quick.wait_for("prices")  # and nobody else is
            return stuck.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET

        wait_until(is_cut_off, "the stuck reader is cut off", timeout_s=60)


def test_told_to_stop_it_says_goodbye_and_is_gone_in_time(venue: Venue, tmp_path: Path) -> None:
    with Server(tmp_path, venue.settings) as server, contextlib.ExitStack() as stack:
        server.wait_live()
        streams = [stack.enter_context(Stream(server.port)) for _ in range(20)]
        for stream in streams:
            stream.wait_for("portfolio")
        started = time.monotonic()
        server.popen.terminate()
        for stream in streams:
            stream.wait_for("goodbye")
            assert list(stream.events()) == []
        assert time.monotonic() - started < 2
        server.popen.wait(8)
        assert time.monotonic() - started < 8
        assert server.popen.returncode == 0
        assert '"event": "stopped"' in server.log
