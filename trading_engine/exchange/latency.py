"""How long an order is on its way to the exchange, and the answer on its way back: a model, not a measurement.

A draw is made from a hash of the account's seed and the order's key alone, so it never depends on other traffic, and a
replay draws the same. There are no floats in it: the normal distribution comes from the polar method (Marsaglia 1964),
which needs only division, square root and logarithm, and the decimal standard says each digit of those. So every
machine draws the same microsecond. The method gives two independent values at a time: one a direction.

Pure: no lock, no clock. Whoever holds orders back adds the times to its own clock.
"""

import decimal
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from hashlib import blake2b
from typing import Final

from trading_engine.exchange.money import ZERO

DEFAULT_MS: Final = Decimal(50)
"""Each way, where only `fixed` is said: an order over the public internet within a continent."""

LONGEST_MS: Final = Decimal(10_000)
"""No direction takes longer, neither stated nor drawn: a client would have given up."""

WIDEST_SIGMA: Final = Decimal(3)

FORMS: Final = "0, off, a number of milliseconds each way, fixed, fixed:IN/OUT or lognormal:MEDIAN,SIGMA"

_US_PER_MS: Final = 1_000
_DIGITS: Final = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    traps=[decimal.FloatOperation, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
_HALF_RANGE: Final = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One order's times in microseconds: until the exchange sees it, and until its answer is back after that."""

    in_us: int
    out_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModel:
    """Latency by direction, in milliseconds: the median, and how far it scatters (`sigma` of its logarithm; 0: fixed).

    `LatencyModel.parse` reads it from the setting's text.
    """

    in_ms: Decimal
    out_ms: Decimal
    sigma: Decimal = ZERO

    @classmethod
    def parse(cls, text: str) -> "LatencyModel":
        """Read a setting; raise ValueError with a sentence that says what it may be.

        A plain number is each way: 100 means that an order arrives 100 ms after it was sent, and its answer 100 ms
        after that.
        """
        kind, colon, figures = text.strip().lower().partition(":")
        if not colon:
            if kind == "off":
                return cls(in_ms=ZERO, out_ms=ZERO)
            each_way = DEFAULT_MS if kind == "fixed" else _figure(kind, LONGEST_MS, text)
            return cls(in_ms=each_way, out_ms=each_way)
        if kind == "fixed":
            there, back = _two(figures, "/", text)
            return cls(in_ms=_figure(there, LONGEST_MS, text), out_ms=_figure(back, LONGEST_MS, text))
        if kind == "lognormal":
            median, sigma = _two(figures, ",", text)
            each_way = _figure(median, LONGEST_MS, text)
            return cls(in_ms=each_way, out_ms=each_way, sigma=_figure(sigma, WIDEST_SIGMA, text))
        raise _unreadable(text)

    @property
    def is_off(self) -> bool:
        """Say whether nothing is ever held back."""
        return not (self.in_ms or self.out_ms)

    def draw(self, seed: str, key: str) -> Latency:
        """Return the times of the order, or the cancel, that `key` names among those of the account with `seed`."""
        if not self.sigma:
            return Latency(in_us=_microseconds(self.in_ms), out_us=_microseconds(self.out_ms))
        there, back = _two_normal(seed, key)
        return Latency(in_us=self._scattered(self.in_ms, there), out_us=self._scattered(self.out_ms, back))

    def _scattered(self, median_ms: Decimal, deviation: Decimal) -> int:
        factor = _DIGITS.exp(_DIGITS.multiply(self.sigma, deviation))
        return _microseconds(min(_DIGITS.multiply(median_ms, factor), LONGEST_MS))


def _two_normal(seed: str, key: str) -> tuple[Decimal, Decimal]:
    """Return two independent values of the standard normal distribution: those of the first point in the unit disc."""
    # The length keeps ("1", "23") and ("12", "3") apart.
    name = f"{len(seed)}:{seed}{key}".encode()
    attempt = 0
    while True:
        digest = blake2b(name, digest_size=16, salt=attempt.to_bytes(16, "big")).digest()
        x, y = _coordinate(digest[:8]), _coordinate(digest[8:])
        square = _DIGITS.add(_DIGITS.multiply(x, x), _DIGITS.multiply(y, y))
        if square < 1:
            scale = _DIGITS.sqrt(_DIGITS.divide(_DIGITS.multiply(Decimal(-2), _DIGITS.ln(square)), square))
            return _DIGITS.multiply(x, scale), _DIGITS.multiply(y, scale)
        attempt += 1


def _coordinate(eight_bytes: bytes) -> Decimal:
    """Return a number between -1 and 1, neither of them nor 0."""
    odd = 2 * int.from_bytes(eight_bytes, "big") + 1 - _HALF_RANGE
    return _DIGITS.divide(Decimal(odd), Decimal(_HALF_RANGE))


def _microseconds(ms: Decimal) -> int:
    return int(_DIGITS.to_integral_value(_DIGITS.multiply(ms, Decimal(_US_PER_MS))))


def _two(figures: str, separator: str, text: str) -> tuple[str, str]:
    first, found, second = figures.partition(separator)
    if not found:
        raise _unreadable(text)
    return first, second


def _figure(figure: str, most: Decimal, text: str) -> Decimal:
    digits = figure.strip()
    if not (digits.isascii() and digits.replace(".", "", 1).isdigit()):
        raise _unreadable(text)
    value = Decimal(digits)
    if value > most:
        raise ValueError(f"latency {text!r} is out of range: {digits} is above {most}")
    return value


def _unreadable(text: str) -> ValueError:
    return ValueError(f"latency {text!r} is not one of: {FORMS}")
