"""The candles of one symbol up to this moment: timeline, running minute and tape seen as one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from random import Random

from trading_engine.simulator.candles import (
    DAY_MS,
    HOUR_MS,
    INTERVALS_MS,
    MINUTE_MS,
    SECOND_MS,
    Candle,
    close_of,
    flat,
    fold,
    join,
    open_of,
    resolution_of,
)
from trading_engine.simulator.grains import on_grid, seeded
from trading_engine.simulator.history import FIRST_DAY_MS, Timeline
from trading_engine.simulator.listings import Json, Listing
from trading_engine.simulator.tape import Print, Tape

AVERAGE_MS = 5 * MINUTE_MS
PRINTS_KEPT = 1_000  # on the tape at first, and in the state file


class Chart:
    """Everything that was traded.

    Attributes:
        minute: the running one.
        next_id: id of the next trade.
        next_taker: id of the next aggregate trade.
    """

    def __init__(self, listing: Listing, timeline: Timeline, now_ms: int) -> None:
        self.timeline = timeline
        self.tape = Tape()
        self.next_id = listing.first_trade_id
        self.next_taker = 1
        self.minute = flat(open_of("1m", now_ms), MINUTE_MS, 0, self.next_id)
        self._listing = listing
        self._day: tuple[int, Candle, int] | None = None
        self._begun: dict[str, tuple[int, list[Candle]]] = {}

    @property
    def price(self) -> int:
        """The last price, in grains."""
        return self.minute.close

    # -- time and trades -----------------------------------------------------------------------------------------------

    def add(self, row: Print) -> None:
        """Write one print down."""
        self.tape.append(row)
        self.next_id = row.id + 1
        minute, amount = self.minute, row.price * row.quantity
        taken, spent = (0, 0) if row.buyer_is_maker else (row.quantity, amount)
        first = not minute.trades
        self.minute = Candle(
            open_ms=minute.open_ms,
            span_ms=MINUTE_MS,
            open=row.price if first else minute.open,
            high=row.price if first else max(minute.high, row.price),
            low=row.price if first else min(minute.low, row.price),
            close=row.price,
            volume=minute.volume + row.quantity,
            quote=minute.quote + amount,
            trades=minute.trades + 1,
            first_id=row.id if first else minute.first_id,
            taker_volume=minute.taker_volume + taken,
            taker_quote=minute.taker_quote + spent,
        )

    def end_minute(self) -> None:
        """Put the running minute into the timeline and begin the next."""
        self.timeline.append(self.minute)
        self.minute = flat(self.minute.end_ms, MINUTE_MS, self.price, self.next_id)

    def sleep(self, now_ms: int) -> None:
        """Nobody traded from the running minute to `now_ms`: draw what lies between, from the last price back to it."""
        price = self.price
        self.timeline.append(self.minute)
        end_ms = open_of("1m", now_ms)
        self.next_id = self.timeline.bridge(end_ms, price, self.next_id)
        self.minute = flat(end_ms, MINUTE_MS, price, self.next_id)

    # -- candles -------------------------------------------------------------------------------------------------------

    def candles(
        self, interval: str, *, start_ms: int | None, end_ms: int | None, limit: int, now_ms: int
    ) -> list[Candle]:
        """Candles by open time: the first `limit` from start_ms on, else the last `limit` up to end_ms (inclusive)."""
        newest = now_ms if end_ms is None else min(end_ms, now_ms)
        if start_ms is None:
            first = newest - INTERVALS_MS[interval] * limit
        elif start_ms == open_of(interval, start_ms):
            first = start_ms
        else:
            first = close_of(interval, open_of(interval, start_ms))
        first = open_of(interval, max(first, FIRST_DAY_MS))
        end_ms = close_of(interval, open_of(interval, newest))
        found: list[Candle] = []
        for candle in fold(interval, self._pieces(interval, first, end_ms)):
            if start_ms is not None and len(found) == limit:
                break
            found.append(candle)
        return found[-limit:]

    def running(self, interval: str, time_ms: int) -> Candle:
        """The candle of `interval` that holds `time_ms` (now or just before), as far as it has come."""
        open_ms = open_of(interval, time_ms)
        end_ms = close_of(interval, open_ms)
        if interval == "1s":
            return join(list(self._seconds(open_ms, end_ms)), open_ms, end_ms)
        known = self._begun.get(interval)
        if known is None or known[0] != self.minute.open_ms or (known[1] and known[1][0].open_ms != open_ms):
            whole = list(self.timeline.pieces(resolution_of(interval), open_ms, self.minute.open_ms))
            known = (self.minute.open_ms, [join(whole, open_ms, self.minute.open_ms)] if whole else [])
            self._begun[interval] = known
        pieces = [*known[1], self.minute] if self.minute.open_ms < end_ms else known[1]
        return join(pieces, open_ms, end_ms)

    def day(self) -> tuple[Candle, int]:
        """The last 24 hours (to the minute) as one candle, and the price before them."""
        start_ms = self.minute.open_ms - DAY_MS
        if self._day is None or self._day[0] != start_ms:
            hour_ms = start_ms - start_ms % HOUR_MS + HOUR_MS
            first = self.timeline.pieces(MINUTE_MS, start_ms, hour_ms)
            rest = self.timeline.pieces(HOUR_MS, hour_ms, self.minute.open_ms)
            before = list(self.timeline.pieces(MINUTE_MS, start_ms - MINUTE_MS, start_ms))
            self._day = (start_ms, join([*first, *rest], start_ms, self.minute.open_ms), before[-1].close)
        _, whole, previous = self._day
        return join([whole, self.minute], start_ms, self.minute.end_ms), previous

    def average_price(self, now_ms: int) -> int:
        """Volume-weighted mean of the prints of the last five minutes, the last price when there were none."""
        volume, amount = self.tape.sums(now_ms - AVERAGE_MS)
        return amount // volume if volume else self.price

    def _pieces(self, interval: str, start_ms: int, end_ms: int) -> Iterator[Candle]:
        if interval == "1s":
            return self._seconds(start_ms, end_ms)
        past = self.timeline.pieces(resolution_of(interval), start_ms, end_ms)
        return chain(past, [self.minute] if start_ms < self.minute.end_ms and self.minute.open_ms < end_ms else [])

    def _seconds(self, start_ms: int, end_ms: int) -> Iterator[Candle]:
        """Seconds: from prints where the tape has them all, drawn from the minute where it does not."""
        for piece in chain(self.timeline.pieces(MINUTE_MS, start_ms, end_ms), [self.minute]):
            if piece.end_ms <= start_ms or piece.open_ms >= end_ms:
                continue
            first_id = self.tape.first_id
            if first_id is None or (piece.trades and piece.first_id < first_id):
                yield from self.timeline.pieces(SECOND_MS, max(start_ms, piece.open_ms), min(end_ms, piece.end_ms))
                continue
            price, next_id = piece.open, piece.first_id
            for open_ms in range(piece.open_ms, min(piece.end_ms, end_ms), SECOND_MS):
                second = _second(self.tape.between(open_ms, open_ms + SECOND_MS), open_ms, price, next_id)
                price, next_id = second.close, second.first_id + second.trades
                if open_ms >= start_ms:
                    yield second

    # -- beginnings ----------------------------------------------------------------------------------------------------

    def begin(self, price: int) -> None:
        """Begin life: a drawn past that ends at `price`, and its last prints on the tape."""
        self.next_id = self.timeline.begin(price, self.minute.open_ms)
        self.next_taker = self.next_id // 2
        self.minute = flat(self.minute.open_ms, MINUTE_MS, price, self.next_id)
        minutes: list[Candle] = []
        while sum(minute.trades for minute in minutes) < PRINTS_KEPT:
            start_ms = self.minute.open_ms - (len(minutes) + 2) * MINUTE_MS
            minutes = list(self.timeline.pieces(MINUTE_MS, start_ms, self.minute.open_ms))
        self._draw_prints(minutes[0].open_ms)

    def _draw_prints(self, start_ms: int) -> None:
        """Draw the prints of the drawn seconds from start_ms on, an aggregate trade each."""
        rng = seeded("prints", self._listing.name, start_ms)
        step = self._listing.step
        seconds = list(self.timeline.pieces(SECOND_MS, start_ms, self.minute.open_ms))
        taker = self.next_taker - sum(second.trades for second in seconds)
        for second in seconds:
            left = second.volume // step
            for index in range(second.trades):
                to_come = second.trades - index - 1
                lots = 1 + int((left - to_come - 1) * rng.random() / (to_come + 1)) if to_come else left
                left -= lots
                row = Print(
                    id=second.first_id + index,
                    price=_drawn_price(second, index, rng, self._listing.tick),
                    quantity=lots * step,
                    time_ms=second.open_ms + index * SECOND_MS // second.trades,
                    buyer_is_maker=rng.random() < 0.5,
                    taker=taker,
                )
                self.tape.append(row)
                taker += 1

    def export(self) -> Json:
        """Everything the next run needs, as plain JSON values."""
        return {
            "trade_id": self.next_id,
            "taker_id": self.next_taker,
            "minute": list(self.minute),
            "tiles": [list(tile) for tile in self.timeline.tiles],
            "prints": self.tape.export(PRINTS_KEPT),
        }

    def restore(self, saved: Json, now_ms: int, ids_ahead: int) -> None:
        """Go on from what `export` gave, leaving `ids_ahead` ids out."""
        self.next_id = saved["trade_id"] + ids_ahead
        self.next_taker = saved["taker_id"] + ids_ahead
        self.timeline.tiles = [Candle(*row) for row in saved["tiles"]]
        self.tape.restore(saved["prints"])
        self.minute = Candle(*saved["minute"])
        if now_ms >= self.minute.end_ms:
            self.sleep(now_ms)


def _second(rows: list[Print], open_ms: int, price: int, next_id: int) -> Candle:
    """One second's candle out of its prints."""
    if not rows:
        return flat(open_ms, SECOND_MS, price, next_id)
    prices = [row.price for row in rows]
    bought = [row for row in rows if not row.buyer_is_maker]
    return Candle(
        open_ms=open_ms,
        span_ms=SECOND_MS,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=sum(row.quantity for row in rows),
        quote=sum(row.price * row.quantity for row in rows),
        trades=len(rows),
        first_id=rows[0].id,
        taker_volume=sum(row.quantity for row in bought),
        taker_quote=sum(row.price * row.quantity for row in bought),
    )


def _drawn_price(second: Candle, index: int, rng: Random, tick: int) -> int:
    """Price of print `index` of a drawn second: first the open, last the close, high and low between."""
    if index == second.trades - 1:
        return second.close
    if index < 3:
        return (second.open, second.high, second.low)[index]
    return on_grid(rng.uniform(second.low, second.high), tick)
