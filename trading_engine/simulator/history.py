"""The past of one symbol: days drawn backwards from the day the venue opened, and what was recorded since.

`Past` holds the drawn days (deterministic for a seed, back to 2006 so that even weeks page); the coins share their
noise, so they rise and fall together and cross rates follow. `Timeline` continues it with tiles that cover time without
holes: minutes recorded from prints, folded to hours and days as they age, and drawn tiles for when nobody traded.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator

from trading_engine.simulator.candles import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    SECOND_MS,
    Candle,
    draw,
    flat,
    fold,
    open_of,
    resolution_of,
    split,
)
from trading_engine.simulator.grains import GRAIN, on_grid, seeded
from trading_engine.simulator.listings import COINS, Listing

FIRST_DAY_MS = 1_136_073_600_000  # 2006-01-01: 1,000 weeks before 2026
_YEARLY_RISE = 0.22  # mean logarithmic rise of the drawn past
_BUSIER_DAYS = 900.0  # trade counts fall by e per this many days back
_MINUTES_KEPT = 1_500  # then whole hours are folded
_HOURS_KEPT = 1_100  # then whole days are folded
_SPLITS_KEPT = 400
_MIN_TICKS = 50  # a drawn past never falls below this many ticks


class CoinPasts:
    """Logarithmic price of each coin at the end of each day, drawn backwards; built when first asked for."""

    def __init__(self, seed: str, genesis_ms: int, prices: dict[str, float]) -> None:
        self.seed = seed
        self.genesis_ms = genesis_ms
        self.days = (genesis_ms - FIRST_DAY_MS) // DAY_MS
        self._prices = prices
        self._paths: dict[str, array[float]] = {}
        self._common: array[float] | None = None

    def path(self, coin: str) -> array[float]:
        """Log prices in USDT: [0] at the end of the last whole day before genesis, [k] k days earlier."""
        known = self._paths.get(coin)
        if known is not None:
            return known
        if self._common is None:
            rng = seeded(self.seed, "common")
            self._common = array("d", (rng.gauss(0.0, 1.0) for _ in range(self.days + 2)))
        listed = COINS[coin]
        rng = seeded(self.seed, "coin", coin)
        daily = listed.volatility / math.sqrt(365.25)
        own = math.sqrt(1.0 - listed.correlation**2)
        today = (self.genesis_ms % DAY_MS) / DAY_MS
        level = math.log(self._prices[coin])
        path = array("d")
        for index, common in enumerate(self._common):
            length = today if index == 0 else 1.0
            shock = daily * (listed.correlation * common + own * rng.gauss(0.0, 1.0))
            level -= _YEARLY_RISE / 365.25 * length + shock * math.sqrt(length)
            path.append(level)
        self._paths[coin] = path
        return path


class Past:
    """The drawn days of one symbol before the day of its genesis."""

    def __init__(self, listing: Listing, coins: CoinPasts) -> None:
        self.end_ms = coins.genesis_ms - coins.genesis_ms % DAY_MS
        self._listing = listing
        self._coins = coins
        self._columns: tuple[array[int], ...] | None = None

    def end_price(self) -> int:
        """Price (grains) at the end of the last drawn day."""
        return self._price(0)

    def days(self, start_ms: int, end_ms: int) -> Iterator[Candle]:
        """The drawn days that overlap start_ms..end_ms, oldest first."""
        first = max(start_ms, FIRST_DAY_MS)
        if first >= min(end_ms, self.end_ms):
            return
        columns = self._columns or self._draw()
        oldest = (self.end_ms - 1 - first) // DAY_MS
        newest = max(0, (self.end_ms - end_ms) // DAY_MS)
        for index in range(oldest, newest - 1, -1):
            opened, high, low, close, lots, count, first_id, bought = (column[index] for column in columns)
            step = self._listing.step
            mean = (opened + high + low + close) // 4
            yield Candle(
                self.end_ms - (index + 1) * DAY_MS, DAY_MS, opened, high, low, close, lots * step, lots * step * mean,
                count, first_id, bought * step, bought * step * mean,
            )  # fmt: skip

    def _price(self, days_back: int) -> int:
        level = self._coins.path(self._listing.base)[days_back]
        if self._listing.quote != "USDT":
            level -= self._coins.path(self._listing.quote)[days_back]
        tick = self._listing.tick
        return max(_MIN_TICKS * tick, on_grid(math.exp(level) * GRAIN, tick))

    def _draw(self) -> tuple[array[int], ...]:
        listing = self._listing
        rng = seeded(self._coins.seed, "days", listing.name)
        columns = tuple(array("q") for _ in range(8))
        next_id = listing.first_trade_id
        daily = COINS[listing.base].volatility / math.sqrt(365.25)
        close = self._price(0)
        for index in range(self._coins.days):
            opened = self._price(index + 1)
            high = on_grid(max(opened, close) * (1.0 + daily * 0.4 * rng.expovariate(1.0)), listing.tick)
            low = on_grid(min(opened, close) / (1.0 + daily * 0.4 * rng.expovariate(1.0)), listing.tick)
            busy = (0.6 + 0.4 * rng.expovariate(1.0)) * (1.0 + 6.0 * abs(math.log(high / low)))
            count = 1_000 + int(listing.daily_trades * math.exp(-index / _BUSIER_DAYS) * busy * 0.7)
            lots = count + int(listing.daily_volume * GRAIN / listing.step * busy * 0.7)
            next_id -= count
            bought = int(lots * rng.uniform(0.44, 0.56))
            row = (opened, high, max(low, listing.tick), close, lots, count, next_id, bought)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
            close = opened
        self._columns = columns
        return columns


class Timeline:
    """Everything before the running minute: the drawn past, then tiles that cover time without a hole."""

    def __init__(self, listing: Listing, coins: CoinPasts) -> None:
        self._listing = listing
        self._seed = coins.seed
        self._past = Past(listing, coins)
        self._splits: OrderedDict[tuple[int, int], list[Candle]] = OrderedDict()
        self.tiles: list[Candle] = []

    @property
    def end_ms(self) -> int:
        """First millisecond not covered yet."""
        return self.tiles[-1].end_ms if self.tiles else self._past.end_ms

    def begin(self, price: int, end_ms: int) -> int:
        """Draw everything from the day of genesis up to the minute `end_ms`, ending at `price`; returns the next id."""
        return self._lay(self._past.end_ms, end_ms, self._past.end_price(), price, self._listing.first_trade_id)

    def bridge(self, end_ms: int, price: int, first_id: int) -> int:
        """Draw tiles for a time when the venue was not running, from `price` back to it; returns the next trade id."""
        next_id = self._lay(self.end_ms, end_ms, price, price, first_id)
        self._fold_old()
        return next_id

    def append(self, minute: Candle) -> None:
        """Add the minute that has just ended."""
        if minute.open_ms != self.end_ms:
            raise ValueError(f"the timeline ends at {self.end_ms}, not at {minute.open_ms}")
        self.tiles.append(minute)
        if minute.end_ms % HOUR_MS == 0:
            self._fold_old()

    def pieces(self, resolution_ms: int, start_ms: int, end_ms: int) -> Iterator[Candle]:
        """Candles no longer than `resolution_ms` that cover start_ms..end_ms (as far as this timeline reaches)."""
        for day in self._past.days(start_ms, end_ms):
            yield from self._split(day, resolution_ms, start_ms, end_ms)
        first = max(0, bisect_right(self.tiles, start_ms, key=lambda tile: tile.open_ms) - 1)
        for tile in self.tiles[first:]:
            if tile.open_ms >= end_ms:
                return
            if tile.end_ms > start_ms:
                yield from self._split(tile, resolution_ms, start_ms, end_ms)

    def series(self, interval: str, start_ms: int, end_ms: int) -> Iterator[Candle]:
        """Candles of `interval` with an open time from open_of(start_ms) on, before `end_ms`."""
        pieces = self.pieces(resolution_of(interval), open_of(interval, max(start_ms, FIRST_DAY_MS)), end_ms)
        return fold(interval, pieces)

    # -- drawing ---------------------------------------------------------------------------------------------------

    def _split(self, tile: Candle, resolution_ms: int, start_ms: int, end_ms: int) -> Iterator[Candle]:
        if tile.span_ms <= resolution_ms:
            yield tile
            return
        key = (tile.open_ms, tile.span_ms)
        parts = self._splits.get(key)
        if parts is None:
            smaller = {DAY_MS: HOUR_MS, HOUR_MS: MINUTE_MS, MINUTE_MS: SECOND_MS}[tile.span_ms]
            rng = seeded(self._seed, self._listing.name, *key)
            parts = split(tile, tile.span_ms // smaller, rng, self._listing.tick, self._listing.step)
            self._splits[key] = parts
            if len(self._splits) > _SPLITS_KEPT:
                self._splits.popitem(last=False)
        for part in parts:
            if part.open_ms < end_ms and part.end_ms > start_ms:
                yield from self._split(part, resolution_ms, start_ms, end_ms)

    def _lay(self, start_ms: int, end_ms: int, opened: int, close: int, first_id: int) -> int:
        """Append drawn tiles, as long as their boundaries allow, on a random path from `opened` to `close`."""
        spans = list(_spans(start_ms, end_ms))
        if not spans:
            return first_id
        listing = self._listing
        rng = seeded(self._seed, "tiles", listing.name, start_ms)
        daily = COINS[listing.base].volatility / math.sqrt(365.25)
        walk, total = [0.0], sum(spans)
        for span in spans:
            walk.append(walk[-1] + rng.gauss(0.0, daily * math.sqrt(span / DAY_MS)))
        drift = (math.log(close / opened) - walk[-1]) / total
        last_id = first_id + _trades_in(listing, total)
        elapsed, price = 0, opened
        for index, span in enumerate(spans):
            elapsed += span
            end = opened * math.exp(walk[index + 1] + drift * elapsed)
            after = close if index == len(spans) - 1 else max(listing.tick, on_grid(end, listing.tick))
            wick = daily * math.sqrt(span / DAY_MS) * 0.4
            high = on_grid(max(price, after) * (1.0 + wick * rng.expovariate(1.0)), listing.tick)
            low = on_grid(min(price, after) / (1.0 + wick * rng.expovariate(1.0)), listing.tick)
            next_id = last_id if index == len(spans) - 1 else first_id + _trades_in(listing, span)
            count = max(0, min(next_id, last_id) - first_id)
            open_ms = start_ms + elapsed - span
            if count:
                lots = count + int(_lots_in(listing, span) * (0.5 + 0.5 * rng.expovariate(1.0)))
                tile = draw(
                    rng,
                    open_ms=open_ms,
                    span_ms=span,
                    ohlc=(price, high, max(low, listing.tick), after),
                    volume=lots * listing.step,
                    trades=count,
                    first_id=first_id,
                    step=listing.step,
                )
                self.tiles.append(tile)
                price = after
            else:
                self.tiles.append(flat(open_ms, span, price, first_id))
            first_id += count
        return first_id

    def _fold_old(self) -> None:
        """Fold the oldest minutes into whole hours and the oldest hours into whole days."""
        for span_ms, kept, interval in ((MINUTE_MS, _MINUTES_KEPT, "1h"), (HOUR_MS, _HOURS_KEPT, "1d")):
            of_span = [tile for tile in self.tiles if tile.span_ms == span_ms]
            if len(of_span) <= kept:
                continue
            boundary_ms = open_of(interval, of_span[-kept].open_ms)
            old = [tile for tile in self.tiles if tile.end_ms <= boundary_ms]
            larger = [tile for tile in old if tile.span_ms > span_ms]
            small = [tile for tile in old if tile.span_ms <= span_ms]
            self.tiles[: len(old)] = sorted([*larger, *fold(interval, small)])


def _spans(start_ms: int, end_ms: int) -> Iterator[int]:
    """Days, hours and minutes, each as large as its place in the calendar allows, from start to end (whole minutes)."""
    while start_ms < end_ms:
        span = next(
            unit
            for unit in (DAY_MS, HOUR_MS, MINUTE_MS)
            if unit == MINUTE_MS or (start_ms % unit == 0 and start_ms + unit <= end_ms)
        )
        yield span
        start_ms += span


def _trades_in(listing: Listing, span_ms: int) -> int:
    return listing.daily_trades * span_ms // DAY_MS


def _lots_in(listing: Listing, span_ms: int) -> int:
    return int(listing.daily_volume * GRAIN / listing.step * span_ms / DAY_MS)
