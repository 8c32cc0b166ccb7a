"""Latent fair prices of all coins: what the order flow of each symbol chases.

Each coin's log price moves by its volatility times a blend of one common factor and its own noise. Volatility wanders
(an Ornstein-Uhlenbeck process in the logarithm), now and then a burst multiplies it for some seconds, and a slow
mean-reverting trend gives the chart its regimes. Cross rates follow: ETHBTC's fair price is ETH's over BTC's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

from trading_engine.simulator.listings import COINS

SECONDS_A_YEAR = 365.25 * 86_400
_WANDER_S = 900.0  # relaxation time of the volatility
_WANDER_SPREAD = 0.35  # standard deviation of its logarithm
_TREND_S = 1_200.0  # relaxation time of a trend
_TREND_SHARE = 0.6  # move by trend over one relaxation time, in standard deviations of the noise over that time
_BURST_EVERY_S = 240.0
_BURST_FADES_S = 12.0


class FairPrices:
    """Fair price of each coin in USDT, advanced step by step from a seeded generator."""

    def __init__(self, rng: Random, prices: Mapping[str, float]) -> None:
        self._rng = rng
        self._log = {name: math.log(price) for name, price in prices.items()}
        self._trend = {name: rng.gauss(0.0, _TREND_SHARE / math.sqrt(_TREND_S)) for name in prices}
        self._burst = dict.fromkeys(prices, 0.0)
        self._wander = rng.gauss(0.0, _WANDER_SPREAD)

    def advance(self, seconds: float) -> None:
        """Move every coin on by `seconds` (> 0)."""
        rng = self._rng
        self._wander += -self._wander * min(1.0, seconds / _WANDER_S) + _WANDER_SPREAD * math.sqrt(
            2.0 * seconds / _WANDER_S
        ) * rng.gauss(0.0, 1.0)
        calm = math.exp(self._wander - _WANDER_SPREAD**2 / 2.0)
        common = rng.gauss(0.0, 1.0)
        if rng.random() < seconds / _BURST_EVERY_S:
            self._start_burst()
        fade = math.exp(-seconds / _BURST_FADES_S)
        root = math.sqrt(seconds)
        for name, coin in COINS.items():
            if name not in self._log:
                continue
            deviation = coin.volatility / math.sqrt(SECONDS_A_YEAR)
            noise = coin.correlation * common + math.sqrt(1.0 - coin.correlation**2) * rng.gauss(0.0, 1.0)
            level = calm * (1.0 + self._burst[name])
            self._log[name] += deviation * (level * noise * root + self._trend[name] * seconds)
            self._burst[name] *= fade
            self._trend[name] += -self._trend[name] * min(1.0, seconds / _TREND_S) + _TREND_SHARE / math.sqrt(
                _TREND_S
            ) * math.sqrt(2.0 * seconds / _TREND_S) * rng.gauss(0.0, 1.0)

    def _start_burst(self) -> None:
        """News: one coin, or with BTC the whole market, gets excited."""
        name = self._rng.choice(tuple(self._burst))
        strength = 1.0 + self._rng.expovariate(0.6)
        for other in self._burst:
            if other == name:
                self._burst[other] += strength
            elif name == "BTC":
                self._burst[other] += strength * 0.6

    def price(self, asset: str) -> float:
        """USDT per unit of `asset`; 1 for USDT itself."""
        return 1.0 if asset == "USDT" else math.exp(self._log[asset])

    def rate(self, base: str, quote: str) -> float:
        """Units of `quote` per unit of `base`."""
        return self.price(base) / self.price(quote)

    def excitement(self, asset: str) -> float:
        """Present volatility of `asset` against its usual one (1 = usual); order flow is busier when it is high."""
        return math.exp(self._wander - _WANDER_SPREAD**2 / 2.0) * (1.0 + self._burst[asset])

    def set_price(self, asset: str, price: float) -> None:
        """Put the fair price of `asset` at `price` USDT at once."""
        self._log[asset] = math.log(price)

    def prices(self) -> dict[str, float]:
        """The fair price of each coin, for the state file."""
        return {name: math.exp(value) for name, value in self._log.items()}
