"""Orders per second over HTTP, beside a constant JSON answer of the same server in the same run.

The constant POST passes through the same worker, gate and framework, reads its body and answers a stored text as long
as an order's. What is left is the price of an order: parsing and checking it, the engine, and the commit that is synced
before the answer. Market orders of one fill, 64 kept-alive connections, the book standing still and deep; rounds of
both alternate and the figure is the median of their paired ratios. The server has one core, the load the other.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from flask import Flask, Response, request

from bench import Result
from tests.servers import ROOT, Server, Venue
from trading_engine.app import create_app

CLIENTS = 64
ROUNDS = 7
SECONDS = 1.5
GOAL = 0.5
ORDER = '{"symbol":"BTCUSDT","side":"buy","quantity":"0.001"}'
DEEP_BIDS = [["96999.99", "5000000"], ["96999.98", "5000000"]]
DEEP_ASKS = [["97000.00", "5000000"], ["97000.01", "5000000"]]
"""A book that stands still and whose best level all these orders cannot use up: each of them is one fill."""

CONSTANT = b'{"constant":"%b"}' % (b"x" * 800)


def application() -> Flask:
    """Return the production application with the constant endpoint beside it; gunicorn calls this."""
    app = create_app()

    def constant() -> Response:
        request.get_data(cache=False)
        return Response(CONSTANT, content_type="application/json")

    app.add_url_rule("/bench/constant", view_func=constant, methods=["POST"])
    return app


def run(*, clients: int = CLIENTS, rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Result]:
    """Run server and load; return the figures."""
    with tempfile.TemporaryDirectory() as folder, Venue(Path(folder)) as venue:
        settings = {**venue.settings, "STARTING_BALANCE": "USDT=100000000000", "LOG_LEVEL": "warning"}
        command = [sys.executable, "-m", "gunicorn", "bench.orders:application()"]
        with Server(Path(folder), settings, command=command) as server:
            server.wait_live()
            venue.control("set_book", symbol="BTCUSDT", bids=DEEP_BIDS, asks=DEEP_ASKS, pause=True)
            _pin(server.popen.pid, 0)
            _pin(server.worker, 0)
            _load(server.port, "/api/v1/orders", clients, 0.5)
            pairs = []
            for _ in range(rounds):
                constant = _measured(server, "/bench/constant", clients, seconds)
                orders = _measured(server, "/api/v1/orders", clients, seconds)
                pairs.append((orders, constant))
    ratio = statistics.median(orders["rate"] / constant["rate"] for orders, constant in pairs)
    cost = statistics.median(constant["cpu_us"] / orders["cpu_us"] for orders, constant in pairs)
    rate, p99 = (statistics.median(orders[name] for orders, _ in pairs) for name in ("rate", "p99_ms"))
    floor = statistics.median(constant["rate"] for _, constant in pairs)
    return [
        Result(name=f"orders ÷ constant POST, {clients} clients", value=ratio, goal=GOAL, unit="×", better="higher"),
        Result(name="the same in processor time", value=cost, goal=None, unit="×", better="higher"),
        Result(name="orders acknowledged", value=rate, goal=None, unit="/s", better="higher"),
        Result(name="orders, 99th percentile", value=p99, goal=None, unit="ms"),
        Result(name="constant POST", value=floor, goal=None, unit="/s", better="higher"),
    ]


def _measured(server: Server, path: str, clients: int, seconds: float) -> dict[str, float]:
    """Load one path; add the server's processor time for each request."""
    before = _cpu_s(server.worker)
    result = _load(server.port, path, clients, seconds)
    return {**result, "cpu_us": (_cpu_s(server.worker) - before) / (result["rate"] * seconds) * 1e6}


def _cpu_s(process: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _load(port: int, path: str, clients: int, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.load", f"127.0.0.1:{port}", "POST", path, str(clients), str(seconds), ORDER]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, preexec_fn=lambda: _pin(0, 1))
    result: dict[str, float] = json.loads(done.stdout)
    if result["refused"]:
        raise RuntimeError(f"{result['refused']:.0f} requests to {path} were not answered 2xx")
    return result


def _pin(process: int, core: int) -> None:
    """Keep a process, with all its threads, on one core, where the system can do that and has two."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        threads = [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()] if process else [0]
        for thread in threads:
            os.sched_setaffinity(thread, {cores[core]})


def main(arguments: list[str]) -> None:
    """Measure and print, as a table or with `--json` as one line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.orders", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    options = parser.parse_args(arguments)
    for result in run(clients=options.clients):
        print(json.dumps(asdict(result)) if options.json else f"{result.name:45} {result.value:10.2f} {result.unit}")


if __name__ == "__main__":
    main(sys.argv[1:])
