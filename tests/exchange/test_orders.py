"""The life of an order: what may follow what."""

from dataclasses import replace

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, symbol
from trading_engine.exchange import orders
from trading_engine.exchange.orders import IllegalTransitionError, Order, OrderStatus, Side

TERMINAL = (OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED, OrderStatus.REJECTED)


@pytest.fixture
def resting() -> Order:
    exchange = Exchange(FakeMarket(symbol(), "100x1", "101x1"))
    return exchange.buy("2", "99").order


def test_every_status_has_its_row() -> None:
    assert set(orders.TRANSITIONS) == set(OrderStatus)


@pytest.mark.parametrize("status", TERMINAL)
def test_a_terminal_order_never_changes(resting: Order, status: OrderStatus) -> None:
    over = replace(resting, status=status)
    assert not over.is_open
    for again in (OrderStatus.CANCELLED, OrderStatus.EXPIRED):
        with pytest.raises(IllegalTransitionError, match=str(status)):
            orders.ended(over, again, None, 1)
    with pytest.raises(IllegalTransitionError):
        orders.rested(over, 1)


def test_an_ended_order_holds_nothing(resting: Order) -> None:
    over = orders.ended(resting, OrderStatus.CANCELLED, None, 7)
    assert (over.status, over.held, over.updated_ms) == (OrderStatus.CANCELLED, ZERO, 7)


@pytest.mark.parametrize(
    ("side", "price", "leaves", "held"),
    ((Side.BUY, "0.123", "0.01", "0.01"), (Side.BUY, "100", "0.5", "50.00"), (Side.SELL, "100", "0.5", "0.5")),
)
def test_a_hold_covers_what_is_left(side: Side, price: str, leaves: str, held: str) -> None:
    assert orders.hold_of(side, D(price), D(leaves), 2) == D(held)
