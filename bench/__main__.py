"""`python -m bench`: run every benchmark, print a table of figures and goals, fail when a goal is clearly missed.

A module with a `run` that returns results is a benchmark. Exits with status 1 when a figure misses its goal by more
than `TOLERANCE`; machines differ, so figures that have a peer in the same run are ratios.
"""

import importlib
import pkgutil
import sys
import time

import bench
from bench import Result

TOLERANCE = 0.10


def main(arguments: list[str]) -> int:
    """Run the benchmarks named (all when none is) and return the exit status."""
    names = arguments or sorted(module.name for module in pkgutil.iter_modules(bench.__path__))
    missed = False
    print(f"{'figure':52} {'value':>10} {'goal':>12} unit")
    for name in names:
        run = getattr(importlib.import_module(f"bench.{name}"), "run", None) if name != "__main__" else None
        if run is None:
            continue
        started = time.monotonic()
        for result in run():
            missed |= result.missed_by > TOLERANCE
            print(_row(result), flush=True)
        print(f"  ({name}: {time.monotonic() - started:.0f} s)", flush=True)
    return int(missed)


def _row(result: Result) -> str:
    if result.goal is None:
        return f"{result.name:52} {result.value:10.3f} {'':>12} {result.unit}"
    sign = "≤" if result.better == "lower" else "≥"
    verdict = "" if result.missed_by <= 0 else "  within tolerance" if result.missed_by <= TOLERANCE else "  MISSED"
    return f"{result.name:52} {result.value:10.3f} {sign + f' {result.goal:g}':>12} {result.unit}{verdict}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
