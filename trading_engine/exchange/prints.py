"""What the prints of one symbol tell: the recent ones, the last price, the average price, the minute candles.

A *print* is one public trade of the venue. Times are the venue's own (UTC milliseconds) and are compared only with each
other. No lock of its own: a `Prints` belongs to one market and is guarded by that market's lock.
"""

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from trading_engine.exchange.candles import Candle, MinuteCandles
from trading_engine.exchange.money import ZERO, divide

PRINTS_KEPT: Final = 1_000
"""What a trade list can show; an hour of a quiet symbol, a second of the busiest burst seen."""

_AVERAGE_DECIMALS: Final = 8
"""The venue states its average price with 8 decimals."""

_SECOND_MS: Final = 1_000
_LONGEST_AVERAGE_S: Final = 24 * 3_600
"""Bound on the seconds kept for an average price (the venue uses 5 minutes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One print. `buyer_is_maker`: the aggressor sold, so the print took from the bids.

    `count`: how many trades of the venue it stands for, those with the ids `first_id` to `id`; more than one where the
    stream lost them and only their sum is known.
    """

    id: int
    price: Decimal
    quantity: Decimal
    buyer_is_maker: bool
    time_ms: int
    count: int = 1

    @property
    def first_id(self) -> int:
        """The first of the venue's ids it stands for."""
        return self.id - self.count + 1


class Prints:
    """Prints in the order of their ids, each counted once."""

    __slots__ = ("_candles", "_newest_ms", "_quantity", "_quote", "_recent", "_seconds", "last")

    def __init__(self) -> None:
        self.last: Trade | None = None
        self._recent: deque[Trade] = deque(maxlen=PRINTS_KEPT)
        self._candles = MinuteCandles()
        self._newest_ms = 0
        # One row a second, oldest first: [second, quote amount, quantity]; the two sums are of all rows.
        self._seconds: deque[tuple[int, Decimal, Decimal]] = deque()
        self._quote = ZERO
        self._quantity = ZERO

    def add(self, trade: Trade, average_minutes: int) -> bool:
        """Count `trade`; return False, and change nothing, when it or a later one is already counted."""
        if self.last is not None and trade.id <= self.last.id:
            return False
        self.last = trade
        self._recent.append(trade)
        self._candles.add(trade.time_ms, trade.price, trade.quantity, trade.count)
        self._newest_ms = max(self._newest_ms, trade.time_ms)
        self._add_to_average(trade, average_minutes)
        return True

    def since(self, after_id: int | None, limit: int) -> tuple[Trade, ...]:
        """Return the newest `limit` prints with an id above `after_id`, oldest first."""
        if limit <= 0:
            return ()
        newest: list[Trade] = []
        for trade in reversed(self._recent):
            if len(newest) == limit or (after_id is not None and trade.id <= after_id):
                break
            newest.append(trade)
        newest.reverse()
        return tuple(newest)

    def candles(self, now_ms: int) -> tuple[Candle, ...]:
        """Return the minute candles, oldest first, as of the venue's time `now_ms`."""
        return self._candles.candles(now_ms)

    @property
    def newest_ms(self) -> int:
        """The latest venue time seen on a print; 0 before the first."""
        return self._newest_ms

    def average_price(self, minutes: int, now_ms: int) -> Decimal | None:
        """Return the volume-weighted price of the last `minutes` (whole seconds), or the last price when there is none.

        `minutes` of 0 means the last price (the venue's `avgPriceMins`). None before the first print.
        """
        if self.last is None:
            return None
        self._forget(now_ms // _SECOND_MS - minutes * 60)
        if minutes == 0 or not self._quantity:
            return self.last.price
        return divide(self._quote, self._quantity, _AVERAGE_DECIMALS)

    def _add_to_average(self, trade: Trade, minutes: int) -> None:
        second = trade.time_ms // _SECOND_MS
        quote = trade.price * trade.quantity
        if self._seconds and second <= self._seconds[-1][0]:
            # The same second, or a time that goes back: counted with the newest, so that the row order holds.
            second, quote_before, quantity_before = self._seconds.pop()
            self._seconds.append((second, quote_before + quote, quantity_before + trade.quantity))
        else:
            self._seconds.append((second, quote, trade.quantity))
            self._forget(second - min(minutes * 60, _LONGEST_AVERAGE_S))
        self._quote += quote
        self._quantity += trade.quantity

    def _forget(self, second: int) -> None:
        """Drop the rows up to and including `second`."""
        while self._seconds and self._seconds[0][0] <= second:
            _, quote, quantity = self._seconds.popleft()
            self._quote -= quote
            self._quantity -= quantity
