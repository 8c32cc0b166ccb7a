"""Whole numbers of 1e-8 ("grains"): how the simulator counts prices and quantities, and their text on the wire.

Every price and quantity of the venue has at most eight decimals, so grains are exact. Floats appear only where
something random is drawn, before it is put on the symbol's grid. Quote amounts are price × quantity, in units of 1e-16.
"""

from __future__ import annotations

import random
import re

GRAIN = 10**8
GRAIN_SQUARED = GRAIN * GRAIN
_DECIMAL_TEXT = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?\Z")


def text(grains: int) -> str:
    """Eight-decimal text of a number of grains: 9700001000000 → "97000.01000000"."""
    if grains < 0:
        return "-" + text(-grains)
    return f"{grains // GRAIN}.{grains % GRAIN:08d}"


def amount_text(amount: int) -> str:
    """Eight-decimal text of price × quantity in units of 1e-16, cut off as the venue does."""
    return text(amount // GRAIN)


def parse(value: object) -> int:
    """Grains of plain decimal text such as "97000.01".

    Raises:
        ValueError: when it is not text of at most fifteen digits and eight decimals.
    """
    match = _DECIMAL_TEXT.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not decimal text with at most 8 decimals")
    fraction = (match[2] or ".")[1:]
    return int(match[1]) * GRAIN + int(fraction.ljust(8, "0"))


def on_grid(value: float, step: int) -> int:
    """The multiple of `step` (grains) nearest to `value` (grains)."""
    return round(value / step) * step


def seeded(*parts: object) -> random.Random:
    """A random generator that only the seed parts decide: the same parts give the same numbers."""
    return random.Random(":".join(str(part) for part in parts))  # noqa: S311 - a market to play with, not a secret
