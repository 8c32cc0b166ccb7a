"""Fidelity: a paper order beside each real one of an order-by-order file, and how often both have the same fate.

The paper orders stand in `trading_engine.exchange.queue_model`, the very class the engine fills by, and see only what
Binance would have sent (`fidelity_feed`). Each joins at the moment of its real order, within `--ticks` of the best
price, and is withdrawn when that ended (10 s later if that was filled). *Contested* are those with somebody ahead and
a print at or through their price while the real one rested: the others say little about a rule.

    python -m bench.fidelity                                    every captured file, every rule, with the bootstrap
    python -m bench.fidelity --l3 FILE --truth FILE [--model NAME] [--json]
"""

import argparse
import json
import os
import random
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from bench.fidelity_desk import Twin, run_twins
from bench.fidelity_feed import Event, Print, feed, is_better, lot_of, read_rows, read_truth, tick_of
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.queue_rules import Rule

OURS = Rule.INFERRED
ROUNDS = 2_000
STRETCH_NS = 10_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A captured file: continuous trading begins at `from_ns`."""

    title: str
    l3: str
    truth: str
    from_ns: int


CAPTURES = (
    Capture(
        title="ES (CME, E-mini S&P 500, 34 minutes; large tick, long queues)",
        l3="l3_esh4_20231225_part1.csv.gz",
        truth="truth_esh4_20231225_part1.csv.gz",
        from_ns=1_703_545_201_000_000_000,
    ),
    Capture(
        title="AAPL (Nasdaq, one hour; small tick, short queues)",
        l3="l3_aapl_20120621_first_hour.csv.gz",
        truth="truth_aapl_20120621_first_hour.csv.gz",
        from_ns=0,
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How paper orders compare with the real ones beside them; None where there is nothing to divide by."""

    n: int
    agreement: float | None
    precision: float | None
    recall: float | None
    quantity_ratio: float | None
    dt_median_s: float | None
    dt_p90_s: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the figures by name."""
        return {name: getattr(self, name) for name in self.__slots__}


def score(twins: Sequence[Twin]) -> Score:
    """Compare: filled whole or not, quantities, times of the last fill where both were filled whole."""
    both = [twin for twin in twins if twin.is_filled and twin.truth.is_filled]
    paper = sum(twin.is_filled for twin in twins)
    real = sum(twin.truth.is_filled for twin in twins)
    agreed = sum(twin.agrees for twin in twins)
    quantity = float(sum(twin.truth.filled for twin in twins))
    apart = sorted(abs(twin.last_fill_ns - (twin.truth.last_fill_ns or 0)) / 1e9 for twin in both)
    return Score(
        n=len(twins),
        agreement=_ratio(agreed, len(twins)),
        precision=_ratio(len(both), paper),
        recall=_ratio(len(both), real),
        quantity_ratio=_ratio(float(sum(twin.filled for twin in twins)), quantity),
        dt_median_s=apart[len(apart) // 2] if apart else None,
        dt_p90_s=apart[len(apart) * 9 // 10] if apart else None,
    )


def contested(twins: Iterable[Twin], events: Iterable[Event]) -> list[Twin]:
    """Return the twins whose real order had somebody ahead and a print at or through its price while it rested."""
    prints: dict[str, list[Print]] = {"bid": [], "ask": []}
    for event in events:
        if isinstance(event, Print):
            prints[event.side].append(event)
    times = {side: [event.time_ns for event in of_side] for side, of_side in prints.items()}
    met = []
    for twin in twins:
        truth = twin.truth
        first = bisect_left(times[truth.side], truth.time_ns)
        last = len(times[truth.side]) if truth.end_ns is None else bisect_right(times[truth.side], truth.end_ns)
        while_resting = prints[truth.side][first:last]
        if truth.queue_ahead and any(not is_better(truth.side, event.price, truth.price) for event in while_resting):
            met.append(twin)
    return met


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What ours agrees more often than another rule: the mean, and the lower ends of two 95 % intervals."""

    mean: float
    low: float
    low_by_stretch: float


def gain(ours: Sequence[Twin], theirs: Sequence[Twin]) -> Gain:
    """Compare two rules on the same real orders, by paired bootstrap: drawing orders, and drawing whole stretches.

    What happens within a stretch is not independent, so the second interval is the more honest one.
    """
    stretches: dict[int, list[int]] = {}
    for mine, other in zip(ours, theirs, strict=True):
        if mine.truth is not other.truth:
            raise ValueError("the twins are not those of the same orders")
        stretches.setdefault(mine.truth.time_ns // STRETCH_NS, []).append(int(mine.agrees) - int(other.agrees))
    each = [difference for stretch in stretches.values() for difference in stretch]
    return Gain(
        mean=sum(each) / len(each),
        low=_low_end([[difference] for difference in each]),
        low_by_stretch=_low_end(list(stretches.values())),
    )


def _low_end(groups: list[list[int]]) -> float:
    sums = [(sum(group), len(group)) for group in groups]
    draw = random.Random(1)  # the same figures at every run
    means = []
    for _ in range(ROUNDS):
        sample = draw.choices(sums, k=len(sums))
        means.append(sum(total for total, _ in sample) / sum(count for _, count in sample))
    means.sort()
    return means[ROUNDS // 40]


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _figures(twins: list[Twin], events: list[Event]) -> dict[str, Any]:
    return {**score(twins).as_json(), "contested": score(contested(twins, events)).as_json()}


HEADER = f"{'rule':10} {'n':>6} {'agree':>7} {'precis':>7} {'recall':>7} {'qty':>6} {'dt50 s':>8} {'dt90 s':>8}"


def _row(name: str, figures: Score) -> str:
    cells = [
        "-".rjust(width) if value is None else f"{value:{width}.{decimals}f}"
        for value, width, decimals in (
            (figures.agreement, 7, 4),
            (figures.precision, 7, 4),
            (figures.recall, 7, 4),
            (figures.quantity_ratio, 6, 3),
            (figures.dt_median_s, 8, 4),
            (figures.dt_p90_s, 8, 4),
        )
    ]
    return f"{name:10} {figures.n:6} {' '.join(cells)}"


def _print_tables(events: list[Event], by_rule: dict[Rule, list[Twin]]) -> None:
    """Print all twins, the contested ones, and those of the later half, on which nothing was fitted."""
    met = {rule: contested(twins, events) for rule, twins in by_rule.items()}
    middle = (events[0].time_ns + events[-1].time_ns) // 2
    later = {rule: [twin for twin in twins if twin.truth.time_ns >= middle] for rule, twins in met.items()}
    for title, groups in (("all", by_rule), ("contested", met), ("contested, second half", later)):
        print(f"\n{title}\n{HEADER}")
        for rule, twins in groups.items():
            print(_row(rule, score(twins)))
    if not all(later.values()) or OURS not in later:
        return
    print(f"\n{OURS}: gain in contested agreement, second half   mean   95 % above   the same by 10 s stretches")
    for rule, twins in later.items():
        if rule is not OURS:
            figures = gain(later[OURS], twins)
            print(f"over {rule:36} {figures.mean:+8.4f} {figures.low:+11.4f} {figures.low_by_stretch:+14.4f}")


def _load(l3: Path, truth: Path, from_ns: int, options: argparse.Namespace) -> tuple[list[Event], Decimal, Decimal]:
    rows = read_rows(l3)
    events = feed(rows, read_truth(truth), from_ns=from_ns, ticks=options.ticks, quotes_first=options.quotes_first)
    return events, lot_of(rows), tick_of(rows)


def _run_all(
    events: list[Event], rules: list[Rule], lot: Decimal, options: argparse.Namespace
) -> dict[Rule, list[Twin]]:
    return {rule: run_twins(events, rule=rule, step=lot, quotes_first=options.quotes_first) for rule in rules}


def _all_captures(options: argparse.Namespace) -> int:
    folder = Path(os.environ.get("CAPTURES_DIR", "../shared/data"))
    missing = [name for capture in CAPTURES for name in (capture.l3, capture.truth) if not (folder / name).is_file()]
    if missing:
        print(f"no {', '.join(missing)} in {folder}; CAPTURES_DIR names the folder they are in", file=sys.stderr)
        return 1
    for capture in CAPTURES:
        events, lot, tick = _load(folder / capture.l3, folder / capture.truth, capture.from_ns, options)
        print(f"\n== {capture.title}: tick {tick}, lot {lot}, {len(events):,} events", flush=True)
        _print_tables(events, _run_all(events, list(Rule), lot, options))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for and print it; return 1 if it could not be measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.fidelity", description=__doc__.splitlines()[0])
    parser.add_argument("--l3", type=Path, help="order-by-order file (csv.gz); without it all of CAPTURES_DIR")
    parser.add_argument("--truth", type=Path, help="the fates of its orders (csv.gz)")
    parser.add_argument("--from-ns", type=int, default=0, help="where continuous trading begins")
    parser.add_argument("--model", choices=[str(rule) for rule in Rule], help="one rule instead of all")
    parser.add_argument("--ticks", type=int, default=5, help="real orders at most this far from the best price")
    parser.add_argument("--quotes-first", action="store_true", help="quotes before the trades that made them")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    use_exact_arithmetic()
    if options.l3 is None and options.truth is None:
        return _all_captures(options)
    if options.l3 is None or options.truth is None:
        parser.error("--l3 and --truth go together")
    events, lot, tick = _load(options.l3, options.truth, options.from_ns, options)
    rules = [Rule(options.model)] if options.model else list(Rule)
    by_rule = _run_all(events, rules, lot, options)
    if options.json:
        figures = {str(rule): _figures(twins, events) for rule, twins in by_rule.items()}
        print(json.dumps(figures[options.model] if options.model else figures, indent=2))
    elif options.model:
        print(f"tick {tick}, lot {lot}\n{HEADER}")
        print(_row("all", score(by_rule[rules[0]])))
        print(_row("contested", score(contested(by_rule[rules[0]], events))))
    else:
        print(f"tick {tick}, lot {lot}")
        _print_tables(events, by_rule)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
