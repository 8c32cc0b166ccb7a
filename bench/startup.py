"""From the command to the first live book, and what the server then holds in memory: three symbols, simulated venue.

The venue is part of what is started, as with `MARKET=simulated`, and the data directory is new, so the time includes
making the database.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from bench import Result
from tests.servers import Server

ROUNDS = 3
GOAL_S = 3.0
GOAL_MB = 150.0
SETTLED_S = 5.0
"""Memory is read after the feeds have run for a while."""


def run(rounds: int = ROUNDS) -> list[Result]:
    """Start the server a few times; return the figures."""
    seconds, live_s, megabytes = [], [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            with Server(Path(folder), {"MARKET": "simulated", "LOG_LEVEL": "warning"}) as server:
                server.wait_for("/health")
                seconds.append(time.monotonic() - started)
                server.wait_live()
                live_s.append(time.monotonic() - started)
                time.sleep(SETTLED_S)
                megabytes.append(_resident_mb(server.worker))
    return [
        Result(name="start to first answer", value=statistics.median(seconds), goal=None, unit="s"),
        Result(name="start to live books, three symbols", value=statistics.median(live_s), goal=GOAL_S, unit="s"),
        Result(name="memory of the server process", value=max(megabytes), goal=GOAL_MB, unit="MB"),
    ]


def _resident_mb(process: int) -> float:
    """Return what a process has in memory, shared pages included."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def main(arguments: list[str]) -> None:
    """Measure and print, as a table or with `--json` as one line for each figure."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    for result in run():
        print(json.dumps(asdict(result)) if options.json else f"{result.name:45} {result.value:10.2f} {result.unit}")


if __name__ == "__main__":
    main(sys.argv[1:])
