"""Exact decimal arithmetic: the context every thread computes in, and the few places where a value may be rounded.

Money, prices and quantities are `Decimal` from the wire to the database. The context traps `Inexact`, so a result that
does not fit raises instead of drifting; only the functions below round, each with its rounding in its name. It also
traps `FloatOperation`, so a float that strays into a sum raises. Pure functions: no lock, no state.
"""

import decimal
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Context, Decimal

REPORTING_ASSET = "USDT"
"""Portfolios, positions and fees are valued in this asset; its own rate is 1."""

PRECISION = 60
"""Significant digits. The longest exact product in use (price x quantity x rate) needs fewer than 50."""

VALUE_DECIMALS = 12
"""Decimals of a value in the reporting asset: finer than any amount's 8, so that averages do not drift visibly."""

ZERO = Decimal(0)
ONE = Decimal(1)

_TRAPS = [decimal.FloatOperation, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]
_ROUNDING = Context(prec=PRECISION, rounding=ROUND_DOWN, traps=_TRAPS)
_UNITS = tuple(Decimal(1).scaleb(-decimals) for decimals in range(PRECISION))


def use_exact_arithmetic() -> None:
    """Set the exact context for the current thread and, through `DefaultContext`, for every thread started later."""
    for context in (decimal.DefaultContext, decimal.getcontext()):
        context.prec = PRECISION
        context.rounding = ROUND_HALF_UP
        for signal in context.traps:
            context.traps[signal] = signal is decimal.Inexact or signal in _TRAPS


def round_half_up(value: Decimal, decimals: int) -> Decimal:
    """Return `value` with exactly `decimals` decimals, ties away from zero."""
    return value.quantize(_UNITS[decimals], ROUND_HALF_UP, _ROUNDING)


def round_up(value: Decimal, decimals: int) -> Decimal:
    """Return `value` with exactly `decimals` decimals, away from zero: what a hold must cover."""
    return value.quantize(_UNITS[decimals], ROUND_UP, _ROUNDING)


def round_down(value: Decimal, decimals: int) -> Decimal:
    """Return `value` with exactly `decimals` decimals, towards zero."""
    return value.quantize(_UNITS[decimals], ROUND_DOWN, _ROUNDING)


def divide(dividend: Decimal, divisor: Decimal, decimals: int) -> Decimal:
    """Return the quotient with exactly `decimals` decimals, ties away from zero.

    The long quotient is cut, not rounded, so that the one rounding at the end is the right one.
    """
    return _ROUNDING.divide(dividend, divisor).quantize(_UNITS[decimals], ROUND_HALF_UP, _ROUNDING)


def average(total: Decimal, quantity: Decimal) -> Decimal:
    """Return `total` per unit with 8 decimals, or more where it is below 1, so that it keeps 8 significant digits."""
    magnitude = total.adjusted() - quantity.adjusted() if total else 0
    return divide(total, quantity, 8 + max(0, -magnitude))


def floor_to_step(value: Decimal, step: Decimal) -> Decimal:
    """Return the largest multiple of `step` not above the non-negative `value`; a step of 0 leaves it as it is."""
    return (value // step) * step if step else value


def unit(decimals: int) -> Decimal:
    """Return the smallest amount with that many decimals: 8 gives 0.00000001."""
    return _UNITS[decimals]


def plain(value: Decimal) -> str:
    """Return fixed-point text with the value's own decimals: never an exponent, never a negative zero.

    Raises ValueError for an infinity or NaN, which must not have come this far.
    """
    text = str(value)  # three times as fast as format, and the same text unless a sign or an exponent shows
    if text[0].isdigit() and "E" not in text:
        return text
    if not value.is_finite():
        raise ValueError(f"{value} is not a number that can be shown")
    return format(value or abs(value), "f")


def short(value: Decimal) -> str:
    """Return fixed-point text as people write it, without zeros at its end. Raises ValueError as `plain` does."""
    text = plain(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def decimals_of(step: Decimal) -> int:
    """Return how many decimals a step needs: 0.01000000 gives 2, 10 gives 0. Raises ValueError for NaN and infinity."""
    exponent = step.normalize(_ROUNDING).as_tuple().exponent
    return max(0, -int(exponent))
