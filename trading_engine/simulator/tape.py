"""The recent prints of one symbol, in compact columns (40 bytes a print): what /trades and /aggTrades answer from."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from operator import mul

CAPACITY = 30_000  # prints kept a symbol; beyond, the oldest fifth goes
COLUMNS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Print:
    """One trade. Price and quantity in grains; `taker` numbers the aggregate trade it belongs to."""

    id: int
    price: int
    quantity: int
    time_ms: int
    buyer_is_maker: bool
    taker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """Prints of one taker order at one price."""

    id: int
    price: int
    quantity: int
    first_id: int
    last_id: int
    time_ms: int
    buyer_is_maker: bool


class Tape:
    """Prints in order of their ids."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._prices = array("q")
        self._quantities = array("q")
        self._stamps = array("q")  # time_ms * 2 + buyer_is_maker
        self._takers = array("q")

    def __len__(self) -> int:
        return len(self._ids)

    def append(self, row: Print) -> None:
        """Add one print, newer than all others."""
        self._ids.append(row.id)
        self._prices.append(row.price)
        self._quantities.append(row.quantity)
        self._stamps.append(row.time_ms * 2 + row.buyer_is_maker)
        self._takers.append(row.taker)
        if len(self._ids) > CAPACITY:
            for column in self._columns():
                del column[: CAPACITY // 5]

    @property
    def first_id(self) -> int | None:
        """Id of the oldest print kept."""
        return self._ids[0] if self._ids else None

    @property
    def last(self) -> Print | None:
        """The newest print."""
        return self._row(len(self._ids) - 1) if self._ids else None

    def latest(self, limit: int) -> list[Print]:
        """The newest `limit` prints, oldest first."""
        return self._rows(max(0, len(self._ids) - limit), len(self._ids))

    def from_id(self, first_id: int, limit: int) -> list[Print]:
        """Up to `limit` prints with an id of at least `first_id`."""
        start = bisect_left(self._ids, first_id)
        return self._rows(start, min(start + limit, len(self._ids)))

    def between(self, start_ms: int, end_ms: int) -> list[Print]:
        """Prints with start_ms ≤ time < end_ms."""
        return self._rows(bisect_left(self._stamps, start_ms * 2), bisect_left(self._stamps, end_ms * 2))

    def sums(self, start_ms: int) -> tuple[int, int]:
        """Volume (grains) and quote amount (1e-16) of the prints from start_ms on."""
        start = bisect_left(self._stamps, start_ms * 2)
        volume = sum(self._quantities[start:])
        return volume, sum(map(mul, self._prices[start:], self._quantities[start:]))

    def aggregates(
        self, *, from_id: int | None = None, start_ms: int | None = None, end_ms: int | None = None, limit: int
    ) -> list[Aggregate]:
        """Aggregate trades from an aggregate id or a time on, or the newest ones; at most `limit`, oldest first."""
        size = len(self._ids)
        if from_id is not None:
            start = bisect_left(self._takers, from_id)
        elif start_ms is not None:
            start = bisect_left(self._stamps, start_ms * 2)
        else:
            end = size if end_ms is None else bisect_left(self._stamps, end_ms * 2 + 2)
            first_taker = self._takers[end - 1] - limit + 1 if end else 0
            start = bisect_left(self._takers, first_taker)
        start = self._start_of_aggregate(start)
        found: list[Aggregate] = []
        while start < size and len(found) < limit:
            if end_ms is not None and self._stamps[start] >= end_ms * 2 + 2:
                break
            end = bisect_left(self._takers, self._takers[start] + 1, start)
            row = self._row(start)
            found.append(
                Aggregate(
                    id=row.taker,
                    price=row.price,
                    quantity=sum(self._quantities[start:end]),
                    first_id=row.id,
                    last_id=self._ids[end - 1],
                    time_ms=row.time_ms,
                    buyer_is_maker=row.buyer_is_maker,
                )
            )
            start = end
        return found

    def export(self, limit: int) -> list[list[int]]:
        """The newest `limit` rows as plain numbers, for the state file."""
        return [list(column[-limit:]) for column in self._columns()]

    def restore(self, columns: list[list[int]]) -> None:
        """Load what `export` gave."""
        if len(columns) != COLUMNS or len({len(column) for column in columns}) > 1:
            raise ValueError("the prints of the state file do not fit together")
        for column, numbers in zip(self._columns(), columns, strict=True):
            column[:] = array("q", numbers)

    def _columns(self) -> tuple[array[int], ...]:
        return self._ids, self._prices, self._quantities, self._stamps, self._takers

    def _row(self, index: int) -> Print:
        stamp = self._stamps[index]
        return Print(
            id=self._ids[index],
            price=self._prices[index],
            quantity=self._quantities[index],
            time_ms=stamp >> 1,
            buyer_is_maker=bool(stamp & 1),
            taker=self._takers[index],
        )

    def _rows(self, start: int, end: int) -> list[Print]:
        return [self._row(index) for index in range(start, end)]

    def _start_of_aggregate(self, index: int) -> int:
        if 0 < index < len(self._ids):
            return bisect_left(self._takers, self._takers[index])
        return index
