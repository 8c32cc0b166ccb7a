"""What Binance would have sent of a market whose every order is known: prints, live best quotes, 100 ms diffs.

Reads order-by-order files (`ts_ns,action,side,price,size,order_id`) and the fate of each real order beside them, and
emulates the venue's feed: a print per executed resting order (and per public print without one) at its time, the best
quote of a side whenever its price or size changes, and every 100 ms the levels that changed with their new size. On
Binance the quote that a trade leaves mostly arrives before the trade; `quotes_first` emulates that.
"""

import csv
import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from pathlib import Path

DIFF_EVERY_NS = 100_000_000
SIDES = ("bid", "ask")
TRADES = ("execute", "trade")
FILLED = ("filled", "filled_after_reduce")
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of an order-by-order file; `side` is that of the resting order."""

    time_ns: int
    action: str
    side: str
    price: Decimal
    size: Decimal
    order_id: int


@dataclass(frozen=True, slots=True)
class Truth:
    """A real order and its fate. `end_ns` is None while it was still alive at the end of the file."""

    order_id: int
    time_ns: int
    side: str
    price: Decimal
    size: Decimal
    ticks_from_best: int
    queue_ahead: Decimal
    outcome: str
    filled: Decimal
    last_fill_ns: int | None
    end_ns: int | None

    @property
    def is_filled(self) -> bool:
        """Say whether everything that was left of the order in the end was executed."""
        return self.outcome in FILLED


@dataclass(frozen=True, slots=True)
class Print:
    """A public trade against a resting order of `side`."""

    time_ns: int
    side: str
    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Quote:
    """The best price of a side and its size."""

    time_ns: int
    side: str
    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class Diff:
    """The levels that changed since the last diff: (side, price, size now)."""

    time_ns: int
    levels: tuple[tuple[str, Decimal, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Join:
    """A real order arrives; a paper one goes beside it."""

    time_ns: int
    truth: Truth


Event = Print | Quote | Diff | Join


def read_rows(path: Path) -> list[Row]:
    """Read an order-by-order file, in its order."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        return [
            Row(
                int(row["ts_ns"]),
                row["action"],
                _side(row["side"]),
                Decimal(row["price"]),
                Decimal(row["size"]),
                int(row["order_id"]),
            )
            for row in csv.DictReader(file)
        ]


def read_truth(path: Path) -> list[Truth]:
    """Read the fates of the real orders."""
    with gzip.open(path, "rt", encoding="ascii", newline="") as file:
        return [
            Truth(
                order_id=int(row["order_id"]),
                time_ns=int(row["t_add_ns"]),
                side=_side(row["side"]),
                price=Decimal(row["price"]),
                size=Decimal(row["size"]),
                ticks_from_best=int(row["ticks_from_best"]),
                queue_ahead=Decimal(row["queue_ahead"]),
                outcome=row["outcome"],
                filled=Decimal(row["filled"]),
                last_fill_ns=int(row["t_last_fill_ns"]) if row["t_last_fill_ns"] else None,
                end_ns=int(row["t_end_ns"]) if row["t_end_ns"] else None,
            )
            for row in csv.DictReader(file)
        ]


def lot_of(rows: list[Row]) -> Decimal:
    """Return the largest lot that every size is a multiple of."""
    return _common_step(row.size for row in rows)


def tick_of(rows: list[Row]) -> Decimal:
    """Return the largest tick that every price of an order is a multiple of; prints without one may lie between."""
    return _common_step(row.price for row in rows if row.action != "trade")


def feed(rows: list[Row], truths: list[Truth], *, from_ns: int, ticks: int, quotes_first: bool = False) -> list[Event]:
    """Return what the venue would have sent from `from_ns` on, with the arrivals of the orders to go beside.

    Only orders within `ticks` of the best price. The first event is a diff of the whole book. `quotes_first`: all that
    trades at one instant is told after the quote it left, not each trade before its quote.
    """
    book = _Book()
    start = next((index for index, row in enumerate(rows) if row.time_ns >= from_ns), len(rows))
    for row in rows[:start]:
        book.apply(row)
    joining = {
        (truth.order_id, truth.time_ns): truth
        for truth in truths
        if truth.time_ns >= from_ns and truth.ticks_from_best <= ticks
    }
    events: list[Event] = []
    if start < len(rows):
        first = rows[start].time_ns
        events.append(Diff(first, tuple((side, *level) for side in SIDES for level in book.levels[side].items())))
        events += book.quotes(first)
        book.changed.clear()
        events += _emulate(rows[start:], joining, book, quotes_first=quotes_first)
    return events


def _emulate(
    rows: list[Row], joining: dict[tuple[int, int], Truth], book: "_Book", *, quotes_first: bool
) -> Iterator[Event]:
    next_diff = (rows[0].time_ns // DIFF_EVERY_NS + 1) * DIFF_EVERY_NS
    for (time_ns, traded), group in groupby(rows, key=lambda row: (row.time_ns, row.action in TRADES)):
        if time_ns >= next_diff:
            if book.changed:
                yield Diff(next_diff, book.take_changes())
            next_diff = (time_ns // DIFF_EVERY_NS + 1) * DIFF_EVERY_NS
        prints = []
        for row in group:
            if row.action == "add" and (truth := joining.get((row.order_id, time_ns))) is not None:
                yield Join(time_ns, truth)
            if traded:
                prints.append(Print(time_ns, row.side, row.price, row.size))
            if not quotes_first:
                yield from prints
                prints.clear()
            book.apply(row)
            if not (quotes_first and traded):
                yield from book.quotes(time_ns)
        if quotes_first and traded:
            yield from book.quotes(time_ns)
            yield from prints


class _Book:
    """The real book: orders, sizes by level, best prices."""

    def __init__(self) -> None:
        self.levels: dict[str, dict[Decimal, Decimal]] = {side: {} for side in SIDES}
        self.changed: dict[tuple[str, Decimal], None] = {}
        self._orders: dict[int, tuple[str, Decimal, Decimal]] = {}
        self._best: dict[str, Decimal | None] = dict.fromkeys(SIDES)
        self._told: dict[str, tuple[Decimal, Decimal] | None] = dict.fromkeys(SIDES)

    def apply(self, row: Row) -> None:
        """Do what a row says."""
        if row.action in {"init", "add"}:
            self._put(row)
        elif row.action in {"cancel", "execute"}:
            self._take(row.order_id, row.size)
        elif row.action == "modify":
            self._take(row.order_id, None)
            self._put(row)
        elif row.action != "trade":
            raise ValueError(f"unknown action {row.action!r}")

    def quotes(self, time_ns: int) -> list[Quote]:
        """Return the sides whose best price or its size is not what was told last."""
        told = []
        for side in SIDES:
            best = self._best[side]
            now = None if best is None else (best, self.levels[side][best])
            if now != self._told[side]:
                self._told[side] = now
                if now is not None:
                    told.append(Quote(time_ns, side, *now))
        return told

    def take_changes(self) -> tuple[tuple[str, Decimal, Decimal], ...]:
        """Return the levels changed since the last call, with their size now."""
        levels = tuple((side, price, self.levels[side].get(price, ZERO)) for side, price in self.changed)
        self.changed.clear()
        return levels

    def _put(self, row: Row) -> None:
        self._orders[row.order_id] = (row.side, row.price, row.size)
        self._change(row.side, row.price, row.size)

    def _take(self, order_id: int, size: Decimal | None) -> None:
        order = self._orders.pop(order_id, None)
        if order is None:
            return
        side, price, rests = order
        part = rests if size is None else min(size, rests)
        if part < rests:
            self._orders[order_id] = (side, price, rests - part)
        self._change(side, price, -part)

    def _change(self, side: str, price: Decimal, by: Decimal) -> None:
        levels = self.levels[side]
        size = levels.get(price, ZERO) + by
        best = self._best[side]
        self.changed[side, price] = None
        if size:
            levels[price] = size
            if best is None or is_better(side, price, best):
                self._best[side] = price
        else:
            levels.pop(price, None)
            if price == best:
                self._best[side] = (max(levels) if side == "bid" else min(levels)) if levels else None


def is_better(side: str, price: Decimal, than: Decimal) -> bool:
    """Say whether a resting order of this side at `price` is met before one at `than`."""
    return price > than if side == "bid" else price < than


def _side(text: str) -> str:
    side = {"b": "bid", "a": "ask", "s": "ask"}.get(text[:1].lower())
    if side is None:
        raise ValueError(f"unknown side {text!r}")
    return side


def _common_step(values: Iterator[Decimal]) -> Decimal:
    distinct = [value for value in set(values) if value]
    if not distinct:
        raise ValueError("no value to take the step from")
    exponent = min(int(value.as_tuple().exponent) for value in distinct)
    unit = Decimal(1).scaleb(min(0, exponent))
    return math.gcd(*(int(value / unit) for value in distinct)) * unit
