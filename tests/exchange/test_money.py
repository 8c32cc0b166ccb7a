"""Exact arithmetic: nothing is rounded but by the functions that say so."""

import decimal
import threading
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import D
from trading_engine.exchange import money

amounts = st.decimals(min_value=-(10**12), max_value=10**12, places=10, allow_nan=False)
steps = st.sampled_from([D("0.00001000"), D("0.05"), D("1"), D("10"), D("0.25"), D("3")])


def test_an_inexact_result_raises_in_every_thread() -> None:
    caught = []

    def divide() -> None:
        try:
            D(1) / D(3)
        except decimal.Inexact as fault:
            caught.append(fault)

    divide()
    thread = threading.Thread(target=divide)
    thread.start()
    thread.join(10)
    assert len(caught) == 2


def test_a_float_that_strays_in_raises() -> None:
    with pytest.raises(decimal.FloatOperation):
        D(0.1)
    with pytest.raises(decimal.FloatOperation):
        assert D("0.1") < 0.2


@pytest.mark.parametrize(
    ("value", "decimals", "half_up", "up", "down"),
    (
        ("1.005", 2, "1.01", "1.01", "1.00"),
        ("1.0049", 2, "1.00", "1.01", "1.00"),
        ("-1.005", 2, "-1.01", "-1.01", "-1.00"),
        ("7", 3, "7.000", "7.000", "7.000"),
        ("0.000000005", 8, "0.00000001", "0.00000001", "0.00000000"),
    ),
)
def test_each_rounding_does_what_its_name_says(value: str, decimals: int, half_up: str, up: str, down: str) -> None:
    assert str(money.round_half_up(D(value), decimals)) == str(D(half_up))
    assert str(money.round_up(D(value), decimals)) == str(D(up))
    assert str(money.round_down(D(value), decimals)) == str(D(down))


@given(amounts, amounts.filter(bool), st.integers(0, 16))
def test_a_quotient_is_the_nearest_one(dividend: Decimal, divisor: Decimal, decimals: int) -> None:
    quotient = money.divide(dividend, divisor, decimals)
    # |q - a/b| <= half a unit, without dividing.
    assert abs(quotient * divisor - dividend) * 2 <= abs(divisor) * money.unit(decimals)


def test_a_long_quotient_is_not_rounded_twice() -> None:
    # 60 nines after the half: rounded at 60 digits first, it would become a tie and go up.
    dividend = D("0." + "4" + "9" * 58)
    assert money.divide(dividend, D(1), 0) == 0


@given(amounts.map(abs), steps)
def test_a_floor_is_the_last_multiple_that_fits(value: Decimal, step: Decimal) -> None:
    floor = money.floor_to_step(value, step)
    assert floor <= value < floor + step
    assert not floor % step


def test_a_step_of_zero_leaves_the_value() -> None:
    assert money.floor_to_step(D("1.234"), D(0)) == D("1.234")


@pytest.mark.parametrize(
    ("value", "text"),
    (
        (D("1E+3"), "1000"),
        (D("1E-8"), "0.00000001"),
        (D("0.10"), "0.10"),
        (D("-0.00"), "0.00"),
        (D("0E-8"), "0.00000000"),
    ),
)
def test_a_number_is_written_plainly(value: Decimal, text: str) -> None:
    assert money.plain(value) == text


@pytest.mark.parametrize("value", (D("NaN"), D("Infinity")))
def test_what_is_no_number_is_not_written(value: Decimal) -> None:
    with pytest.raises(ValueError, match="not a number"):
        money.plain(value)


@pytest.mark.parametrize(("step", "decimals"), (("0.01000000", 2), ("1.00000000", 0), ("10", 0), ("0.00000001", 8)))
def test_decimals_of_a_step(step: str, decimals: int) -> None:
    assert money.decimals_of(D(step)) == decimals


@pytest.mark.parametrize(
    ("total", "quantity", "average"),
    (
        ("29970", "0.4995", "60000.00000000"),
        ("100", "3", "33.33333333"),
        ("0.00000123", "1", "0.00000123000000"),
        ("0", "1", "0.00000000"),
    ),
)
def test_an_average_keeps_eight_digits(total: str, quantity: str, average: str) -> None:
    assert str(money.average(D(total), D(quantity))) == str(D(average))
