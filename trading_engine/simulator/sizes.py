"""How large orders are: dust, ordinary and large ones, one in three a round number."""

from __future__ import annotations

import math
from random import Random

from trading_engine.simulator.grains import GRAIN, on_grid
from trading_engine.simulator.listings import COINS, Listing

FAR = 1_000  # levels down, where three of four orders are dust


class Sizes:
    """Draws order sizes (grains) of one symbol.

    Attributes:
        step: the lot size, in grains.
    """

    def __init__(self, listing: Listing, rng: Random) -> None:
        self.step = listing.step
        self._rng = rng
        self._median = listing.order_size
        self._usdt_per_quote = 1.0 if listing.quote == "USDT" else COINS[listing.quote].price

    def maker(self, price: float, depth: int) -> int:
        """Size of a resting order at `price` (grains), `depth` levels down."""
        rng = self._rng
        drawn = rng.random()
        if drawn < 0.30 + 0.45 * min(1.0, depth / FAR):
            value = 6.0 + rng.expovariate(1 / 25.0)
        elif drawn < 0.92:
            value = rng.lognormvariate(math.log(self._median), 1.1)
        else:
            value = rng.lognormvariate(math.log(self._median * 8.0), 0.7)
        return self._quantity(value, price)

    def taker(self, price: float) -> int:
        """Size of a market order: nearly half of them dust, the others with a long tail."""
        rng = self._rng
        if rng.random() < 0.45:
            return self._quantity(6.0 + rng.expovariate(1 / 30.0), price)
        return self._quantity(rng.lognormvariate(math.log(self._median * 0.3), 1.4), price)

    def _quantity(self, usdt: float, price: float) -> int:
        """Quantity worth `usdt`, on the lot grid."""
        quantity = usdt / self._usdt_per_quote / price * GRAIN * GRAIN
        if self._rng.random() < 0.33:
            digit = 10.0 ** math.floor(math.log10(quantity))
            quantity = round(quantity / digit) * digit
        return max(self.step, on_grid(quantity, self.step))
