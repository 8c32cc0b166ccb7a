"""Candles: prints gathered into minutes, minutes folded into longer intervals.

Pure arithmetic on values; no lock (a `MinuteCandles` belongs to one market and is guarded by its lock), no clock.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from trading_engine.exchange.money import round_half_up

MINUTE_MS: Final = 60_000
_HOUR_MS: Final = 60 * MINUTE_MS
_DAY_MS: Final = 24 * _HOUR_MS
_WEEK_MS: Final = 7 * _DAY_MS
_FIRST_MONDAY_MS: Final = 4 * _DAY_MS
"""1970-01-05: weeks open on Monday 00:00 UTC, the epoch was a Thursday."""
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()

MONTH: Final = "1M"

INTERVALS_MS: Final[dict[str, int]] = {
    "1s": 1_000,
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": _HOUR_MS,
    "2h": 2 * _HOUR_MS,
    "4h": 4 * _HOUR_MS,
    "6h": 6 * _HOUR_MS,
    "8h": 8 * _HOUR_MS,
    "12h": 12 * _HOUR_MS,
    "1d": _DAY_MS,
    "3d": 3 * _DAY_MS,
    "1w": _WEEK_MS,
    MONTH: 31 * _DAY_MS,
}
"""The venue's intervals and their length in milliseconds; a month has no fixed length, its entry is the longest one."""

MINUTES_KEPT: Final = 1_500
"""A day of minutes and an hour to spare: what a chart opens with; older ones come from the venue."""

_QUOTE_DECIMALS: Final = 8
"""The venue states quote volumes with 8 decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """What was traded in one interval. Times UTC milliseconds; prices and `quote_volume` in the quote asset."""

    open_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trades: int
    closed: bool


def open_time_ms(time_ms: int, interval: str) -> int:
    """Return when the `interval` that contains `time_ms` opened; raise KeyError for an interval the venue has not."""
    length_ms = INTERVALS_MS[interval]
    if interval == MONTH:
        first = date.fromordinal(_EPOCH_DAY + time_ms // _DAY_MS).replace(day=1)
        return (first.toordinal() - _EPOCH_DAY) * _DAY_MS
    offset_ms = _FIRST_MONDAY_MS if interval == "1w" else 0
    return time_ms - (time_ms - offset_ms) % length_ms


def close_time_ms(opened_ms: int, interval: str) -> int:
    """Return the first millisecond after the interval that opened at `opened_ms`."""
    if interval == MONTH:
        return open_time_ms(opened_ms + INTERVALS_MS[MONTH], MONTH)
    return opened_ms + INTERVALS_MS[interval]


def fold(candles: Iterable[Candle], source: str, interval: str) -> tuple[Candle, ...]:
    """Fold candles of the interval `source`, oldest first, into the longer `interval`.

    A folded candle is closed when its last part is closed and reaches its end, or when a later part exists.
    """
    folded: list[Candle] = []
    for candle in candles:
        opened_ms = open_time_ms(candle.open_time_ms, interval)
        ends = close_time_ms(candle.open_time_ms, source) >= close_time_ms(opened_ms, interval)
        closed = candle.closed and ends
        if folded and folded[-1].open_time_ms == opened_ms:
            folded[-1] = _joined(folded[-1], candle, closed=closed)
            continue
        if folded and not folded[-1].closed:
            folded[-1] = _joined(folded[-1], None, closed=True)
        folded.append(_reopened(candle, opened_ms, closed=closed))
    return tuple(folded)


class MinuteCandles:
    """The last `MINUTES_KEPT` minutes in which anything was traded."""

    __slots__ = ("_minutes", "_opens")

    def __init__(self) -> None:
        self._minutes: list[_Minute] = []
        self._opens: list[int] = []

    def add(self, time_ms: int, price: Decimal, quantity: Decimal, count: int = 1) -> None:
        """Add one print, which stands for `count` trades, prints coming in the order of their ids.

        One whose time goes back changes its own minute.
        """
        opened_ms = time_ms - time_ms % MINUTE_MS
        if self._opens and self._opens[-1] == opened_ms:
            self._minutes[-1].add(price, quantity, count)
            return
        place = bisect_left(self._opens, opened_ms)
        if place < len(self._opens) and self._opens[place] == opened_ms:
            self._minutes[place].add(price, quantity, count)
            return
        if len(self._opens) >= MINUTES_KEPT:
            if place == 0:
                return  # older than everything kept
            del self._opens[0], self._minutes[0]
            place -= 1
        self._opens.insert(place, opened_ms)
        self._minutes.insert(place, _Minute(opened_ms, price, quantity, count))

    def candles(self, now_ms: int) -> tuple[Candle, ...]:
        """Return them oldest first; minutes without a print have none. `now_ms` (the venue's time) closes the last."""
        last = len(self._minutes) - 1
        return tuple(
            minute.candle(closed=place < last or minute.opened_ms + MINUTE_MS <= now_ms)
            for place, minute in enumerate(self._minutes)
        )


class _Minute:
    """One minute being added up; its frozen copy is kept until another print changes it."""

    __slots__ = ("_candle", "close", "high", "low", "open", "opened_ms", "quote_volume", "trades", "volume")

    def __init__(self, opened_ms: int, price: Decimal, quantity: Decimal, count: int) -> None:
        self.opened_ms = opened_ms
        self.open = self.high = self.low = self.close = price
        self.volume = quantity
        self.quote_volume = price * quantity
        self.trades = count
        self._candle: Candle | None = None

    def add(self, price: Decimal, quantity: Decimal, count: int) -> None:
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        self.close = price
        self.volume += quantity
        self.quote_volume += price * quantity
        self.trades += count
        self._candle = None

    def candle(self, *, closed: bool) -> Candle:
        candle = self._candle
        if candle is None or candle.closed != closed:
            candle = self._candle = Candle(
                open_time_ms=self.opened_ms,
                open=self.open,
                high=self.high,
                low=self.low,
                close=self.close,
                volume=self.volume,
                quote_volume=round_half_up(self.quote_volume, _QUOTE_DECIMALS),
                trades=self.trades,
                closed=closed,
            )
        return candle


def _reopened(candle: Candle, opened_ms: int, *, closed: bool) -> Candle:
    return Candle(
        open_time_ms=opened_ms,
        open=candle.open,
        high=candle.high,
        low=candle.low,
        close=candle.close,
        volume=candle.volume,
        quote_volume=candle.quote_volume,
        trades=candle.trades,
        closed=closed,
    )


def _joined(first: Candle, then: Candle | None, *, closed: bool) -> Candle:
    if then is None:
        return _reopened(first, first.open_time_ms, closed=closed)
    return Candle(
        open_time_ms=first.open_time_ms,
        open=first.open,
        high=max(first.high, then.high),
        low=min(first.low, then.low),
        close=then.close,
        volume=first.volume + then.volume,
        quote_volume=first.quote_volume + then.quote_volume,
        trades=first.trades + then.trades,
        closed=closed,
    )
