"""Asking a venue by REST over real sockets: good answers, and every kind of bad one as its own error."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.binance.scripted import Act, Scripted, answer, reset
from trading_engine.binance.listing import Listing
from trading_engine.binance.rest import (
    BadAnswer,
    QuestionRefused,
    RegionRefused,
    Throttled,
    VenueClient,
    VenueUnavailable,
    network_reason,
    proxy_of,
)
from trading_engine.binance.weight import WeightBudget

DEPTH = {"lastUpdateId": 7, "bids": [["10.00", "1.5"]], "asks": [["10.01", "2"], ["10.02", "3"]]}


def client_of(url: str, **settings: Any) -> VenueClient:
    return VenueClient(url, monotonic=time.monotonic, **settings)


def serving(act: Act) -> Scripted:
    return Scripted(lambda number: act)


# --- good answers ---


def test_depth_is_asked_and_read() -> None:
    with serving(answer(DEPTH)) as server:
        snapshot = client_of(server.url).depth("BTCUSDT", 500)
    assert server.targets == ["/api/v3/depth?symbol=BTCUSDT&limit=500"]
    assert (snapshot.update_id, snapshot.limit) == (7, 500)
    assert [tuple(level) for level in snapshot.asks] == [(10.01, 2.0), (10.02, 3.0)]


def test_every_question_is_spelled_as_the_venue_documents_it() -> None:
    answers: dict[str, Any] = {
        "/api/v3/exchangeInfo": {"symbols": [], "rateLimits": []},
        "/api/v3/klines": [],
        "/api/v3/aggTrades": [],
        "/api/v3/time": {"serverTime": 1_700_000_000_000},
    }

    def act(sock: socket.socket, target: str) -> None:
        answer(answers[target.partition("?")[0]])(sock, target)

    with serving(act) as server:
        client = client_of(server.url + "/")
        assert client.exchange_info(["BTCUSDT", "ETHUSDT"]).symbols == ()
        assert client.exchange_info().symbols == ()
        assert client.klines("BTCUSDT", "1m", start_ms=5, end_ms=9, limit=2) == ()
        assert client.klines("BTCUSDT", "1d") == ()
        assert client.agg_trades("BTCUSDT", start_ms=5, limit=1) == ()
        assert client.agg_trades("BTCUSDT", from_id=0) == ()
        assert client.agg_trades("BTCUSDT", start_ms=5, end_ms=9, limit=1_000, within_s=2.0) == ()
        assert client.server_time() == 1_700_000_000_000
    assert server.targets == [
        "/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D",
        "/api/v3/exchangeInfo",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=5&endTime=9&limit=2",
        "/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=500",
        "/api/v3/aggTrades?symbol=BTCUSDT&startTime=5&limit=1",
        "/api/v3/aggTrades?symbol=BTCUSDT&fromId=0&limit=500",
        "/api/v3/aggTrades?symbol=BTCUSDT&startTime=5&endTime=9&limit=1000",
        "/api/v3/time",
    ]


def test_recorded_answers_are_read(captures: Path) -> None:
    folder = captures / "rest"
    files = {
        "/api/v3/depth": "btcusdt_20211022_depth.json",
        "/api/v3/klines": "btcusdt_20211022_klines.json",
        "/api/v3/aggTrades": "btcusdt_20211022_agg_trades.json",
        "/api/v3/ticker/24hr": "btcusdt_20211217_ticker_24hr.json",
    }

    def act(sock: socket.socket, target: str) -> None:
        answer((folder / files[target.partition("?")[0]]).read_bytes())(sock, target)

    with serving(act) as server:
        client = client_of(server.url)
        assert len(client.depth("BTCUSDT").bids) > 5
        klines = client.klines("BTCUSDT", "1m")
        assert [kline.open_time_ms for kline in klines] == sorted(kline.open_time_ms for kline in klines)
        assert client.agg_trades("BTCUSDT")[0].quantity > 0
        assert client.ticker_24h("BTCUSDT").symbol == "BTCUSDT"


def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(json.dumps(DEPTH).encode())
    with serving(answer(body, headers={"Content-Encoding": "gzip"})) as server:
        assert client_of(server.url).depth("BTCUSDT").update_id == 7


# --- refusals ---


@pytest.mark.parametrize("status", (451, 403))
def test_a_refused_region_says_so(status: int) -> None:
    body = {"code": 0, "msg": "Service unavailable from a restricted location"}
    with (
        serving(answer(body, status=status)) as server,
        pytest.raises(
            RegionRefused, match=rf"^{status} region refused: Service unavailable from a restricted location$"
        ),
    ):
        client_of(server.url).depth("BTCUSDT")


def test_a_page_of_a_proxy_in_between_is_not_read_as_an_answer() -> None:
    with (
        serving(answer("<html>blocked</html>", status=403)) as server,
        pytest.raises(RegionRefused, match=r"^403 region refused$"),
    ):
        client_of(server.url).depth("BTCUSDT")


@pytest.mark.parametrize("status", (500, 502, 503, 504))
def test_five_hundreds_are_unavailable(status: int) -> None:
    with serving(answer("", status=status)) as server, pytest.raises(VenueUnavailable, match=f"HTTP {status}"):
        client_of(server.url).depth("BTCUSDT")


def test_a_refused_question_carries_the_venues_code() -> None:
    with (
        serving(answer({"code": -1121, "msg": "Invalid symbol."}, status=400)) as server,
        pytest.raises(QuestionRefused, match="Invalid symbol") as refusal,
    ):
        client_of(server.url).depth("NOSUCH")
    assert refusal.value.code == -1121


@pytest.mark.parametrize("status", (429, 418))
def test_after_a_429_nobody_asks_before_retry_after(status: int) -> None:
    def script(number: int) -> Act:
        if number:
            return answer(DEPTH)
        return answer({"code": -1003, "msg": "Too much"}, status=status, headers={"Retry-After": "1"})

    with Scripted(script) as server:
        client = client_of(server.url)
        with pytest.raises(Throttled) as told:
            client.depth("BTCUSDT")
        assert told.value.wait_s == 1
        refused: list[float] = []

        def ask() -> None:
            try:
                client.server_time()
            except Throttled as error:
                refused.append(error.wait_s)

        others = [threading.Thread(target=ask) for _ in range(8)]
        for thread in others:
            thread.start()
        for thread in others:
            thread.join()
        assert len(refused) == 8
        assert all(0.5 < wait_s <= 1 for wait_s in refused)
        assert len(server.targets) == 1
        time.sleep(max(refused))
        assert client.depth("BTCUSDT").update_id == 7


@pytest.mark.parametrize("said", (None, "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"))
def test_a_retry_after_that_is_no_number_is_waited_half_a_minute(said: str | None) -> None:
    headers = {} if said is None else {"Retry-After": said}
    with serving(answer("", status=429, headers=headers)) as server, pytest.raises(Throttled) as told:
        client_of(server.url).server_time()
    assert told.value.wait_s == 30


def test_an_absurd_retry_after_is_bounded() -> None:
    with serving(answer("", status=418, headers={"Retry-After": "9" * 40})) as server, pytest.raises(Throttled) as told:
        client_of(server.url).server_time()
    assert told.value.wait_s == 3 * 86_400


def test_redirects_are_not_followed() -> None:
    with (
        serving(answer("", status=302, headers={"Location": "http://127.0.0.1:1/"})) as server,
        pytest.raises(BadAnswer, match="HTTP 302"),
    ):
        client_of(server.url).server_time()


# --- the network ---


def test_failures_of_the_network_are_named() -> None:
    refused = socket.create_server(("127.0.0.1", 0))
    port = refused.getsockname()[1]
    refused.close()
    for url, reason in (
        (f"http://127.0.0.1:{port}", "connection refused"),
        ("http://no-such-host.invalid", "DNS failure"),
    ):
        with pytest.raises(VenueUnavailable, match=f"^{reason}$"):
            client_of(url).server_time()
    with serving(reset) as server, pytest.raises(VenueUnavailable, match="reset"):
        client_of(server.url).server_time()


def test_a_server_without_tls_is_named_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak_plainly() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=speak_plainly, daemon=True)
        thread.start()
        with pytest.raises(VenueUnavailable, match="TLS failure"):
            client_of("https://{}:{}".format(*listener.getsockname())).server_time()
        thread.join(5)


def test_a_server_that_says_nothing_costs_the_read_timeout() -> None:
    with Scripted(lambda number: server.hang) as server:
        begun = time.monotonic()
        with pytest.raises(VenueUnavailable, match=r"^timeout$"):
            client_of(server.url, read_timeout_s=0.3).server_time()
        assert time.monotonic() - begun < 2


def test_a_question_may_have_less_time_than_usual() -> None:
    with Scripted(lambda number: server.hang) as server:
        begun = time.monotonic()
        with pytest.raises(VenueUnavailable, match=r"^timeout$"):
            client_of(server.url).agg_trades("BTCUSDT", within_s=0.2)
        assert time.monotonic() - begun < 2


def test_a_body_that_drips_costs_the_total_timeout() -> None:
    def drip(sock: socket.socket, target: str) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            sock.sendall(b" ")
            if server.released.wait(0.05):
                return

    with serving(drip) as server:
        begun = time.monotonic()
        with pytest.raises(VenueUnavailable, match=r"^timeout$"):
            client_of(server.url, read_timeout_s=1.0, total_timeout_s=0.5).server_time()
        assert time.monotonic() - begun < 2


def test_a_body_that_ends_too_soon_is_no_answer() -> None:
    def cut(sock: socket.socket, target: str) -> None:
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"serverTime"')

    with serving(cut) as server, pytest.raises(VenueUnavailable):
        client_of(server.url).server_time()


# --- answers that are none ---


@pytest.mark.parametrize("body", ("", "null", "[]", "{", '{"serverTime": "x"}', "[" * 60_000, b"\xff\xfe"))
def test_malformed_answers_are_refused(body: str | bytes) -> None:
    with serving(answer(body)) as server, pytest.raises(BadAnswer, match="malformed"):
        client_of(server.url).server_time()


@pytest.mark.parametrize("compressed", (False, True))
def test_an_answer_over_the_limit_is_refused_whatever_it_weighs_on_the_wire(compressed: bool) -> None:
    body = b" " * 3_000_000
    act = answer(gzip.compress(body), headers={"Content-Encoding": "gzip"}) if compressed else answer(body)
    with serving(act) as server, pytest.raises(BadAnswer, match="larger than 1000000 bytes"):
        client_of(server.url, answer_limit_bytes=1_000_000).server_time()


# --- weight ---


def test_the_venues_count_of_weight_is_believed() -> None:
    with serving(answer(DEPTH, headers={"X-MBX-USED-WEIGHT-1M": "5390"})) as server:
        client = client_of(server.url)
        client.depth("BTCUSDT")
        with pytest.raises(Throttled, match="request weight is used up"):
            client.depth("BTCUSDT")
    assert len(server.targets) == 1


def test_the_venues_own_limit_is_kept() -> None:
    rows = [
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
    ]
    with serving(answer({"symbols": [], "rateLimits": rows})) as server:
        budget = WeightBudget(time.monotonic)
        client_of(server.url, budget=budget).exchange_info()
    assert budget.take(600) > 0
    assert budget.take(580) == 0


def test_a_used_up_budget_asks_nothing() -> None:
    budget = WeightBudget(time.monotonic, 100)
    with serving(answer(DEPTH)) as server:
        client = client_of(server.url, budget=budget)
        client.depth("BTCUSDT", 1000)
        with pytest.raises(Throttled) as told:
            client.depth("BTCUSDT", 1000)
    assert 55 < told.value.wait_s <= 60
    assert len(server.targets) == 1


# --- many callers ---


def test_many_threads_share_one_client() -> None:
    with serving(answer(DEPTH)) as server:
        client = client_of(server.url, budget=WeightBudget(time.monotonic, 1_000_000))
        ids: list[int] = []
        threads = [
            threading.Thread(target=lambda: ids.extend(client.depth("BTCUSDT").update_id for _ in range(10)))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert ids == [7] * 160


# --- the list of symbols on disk ---


def listing_body(captures: Path) -> bytes:
    return (captures / "rest" / "exchangeInfo_20240908_majors.json").read_bytes()


def test_the_list_of_symbols_survives_a_start_without_the_venue(captures: Path, tmp_path: Path) -> None:
    with serving(answer(listing_body(captures))) as server:
        fetched = Listing(client_of(server.url), venue="binance", folder=tmp_path).fetch()
    gone = Listing(client_of(server.url), venue="binance", folder=tmp_path)
    with pytest.raises(VenueUnavailable):
        gone.fetch()
    kept = gone.kept()
    assert kept == fetched
    assert {"BTCUSDT", "ETHUSDT"} <= {symbol.name for symbol in fetched.symbols}
    assert Listing(client_of(server.url), venue="binance-us", folder=tmp_path).kept() is None


@pytest.mark.parametrize(
    "damage",
    (b"", b"not gzip", gzip.compress(b"{}", mtime=0)[:-3], gzip.compress(b'{"symbols": 5}', mtime=0)),
    ids=("empty", "no gzip", "cut short", "no list"),
)
def test_a_damaged_list_is_as_good_as_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "exchange_info_binance.json.gz").write_bytes(damage)
    assert Listing(client_of("http://127.0.0.1:1"), venue="binance", folder=tmp_path).kept() is None


def test_a_list_that_cannot_be_kept_is_still_an_answer(captures: Path, tmp_path: Path) -> None:
    with serving(answer(listing_body(captures))) as server:
        listing = Listing(client_of(server.url), venue="binance", folder=tmp_path / "missing")
        assert listing.fetch().symbols
    assert listing.kept() is None


def test_a_bad_list_does_not_replace_a_good_one(captures: Path, tmp_path: Path) -> None:
    def script(number: int) -> Act:
        return answer(listing_body(captures)) if number == 0 else answer("{}")

    with Scripted(script) as server:
        listing = Listing(client_of(server.url), venue="binance", folder=tmp_path)
        listing.fetch()
        with pytest.raises(BadAnswer):
            listing.fetch()
    assert listing.kept() is not None


# --- proxies ---


def test_proxies_of_the_environment_are_used_but_never_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://api.binance.com") is None
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    assert proxy_of("https://api.binance.com") == "http://proxy.example:3128"
    assert proxy_of("wss://stream.binance.com:9443/stream") == "http://proxy.example:3128"
    assert proxy_of("http://api.binance.com") is None
    assert proxy_of("https://internal.example") is None
    assert proxy_of("https://127.0.0.1:8443") is None


def test_reasons_are_short_and_plain() -> None:
    assert network_reason(TimeoutError()) == "timeout"
    assert network_reason(socket.gaierror(-2, "Name or service not known")) == "DNS failure"
    assert network_reason(ConnectionResetError(104, "reset by peer")) == "connection reset"
    assert network_reason(OSError(28, "No space left on device")).startswith("OSError: ")
