"""From the venue's wire to the account's last decimal: our server, as it is started, on the simulated exchange."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server, Stream, Venue, wait_until
from trading_engine.exchange.money import divide

pytestmark = pytest.mark.slow

D = Decimal
ORDERS = "/api/v1/orders"
BIDS = [["49990.00", "1.00000"], ["49980.00", "2.00000"], ["49900.00", "5.00000"]]
ASKS = [["50000.00", "0.10000"], ["50010.00", "0.20000"], ["50020.00", "0.30000"], ["50100.00", "9.00000"]]


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    with Venue(tmp_path_factory.mktemp("venue")) as started:
        yield started


@pytest.fixture(scope="module")
def server(venue: Venue, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), venue.settings) as started:
        yield started.wait_live()


@pytest.fixture
def frozen(server: Server, venue: Venue) -> Server:
    """The server with a fresh account and a book that stands still, known to both sides."""
    venue.control("set_book", symbol="BTCUSDT", bids=BIDS, asks=ASKS)
    wait_until(lambda: book_of(server)["asks"] == ASKS and book_of(server)["bids"] == BIDS, "the server sees the book")
    assert server.post("/api/v1/account/reset", {"balances": {"USDT": "100000", "BTC": "1"}}).status == 200
    return server


def book_of(server: Server) -> Any:
    return server.get("/api/v1/depth?symbol=BTCUSDT&limit=100").json


def balances(server: Server) -> dict[str, Decimal]:
    return {row["asset"]: D(row["total"]) for row in server.get("/api/v1/portfolio").json["balances"]}


def place(server: Server, **order: Any) -> Any:
    reply = server.post(ORDERS, {"symbol": "BTCUSDT", **order})
    assert reply.status == 201, reply.text
    return reply.json


def test_the_books_top_is_the_venues(frozen: Server) -> None:
    top = frozen.get("/api/v1/depth").json["BTCUSDT"]
    assert (top["bid_price"], top["ask_price"], top["spread"], top["mid_price"]) == (
        "49990.00",
        "50000.00",
        "10.00",
        "49995.00",
    )
    assert (top["spread_bps"], top["state"]) == ("2.0002", "live")


def test_a_market_order_fills_at_the_ask(frozen: Server) -> None:
    order = place(frozen, side="Buy", quantity=0.05)
    assert (order["status"], order["average_price"], len(order["fills"])) == ("filled", "50000.00", 1)
    assert order["fills"][0]["price"] == "50000.00"
    assert order["simulated"] is True


def test_an_order_across_three_levels_fills_level_by_level_and_the_balances_are_exact(frozen: Server) -> None:
    before = balances(frozen)
    order = place(frozen, side="buy", quantity="0.55", price="50020")
    assert order["status"] == "filled"
    fills = [(D(fill["price"]), D(fill["quantity"])) for fill in order["fills"]]
    assert fills == [(D(50000), D("0.1")), (D(50010), D("0.2")), (D(50020), D("0.25"))]
    paid = sum((price * quantity for price, quantity in fills), D(0))
    fees = sum((D(fill["fee"]) for fill in order["fills"]), D(0))
    assert {fill["fee_asset"] for fill in order["fills"]} == {"BTC"}
    assert fees == D("0.55") * D("0.001")
    after = balances(frozen)
    assert before["USDT"] - after["USDT"] == paid == D(order["filled_quote"])
    assert after["BTC"] - before["BTC"] == D("0.55") - fees
    assert D(order["average_price"]) == divide(paid, D("0.55"), 8)


def test_a_sale_pays_its_fee_in_what_it_receives(frozen: Server) -> None:
    before = balances(frozen)
    order = place(frozen, side="sell", quantity="1")
    assert [fill["price"] for fill in order["fills"]] == ["49990.00"]
    after = balances(frozen)
    assert after["USDT"] - before["USDT"] == D("49990") * D("0.999")
    assert before["BTC"] - after["BTC"] == 1


def test_what_crosses_is_taken_and_the_rest_rests_until_a_print_goes_through(frozen: Server, venue: Venue) -> None:
    order = place(frozen, side="buy", quantity="0.7", price="50020")
    assert (order["status"], order["filled_quantity"], order["held"]) == ("partially_filled", "0.60000", "5002")
    # What rests at 50020 is no level of the venue's: only a trade through the price shows that it would have been met.
    venue.control("print", symbol="BTCUSDT", price="50019.99", quantity="0.04", buyer_is_maker=True)
    path = f"{ORDERS}/{order['id']}"
    wait_until(lambda: D(frozen.get(path).json["filled_quantity"]) == D("0.64"), "the print fills the order")
    now = frozen.get(path).json
    assert (now["fills"][-1]["price"], now["fills"][-1]["liquidity"]) == ("50020.00", "maker")
    cancelled = frozen.delete(path).json
    assert (cancelled["status"], cancelled["held"]) == ("cancelled", "0")
    spent = sum(D(fill["price"]) * D(fill["quantity"]) for fill in cancelled["fills"])
    assert balances(frozen)["USDT"] == 100_000 - spent


def test_a_fill_of_a_resting_order_is_told_on_the_stream(frozen: Server, venue: Venue) -> None:
    order = place(frozen, side="sell", quantity="0.2", price="50200")
    with Stream(frozen.port) as stream:
        stream.wait_for("portfolio")
        venue.control("print", symbol="BTCUSDT", price="50200.01", quantity="5", buyer_is_maker=False)
        told = stream.wait_for("order", lambda data: data["id"] == order["id"])
    assert (told["status"], [fill["quantity"] for fill in told["fills"]]) == ("filled", ["0.20000"])


def test_orders_from_many_clients_at_once_are_all_there(frozen: Server) -> None:
    placed: list[int] = []

    def trade(client: int) -> None:
        for n in range(10):
            side = "buy" if n % 2 else "sell"
            placed.append(place(frozen, side=side, quantity="0.001", client_order_id=f"client-{client}-{n}")["id"])

    threads = [threading.Thread(target=trade, args=(client,)) for client in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    listed = frozen.get(f"{ORDERS}?limit=1000").json["orders"]
    assert sorted(order["id"] for order in listed) == sorted(placed)
    assert len(set(placed)) == 80
    fills = frozen.get("/api/v1/fills?limit=1000").json["fills"]
    bought = sum((D(fill["quantity"]) - D(fill["fee"]) for fill in fills if fill["side"] == "buy"), D(0))
    sold = sum((D(fill["quantity"]) for fill in fills if fill["side"] == "sell"), D(0))
    assert balances(frozen)["BTC"] == 1 + bought - sold


def test_killed_in_the_middle_it_has_every_order_it_acknowledged(venue: Venue, tmp_path: Path) -> None:
    venue.control("set_book", symbol="BTCUSDT", bids=BIDS, asks=ASKS)
    acknowledged: list[str] = []
    with Server(tmp_path, venue.settings) as server:
        server.wait_live()
        stop = threading.Event()

        def trade(client: int) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                name = f"client-{client}-{n}"
                try:
                    reply = server.post(
                        ORDERS, {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.001", "client_order_id": name}
                    )
                except (OSError, ValueError):
                    return
                if reply.status == 201:
                    acknowledged.append(name)

        threads = [threading.Thread(target=trade, args=(client,), daemon=True) for client in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(acknowledged) > 40, "orders are being placed")
        server.kill()
        stop.set()
        for thread in threads:
            thread.join(10)
    with Server(tmp_path, venue.settings) as server:
        started = time.monotonic()
        server.wait_live()
        again = server.post(ORDERS, {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.001"})
        assert again.status == 201
        assert time.monotonic() - started < 10
        listed = [order["client_order_id"] for order in server.get(f"{ORDERS}?limit=1000").json["orders"]]
        assert len(listed) == len(set(listed))
        assert set(acknowledged) <= set(listed)
        assert len(listed) <= len(acknowledged) + 5  # what was not yet answered may have been stored


def test_orders_survive_a_worker_that_is_killed(venue: Venue, tmp_path: Path) -> None:
    venue.control("set_book", symbol="BTCUSDT", bids=BIDS, asks=ASKS)
    with Server(tmp_path, venue.settings) as server:
        server.wait_live()
        resting = place(server, side="buy", quantity="0.01", price="40000")
        os.kill(server.worker, signal.SIGKILL)
        wait_until(lambda: server.answers("/ready"), "gunicorn has started another worker")
        assert server.get(f"{ORDERS}/{resting['id']}").json["status"] == "new"
        assert server.delete(f"{ORDERS}/{resting['id']}").json["status"] == "cancelled"


@pytest.mark.parametrize("end", (b"0\r\nBad Header: a\r\n\r\n", b"0\r\nX: \x00\r\n\r\n"))
def test_a_body_in_broken_chunks_is_the_clients_fault(server: Server, end: bytes) -> None:
    head = b"POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        sock.sendall(head + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n" + end)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"code":"bad_request"' in answer
