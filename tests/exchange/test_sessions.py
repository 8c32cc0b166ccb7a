"""Whole sessions on an invented market: the same every time and everywhere, and true to the model to the last fill."""

import os
import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, symbol
from tests.exchange.sessions import RULES, Desk, Resting, everything, invented, leave_alone, trade
from trading_engine.exchange.messages import Placed
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.exchange.orders import Cause, Liquidity
from trading_engine.exchange.queue_rules import Rule

ROOT = Path(__file__).parents[2]
SIZES = ("0.010", "0.250", "1.500", "6.000")
MESSAGES = 2_000

pytestmark = pytest.mark.slow


def played(seed: int, *, cut_at: int | None = None) -> Desk:
    use_exact_arithmetic()
    desk = Desk([RULES])
    trade(desk, invented(seed, MESSAGES), seed=seed, sizes=SIZES, every=7, cut_at=cut_at)
    return desk


@pytest.mark.parametrize("seed", [1, 2])
def test_a_session_fills_in_every_way_and_keeps_every_invariant(seed: int) -> None:
    """Each fill is checked as it comes about (`Desk`); here, that there was something to check."""
    desk = played(seed)
    desk.engine.check()
    assert {fill.receipt.cause for fill in desk.fills if fill.receipt} == set(Cause)
    assert sum(fill.liquidity is Liquidity.MAKER for fill in desk.fills) > 50
    assert len({fill.account_id for fill in desk.fills}) == 3


def test_a_session_is_the_same_in_every_run_and_process() -> None:
    """Hashes of strings differ between the processes, and with them the order of sets."""
    expected = played(1).digest()
    assert played(1).digest() == expected
    assert played(2).digest() != expected
    program = "from tests.exchange.test_sessions import played; print(played(1).digest())"
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert found.stdout.strip() == expected


@pytest.mark.parametrize("cut_at", [300, 1_111, 1_112])
def test_a_session_cut_and_continued_from_what_is_stored_equals_the_uncut_one(cut_at: int) -> None:
    """Where nothing was missed. Queues, what was taken, and what stops follow go on exactly where they were."""
    uncut, cut = played(3), played(3, cut_at=cut_at)
    assert uncut.fills == cut.fills
    assert uncut.digest() == cut.digest()
    assert everything(uncut.engine.state()) == everything(cut.engine.state())


@pytest.mark.parametrize("seed", [5, 6])
def test_strict_fills_least_and_touch_most_at_every_moment(seed: int) -> None:
    strict, ours, touch = (alone(seed, rule) for rule in (Rule.STRICT, Rule.INFERRED, Rule.TOUCH))
    assert len(strict) == len(ours) == len(touch) > 20
    for least, middle, most in zip(strict, ours, touch, strict=True):
        assert all(a <= b <= c for a, b, c in zip(least.filled, middle.filled, most.filled, strict=True))
    assert totals(strict) < totals(ours) < totals(touch)


def alone(seed: int, rule: Rule) -> list[Resting]:
    return leave_alone(Desk([RULES], rule=rule), invented(seed, 1_500), "BTCUSDT", D("3"), every=60)


def totals(orders: list[Resting]) -> Decimal:
    """Return lot-messages: what was filled, counted for as long as it was."""
    return sum((sum(order.filled, ZERO) for order in orders), ZERO)


lots = st.integers(1, 40)


@given(
    asks=st.lists(lots, min_size=1, max_size=6),
    printed=st.integers(0, 40),
    before=st.integers(0, 60),
    parts=st.lists(lots, min_size=2, max_size=6),
)
def test_a_market_order_in_parts_gets_what_it_gets_whole(
    asks: list[int], printed: int, before: int, parts: list[int]
) -> None:
    """Also with a print that the book does not show yet, and after the account has taken there before."""
    assert bought(asks, printed, before, parts) == bought(asks, printed, before, [sum(parts)])


def bought(asks: list[int], printed: int, before: int, parts: list[int]) -> dict[Decimal, Decimal]:
    """Buy so many lots one order after the other; return what was got by price."""
    book = " ".join(f"{100 + n}x{size * D('0.001')}" for n, size in enumerate(asks))
    market = FakeMarket(symbol(step_size=D("0.001"), max_open_orders=None), bids="90x1", asks=book)
    exchange = Exchange(market)
    if printed:
        market.print_("100", printed * D("0.001"), buyer_is_maker=False)
    if before:
        exchange.buy(str(before * D("0.001")))
    got: dict[Decimal, Decimal] = defaultdict(Decimal)
    for part in parts:
        placed: Placed = exchange.buy(str(part * D("0.001")))
        for fill in placed.fills:
            got[fill.price] += fill.quantity
    assert all(got[D(100 + n)] <= size * D("0.001") for n, size in enumerate(asks))
    return {price: quantity for price, quantity in got.items() if quantity}
