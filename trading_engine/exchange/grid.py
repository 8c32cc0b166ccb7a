"""From the float that indexes a book's level back to the exact decimal the venue wrote.

The venue writes decimal text with at most 8 decimals; the wire decoder reads it into the nearest float, because floats
are what a dictionary of levels compares and hashes fastest. Going back is exact: a float holds 15 significant digits of
any decimal text, so the nearest whole number of steps is the one that was written (`tests/exchange/test_grid.py` proves
it on every symbol's grid). A number for which this fails is not what the venue wrote. Pure: no lock, and no state but
the decimals a snapshot has proved.
"""

from collections.abc import Iterable
from decimal import Decimal
from itertools import repeat
from operator import mul, truediv
from typing import Final

from trading_engine.exchange.symbols import Symbol

WIRE_DECIMALS: Final = 8
"""The venue never writes more decimals than this."""

EXACT_DIGITS: Final = 15
"""Decimal digits that survive text -> float -> text (`sys.float_info.dig`)."""

USUAL_PRICES: Final = 10.0 ** (EXACT_DIGITS - WIRE_DECIMALS)
"""Prices below this are exact with as many decimals as the wire allows."""

Level = tuple[Decimal, Decimal]
"""Price, quantity, with the decimals of the symbol's tick and step."""


class OffGrid(ValueError):
    """A price or quantity that cannot be one of this symbol: the frame, or our idea of the rules, is wrong."""


class Grid:
    """The multiples of one step (a tick or a lot), as exact decimals with that step's decimals.

    Orders from before the venue made a step coarser keep their numbers, so real books do hold some between the steps
    (BTCUSDT in August 2024: 25.426189 at a step of 0.00001). `admitted` is the number of decimals such a number may
    have: all 8 of the wire for a quantity, none beyond the tick for a price unless a snapshot proves it (`widen`).
    """

    __slots__ = ("admitted", "decimal_step", "decimals", "limit", "name", "scale", "step", "unit")

    def __init__(self, name: str, step: Decimal, decimals: int, *, admitted: int) -> None:
        """`name` goes into messages; a `step` of 0 allows every number with `decimals` decimals."""
        self.name = name
        self.step = step
        self.decimals = decimals
        self.admitted = admitted
        self.scale = 10.0**decimals
        self.unit = Decimal(1).scaleb(-decimals)
        self.limit = 10.0 ** (EXACT_DIGITS - decimals)
        # A step of 0.05 needs the remainder looked at; a power of ten is settled by its decimals alone.
        self.decimal_step = not step or step == self.unit

    def exact(self, number: float) -> Decimal:
        """Return `number` as the decimal it was read from; raise OffGrid where none of this grid's fits it."""
        whole = _whole(number, self.decimals)
        if whole is not None:
            exact = whole * self.unit
            if self.decimal_step or self.admitted > self.decimals or not exact % self.step:
                return exact
        for decimals in range(self.decimals + 1, self.admitted + 1):
            whole = _whole(number, decimals)
            if whole is not None:
                return whole * Decimal(1).scaleb(-decimals)
        raise OffGrid(f"{self.name} {number!r} is not on the grid of {self.step}")

    def check(self, numbers: list[float]) -> None:
        """Raise OffGrid unless each of `numbers` is on this grid."""
        scale = self.scale
        try:
            whole = map(round, map(mul, numbers, repeat(scale)))
            if (
                self.decimal_step
                and list(map(truediv, whole, repeat(scale))) == numbers
                and min(numbers, default=0.0) >= 0.0
                and max(numbers, default=0.0) < self.limit
            ):
                return
        except (ValueError, OverflowError):
            pass  # NaN, infinity: `exact` names the culprit
        for number in numbers:
            self.exact(number)

    def widen(self, numbers: Iterable[float]) -> None:
        """Admit as many decimals as `numbers`, all from one snapshot, need; raise OffGrid where 8 do not suffice."""
        for number in numbers:
            whole = _whole(number, self.decimals)
            if whole is None or not (self.decimal_step or not whole * self.unit % self.step):
                self.admitted = max(self.admitted, self._decimals_between(number))

    def _decimals_between(self, number: float) -> int:
        """Return the decimals of a number between the steps, at least one more than the steps have."""
        for decimals in range(self.decimals + 1, WIRE_DECIMALS + 1):
            if _whole(number, decimals) is not None:
                return decimals
        raise OffGrid(f"{self.name} {number!r} is not on the grid of {self.step}")


class Grids:
    """The two grids of a symbol, and levels on them."""

    __slots__ = ("prices", "quantities")

    def __init__(self, prices: Grid, quantities: Grid) -> None:
        self.prices = prices
        self.quantities = quantities

    @classmethod
    def of(cls, symbol: Symbol) -> "Grids":
        """Return the grids of a symbol's present rules."""
        return cls(
            Grid("price", symbol.tick_size, symbol.price_decimals, admitted=symbol.price_decimals),
            Grid("quantity", symbol.step_size, symbol.quantity_decimals, admitted=WIRE_DECIMALS),
        )

    def level(self, price: float, quantity: float) -> Level:
        """Return one exact level; raise OffGrid."""
        return self.prices.exact(price), self.quantities.exact(quantity)

    def levels(
        self, prices: list[float], levels: list[float | Level], keep: dict[float, float | Level]
    ) -> tuple[Level, ...]:
        """Return exact levels: those that are exact already, and the others, which also replace their floats in `keep`.

        This is `level` written out for the common case, because it is called for 15 changed levels a frame.
        """
        price_scale, price_unit = self.prices.scale, self.prices.unit
        scale, unit, limit = self.quantities.scale, self.quantities.unit, self.quantities.limit
        exact: list[Level] = []
        for price, level in zip(prices, levels, strict=True):
            if isinstance(level, tuple):
                exact.append(level)
                continue
            try:
                whole_price, whole = round(price * price_scale), round(level * scale)
            except (ValueError, OverflowError):
                raise OffGrid(f"{self.quantities.name} {level!r}") from None  # NaN, infinity
            if whole_price / price_scale == price and whole / scale == level and 0.0 < level < limit:
                made = (whole_price * price_unit, whole * unit)
            else:
                made = self.level(price, level)
            keep[price] = made
            exact.append(made)
        return tuple(exact)

    def check_price(self, price: float) -> None:
        """Raise OffGrid unless `price` is on the grid and above 0."""
        if not self.prices.exact(price):
            raise OffGrid(f"{self.prices.name} of 0")


def _whole(number: float, decimals: int) -> int | None:
    """Return how many units of `decimals` decimals `number` is, None unless it is the float nearest to that decimal.

    Written so that NaN, for which every comparison is false, gives None. Dividing a whole number by a power of ten
    rounds correctly, so the quotient equals `number` exactly when that is the nearest float.
    """
    if not 0.0 <= number < 10.0 ** (EXACT_DIGITS - decimals):
        return None
    scale = 10.0**decimals
    whole = round(number * scale)
    return whole if whole / scale == number else None
