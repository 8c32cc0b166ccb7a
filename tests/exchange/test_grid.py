"""The claim the book rests on: decimal text -> float -> decimal loses nothing on any symbol's grid."""

import gzip
import json
import random
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import symbol
from trading_engine.binance.wire import decode_exchange_info
from trading_engine.exchange.grid import EXACT_DIGITS, WIRE_DECIMALS, Grid, Grids, OffGrid
from trading_engine.exchange.money import decimals_of, plain

D = Decimal


def price_grid(step: str) -> Grid:
    return Grid("price", D(step), decimals_of(D(step)), admitted=decimals_of(D(step)))


def quantity_grid(step: str) -> Grid:
    return Grid("quantity", D(step), decimals_of(D(step)), admitted=WIRE_DECIMALS)


@given(st.integers(0, WIRE_DECIMALS), st.data())
def test_every_number_of_up_to_15_digits_comes_back_as_it_was_written(decimals: int, data: st.DataObject) -> None:
    units = data.draw(st.integers(0, 10**EXACT_DIGITS - 1))
    written = D(units).scaleb(-decimals)
    grid = price_grid(str(D(1).scaleb(-decimals)))
    assert plain(grid.exact(float(plain(written)))) == plain(written)


@pytest.mark.parametrize(
    "recording", ["exchangeInfo_20211012_full", "exchangeInfo_20230410_tr_full", "exchangeInfo_20240908_full"]
)
def test_no_symbol_of_the_venue_has_a_number_that_a_float_cannot_hold(captures: Path, recording: str) -> None:
    """Prices and quantities over the whole range of each symbol's filters, ends included."""
    body = gzip.decompress((captures / "rest" / f"{recording}.json.gz").read_bytes())
    dice = random.Random(1)
    checked = 0
    for rules in decode_exchange_info(body).symbols:
        grids = Grids.of(rules)
        for grid, step, least, most in (
            (grids.prices, rules.tick_size, rules.min_price, rules.max_price),
            (grids.quantities, rules.step_size, rules.min_quantity, rules.max_quantity),
        ):
            steps = int(most / step) if most % step == 0 else int(most // step)
            for count in (int(least // step) or 1, steps, steps - 1, *(dice.randint(1, steps) for _ in range(4))):
                written = count * step
                assert grid.exact(float(f"{written:.8f}")) == written, f"{rules.name} {grid.name} {written}"
                checked += 1
    assert checked > 10_000


def test_text_keeps_the_decimals_of_the_step() -> None:
    assert str(price_grid("0.01000000").exact(97412.5)) == "97412.50"
    assert str(quantity_grid("1.00").exact(1200.0)) == "1200"
    assert plain(price_grid("0.00000001").exact(6.4e-07)) == "0.00000064"


@pytest.mark.parametrize("number", [0.123, 97412.355, -0.01, float("nan"), float("inf"), 1e13, 1e300])
def test_a_price_between_the_ticks_or_out_of_range_is_off_the_grid(number: float) -> None:
    with pytest.raises(OffGrid, match="price"):
        price_grid("0.01").exact(number)
    with pytest.raises(OffGrid):
        price_grid("0.01").check([1.0, number])


def test_a_tick_that_is_no_power_of_ten_is_looked_at_as_a_remainder() -> None:
    grid = price_grid("0.05")
    assert grid.exact(0.15) == D("0.15")
    with pytest.raises(OffGrid):
        grid.exact(0.12)


def test_a_quantity_between_the_steps_is_kept_with_its_own_decimals() -> None:
    """Orders older than a coarser step stay in the venue's book: BTCUSDT showed 25.426189 at a step of 0.00001."""
    assert str(quantity_grid("0.00001").exact(25.426189)) == "25.426189"
    with pytest.raises(OffGrid):
        quantity_grid("0.00001").exact(0.0000000001)


def test_a_snapshot_proves_prices_between_the_ticks() -> None:
    grid = price_grid("0.01")
    grid.widen([100.0, 100.125])
    assert str(grid.exact(100.125)) == "100.125"
    assert str(grid.exact(100.12)) == "100.12"
    with pytest.raises(OffGrid):
        grid.exact(100.12345)
    with pytest.raises(OffGrid):
        grid.widen([1e-9])
    odd = price_grid("0.05")
    odd.widen([0.15, 0.97])
    assert odd.exact(0.97) == D("0.97")


@given(st.lists(st.tuples(st.integers(1, 10**8), st.integers(1, 10**10)), max_size=30))
def test_converting_many_levels_is_converting_each(rows: list[tuple[int, int]]) -> None:
    grids = Grids.of(symbol())
    prices = [price / 100 for price, _ in rows]
    quantities: list[float | tuple[Decimal, Decimal]] = [quantity / 100_000 for _, quantity in rows]
    kept: dict[float, float | tuple[Decimal, Decimal]] = {}
    levels = grids.levels(prices, quantities, kept)
    assert levels == tuple((D(price) / 100, D(quantity) / 100_000) for price, quantity in rows)
    assert grids.levels(prices, [kept[price] for price in prices], {}) == tuple(kept[price] for price in prices)


def test_sample_of_the_venue_reads_back_digit_for_digit(captures: Path) -> None:
    depth = json.loads((captures / "rest" / "btcusdt_20211022_depth.json").read_text())
    grids = Grids.of(symbol())
    for price, quantity in depth["bids"] + depth["asks"]:
        exact = grids.level(float(price), float(quantity))
        assert exact == (D(price), D(quantity))
        assert price.startswith(str(exact[0]))
        assert quantity.startswith(str(exact[1]))
