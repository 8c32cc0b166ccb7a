"""The stream protocol over real sockets, spoken by an independent client."""

import http.client
import json
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.simulator.local_book import LocalBook, exact
from tests.simulator.process import Venue, drain, receive, receive_until, running, wait_for

pytestmark = pytest.mark.slow

# Fields of each stream, in the order the venue sends them.
FIELDS = {
    "btcusdt@trade": "e E s t p q T m M",
    "btcusdt@aggTrade": "e E s a p q f l T m M",
    "btcusdt@bookTicker": "u s b B a A",
    "btcusdt@depth@100ms": "e E s U u b a",
    "btcusdt@depth": "e E s U u b a",
    "btcusdt@depth5@100ms": "lastUpdateId bids asks",
    "btcusdt@depth20": "lastUpdateId bids asks",
    "btcusdt@ticker": "e E s p P w x c Q b B a A o h l v q O C F L n",
    "btcusdt@miniTicker": "e E s c o h l v q",
    "btcusdt@avgPrice": "e E s i w T",
    "btcusdt@kline_1m": "e E s k",
    "btcusdt@kline_1s": "e E s k",
}
EVENT_NAMES = {
    "trade": "trade",
    "aggTrade": "aggTrade",
    "depth@100ms": "depthUpdate",
    "depth": "depthUpdate",
    "ticker": "24hrTicker",
    "miniTicker": "24hrMiniTicker",
    "avgPrice": "avgPrice",
    "kline_1m": "kline",
    "kline_1s": "kline",
}


def test_every_stream_comes_wrapped_and_with_its_fields(venue: Venue) -> None:
    venue.control("rate", factor=5)
    with venue.open("/stream?streams=" + "/".join([*FIELDS, "!miniTicker@arr"])) as socket:
        seen: dict[str, Any] = {}
        while len(seen) <= len(FIELDS):
            message = receive(socket)
            assert list(message) == ["stream", "data"]
            seen[message["stream"]] = message["data"]
    assert seen.pop("!miniTicker@arr")[0]["e"] == "24hrMiniTicker"
    for stream, message in seen.items():
        assert list(message) == FIELDS[stream].split()
        kind = stream.partition("@")[2]
        if kind in EVENT_NAMES:
            assert (message["e"], message["s"]) == (EVENT_NAMES[kind], "BTCUSDT")
            assert abs(message["E"] - time.time() * 1_000) < 60_000
    assert list(seen["btcusdt@kline_1m"]["k"]) == list("tTsifLochlvnxqVQB")
    assert len(seen["btcusdt@depth20"]["asks"]) == 20


def test_raw_streams_come_bare_several_by_one_address(venue: Venue) -> None:
    with venue.open("/ws/btcusdt@depth@100ms/ethusdt@bookTicker") as socket:
        kinds = {receive(socket).get("e") for _ in range(60)}
    assert kinds == {"depthUpdate", None}


def test_addresses_may_be_percent_encoded(venue: Venue) -> None:
    with venue.open("/stream?streams=btcusdt%40depth%40100ms") as socket:
        assert receive(socket)["stream"] == "btcusdt@depth@100ms"


@pytest.mark.parametrize("path", ("/ws", "/stream", "/ws/0", "/ws/BTCUSDT@trade"))
def test_unknown_tails_open_and_wait_for_a_subscription(venue: Venue, path: str) -> None:
    with venue.open(path) as socket:
        with pytest.raises(TimeoutError):
            socket.recv(0.2)
        socket.send(json.dumps({"method": "SUBSCRIBE", "params": ["ethusdt@depth@100ms"], "id": 9}))
        assert receive(socket) == {"result": None, "id": 9}
        message = receive(socket)
        assert (message["data"] if path == "/stream" else message)["s"] == "ETHUSDT"


def test_an_unknown_path_is_refused(venue: Venue) -> None:
    with pytest.raises(InvalidStatus) as refused, venue.open("/ws-api/v3"):
        pass
    assert refused.value.response.status_code == 404


def test_subscriptions_can_be_changed_and_listed(venue: Venue) -> None:
    with venue.open("/ws") as socket:

        def ask(number: object, method: str, *parameters: object) -> Any:
            request = {"method": method, "id": number} | ({"params": list(parameters)} if parameters else {})
            socket.send(json.dumps(request))
            return receive_until(socket, lambda message: "id" in message or "code" in message)

        assert ask(1, "SUBSCRIBE", "btcusdt@trade", "ethusdt@depth@100ms") == {"result": None, "id": 1}
        assert ask("two", "UNSUBSCRIBE", "btcusdt@trade") == {"result": None, "id": "two"}
        assert ask(None, "LIST_SUBSCRIPTIONS") == {"result": ["ethusdt@depth@100ms"], "id": None}
        time.sleep(1.0)  # five requests a second are allowed
        assert ask(4, "GET_PROPERTY", "combined") == {"result": False, "id": 4}
        assert ask(5, "SET_PROPERTY", "combined", True) == {"result": None, "id": 5}
        assert receive_until(socket, lambda message: "stream" in message)["stream"] == "ethusdt@depth@100ms"


@pytest.mark.parametrize(
    ("request_text", "code"),
    (
        ("{", 3),
        ("[" * 5_000, 3),
        ("[]", 2),
        ('{"method":"SUBSCRIBE","params":"btcusdt@trade","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[1],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1.5}', 2),
        ('{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":{}}', 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"params":[],"id":1}', 2),
        ('{"method":"GET_PROPERTY","params":["colour"],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":1}', 1),
        ('{"method":"SET_PROPERTY","params":["combined",true,1],"id":1}', 2),
        ('{"method":"GET_PROPERTY","params":[7],"id":1}', 2),
    ),
)
def test_bad_requests_are_answered_with_a_code(venue: Venue, request_text: str, code: int) -> None:
    with venue.open("/ws") as socket:
        socket.send(request_text)
        answer = receive(socket)
        assert answer["code"] == code
        assert answer["msg"]
        socket.send('{"method":"LIST_SUBSCRIPTIONS","id":2}')
        assert receive(socket) == {"result": [], "id": 2}


def test_a_thousand_and_one_streams_are_refused(venue: Venue) -> None:
    with venue.open("/ws") as socket:
        names = [f"coin{number}usdt@trade" for number in range(1_025)]
        socket.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))
        assert receive(socket)["code"] == 2
        socket.send(json.dumps({"method": "SUBSCRIBE", "params": names[1:], "id": 2}))
        assert receive(socket) == {"result": None, "id": 2}


def test_more_than_five_requests_a_second_end_the_connection(venue: Venue) -> None:
    with venue.open("/ws") as socket:
        for number in range(6):
            socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        with pytest.raises(ConnectionClosedError) as closed:
            drain(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_a_request_in_fragments_is_understood(venue: Venue) -> None:
    with venue.open("/ws") as socket:
        socket.send(iter(['{"method":"LIST_', 'SUBSCRIPTIONS",', '"id":3}']))
        assert receive(socket) == {"result": [], "id": 3}


def test_the_venue_pings_and_a_client_that_answers_stays(venue: Venue) -> None:
    venue.control("ping", every_s=0.2, timeout_s=1.5)
    with venue.open("/ws/btcusdt@depth@100ms") as socket:
        deadline = time.monotonic() + 2.5
        while time.monotonic() < deadline:
            receive(socket)
        assert venue.get("/control/requests")["open_websockets"] == 1


def test_requests_share_a_connection_and_carry_their_weight(venue: Venue) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", venue.port, timeout=5)
    used = []
    for path in ("/api/v3/ping", "/api/v3/depth?symbol=BTCUSDT&limit=1000", "/api/v3/depth?symbol=NO", "/api/v3/none"):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.headers["Content-Type"].startswith("application/json")
        assert answer.headers["X-MBX-USED-WEIGHT"] == answer.headers["X-MBX-USED-WEIGHT-1M"]
        used.append((answer.status, int(answer.headers["X-MBX-USED-WEIGHT-1M"])))
    connection.close()
    assert [status for status, _ in used] == [200, 200, 400, 404]
    assert used[1][1] - used[0][1] in (50, 50 - used[0][1])  # a new minute may have begun


def test_garbage_instead_of_http_is_refused(venue: Venue) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", venue.port, timeout=5)
    connection.putrequest("GET", "/api/v3/ping", skip_host=True)
    connection.putheader("Content-Length", "minus one")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400
    answer.read()
    connection.close()
    assert venue.get("/api/v3/ping") == {}


def test_the_local_book_procedure_meets_no_gap_at_twenty_times_the_speed() -> None:
    with running("--seed", "gapless", "--speed", "20", "--symbols", "BTCUSDT,ETHUSDT") as venue:
        books: dict[str, LocalBook] = {}
        waiting: dict[str, list[Any]] = {"BTCUSDT": [], "ETHUSDT": []}
        applied = 0
        with venue.open("/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms") as socket:
            while applied < 800:
                diff = receive(socket)["data"]
                symbol = diff["s"]
                if symbol in books:
                    applied += books[symbol].apply(diff)
                    continue
                waiting[symbol].append(diff)
                if len(waiting[symbol]) == 5:
                    snapshot = venue.get("/api/v3/depth", symbol=symbol, limit=5_000)
                    assert snapshot["lastUpdateId"] >= waiting[symbol][0]["U"]
                    books[symbol] = LocalBook(snapshot)
                    for diff in waiting[symbol]:
                        books[symbol].apply(diff)
            venue.control("pause", heartbeat=False)
            truths = {symbol: venue.get("/control/book", symbol=symbol) for symbol in books}
            while any(books[symbol].update_id < truths[symbol]["update_id"] for symbol in books):
                diff = receive(socket)["data"]
                books[diff["s"]].apply(diff)
        for symbol, book in books.items():
            assert book.levels() == (exact(truths[symbol]["bids"]), exact(truths[symbol]["asks"]))


def test_a_client_that_leaves_is_forgotten(venue: Venue) -> None:
    with venue.open("/ws/btcusdt@trade"):
        wait_for(lambda: venue.get("/control/requests")["open_websockets"] == 1)
    wait_for(lambda: venue.get("/control/requests")["open_websockets"] == 0)
