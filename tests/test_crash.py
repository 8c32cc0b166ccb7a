"""Kill the real server while it trades, start it again: whatever it had answered is there, once."""

import contextlib
import http.client
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Server

D = Decimal
CLIENTS = 8
KILLS = 2
Json = dict[str, Any]

pytestmark = pytest.mark.slow


class Client(threading.Thread):
    """Buys and sells as fast as it is answered, and remembers what it was told."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.server = server
        self.answered: dict[str, Json] = {}
        self.sent: set[str] = set()

    def run(self) -> None:
        number = 0
        while True:
            number += 1
            mine = f"{self.name}-{number}"
            order = {
                "symbol": "BTCUSDT" if number % 3 else "ETHUSDT",
                "side": "Sell" if number % 4 == 0 else "Buy",
                "quantity": "0.0002" if number % 3 else "0.002",
                "client_order_id": mine,
            }
            self.sent.add(mine)
            try:
                reply = self.server.post("/api/v1/orders", order)
                answer = reply.json
            except (OSError, http.client.HTTPException, ValueError):
                return  # the plug was pulled
            if reply.status == 201:
                self.answered[mine] = answer


def stored_orders(server: Server) -> dict[str, Json]:
    found: dict[str, Json] = {}
    cursor = None
    while True:
        reply = server.get("/api/v1/orders?limit=1000" + (f"&cursor={cursor}" if cursor else ""))
        assert reply.status == 200, reply.text
        page = reply.json
        for order in page["orders"]:
            assert order["client_order_id"] not in found, "an order is there twice"
            found[order["client_order_id"]] = order
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def balances_from_fills(orders: dict[str, Json]) -> dict[str, Decimal]:
    """Recompute what the account must have from nothing but its fills."""
    have = {"USDT": D(100000), "BTC": D(0), "ETH": D(0)}
    for order in orders.values():
        base = order["symbol"].removesuffix("USDT")
        for fill in order["fills"]:
            amount = (D(fill["price"]) * D(fill["quantity"])).quantize(D("0.00000001"))
            sign = 1 if order["side"].lower() == "buy" else -1
            have[base] += sign * D(fill["quantity"])
            have["USDT"] -= sign * amount
            have[fill["fee_asset"]] -= D(fill["fee"])
    return have


def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    answered: dict[str, Json] = {}
    sent: set[str] = set()
    ids: set[int | str] = set()
    with contextlib.ExitStack() as started:

        def start(number: int) -> Server:
            server = Server(tmp_path, {"MARKET": "simulated"}, log_name=f"server-{number}.log")
            return started.enter_context(server).wait_live()

        for kill in range(KILLS):
            began = time.monotonic()
            server = start(kill)
            if kill:
                assert time.monotonic() - began < 20
            clients = [Client(server, f"k{kill}c{n}") for n in range(CLIENTS)]
            for client in clients:
                client.start()
            deadline = time.monotonic() + 30
            while sum(len(client.answered) for client in clients) < 150 + 50 * kill:
                assert time.monotonic() < deadline, "too few orders were answered"
                time.sleep(0.01)
            server.kill()
            for client in clients:
                client.join(15)
                assert not client.is_alive()
                answered |= client.answered
                sent |= client.sent

        server = start(KILLS)
        stored = stored_orders(server)
        assert set(answered) <= set(stored) <= sent
        for client_order_id, answer in answered.items():
            kept = stored[client_order_id]
            for field in ("id", "symbol", "side", "quantity", "status", "filled_quantity", "average_price", "fills"):
                assert kept[field] == answer[field], (client_order_id, field)
            ids.add(kept["id"])
        assert len(ids) == len(answered), "no number was given out twice"

        portfolio = server.get("/api/v1/portfolio")
        assert portfolio.status == 200
        have = {balance["asset"]: D(balance["total"]) for balance in portfolio.json["balances"]}
        expected = {asset: amount for asset, amount in balances_from_fills(stored).items() if amount}
        assert have == expected

        one = next(iter(answered.values()))
        again = {name: one[name] for name in ("symbol", "side", "quantity", "client_order_id")}
        repeated = server.post("/api/v1/orders", again)
        assert (repeated.status, repeated.json["id"]) == (200, one["id"]), "repeating an answer tells its outcome"
        server.terminate()
