"""How long orders are on their way: drawn for each on its own, and the same on every machine."""

import math
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from statistics import correlation, fmean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import D
from trading_engine.exchange.latency import FORMS, LONGEST_MS, Latency, LatencyModel

ROOT = Path(__file__).resolve().parents[2]
SCATTERED = LatencyModel.parse("lognormal:50,0.5")


def model(there: str, back: str, sigma: str = "0") -> LatencyModel:
    return LatencyModel(in_ms=D(there), out_ms=D(back), sigma=D(sigma))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0", model("0", "0")),
        ("off", model("0", "0")),
        (" OFF ", model("0", "0")),
        ("100", model("100", "100")),
        ("12.5", model("12.5", "12.5")),
        ("fixed", model("50", "50")),
        ("fixed:20/35.5", model("20", "35.5")),
        ("fixed: 20 / 0", model("20", "0")),
        ("Lognormal:40,0.5", model("40", "40", "0.5")),
        ("10000", model("10000", "10000")),
    ],
)
def test_a_setting_is_read(text: str, meant: LatencyModel) -> None:
    assert LatencyModel.parse(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "fast", "-1", "+1", "1e3", "nan", "infinity", "1,5", "1.2.3", ".", "٣", "1_000", "50ms", "off:1"),
        *("fixed:", "fixed:20", "fixed:20/", "fixed:/20", "fixed:20/30/40", "fixed:-1/2", "normal:1,2"),
        *("lognormal", "lognormal:50", "lognormal:50/0.5", "lognormal:50,0.5,1", "lognormal:50,-1"),
    ],
)
def test_anything_else_is_refused_with_what_it_may_be(text: str) -> None:
    with pytest.raises(ValueError, match="is not one of") as refused:
        LatencyModel.parse(text)
    assert str(refused.value) == f"latency {text!r} is not one of: {FORMS}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("10001", "10001 is above 10000"),
        ("fixed:1/10000.1", "10000.1 is above 10000"),
        ("lognormal:50,3.1", "3.1 is above 3"),
        ("9" * 400, "is above 10000"),
    ],
)
def test_what_no_client_would_wait_for_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"is out of range: .*{why}"):
        LatencyModel.parse(text)


def test_a_fixed_latency_is_the_same_for_every_order() -> None:
    assert LatencyModel.parse("fixed:20/35.5").draw("1", "a") == Latency(in_us=20_000, out_us=35_500)
    assert LatencyModel.parse("0.0004").draw("1", "a") == Latency(in_us=0, out_us=0)
    assert LatencyModel.parse("lognormal:50,0").draw("1", "b") == Latency(in_us=50_000, out_us=50_000)


@pytest.mark.parametrize(("text", "off"), [("0", True), ("fixed:0/0", True), ("fixed:0/1", False), ("1", False)])
def test_off_is_off(text: str, off: bool) -> None:
    assert LatencyModel.parse(text).is_off is off


PINNED = {
    ("1", "order-1"): (34013, 93978),
    ("1", "order-2"): (77142, 45223),
    ("2", "order-1"): (49571, 32493),
    ("default/1", "cancel:7"): (22795, 41535),
}


@pytest.mark.parametrize(("name", "drawn"), PINNED.items())
def test_every_machine_draws_the_same_microsecond(name: tuple[str, str], drawn: tuple[int, int]) -> None:
    latency = SCATTERED.draw(*name)
    assert (latency.in_us, latency.out_us) == drawn


def test_another_decimal_arithmetic_draws_the_same() -> None:
    """Python's own, written in Python: it shares no line with the library that usually does the arithmetic."""
    program = f"""
import _pydecimal, sys
sys.modules["decimal"] = _pydecimal
from trading_engine.exchange.latency import LatencyModel, Decimal
assert Decimal is _pydecimal.Decimal
drawn = [LatencyModel.parse("lognormal:50,0.5").draw(*name) for name in {list(PINNED)}]
print([(latency.in_us, latency.out_us) for latency in drawn])
"""
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(list(PINNED.values()))


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8))
def test_a_draw_does_not_depend_on_other_orders(keys: list[str]) -> None:
    alone = {key: LatencyModel.parse("lognormal:50,0.5").draw("1", key) for key in keys}
    assert {key: SCATTERED.draw("1", key) for key in reversed(keys)} == alone


def test_accounts_and_orders_are_not_mixed_up() -> None:
    names = [("1", "23"), ("12", "3"), ("123", ""), ("", "123"), ("1", "24"), ("2", "23")]
    assert len({SCATTERED.draw(*name) for name in names}) == len(names)


def test_draws_scatter_as_the_setting_says() -> None:
    drawn = [SCATTERED.draw("seed", str(n)) for n in range(3_000)]
    there = [math.log(latency.in_us / 50_000) / 0.5 for latency in drawn]
    back = [math.log(latency.out_us / 50_000) / 0.5 for latency in drawn]
    for deviations in (there, back):
        assert abs(fmean(deviations)) < 0.07
        assert abs(median(deviations)) < 0.08
        assert abs(stdev(deviations) - 1) < 0.05
        for bound, share in ((-2, 0.0228), (-1, 0.1587), (0.5, 0.6915), (1.5, 0.9332)):
            assert abs(fmean(deviation < bound for deviation in deviations) - share) < 0.025
    assert abs(correlation(there, back)) < 0.06


def test_a_draw_is_at_most_the_longest() -> None:
    wide = LatencyModel.parse("lognormal:10000,3")
    longest = max(latency.in_us for latency in (wide.draw("seed", str(n)) for n in range(50)))
    assert longest == LONGEST_MS * 1_000


def test_a_draw_is_no_float_anywhere() -> None:
    assert all(isinstance(value, Decimal) for value in (SCATTERED.in_ms, SCATTERED.out_ms, SCATTERED.sigma))
    assert all(type(value) is int for value in (SCATTERED.draw("1", "a").in_us, SCATTERED.draw("1", "a").out_us))
