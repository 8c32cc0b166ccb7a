"""Each switch of the control endpoint does what its line in the docstring says."""

import http.client
import json
import re
import socket as sockets
import struct
import time
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.simulator.local_book import Gap, LocalBook, exact
from tests.simulator.process import Venue, drain, receive, receive_until, wait_for
from trading_engine.simulator import control

pytestmark = pytest.mark.slow

DIFFS = "/ws/btcusdt@depth@100ms"


def next_ids(socket: ClientConnection, count: int) -> list[tuple[int, int]]:
    return [(diff["U"], diff["u"]) for diff in (receive(socket) for _ in range(count))]


def ids_until_a_break(socket: ClientConnection, ids: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """These diffs and more, up to the second after the first that does not follow its predecessor."""
    for _ in range(50):
        if breaks(ids):
            return [*ids, *next_ids(socket, 2)]
        ids += next_ids(socket, 1)
    raise AssertionError("every diff followed the one before")


def breaks(ids: list[tuple[int, int]]) -> list[int]:
    """First id less the last one before, where they do not follow each other."""
    return [after[0] - before[1] - 1 for before, after in pairwise(ids) if after[0] != before[1] + 1]


def is_silent(socket: ClientConnection, seconds: float = 0.6) -> bool:
    try:
        drain(socket, seconds)
    except ConnectionClosed:
        return False
    except TimeoutError:
        return True


# --- depth diffs ---


def test_drop_loses_diffs(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        ids = next_ids(socket, 3)
        assert breaks(ids) == []
        venue.control("drop", symbol="BTCUSDT", count=2)
        (gap,) = breaks(ids_until_a_break(socket, ids))
        assert gap > 0


def test_drop_trades_loses_trades_and_nothing_else(venue: Venue) -> None:
    with venue.open("/ws/btcusdt@trade") as socket:
        first = receive(socket)["t"]
        assert receive(socket)["t"] == first + 1
        venue.control("drop_trades", symbol="BTCUSDT", count=3)
        ids = [first + 1]
        while len(ids) < 200 and (len(ids) < 2 or ids[-1] == ids[-2] + 1):
            ids.append(receive(socket)["t"])
        assert ids[-1] == ids[-2] + 4
        assert venue.get("/control/faults")["lost_trades"] == {}
        rows = venue.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId=ids[-2], limit=5)
        assert [row["id"] for row in rows] == list(range(ids[-2], ids[-2] + 5)), "they happened all the same"


def test_a_dropped_diff_is_noticed_by_the_local_book_procedure(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        receive(socket)
        book = LocalBook(venue.get("/api/v3/depth", symbol="BTCUSDT", limit=1_000))
        wait_for(lambda: book.apply(receive(socket)))
        venue.control("drop", symbol="BTCUSDT")
        with pytest.raises(Gap):
            wait_for(lambda: not book.apply(receive(socket)))


def test_duplicate_repeats_a_diff(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        ids = next_ids(socket, 1)
        venue.control("duplicate", symbol="BTCUSDT")
        ids = ids_until_a_break(socket, ids)
        assert len(set(ids)) == len(ids) - 1
        assert breaks(sorted(set(ids))) == []


def test_swap_turns_two_diffs_round(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        ids = next_ids(socket, 1)
        venue.control("swap", symbol="BTCUSDT")
        ids = ids_until_a_break(socket, ids)
        assert ids != sorted(ids)
        assert breaks(sorted(ids)) == []


def test_faults_of_one_symbol_leave_the_others_alone(venue: Venue) -> None:
    with venue.open("/ws/ethusdt@depth@100ms") as socket:
        receive(socket)
        venue.control("drop", symbol="BTCUSDT", count=5)
        assert breaks(next_ids(socket, 6)) == []


def test_late_trades_come_after_their_diffs(venue: Venue) -> None:
    venue.control("late_trades", symbol="BTCUSDT", delay_s=0.4)
    with venue.open("/ws/btcusdt@depth@100ms/btcusdt@trade") as socket:
        newest_diff_ms = 0
        trades: list[int] = []
        while len(trades) < 10:
            message = receive(socket)
            if message["e"] == "depthUpdate":
                newest_diff_ms = message["E"]
            else:
                trades.append(message["t"])
                assert newest_diff_ms >= message["T"]
    assert trades == list(range(trades[0], trades[0] + 10))


def test_stale_snapshot_shows_an_old_book(venue: Venue) -> None:
    stale_id = venue.control("stale_snapshot", symbol="BTCUSDT", count=2)["lastUpdateId"]
    wait_for(lambda: venue.get("/control/book", symbol="BTCUSDT")["update_id"] > stale_id)
    answers = [venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5) for _ in range(3)]
    assert [answer["lastUpdateId"] == stale_id for answer in answers] == [True, True, False]
    assert len(answers[0]["bids"]) == 5
    with venue.open(DIFFS) as socket:
        assert receive(socket)["U"] > stale_id + 1


# --- sockets ---


def test_cut_resets(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        receive(socket)
        assert venue.control("cut")["sockets"] == 1
        with pytest.raises(ConnectionClosedError) as closed:
            drain(socket)
        assert closed.value.rcvd is None
        assert isinstance(closed.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("code", (1000, 1001, 1008, 1011, 1012))
def test_cut_closes_with_a_code(venue: Venue, code: int) -> None:
    with venue.open(DIFFS) as socket:
        venue.control("cut", code=code, reason="told so")
        with pytest.raises(ConnectionClosed) as closed:
            drain(socket)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, "told so")


def test_cut_can_be_for_the_listeners_of_one_symbol(venue: Venue) -> None:
    with venue.open(DIFFS) as btc, venue.open("/ws/ethusdt@depth@100ms") as eth:
        receive(btc)
        receive(eth)
        assert venue.control("cut", symbol="ETHUSDT", code=1001)["sockets"] == 1
        with pytest.raises(ConnectionClosed):
            drain(eth)
        assert receive(btc)["s"] == "BTCUSDT"


def test_freeze_falls_silent_and_answers_no_ping(venue: Venue) -> None:
    with venue.open(DIFFS, close_timeout=0.1) as socket:
        receive(socket)
        assert venue.control("freeze")["sockets"] == 1
        assert is_silent(socket)
        assert not socket.ping().wait(0.5)
        assert venue.get("/control/requests")["open_websockets"] == 1
        venue.ask("DELETE", "/control/faults")
        assert receive(socket)["e"] == "depthUpdate"


def test_cut_frame_sends_a_beginning_and_nothing_else(venue: Venue) -> None:
    raw = sockets.create_connection(("127.0.0.1", venue.port), timeout=5)
    raw.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    handshake = b""
    while b"\r\n\r\n" not in handshake:
        handshake += raw.recv(4_096)
    assert b" 101 " in handshake
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in handshake
    assert venue.control("cut_frame")["sockets"] == 1
    raw.settimeout(0.5)
    received = b""
    while len(received) < 3:
        received += raw.recv(4_096)
    with pytest.raises(TimeoutError):
        raw.recv(1)
    assert received == struct.pack("!BBH", 0x81, 126, 256)[:3]
    raw.settimeout(5)
    venue.ask("DELETE", "/control/faults")
    with pytest.raises(ConnectionResetError):
        raw.recv(1)
    raw.close()


@pytest.mark.parametrize("text", ("null", "[]", '{"e":"depthUpdate"', '{"p":NaN}', ""))
def test_garbage_is_sent_as_given(venue: Venue, text: str) -> None:
    with venue.open("/ws") as socket:
        venue.control("garbage", text=text, count=2)
        assert [socket.recv(5), socket.recv(5)] == [text, text]


def test_garbage_may_be_bytes(venue: Venue) -> None:
    with venue.open("/ws") as socket:
        venue.control("garbage", hex="00ff80", binary=True)
        assert socket.recv(5) == b"\x00\xff\x80"
        venue.control("garbage", hex="c328")
        assert socket.recv(5, decode=False) == b"\xc3\x28"


def test_mute_silences_one_symbol_or_all(venue: Venue) -> None:
    with venue.open("/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms") as socket:
        venue.control("mute", symbol="BTCUSDT")
        muted_ms = venue.get("/api/v3/time")["serverTime"]
        receive_until(socket, lambda message: message["data"]["E"] > muted_ms)
        assert {receive(socket)["stream"] for _ in range(8)} <= {"ethusdt@depth@100ms"}
        venue.control("mute")
        assert is_silent(socket)
        assert socket.ping().wait(2)
        venue.control("unmute")
        assert {receive(socket)["stream"][:3] for _ in range(8)} == {"btc", "eth"}


def test_mute_ends_by_itself(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        receive(socket)
        venue.control("mute", seconds=0.7)
        assert is_silent(socket, 0.4)
        assert receive(socket)["e"] == "depthUpdate"


def test_refuse_refuses_connections_and_comes_back_on_the_same_port(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        venue.control("refuse", seconds=0.5)
        with pytest.raises(ConnectionRefusedError):
            sockets.create_connection(("127.0.0.1", venue.port), timeout=2)
        assert receive(socket)["e"] == "depthUpdate"

    def connects() -> bool:
        try:
            sockets.create_connection(("127.0.0.1", venue.port), timeout=2).close()
        except ConnectionRefusedError:
            return False
        return True

    wait_for(connects)
    assert venue.get("/api/v3/ping") == {}


def test_a_refusing_venue_can_be_healed_over_a_kept_connection(venue: Venue) -> None:
    kept = http.client.HTTPConnection("127.0.0.1", venue.port, timeout=5)
    kept.request("GET", "/api/v3/ping")
    kept.getresponse().read()
    venue.control("refuse", seconds=60)
    kept.request("DELETE", "/control/faults")
    assert json.loads(kept.getresponse().read()) == {"ok": True}
    kept.close()

    def answers() -> bool:
        try:
            return bool(venue.get("/api/v3/ping") == {})
        except OSError:
            return False

    wait_for(answers)


def test_reset_cuts_new_connections_but_not_the_control_endpoint(venue: Venue) -> None:
    venue.control("reset", seconds=30)
    with pytest.raises(OSError, match="reset"):
        venue.get("/api/v3/ping")
    with pytest.raises(InvalidMessage), venue.open(DIFFS):
        pass
    venue.heal()
    assert venue.get("/api/v3/ping") == {}


def test_hang_handshake_accepts_and_says_nothing(venue: Venue) -> None:
    venue.control("hang_handshake", count=1)
    raw = sockets.create_connection(("127.0.0.1", venue.port), timeout=0.5)
    raw.sendall(b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    with pytest.raises(TimeoutError):
        raw.recv(1)
    raw.close()
    with venue.open(DIFFS) as socket:
        assert receive(socket)["e"] == "depthUpdate"


def test_a_client_that_does_not_pong_is_dropped(venue: Venue) -> None:
    venue.control("ping", every_s=0.2, timeout_s=0.2)
    raw = sockets.create_connection(("127.0.0.1", venue.port), timeout=5)
    raw.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    received = b""
    while chunk := raw.recv(4_096):
        received += chunk
    raw.close()
    pings = received.partition(b"\r\n\r\n")[2]
    assert pings.startswith(b"\x89")
    assert b"Pong timeout" in pings


def test_shutdown_is_announced_then_done(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        venue.control("shutdown", after_s=0.4)
        event = receive_until(socket, lambda message: message["e"] == "serverShutdown")
        assert list(event) == ["e", "E"]
        announced = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            drain(socket)
        assert time.monotonic() - announced > 0.2
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


# --- requests ---


@pytest.mark.parametrize("status", (403, 418, 429, 451, 500, 503))
def test_status_answers_so_for_a_while(venue: Venue, status: int) -> None:
    venue.control("status", path="/api/v3/depth", status=status, count=2, retry_after=3)
    answers = [venue.ask("GET", "/api/v3/depth", symbol="BTCUSDT") for _ in range(3)]
    assert [answer[0] for answer in answers] == [status, status, 200]
    assert answers[0][1]["retry-after"] == "3"
    assert isinstance(answers[0][2]["code"], int)
    assert venue.get("/api/v3/ping") == {}


def test_status_may_be_for_a_time_for_many_paths_and_with_a_body(venue: Venue) -> None:
    venue.control("status", path="/api/*", status=502, seconds=0.5, body="<html>Bad Gateway</html>")
    status, headers, body = venue.ask("GET", "/api/v3/ping")
    assert (status, body) == (502, b"<html>Bad Gateway</html>")
    assert "retry-after" not in headers
    wait_for(lambda: venue.ask("GET", "/api/v3/ping")[0] == 200)


def test_status_may_refuse_handshakes(venue: Venue) -> None:
    venue.control("status", path="/ws/*", status=451, count=1)
    with pytest.raises(InvalidStatus) as refused, venue.open(DIFFS):
        pass
    assert refused.value.response.status_code == 451
    with venue.open(DIFFS) as socket:
        receive(socket)


def test_clock_is_wrong_by_the_offset(venue: Venue) -> None:
    venue.control("clock", offset_ms=-3_600_000)
    now_ms = time.time() * 1_000
    assert venue.get("/api/v3/time")["serverTime"] == pytest.approx(now_ms - 3_600_000, abs=5_000)
    with venue.open("/ws/btcusdt@trade/btcusdt@depth@100ms") as socket:
        for kind in ("trade", "depthUpdate"):
            message = receive_until(socket, lambda message, kind=kind: message["e"] == kind)  # type: ignore[misc]  # bound now
            assert message["E"] == pytest.approx(now_ms - 3_600_000, abs=20_000)


# --- market ---


def test_symbol_status_is_told_and_stops_trade(venue: Venue) -> None:
    venue.control("symbol", symbol="LTCUSDT", status="BREAK")
    (row,) = venue.get("/api/v3/exchangeInfo", symbol="LTCUSDT")["symbols"]
    assert row["status"] == "BREAK"
    before = venue.get("/api/v3/depth", symbol="LTCUSDT")
    others = venue.get("/control/book", symbol="BTCUSDT")["update_id"]
    wait_for(lambda: venue.get("/api/v3/depth", symbol="BTCUSDT", limit=1)["lastUpdateId"] > others + 100)
    assert venue.get("/api/v3/depth", symbol="LTCUSDT") == before


def test_filters_change_exchange_info_and_the_grid(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        receive(socket)
        book = LocalBook(venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5_000))
        venue.control(
            "filters",
            symbol="BTCUSDT",
            filters=[
                {"filterType": "PRICE_FILTER", "tickSize": "0.50000000"},
                {"filterType": "NOTIONAL", "minNotional": "25.00000000"},
            ],
        )
        truth = venue.get("/control/book", symbol="BTCUSDT")
        while book.update_id < truth["update_id"]:
            book.apply(receive(socket))
        assert all(price % Decimal("0.5") == 0 for price in (*book.bids, *book.asks))
    rows = venue.get("/api/v3/exchangeInfo", symbol="BTCUSDT")["symbols"][0]["filters"]
    rules = {row["filterType"]: row for row in rows}
    assert rules["PRICE_FILTER"]["tickSize"] == "0.50000000"
    assert rules["PRICE_FILTER"]["maxPrice"] == "1000000.00000000"
    assert rules["NOTIONAL"]["minNotional"] == "25.00000000"


@pytest.mark.parametrize("percent", (3.0, -2.5))
def test_walk_moves_the_price_past_a_snapshots_edge(venue: Venue, percent: float) -> None:
    # Paused, so that quote and last price are of one moment: after such a sweep the thinned book swings.
    venue.control("pause", symbol="BTCUSDT")
    before = venue.get("/api/v3/depth", symbol="BTCUSDT", limit=1_000)
    venue.control("walk", symbol="BTCUSDT", percent=percent)
    after = Decimal(venue.get("/api/v3/ticker/bookTicker", symbol="BTCUSDT")["bidPrice"])
    edge = Decimal(before["asks" if percent > 0 else "bids"][-1][0])
    assert (after > edge) == (percent > 0)
    last = Decimal(venue.get("/api/v3/ticker/price", symbol="BTCUSDT")["price"])
    assert abs(last - after) < after * Decimal("0.002")


def test_rate_multiplies_the_flow_and_quiet_nearly_stops_it(venue: Venue) -> None:
    def look() -> tuple[int, int]:
        book = venue.get("/api/v3/depth", symbol="XRPUSDT", limit=1)
        return book["lastUpdateId"], venue.get("/api/v3/time")["serverTime"]

    def updates_a_second() -> float:
        """By the exchange's own clock, over 0.6 s or more."""
        first_id, started_ms = look()
        wait_for(lambda: venue.get("/api/v3/time")["serverTime"] >= started_ms + 600)
        last_id, ended_ms = look()
        return (last_id - first_id) * 1_000 / (ended_ms - started_ms)

    usual = updates_a_second()
    venue.control("rate", symbol="XRPUSDT", factor=20)
    assert updates_a_second() > 5 * usual
    venue.control("quiet", symbol="XRPUSDT")
    assert updates_a_second() < usual / 5
    venue.control("quiet", symbol="XRPUSDT", on=False)
    assert updates_a_second() > usual / 5


def test_pause_freezes_the_book_and_heartbeats_keep_it_alive(venue: Venue) -> None:
    with venue.open(DIFFS) as socket:
        receive(socket)
        venue.control("pause", symbol="BTCUSDT")
        truth = venue.get("/control/book", symbol="BTCUSDT")
        receive_until(socket, lambda diff: diff["u"] > truth["update_id"])
        best = truth["bids"][0]
        assert [receive(socket)["b"] for _ in range(2)] == [[best], [best]]
        frozen = venue.get("/control/book", symbol="BTCUSDT")
        assert (frozen["bids"], frozen["asks"]) == (truth["bids"], truth["asks"])
        venue.control("resume", symbol="BTCUSDT")
        receive_until(socket, lambda diff: len(diff["b"]) + len(diff["a"]) > 3)


def test_a_scripted_book_and_prints(venue: Venue) -> None:
    bids = [["96999.50", "0.4"], ["96999.00", "2"]]
    asks = [["97000.50", "0.25"], ["97001.00", "1.5"]]
    with venue.open("/ws/btcusdt@depth@100ms/btcusdt@trade/btcusdt@bookTicker") as socket:
        receive(socket)
        book = LocalBook(venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5_000))
        update_id = venue.control("set_book", symbol="BTCUSDT", bids=bids, asks=asks)["update_id"]
        quote = None
        while book.update_id < update_id:
            message = receive(socket)
            if message.get("e") == "depthUpdate":
                book.apply(message)
            elif "A" in message and message["u"] == update_id:
                quote = message
        assert book.levels() == (exact(bids), exact(asks))
        assert quote is not None
        assert [Decimal(quote[name]) for name in "bBaA"] == [Decimal(x) for x in (*bids[0], *asks[0])]
        number = venue.control("print", symbol="BTCUSDT", price="96998.75", quantity="0.03", buyer_is_maker=True)["id"]
        trade = receive_until(socket, lambda message: message.get("e") == "trade" and message["t"] >= number)
        assert (trade["t"], trade["p"], trade["q"], trade["m"]) == (number, "96998.75000000", "0.03000000", True)
    depth = venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5_000)
    assert (exact(depth["bids"]), exact(depth["asks"])) == (exact(bids), exact(asks))
    assert venue.get("/api/v3/ticker/price", symbol="BTCUSDT")["price"] == "96998.75000000"


def test_after_a_scripted_book_the_market_goes_on_from_there(venue: Venue) -> None:
    bids, asks = [["110000.00", "1"]], [["110000.01", "1"]]
    venue.control("set_book", symbol="BTCUSDT", bids=bids, asks=asks)
    venue.control("resume", symbol="BTCUSDT")
    # Asked of the control endpoint, which costs no request weight: the answer may have to be asked for often.
    wait_for(lambda: len(venue.get("/control/book", symbol="BTCUSDT")["bids"]) > 1_500)
    depth = venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5_000)
    assert abs(Decimal(depth["bids"][0][0]) - 110_000) < 300


# --- the endpoint ---


@pytest.mark.parametrize(
    ("name", "fields", "complaint"),
    (
        ("explode", {}, "unknown command"),
        ("drop", {}, "symbol is missing"),
        ("drop", {"symbol": "NOSUCH"}, "unknown symbol NOSUCH"),
        ("drop", {"symbol": "BTCUSDT", "count": 0}, "count must be at least 1"),
        ("drop", {"symbol": "BTCUSDT", "count": "2"}, "count must be int"),
        ("drop", {"symbol": "BTCUSDT", "count": True}, "count must be int"),
        ("drop", {"symbol": "BTCUSDT", "cuont": 1}, "unknown fields: cuont"),
        ("cut", {"code": 1006}, "code"),
        ("refuse", {"seconds": -1}, "seconds must be above zero"),
        ("refuse", {}, "seconds is missing"),
        ("garbage", {}, "either text or hex"),
        ("garbage", {"hex": "xyz"}, "hex"),
        ("cut_frame", {"bytes": 4_000}, "bytes must be below"),
        ("status", {"path": "/api/v3/time", "status": 99}, "status must be"),
        ("symbol", {"symbol": "BTCUSDT", "status": "GONE"}, "status must be one of"),
        ("filters", {"symbol": "BTCUSDT", "filters": [{"tickSize": "1"}]}, "filterType"),
        ("filters", {"symbol": "BTCUSDT", "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0"}]}, "tickSize"),
        ("walk", {"symbol": "BTCUSDT", "percent": 80}, "percent must be between"),
        ("print", {"symbol": "BTCUSDT", "price": "1.001", "quantity": "1"}, "price must be above zero and a multiple"),
        ("print", {"symbol": "BTCUSDT", "price": 97000, "quantity": "1"}, "price must be str"),
        ("print", {"symbol": "BTCUSDT", "price": "1e5", "quantity": "1"}, "decimal text"),
        ("set_book", {"symbol": "BTCUSDT", "bids": [["2", "1"]], "asks": [["1", "1"]]}, "cross"),
        ("set_book", {"symbol": "BTCUSDT", "bids": [["2", "1"], ["2", "1"]], "asks": []}, "twice"),
        ("set_book", {"symbol": "BTCUSDT", "bids": [["2"]], "asks": []}, "bids must be a list"),
    ),
)
def test_a_wrong_command_is_refused_with_the_reason(
    venue: Venue, name: str, fields: dict[str, Any], complaint: str
) -> None:
    status, document = venue.command(name, **fields)
    assert status == 400
    assert complaint in document["error"]
    faults = venue.get("/control/faults")
    assert (faults["diffs"], faults["statuses"], faults["muted"]) == ({}, [], [])


def test_a_web_page_cannot_reach_the_switches(venue: Venue) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", venue.port, timeout=5)
    connection.request("POST", "/control/cut", body="{}", headers={"Content-Type": "text/plain"})
    answer = connection.getresponse()
    assert answer.status == 415
    answer.read()
    connection.close()


def test_requests_are_counted(venue: Venue) -> None:
    before = venue.get("/control/requests")
    with pytest.raises(AssertionError):
        venue.control("explode")
    venue.get("/api/v3/depth", symbol="BTCUSDT", limit=5)
    with venue.open(DIFFS):
        after = venue.get("/control/requests")
    grown = {path: count - before["counts"].get(path, 0) for path, count in after["counts"].items()}
    assert grown["/api/v3/depth"] == 1
    assert grown[DIFFS] == 1
    assert grown["connections"] >= 3
    assert after["open_websockets"] == 1
    assert after["subscriptions"] == [["btcusdt@depth@100ms"]]
    latest = [row for row in after["latest"] if row["path"] == "/api/v3/depth"][-1]
    assert (latest["status"], latest["parameters"]) == (200, {"symbol": "BTCUSDT", "limit": "5"})
    assert after["connections_ms"][-1] >= before["connections_ms"][-1]
    assert venue.get("/control/requests", latest=2)["latest"] == after["latest"][-2:]
    assert venue.get("/control/requests", latest=0)["latest"] == []
    assert venue.ask("GET", "/control/requests", latest=-1)[0] == 400


def test_pongs_are_counted(venue: Venue) -> None:
    def pongs() -> int:
        count: int = venue.get("/control/requests")["counts"].get("pongs", 0)
        return count

    venue.control("ping", every_s=0.05)
    before = pongs()
    with venue.open("/ws"):
        wait_for(lambda: pongs() > before + 1)


def test_faults_tell_what_is_switched_on_and_delete_clears_it(venue: Venue) -> None:
    venue.control("drop", symbol="ADAUSDT", count=3)
    venue.control("mute", symbol="BTCUSDT")
    venue.control("status", path="/api/v3/depth", status=500)
    told = venue.get("/control/faults")
    assert told["diffs"] == {"ADAUSDT": {"drop": 3, "duplicate": 0, "swap": 0}}
    assert told["muted"] == ["BTCUSDT"]
    assert told["statuses"] == [{"path": "/api/v3/depth", "status": 500, "left": None}]
    venue.heal()
    told = venue.get("/control/faults")
    assert (told["diffs"], told["muted"], told["statuses"]) == ({}, [], [])


def test_every_command_is_described() -> None:
    described = set(re.findall(r"^    (\w+)  ", control.__doc__ or "", re.MULTILINE))
    assert described == set(control.COMMANDS)
