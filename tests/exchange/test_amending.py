"""Changing an open order: what keeps its place, what arrives anew, what is refused."""

from typing import Any

import pytest

from tests.exchange.fakes import D, Exchange, FakeMarket, filled, kinds, symbol
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import AmendOrder, Placed, Refused
from trading_engine.exchange.orders import Order, OrderStatus, OrderType, Side
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.symbols import Feature


def exchange_with(**rules: Any) -> Exchange:
    market = FakeMarket(symbol(**rules), "99x100 98x50", "100x10 101x50")
    return Exchange(market, balances="USDT=10000,BTC=50", fees="0", queue_rule=Rule.STRICT)


def amend(exchange: Exchange, order: Order, quantity: str | None = None, price: str | None = None) -> Placed:
    command = AmendOrder(
        account_id=exchange.account.id,
        order_id=order.id,
        quantity=None if quantity is None else D(quantity),
        price=None if price is None else D(price),
    )
    placed = exchange.engine.submit(command)
    exchange.engine.check()
    return placed


def refusal(exchange: Exchange, order: Order, quantity: str | None = None, price: str | None = None) -> tuple[str, Any]:
    before = exchange.engine.state()
    with pytest.raises(Refused) as refused:
        amend(exchange, order, quantity, price)
    assert exchange.engine.state() == before
    return refused.value.code, refused.value.field


def test_a_smaller_order_keeps_its_place_and_holds_less() -> None:
    exchange = exchange_with()
    order = exchange.buy("20", "99").order
    exchange.tell(exchange.markets["BTCUSDT"].print_("99", "60", buyer_is_maker=True))
    amended = amend(exchange, order, "8").order
    assert (amended.id, amended.quantity, amended.held, amended.amendments) == (order.id, D(8), D(792), 1)
    assert exchange.ahead(amended) == D(40)
    assert filled(exchange.tell(exchange.markets["BTCUSDT"].print_("99", "60", buyer_is_maker=True))) == ["8@99 maker"]
    assert exchange.balance("USDT") == (D(9208), D(0))


@pytest.mark.parametrize(("quantity", "price", "held", "ahead"), (("21", None, 2079, 100), (None, "98", 1960, 50)))
def test_a_larger_order_or_another_price_joins_at_the_back(
    quantity: str | None, price: str | None, held: int, ahead: int
) -> None:
    exchange = exchange_with()
    order = exchange.buy("20", "99").order
    exchange.tell(exchange.markets["BTCUSDT"].print_("99", "60", buyer_is_maker=True))
    exchange.tell(exchange.markets["BTCUSDT"].quote(bids="99x100 98x50"))
    amended = amend(exchange, order, quantity, price).order
    assert (amended.id, amended.held, amended.amendments) == (order.id, D(held), 0)
    assert exchange.ahead(amended) == D(ahead)


def test_a_better_price_may_take_and_what_it_took_is_remembered() -> None:
    exchange = exchange_with()
    order = exchange.buy("15", "99").order
    placed = amend(exchange, order, price="100")
    assert filled(exchange.journal.batches[-1].events) == ["10@100 taker"]
    assert (placed.order.status, placed.order.held, len(placed.fills)) == (OrderStatus.PARTIALLY_FILLED, D(500), 1)
    assert filled(exchange.buy_events("1")) == ["1@101 taker"]
    assert amend(exchange, order, "30", "101").order.leaves == D(0)
    assert exchange.engine.status.open_orders == 0


def test_an_amendment_while_the_book_is_not_live_waits_for_it() -> None:
    exchange = exchange_with()
    order = exchange.buy("15", "99").order
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.become(FeedState.STALE, "silence"))
    assert amend(exchange, order, "14").order.market_seq is not None
    assert amend(exchange, order, price="100").order.market_seq is None
    assert filled(exchange.tell(market.become(FeedState.LIVE))) == ["10@100 taker"]
    exchange.engine.check()
    assert exchange.now(order.id).held == D(400)


def test_an_armed_order_stays_armed() -> None:
    exchange = exchange_with()
    market = exchange.markets["BTCUSDT"]
    market.print_("99", "1", buyer_is_maker=True)
    order = exchange.buy("5", type=OrderType.STOP, stop_price=D(101)).order
    assert amend(exchange, order, "4").order.held == D("412.08")
    assert kinds(exchange.tell(market.print_("101", "1", buyer_is_maker=False))) == ["OrderTriggered", "OrderFilled"]
    assert exchange.now(order.id).filled_quantity == D(4)


def test_what_does_not_fit_is_refused() -> None:
    exchange = exchange_with(min_notional=D(100), max_position=D(80))
    order = exchange.buy("20", "99").order
    exchange.tell(exchange.markets["BTCUSDT"].print_("98.99", "5", buyer_is_maker=True))
    assert refusal(exchange, order) == ("invalid_order", "quantity")
    assert refusal(exchange, order, "20", "99") == ("invalid_order", "quantity")
    assert refusal(exchange, order, "5") == ("invalid_order", "quantity")
    assert refusal(exchange, order, "20.000001") == ("lot_size", "quantity")
    assert refusal(exchange, order, price="98.001") == ("price_filter", "price")
    assert refusal(exchange, order, "6", "1") == ("notional", "quantity")
    assert refusal(exchange, order, "31") == ("max_position", "quantity")
    assert refusal(exchange, order, price="-1") == ("invalid_order", "price")
    rich = exchange_with()
    order = rich.buy("20", "99").order
    assert refusal(rich, order, "102", None) == ("insufficient_balance", "quantity")
    assert refusal(rich, rich.buy("1", "98", post_only=True).order, price="100") == ("would_take", "price")
    assert amend(rich, order, "22").order.quantity == D(22)


def test_the_venue_bounds_amendments() -> None:
    exchange = exchange_with(max_amends=1)
    order = exchange.buy("20", "99").order
    amend(exchange, order, "19")
    assert refusal(exchange, order, "18") == ("max_amends", None)
    frozen = exchange_with(features=frozenset[Feature]())
    order = frozen.buy("20", "99").order
    assert refusal(frozen, order, "19") == ("not_supported", None)
    assert refusal(frozen, order, "21") == ("not_supported", None)


def test_only_an_open_order_of_ones_own_can_be_amended() -> None:
    exchange = exchange_with()
    done = exchange.buy("1").order
    assert refusal(exchange, done, "2") == ("order_closed", None)
    with pytest.raises(Refused, match="order_not_found"):
        exchange.engine.submit(AmendOrder(account_id=exchange.account.id, order_id=999, quantity=D(1), price=None))


def test_an_amendment_that_cannot_be_stored_changes_nothing() -> None:
    exchange = exchange_with()
    order = exchange.buy("20", "99").order
    exchange.journal.broken = True
    assert refusal(exchange, order, "19") == ("not_committed", None)
    assert refusal(exchange, order, "21", "98") == ("not_committed", None)
    assert exchange.ahead(order) == D(100)


def test_amended_orders_are_found_again_after_a_restart() -> None:
    exchange = exchange_with()
    first, second = exchange.buy("20", "99").order, exchange.buy("5", "99").order
    amend(exchange, first, "25")
    amend(exchange, second, "4")
    ahead = exchange.ahead(first), exchange.ahead(second)
    exchange.engine.load(exchange.engine.state())
    exchange.tell(exchange.markets["BTCUSDT"].quote())
    exchange.engine.check()
    assert (exchange.ahead(first), exchange.ahead(second)) == ahead
    assert exchange.now(first.id).side is Side.BUY
