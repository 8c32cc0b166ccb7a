"""Book maintenance: bytes of a depth frame in, best prices and top 20 out, beside `orjson.loads` of the same bytes.

Two paths are timed. *Book*: decode, follow the update ids, apply, best bid and ask after every frame, best 20 levels of
both sides every 100 ms, which at 10 frames a second is after every frame too; numbers as the book keeps them. *Market*:
all that the running program does, that is the lock, a `MarketChange` with exact best prices for the engine after every
frame, and a `MarketView` of 20 levels as exact decimals. CPU time of this thread, rounds interleaved, medians.

Generated load: 20 to 200 level changes a frame (mean 74, 2.4 kB), 5,000 levels a side, distances from the touch as in a
capture of BTCUSDT (log-normal: half within 60 ticks, a tenth beyond 400), about a third each of new, changed and
removed levels, a touch that moves. With captures at hand (`CAPTURES_DIR`) their frames are measured too.
"""

import gzip
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import Result
from bench.__main__ import main
from bench.symbols import btcusdt
from trading_engine.binance import wire
from trading_engine.binance.depth_sync import DepthSync
from trading_engine.exchange.book import Book
from trading_engine.exchange.grid import Grids
from trading_engine.exchange.market import Market
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.symbols import Symbol

LEVELS_A_SIDE = 5_000
MEAN_CHANGES = 74
FRAMES_A_SECOND = 10
MANY_SYMBOLS = 400
DIFFERENT_LOADS = 8
ROUNDS = 7
CAPTURE = "binance_spot_btc_eth_20240808.jsonl.gz"


def run() -> list[Result]:
    """Measure and return the figures; takes about half a minute and 0.3 GB."""
    use_exact_arithmetic()
    return [*_one_symbol(), *_many_symbols(), *_captured()]


class _Load:
    """One made-up symbol: a snapshot and frames that keep its book consistent; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._touch = 9_741_235
        self._update_id = 1
        self._quantities: tuple[dict[int, int], dict[int, int]] = ({}, {})
        for side, sign in ((0, -1), (1, 1)):
            tick = self._touch if side else self._touch - 1
            for _ in range(LEVELS_A_SIDE):
                self._quantities[side][tick] = self._random.randint(1, 500_000)
                tick += sign * self._random.choice((1, 1, 1, 2, 3))

    def snapshot(self) -> bytes:
        bids, asks = (self._rows(side, self._quantities[side]) for side in (0, 1))
        return f'{{"lastUpdateId":{self._update_id},"bids":[{bids}],"asks":[{asks}]}}'.encode()

    def frame(self) -> bytes:
        """Move the touch a little and change some levels."""
        changed: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._move_touch(changed)
        wanted = min(200, 20 + int(self._random.expovariate(1 / (MEAN_CHANGES - 19))))
        while len(changed[0]) + len(changed[1]) < wanted:
            side = self._random.getrandbits(1)
            distance = int(math.exp(self._random.gauss(4.1, 1.6)))
            if distance >= LEVELS_A_SIDE:
                continue
            self._set(changed, side, self._touch + distance if side else self._touch - 1 - distance)
        first, self._update_id = self._update_id + 1, self._update_id + len(changed[0]) + len(changed[1])
        bids, asks = (self._rows(side, changed[side]) for side in (0, 1))
        return (
            '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT",'
            f'"U":{first},"u":{self._update_id},"b":[{bids}],"a":[{asks}]}}}}'
        ).encode()

    @staticmethod
    def _rows(side: int, quantities: dict[int, int]) -> str:
        """Write the levels of one side (0 bids, 1 asks), best first, as the venue does."""
        return ",".join(_level(tick, quantities[tick]) for tick in sorted(quantities, reverse=side == 0))

    def _set(self, changed: tuple[dict[int, int], dict[int, int]], side: int, tick: int) -> None:
        book = self._quantities[side]
        if tick in book and self._random.random() < 0.45 and len(book) > LEVELS_A_SIDE // 2:
            del book[tick]
            changed[side][tick] = 0
        else:
            book[tick] = changed[side][tick] = self._random.randint(1, 500_000)

    def _move_touch(self, changed: tuple[dict[int, int], dict[int, int]]) -> None:
        step = self._random.choice((-3, -1, 0, 0, 0, 1, 3))
        self._touch += step
        for side, gone in ((0, range(self._touch, self._touch - step)), (1, range(self._touch - step, self._touch))):
            crossed = range(self._touch, self._touch + 8) if side == 0 else range(self._touch - 8, self._touch)
            for tick in (*gone, *crossed):
                if self._quantities[side].pop(tick, None) is not None:
                    changed[side][tick] = 0


class _BookPath:
    """One symbol: decode, follow the ids, apply, ask for the best prices and the best 20 levels of both sides."""

    def __init__(self, symbol: Symbol, snapshot: bytes) -> None:
        decoded = wire.decode_snapshot(snapshot, LEVELS_A_SIDE)
        self._book = Book(decoded.bids, decoded.asks, limit=decoded.limit, grids=Grids.of(symbol))
        self._sync = DepthSync()
        self._sync.on_snapshot(decoded)

    def take(self, frame: bytes) -> None:
        diff = _following(self._sync, frame)
        book = self._book
        book.apply_diff(diff.update_id, diff.bids, diff.asks)
        book.best_bid()
        book.best_ask()
        book.raw_bids(20)
        book.raw_asks(20)


class _MarketPath:
    """The same as a whole: locked, told to the engine as a MarketChange, shown as a MarketView, everything decimal."""

    def __init__(self, symbol: Symbol, snapshot: bytes) -> None:
        decoded = wire.decode_snapshot(snapshot, LEVELS_A_SIDE)
        self._market = Market(symbol, monotonic_ns=time.monotonic_ns, wall_ms=lambda: time.time_ns() // 1_000_000)
        self._market.load_snapshot(decoded.update_id, decoded.bids, decoded.asks, limit=decoded.limit)
        self._sync = DepthSync()
        self._sync.on_snapshot(decoded)

    def take(self, frame: bytes) -> None:
        diff = _following(self._sync, frame)
        self._market.apply_diff(diff.update_id, diff.bids, diff.asks, diff.event_time_ms)
        self._market.view(20)


Rounds = list[list[tuple[int, bytes]]]
"""Each round: numbers of symbols, and a frame for each."""


def _one_symbol() -> Iterator[Result]:
    load = _Load(1)
    snapshots = [load.snapshot()]
    figures = _measure(snapshots, [[(0, load.frame()) for _ in range(200)] for _ in range(ROUNDS + 1)])
    yield Result(name="1 symbol: book / orjson", value=figures.book_ratio, goal=4.0, unit="x")
    yield from figures.details("1 symbol")


def _many_symbols() -> Iterator[Result]:
    loads = [_Load(seed) for seed in range(DIFFERENT_LOADS)]
    snapshots = [load.snapshot() for load in loads] * (MANY_SYMBOLS // DIFFERENT_LOADS)
    rounds: Rounds = []
    for _ in range(ROUNDS + 1):
        rounds.append([])
        for _ in range(3):
            frames = [load.frame() for load in loads]
            # A copy for each: no symbol finds its bytes in the cache because another has just read the same.
            rounds[-1] += [
                (number, bytes(bytearray(frames[number % DIFFERENT_LOADS]))) for number in range(MANY_SYMBOLS)
            ]
    figures = _measure(snapshots, rounds)
    per_second = MANY_SYMBOLS * FRAMES_A_SECOND / 1_000_000
    yield Result(name="400 symbols x 10/s: book", value=figures.book_us * per_second, goal=0.25, unit="of a core")
    yield Result(name="400 symbols x 10/s: market", value=figures.market_us * per_second, goal=None, unit="of a core")
    yield Result(name="400 symbols: book / orjson", value=figures.book_ratio, goal=None, unit="x")
    yield from figures.details("400 symbols")


def _captured() -> Iterator[Result]:
    """Measure real frames: smaller ones, so that what is done per frame weighs more than what is done per level."""
    file = Path(os.environ.get("CAPTURES_DIR", Path(__file__).parents[2] / "shared" / "data")) / CAPTURE
    if not file.exists():
        return
    names: list[str] = []
    snapshots: list[bytes] = []
    frames: list[tuple[int, bytes]] = []
    buffered: list[tuple[str, bytes]] = []
    with gzip.open(file) as lines:
        for line in lines:
            row = json.loads(line)
            body = row["data"].encode()
            if row["kind"] == "http":
                names.append(row["url"].partition("symbol=")[2].partition("&")[0])
                snapshots.append(body)
                newest_id = json.loads(body)["lastUpdateId"]
                buffered = [
                    (name, frame)
                    for name, frame in buffered
                    if name != names[-1] or json.loads(frame)["data"]["u"] > newest_id
                ]
            elif b"@depth" in body[:64]:
                buffered.append((json.loads(body)["data"]["s"], body))
    frames = [(names.index(name), frame) for name, frame in buffered]
    size = len(frames) // (ROUNDS + 1)
    figures = _measure(snapshots, [frames[start * size : (start + 1) * size] for start in range(ROUNDS + 1)])
    yield Result(name="captured: book / orjson", value=figures.book_ratio, goal=None, unit="x")
    yield from figures.details("captured")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    """CPU microseconds a frame, and ratios to orjson within a round: medians over the rounds."""

    floor_us: float
    book_us: float
    market_us: float
    book_ratio: float
    market_ratio: float

    def details(self, name: str) -> Iterator[Result]:
        yield Result(name=f"{name}: market / orjson", value=self.market_ratio, goal=None, unit="x")
        yield Result(name=f"{name}: orjson.loads", value=self.floor_us, goal=None, unit="us a frame")
        yield Result(name=f"{name}: book", value=self.book_us, goal=None, unit="us a frame")
        yield Result(name=f"{name}: market", value=self.market_us, goal=None, unit="us a frame")


def _measure(snapshots: list[bytes], rounds: Rounds) -> _Figures:
    """Run orjson, the bare book and the market over the same frames, round by round; the first round warms up."""
    symbol = btcusdt()
    books = [_BookPath(symbol, snapshot) for snapshot in snapshots]
    markets = [_MarketPath(symbol, snapshot) for snapshot in snapshots]
    floor_us: list[float] = []
    book_us: list[float] = []
    market_us: list[float] = []
    for batch in rounds:
        # The messages are dropped at once, as in the paths: keeping them would make the floor look slow.
        floor_us.append(_cpu_us(orjson.loads, [frame for _, frame in batch]))
        book_us.append(_cpu_us_each(books, batch))
        market_us.append(_cpu_us_each(markets, batch))
    median = statistics.median
    return _Figures(
        floor_us=median(floor_us[1:]),
        book_us=median(book_us[1:]),
        market_us=median(market_us[1:]),
        book_ratio=median(book / floor for book, floor in zip(book_us[1:], floor_us[1:], strict=True)),
        market_ratio=median(market / floor for market, floor in zip(market_us[1:], floor_us[1:], strict=True)),
    )


def _cpu_us(take: Callable[[bytes], object], frames: list[bytes]) -> float:
    before = time.thread_time_ns()
    for frame in frames:
        take(frame)
    return (time.thread_time_ns() - before) / 1_000 / len(frames)


def _cpu_us_each(paths: Sequence[_BookPath | _MarketPath], batch: list[tuple[int, bytes]]) -> float:
    takers = [(paths[number].take, frame) for number, frame in batch]
    before = time.thread_time_ns()
    for take, frame in takers:
        take(frame)
    return (time.thread_time_ns() - before) / 1_000 / len(batch)


def _following(sync: DepthSync, frame: bytes) -> wire.DepthDiff:
    """Return the diff in a frame that follows on the one before."""
    message = wire.decode_frame(frame)
    assert type(message) is wire.DepthDiff
    (diff,) = sync.on_diff(message)
    assert type(diff) is wire.DepthDiff, "the load has a hole"
    return diff


def _level(tick: int, quantity: int) -> str:
    return f'["{tick // 100}.{tick % 100:02}000000","{quantity // 100_000}.{quantity % 100_000:05}000"]'


if __name__ == "__main__":
    sys.exit(main(["book"]))
