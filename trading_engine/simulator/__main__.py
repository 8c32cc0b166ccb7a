"""`python -m trading_engine.simulator`: run the simulated exchange until SIGTERM, SIGINT or the parent's end.

Once it listens it prints one JSON line, `{"rest_url": "http://127.0.0.1:PORT", "ws_url": "ws://127.0.0.1:PORT"}`, and
nothing else on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import secrets
import signal
import sys
import time
from pathlib import Path

from trading_engine.simulator import state
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.listings import LISTINGS
from trading_engine.simulator.server import Server, Settings


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, run, return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m trading_engine.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default) for any free port")
    parser.add_argument("--seed", default=None, help="the same seed draws the same market; default: a new one")
    parser.add_argument("--speed", type=float, default=1.0, help="seconds of market per real second")
    parser.add_argument("--symbols", default=",".join(LISTINGS), help="comma-separated; default: all")
    parser.add_argument("--state", type=Path, default=None, help="keep prices and ids in this file between runs")
    parser.add_argument("--parent-pid", type=int, default=None, help="end when this process is gone")
    options = parser.parse_args(arguments)
    if not 0.0 < options.speed <= 1_000.0:
        parser.error("--speed must be above 0 and at most 1000")
    claimed: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    saved = None
    try:
        if options.state is not None:
            claimed = state.claim(options.state)
            saved = state.load(options.state)
        exchange = Exchange(
            seed=options.seed or secrets.token_hex(4),
            now_ms=int(time.time() * 1000),
            symbols=tuple(name.strip().upper() for name in options.symbols.split(",") if name.strip()),
            state=saved,
        )
    except (state.UnusableState, ValueError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    if options.seed is not None and options.seed != exchange.seed:
        sys.stderr.write(f"simulator: going on with seed {exchange.seed} of {options.state}\n")
    settings = Settings(
        host=options.host,
        port=options.port,
        speed=options.speed,
        state_path=options.state,
        parent_pid=options.parent_pid,
    )
    gc.freeze()  # the past and the listings stay; no collection needs to look at them
    with claimed:
        try:
            asyncio.run(_serve(exchange, settings))
        except OSError as error:
            sys.stderr.write(f"simulator: {error}\n")
            return 2
    return 0


async def _serve(exchange: Exchange, settings: Settings) -> None:
    server = Server(exchange, settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.run(_announce)


def _announce(host: str, port: int) -> None:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to
    name = f"[{reachable}]" if ":" in reachable else reachable
    line = json.dumps({"rest_url": f"http://{name}:{port}", "ws_url": f"ws://{name}:{port}"})
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
