"""Candles: the venue's intervals, folding small ones into large ones, splitting a large one into small ones.

Splitting is how the generated past stays cheap and consistent: a day is drawn once, its hours, minutes and seconds are
drawn from the day on demand. The same seed always gives the same parts, and they fold back to exactly the candle they
came from (open, high, low, close, volume, number of trades; quote amounts are each part's own and agree only nearly).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05, where the venue's weeks begin

INTERVALS_MS: dict[str, int] = {
    "1s": SECOND_MS,
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": 7 * DAY_MS,
    "1M": 31 * DAY_MS,  # the longest month; open_of and close_of know the calendar
}


class Candle(NamedTuple):
    """One candle. Prices and volumes in grains, quote amounts in 1e-16.

    Without trades (`trades` 0) all four prices are the last one before, and `first_id` is the id of the next print.
    """

    open_ms: int
    span_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote: int
    trades: int
    first_id: int
    taker_volume: int
    taker_quote: int

    @property
    def end_ms(self) -> int:
        """First millisecond after the candle."""
        return self.open_ms + self.span_ms


def open_of(interval: str, time_ms: int) -> int:
    """Open time of the candle of `interval` that holds `time_ms`."""
    if interval == "1M":
        moment = datetime.fromtimestamp(time_ms / 1000.0, UTC)
        return _ms(moment.year, moment.month)
    span = INTERVALS_MS[interval]
    offset = _MONDAY_MS if interval == "1w" else 0
    return time_ms - (time_ms - offset) % span


def close_of(interval: str, open_ms: int) -> int:
    """Open time of the candle after the one that opens at `open_ms`."""
    if interval == "1M":
        moment = datetime.fromtimestamp(open_ms / 1000.0, UTC)
        return _ms(moment.year + moment.month // 12, moment.month % 12 + 1)
    return open_ms + INTERVALS_MS[interval]


def resolution_of(interval: str) -> int:
    """The largest of day, hour, minute and second that divides `interval`."""
    span = INTERVALS_MS[interval]
    return next(unit for unit in (DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS) if span >= unit)


def fold(interval: str, pieces: Iterable[Candle]) -> Iterator[Candle]:
    """Join neighbouring candles, oldest first, into candles of `interval`."""
    bucket: list[Candle] = []
    end_ms = 0
    for piece in pieces:
        if bucket and piece.open_ms >= end_ms:
            yield join(bucket, open_of(interval, bucket[0].open_ms), end_ms)
            bucket = []
        if not bucket:
            end_ms = close_of(interval, open_of(interval, piece.open_ms))
        bucket.append(piece)
    if bucket:
        yield join(bucket, open_of(interval, bucket[0].open_ms), end_ms)


def join(pieces: list[Candle], open_ms: int, end_ms: int) -> Candle:
    """One candle from open_ms to end_ms out of at least one piece."""
    traded = [piece for piece in pieces if piece.trades]
    first = traded[0] if traded else pieces[0]
    last = traded[-1] if traded else pieces[-1]
    priced = traded or pieces[-1:]
    return Candle(
        open_ms=open_ms,
        span_ms=end_ms - open_ms,
        open=first.open,
        high=max(piece.high for piece in priced),
        low=min(piece.low for piece in priced),
        close=last.close,
        volume=sum(piece.volume for piece in traded),
        quote=sum(piece.quote for piece in traded),
        trades=sum(piece.trades for piece in traded),
        first_id=first.first_id,
        taker_volume=sum(piece.taker_volume for piece in traded),
        taker_quote=sum(piece.taker_quote for piece in traded),
    )


def flat(open_ms: int, span_ms: int, price: int, next_id: int) -> Candle:
    """A candle in which nothing traded."""
    return Candle(open_ms, span_ms, price, price, price, price, 0, 0, 0, next_id, 0, 0)


def split(whole: Candle, parts: int, rng: Random, tick: int, step: int) -> list[Candle]:
    """Draw `parts` equal candles that fold to `whole`; volumes stay multiples of `step`, prices of `tick`."""
    span = whole.span_ms // parts
    counts = share(whole.trades, parts, rng)
    busy = [index for index, count in enumerate(counts) if count]
    if not busy:
        return [flat(whole.open_ms + i * span, span, whole.close, whole.first_id) for i in range(parts)]
    volumes = _volumes(whole, counts, step, rng)
    closes = _path(whole, len(busy), rng, tick)
    bodies = list(zip([whole.open, *closes[:-1]], closes, strict=True))
    ranges = _wicks(whole, bodies, rng, tick)
    children: list[Candle] = []
    next_id, price, body = whole.first_id, whole.open, 0
    for index, count in enumerate(counts):
        open_ms = whole.open_ms + index * span
        if not count:
            children.append(flat(open_ms, span, price, next_id))
            continue
        (opened, price), (low, high) = bodies[body], ranges[body]
        body += 1
        child = draw(
            rng,
            open_ms=open_ms,
            span_ms=span,
            ohlc=(opened, high, low, price),
            volume=volumes[index],
            trades=count,
            first_id=next_id,
            step=step,
        )
        children.append(child)
        next_id += count
    return children


def draw(
    rng: Random,
    *,
    open_ms: int,
    span_ms: int,
    ohlc: tuple[int, int, int, int],
    volume: int,
    trades: int,
    first_id: int,
    step: int,
) -> Candle:
    """A generated candle: its mean price lies inside its range, about half of its volume was bought by takers."""
    opened, high, low, close = ohlc
    mean = (opened + high + low + close) // 4
    share_bought = min(0.9, max(0.1, rng.gauss(0.5, 0.12)))
    bought = volume if trades == 1 else int(volume * share_bought) // step * step
    return Candle(
        open_ms, span_ms, opened, high, low, close, volume, volume * mean, trades, first_id, bought, bought * mean
    )


def share(total: int, parts: int, rng: Random) -> list[int]:
    """Split a whole number at random, but evenly in the mean; few things go to distinct parts."""
    if total < 2 * parts:
        counts = [0] * parts
        for _ in range(total):
            counts[int(rng.random() * parts)] += 1
        return counts
    weights = [0.3 + rng.expovariate(1.4) for _ in range(parts)]
    counts = []
    left, weight_left = total, sum(weights)
    for weight in weights[:-1]:
        part = min(left, round(left * weight / weight_left))
        counts.append(part)
        left -= part
        weight_left -= weight
    return [*counts, left]


def _volumes(whole: Candle, counts: list[int], step: int, rng: Random) -> list[int]:
    """At least one lot a trade, the rest at random."""
    lots = whole.volume // step
    spare = max(0, lots - whole.trades)
    weights = [count * (0.2 + rng.expovariate(1.2)) for count in counts]
    total = sum(weights)
    volumes = [(count + int(spare * weight / total)) * step for count, weight in zip(counts, weights, strict=True)]
    busiest = max(range(len(counts)), key=counts.__getitem__)
    volumes[busiest] += whole.volume - sum(volumes)
    return volumes


def _path(whole: Candle, steps: int, rng: Random, tick: int) -> list[int]:
    """`steps` closing prices from open to close inside the range."""
    scale = (whole.high - whole.low) / (1.7 * math.sqrt(steps))
    noise = [0.0]
    for _ in range(steps):
        noise.append(noise[-1] + rng.gauss(0.0, scale))
    drift = (whole.close - whole.open - noise[-1]) / steps
    closes = []
    for index in range(1, steps):
        price = whole.open + noise[index] + drift * index
        closes.append(min(whole.high, max(whole.low, round(price / tick) * tick)))
    return [*closes, whole.close]


def _wicks(whole: Candle, bodies: list[tuple[int, int]], rng: Random, tick: int) -> list[tuple[int, int]]:
    """(low, high) around each body; the outermost ones reach the range of the whole."""
    reach = (whole.high - whole.low) / (4.0 * math.sqrt(len(bodies))) / tick
    ranges = []
    for opened, close in bodies:
        high = max(opened, close) + round(rng.expovariate(1.0) * reach) * tick
        low = min(opened, close) - round(rng.expovariate(1.0) * reach) * tick
        ranges.append([max(low, whole.low), min(high, whole.high)])
    max(ranges, key=lambda pair: pair[1])[1] = whole.high
    min(ranges, key=lambda pair: pair[0])[0] = whole.low
    return [(low, high) for low, high in ranges]


def _ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000
