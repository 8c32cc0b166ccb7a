"""Kill the real server while it trades, start it again: whatever it had answered is there, once."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
D = Decimal
CLIENTS = 8
KILLS = 2
Json = dict[str, Any]

pytestmark = pytest.mark.slow


class Server:
    """gunicorn as a user starts it, on the simulated market and a free port."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "server.log"
        names = ("PATH", "HOME", "LANG", "TMPDIR")
        self.environment = {name: os.environ[name] for name in names if name in os.environ} | {
            "MARKET": "simulated",
            "DATA_DIR": str(data_dir),
            "PORT": "0",
            "LOG_FORMAT": "json",
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start, and wait until it takes orders."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "wsgi:app"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.port = self._wait("where it listens", self._listening)
        self._wait("that it is ready", self._ready)

    def kill(self) -> None:
        """Pull the plug: no process of it gets a chance to say goodbye."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(10)

    def ask(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def _listening(self) -> int:
        for line in self.log.read_text().splitlines():
            if "Listening at: http://" in line:
                return int(line.split("Listening at: http://")[1].split(" ")[0].rpartition(":")[2])
        return 0

    def _ready(self) -> bool:
        try:
            return self.ask("GET", "/ready")[0] == 200
        except OSError:
            return False

    def _wait(self, what: str, look: Any) -> Any:
        assert self.process is not None
        deadline = time.monotonic() + 30
        while not (found := look()):
            assert self.process.poll() is None, f"the server ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < deadline, f"waiting in vain to learn {what}: {self.log.read_text()[-2000:]}"
            time.sleep(0.05)
        return found


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
                status, answer = self.server.ask("POST", "/api/v1/orders", order)
            except (OSError, http.client.HTTPException, ValueError):
                return  # the plug was pulled
            if status == 201:
                self.answered[mine] = answer


def stored_orders(server: Server) -> dict[str, Json]:
    found: dict[str, Json] = {}
    cursor = None
    while True:
        status, page = server.ask("GET", "/api/v1/orders?limit=1000" + (f"&cursor={cursor}" if cursor else ""))
        assert status == 200, page
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
    server = Server(tmp_path)
    answered: dict[str, Json] = {}
    sent: set[str] = set()
    ids: set[int | str] = set()
    try:
        for kill in range(KILLS):
            began = time.monotonic()
            server.start()
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

        server.start()
        stored = stored_orders(server)
        assert set(answered) <= set(stored) <= sent
        for client_order_id, answer in answered.items():
            kept = stored[client_order_id]
            for field in ("id", "symbol", "side", "quantity", "status", "filled_quantity", "average_price", "fills"):
                assert kept[field] == answer[field], (client_order_id, field)
            ids.add(kept["id"])
        assert len(ids) == len(answered), "no number was given out twice"

        status, portfolio = server.ask("GET", "/api/v1/portfolio")
        assert status == 200
        have = {balance["asset"]: D(balance["total"]) for balance in portfolio["balances"]}
        expected = {asset: amount for asset, amount in balances_from_fills(stored).items() if amount}
        assert have == expected

        one = next(iter(answered.values()))
        again = {name: one[name] for name in ("symbol", "side", "quantity", "client_order_id")}
        status, repeated = server.ask("POST", "/api/v1/orders", again)
        assert (status, repeated["id"]) == (200, one["id"]), "repeating an answered order tells its outcome"
        server.stop()
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()
