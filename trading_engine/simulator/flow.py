"""The order flow of one symbol: who adds, cancels and takes, drawn from a seeded generator.

Three kinds of people trade. *Makers* keep queues near the touch and close a wide spread; *noise takers* send small
market orders either way; *informed takers* come when the latent fair price has left the quotes: one takes what is in
the way, the makers pull the rest up to the fair price and the other side follows. The deep book is the gardener's.

A side's sign (+1 bids, -1 asks) turns "better" into arithmetic: better prices lie at +sign, worse ones at -sign.
"""

from __future__ import annotations

import math
from random import Random
from typing import Protocol

from trading_engine.simulator.book import Book, Level, Side
from trading_engine.simulator.fair import SECONDS_A_YEAR
from trading_engine.simulator.garden import DENSE_LEVELS, Garden
from trading_engine.simulator.grains import on_grid
from trading_engine.simulator.listings import COINS, Listing
from trading_engine.simulator.sizes import Sizes

NEAR_LEVELS = 25  # mean depth, in levels, of ordinary adds and cancels
BARE_LEVELS = 100  # a side with fewer is planted at once
QUEUE = 4  # orders in a usual queue
GARDEN_EVERY_MS = 1_000
TOUCH_SHARE = 0.30  # share of events at the best price
SWEEP_SHARE = 0.01  # share of market orders that are large and patient


class Desk(Protocol):
    """What the flow acts on: a book, and somebody who writes down and publishes what happened."""

    book: Book

    def traded(self, prints: list[Level], makers: Side, time_ms: int) -> None:
        """One taker order met these orders of `makers`."""

    def quoted(self) -> None:
        """Something at or near the touch may have changed."""


class OrderFlow:
    """Draws orders and puts them through a desk.

    Attributes:
        pace: multiplies the rate of orders; below 1 the fair price is chased only as often as orders come.
    """

    def __init__(self, listing: Listing, rng: Random, desk: Desk) -> None:
        self.pace = 1.0
        self._listing = listing
        self._rng = rng
        self._desk = desk
        self._sizes = Sizes(listing, rng)
        self._garden = Garden(listing, rng, desk.book, self._sizes)
        self._gardened_ms = 0
        self._second = COINS[listing.base].volatility / math.sqrt(SECONDS_A_YEAR)  # relative move of a usual second

    @property
    def tick(self) -> int:
        """The price grid, in grains."""
        return self._garden.tick

    @property
    def step(self) -> int:
        """The quantity grid, in grains."""
        return self._sizes.step

    def set_grid(self, tick: int, step: int) -> None:
        """Trade on another grid from now on."""
        self._garden.tick, self._sizes.step = tick, step

    def plant(self, fair: float) -> None:
        """Fill both sides of an empty book around the fair price (grains)."""
        self._garden.plant(fair)

    # -- the flow ------------------------------------------------------------------------------------------------------

    def run(self, start_ms: int, end_ms: int, fair: float, excitement: float) -> None:
        """Trade from `start_ms` (exclusive) to `end_ms` while the fair price (in grains) is `fair`."""
        rng = self._rng
        rate = self._listing.events_per_s * self.pace * min(4.0, 0.4 + 0.6 * excitement) / 1000.0
        at = start_ms + rng.expovariate(rate)
        events = 0
        while at < end_ms:
            self._event(fair, int(at) + 1)
            at += rng.expovariate(rate)
            events += 1
        if self.pace >= 1.0 or events:
            self.chase(fair, end_ms)
        if end_ms - self._gardened_ms >= GARDEN_EVERY_MS and self.pace >= 1.0:
            self._gardened_ms = end_ms
            self._garden.tend(fair)

    def _event(self, fair: float, now_ms: int) -> None:
        drawn = self._rng.random()
        if drawn < self._listing.taker_share:
            self._noise_taker(fair, now_ms)
            return
        book = self._desk.book
        side = book.bids if self._rng.random() < 0.5 else book.asks
        if drawn < self._listing.taker_share + TOUCH_SHARE:
            self._at_touch(side, fair)
        else:
            self._near_touch(side)
        self._desk.quoted()

    def _noise_taker(self, fair: float, now_ms: int) -> None:
        rng, book = self._rng, self._desk.book
        bid, ask = self._best(book.bids, fair), self._best(book.asks, fair)
        lean = (fair - (bid + ask) / 2.0) / (2.0 * self._band(fair))
        makers = book.asks if rng.random() < 0.5 + 0.3 * max(-1.0, min(1.0, lean)) else book.bids
        sweeps = rng.random() < SWEEP_SHARE
        reach = self._garden.gap * self.tick * (40.0 if sweeps else 4.0) + 4.0 * self._band(fair)
        limit = on_grid(fair - makers.sign * reach, self.tick)
        self._take(makers, self._sizes.taker(fair) * (20 if sweeps else 1), limit, now_ms)

    def _at_touch(self, side: Side, fair: float) -> None:
        """Close a wide spread, or join or leave the queue at the best price."""
        rng, book = self._rng, self._desk.book
        bid, ask = self._best(book.bids, fair), self._best(book.asks, fair)
        room = (ask - bid) // self.tick - 1
        if room > 0 and rng.random() < 0.75:
            side = book.bids if fair > (bid + ask) / 2.0 else book.asks
            back = 1 if rng.random() < 0.8 else 1 + int(rng.random() * room)
            price = self._inside(side, fair) - side.sign * (back - 1) * self.tick
            if bid < price < ask:
                book.place(side, price, self._sizes.maker(fair, 0))
            return
        price = self._best(side, fair)
        queue = side.queue(price)
        if not queue or rng.random() < QUEUE / (QUEUE + len(queue)):
            book.place(side, price, self._sizes.maker(fair, 0))
        elif len(queue) > 1 or rng.random() < 0.3:
            book.cancel(side, price, int(rng.random() * len(queue)))

    def _near_touch(self, side: Side) -> None:
        """Add or cancel some levels down; the density decides which."""
        rng, book, gap = self._rng, self._desk.book, self._garden.gap
        best = side.best
        if best is None:
            return
        band = int(gap * 2 * NEAR_LEVELS) * self.tick
        crowd = side.count_from(best - side.sign * band) / (2.0 * NEAR_LEVELS)
        if rng.random() < 0.5 + 0.35 * max(-1.0, min(1.0, crowd - 1.0)):
            depth = 1 + int(rng.expovariate(1.0 / NEAR_LEVELS))
            if depth < len(side.keys):
                price = side.price_at(depth)
                book.cancel(side, price, int(rng.random() * len(side.queue(price) or ())))
            return
        ticks = 1 + int(rng.expovariate(1.0 / (gap * NEAR_LEVELS)))
        price = best - side.sign * ticks * self.tick
        if price <= 0:
            return
        queue = side.queue(price)
        if queue and rng.random() > QUEUE / (QUEUE / 2 + len(queue)):
            book.cancel(side, price, int(rng.random() * len(queue)))
        else:
            book.place(side, price, self._sizes.maker(best, int(ticks / gap)))

    # -- following the fair price --------------------------------------------------------------------------------------

    def chase(self, fair: float, now_ms: int) -> None:
        """Move the quotes when the fair price has left them by more than the usual noise."""
        book, band = self._desk.book, self._band(fair)
        if fair > self._best(book.asks, fair) + band:
            self._move(book.asks, fair, now_ms)
        elif fair < self._best(book.bids, fair) - band:
            self._move(book.bids, fair, now_ms)

    def jump(self, fair: float, now_ms: int) -> None:
        """Follow a fair price that has jumped, print a trade there and fill the book around it."""
        book, was = self._desk.book, self._best(self._desk.book.asks, fair)
        self.chase(fair, now_ms)
        makers = book.asks if fair > was else book.bids
        self._take(makers, self._sizes.taker(fair), self._best(makers, fair), now_ms)
        self._garden.tend(fair)

    def _move(self, leading: Side, fair: float, now_ms: int) -> None:
        """Bring the side in the way (asks when the price rises) to the fair price and let the other one follow."""
        book, garden = self._desk.book, self._garden
        following = book.opposite(leading)
        was = self._best(leading, fair)
        target = on_grid(fair, self.tick)
        self._take(leading, self._sizes.taker(fair) * 3, target, now_ms)
        for price in leading.better_than(target):
            book.pull(leading, price)
        if len(leading.keys) < BARE_LEVELS:
            garden.plant_side(leading, target)
        price = self._inside(following, fair)
        if self._rng.random() < 0.85:
            book.place(following, price, self._sizes.maker(fair, 0))
        for _ in range(DENSE_LEVELS):
            price -= following.sign * garden.hop(garden.gap) * self.tick
            if price * following.sign <= was * following.sign:
                break
            book.place(following, price, self._sizes.maker(fair, 3))
        self._desk.quoted()

    def _take(self, makers: Side, quantity: int, limit: int, now_ms: int) -> None:
        prints = self._desk.book.take(makers, quantity, limit)
        if prints:
            self._desk.traded(prints, makers, now_ms)
            self._desk.quoted()

    # -- prices --------------------------------------------------------------------------------------------------------

    def _best(self, side: Side, fair: float) -> int:
        """Best price of a side; a tick behind the other side's, or the fair price, when it is empty."""
        best = side.best
        if best is not None:
            return best
        facing = self._desk.book.opposite(side).best
        return (on_grid(fair, self.tick) if facing is None else facing) - side.sign * self.tick

    def _inside(self, side: Side, fair: float) -> int:
        """The best price a maker of `side` offers: a tick from the other side, but not far beyond the fair price."""
        next_to_facing = self._best(self._desk.book.opposite(side), fair) - side.sign * self.tick
        at_most = on_grid(fair + side.sign * self._band(fair), self.tick)
        return min(next_to_facing, at_most) if side.sign > 0 else max(next_to_facing, at_most)

    def _band(self, fair: float) -> float:
        """How far (grains) the fair price may leave the quotes before somebody acts: half a second's usual move."""
        return max(0.6 * self.tick, 0.5 * self._second * fair)
