"""Conditional orders through the engine: taken, armed, set off by the last price, and their way to the end."""

from decimal import Decimal
from typing import Any

import pytest

from tests.exchange.fakes import D, Exchange, FakeMarket, filled, kinds, symbol
from trading_engine.exchange import history
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import CancelOrder, Placed, Refused
from trading_engine.exchange.orders import Condition, Order, OrderStatus, OrderType, Stage, TimeInForce
from trading_engine.exchange.symbols import Feature, TrailingDelta

ZERO = Decimal(0)


def exchange_with(
    bids: str = "99x10 98x50",
    asks: str = "100x10 101x50",
    *,
    last: str | None = "99.5",
    balances: str = "USDT=100000,BTC=500",
    **rules: Any,
) -> Exchange:
    market = FakeMarket(symbol(**rules), bids, asks)
    if last is not None:
        market.print_(last, "0.1", buyer_is_maker=True, time_ms=0)
        market.quote()
    return Exchange(market, balances=balances, fees="0")


def printed(exchange: Exchange, price: str, quantity: str = "0.01", *, buyer_is_maker: bool = False) -> list[Any]:
    """Report a trade and return what it brings about; the books must be right, and rebuild."""
    events = exchange.tell(exchange.markets["BTCUSDT"].print_(price, quantity, buyer_is_maker=buyer_is_maker))
    exchange.engine.check()
    return events


def stop(exchange: Exchange, side: str, quantity: str, stop_price: str | None, **more: Any) -> Order:
    """Place a conditional order, a stop unless said otherwise."""
    place = {"buy": exchange.buy, "sell": exchange.sell}[side]
    more.setdefault("type", OrderType.STOP)
    placed: Placed = place(quantity, stop_price=None if stop_price is None else D(stop_price), **more)
    assert placed.fills == ()
    return placed.order


def refusal(
    exchange: Exchange, side: str, quantity: str, stop_price: str | None, **more: Any
) -> tuple[str, str | None]:
    before = exchange.engine.state()
    with pytest.raises(Refused) as refused:
        stop(exchange, side, quantity, stop_price, **more)
    assert exchange.engine.state() == before
    return refused.value.code, refused.value.field


def test_a_stop_buy_takes_what_the_print_that_set_it_off_left() -> None:
    """W10: ask 100x10, 101x50; a print of 8 at 100 sets off a stop buy of 5, which gets 2@100 and 3@101."""
    exchange = exchange_with()
    order = stop(exchange, "buy", "5", "100")
    assert (order.status, order.stage, order.condition) == (OrderStatus.NEW, Stage.ARMED, Condition.STOP_LOSS)
    assert exchange.balance("USDT") == (D(99_490), D(510))
    events = printed(exchange, "100", "8")
    assert kinds(events) == ["OrderTriggered", "OrderFilled", "OrderFilled"]
    assert filled(events) == ["2@100 taker", "3@101 taker"]
    done = exchange.now(order.id)
    assert (done.status, done.held, done.triggered_ms) == (OrderStatus.FILLED, ZERO, exchange.clock.now_ms)
    assert (events[0].price, events[0].trade_id) == (D(100), exchange.markets["BTCUSDT"].seq)
    assert exchange.balance("USDT") == (D(100_000 - 200 - 303), ZERO)


def test_a_trailing_sell_follows_the_price_up_and_fires_on_its_way_back() -> None:
    """W11: sell with 100 basis points, prints 40 000 to 41 000: fires at 40 590 or less."""
    exchange = exchange_with("40000x10", "42000x10", last="39999")
    order = stop(exchange, "sell", "1", None, type=OrderType.TRAILING_STOP, trailing_bps=100)
    assert exchange.balance("BTC") == (D(499), D(1))
    for price in ("40000", "41000", "40590.01"):
        assert printed(exchange, price) == []
    events = printed(exchange, "40590")
    assert kinds(events) == ["OrderTriggered", "OrderFilled"]
    assert exchange.now(order.id).trailing_extreme == D(41_000)
    assert filled(events) == ["1@40000 taker"]


@pytest.mark.parametrize(
    ("side", "kind", "stop_price", "unmet", "met"),
    (
        ("buy", OrderType.STOP, "100", "99.99", "100.01"),
        ("sell", OrderType.STOP, "99", "99.01", "98.5"),
        ("buy", OrderType.TAKE_PROFIT, "99", "99.01", "99"),
        ("sell", OrderType.TAKE_PROFIT, "100", "99.99", "100"),
    ),
)
def test_each_kind_waits_on_its_side_and_ends_filled(
    side: str, kind: OrderType, stop_price: str, unmet: str, met: str
) -> None:
    exchange = exchange_with()
    order = stop(exchange, side, "1", stop_price, type=kind)
    assert printed(exchange, unmet) == []
    assert kinds(printed(exchange, met)) == ["OrderTriggered", "OrderFilled"]
    assert exchange.now(order.id).status is OrderStatus.FILLED
    assert exchange.engine.status.open_orders == 0


def test_a_stop_limit_takes_up_to_its_limit_and_rests() -> None:
    exchange = exchange_with()
    order = stop(exchange, "buy", "15", "100", type=OrderType.STOP_LIMIT, price=D(100))
    assert exchange.balance("USDT") == (D(98_500), D(1500))
    assert filled(printed(exchange, "100", "4")) == ["6@100 taker"]
    rests = exchange.now(order.id)
    assert (rests.status, rests.stage, rests.held) == (OrderStatus.PARTIALLY_FILLED, Stage.LIVE, D(900))
    assert exchange.ahead(rests) == ZERO
    assert filled(printed(exchange, "99.99", "20", buyer_is_maker=True)) == ["9@100 maker"]


@pytest.mark.parametrize(("tif", "fills"), ((TimeInForce.IOC, ["10@100 taker"]), (TimeInForce.FOK, [])))
def test_a_stop_limit_that_may_not_rest_ends(tif: TimeInForce, fills: list[str]) -> None:
    exchange = exchange_with()
    order = stop(exchange, "buy", "15", "99.9", type=OrderType.STOP_LIMIT, price=D(100), time_in_force=tif)
    assert filled(printed(exchange, "99.9")) == fills
    done = exchange.now(order.id)
    assert (done.status, done.reason, done.held) == (OrderStatus.EXPIRED, tif.value.lower(), ZERO)


def test_a_market_stop_ends_where_the_known_book_ends() -> None:
    exchange = exchange_with(asks="100x10")
    order = stop(exchange, "buy", "15", "100")
    assert filled(printed(exchange, "100", "1")) == ["9@100 taker"]
    done = exchange.now(order.id)
    assert (done.status, done.reason) == (OrderStatus.EXPIRED, "no_liquidity")
    assert exchange.balance("USDT") == (D(99_100), ZERO)


def test_a_market_stop_ends_at_the_price_band() -> None:
    exchange = exchange_with(asks="100x10 103x10")
    order = stop(exchange, "buy", "15", "99.9")
    assert filled(printed(exchange, "99.9")) == ["10@100 taker"]
    assert exchange.now(order.id).reason == "price_band"


def test_a_stop_that_costs_more_than_there_is_expires_whole() -> None:
    exchange = exchange_with(asks="101x1 102.9x20", balances="USDT=1020")
    order = stop(exchange, "buy", "10", "100")
    events = printed(exchange, "101", "0.01")
    assert kinds(events) == ["OrderTriggered", "OrderExpired"]
    assert (exchange.now(order.id).reason, exchange.balance("USDT")) == ("insufficient_balance", (D(1020), ZERO))


def test_a_stop_may_cost_more_than_it_held_if_that_is_free() -> None:
    exchange = exchange_with(asks="101x1 102.9x20", balances="USDT=1030")
    stop(exchange, "buy", "10", "100")
    assert filled(printed(exchange, "101", "0.01")) == ["0.99@101 taker", "9.01@102.9 taker"]


def test_two_stops_of_one_print_go_by_age_and_do_not_get_the_same() -> None:
    exchange = exchange_with()
    first, second = stop(exchange, "buy", "6", "100"), stop(exchange, "buy", "6", "99.9")
    events = printed(exchange, "100", "2")
    fills = [(event.fill.order_id, event.fill.quantity, event.fill.price) for event in events if hasattr(event, "fill")]
    assert fills == [(first.id, 6, 100), (second.id, 2, 100), (second.id, 4, 101)]
    assert filled(exchange.buy_events("1")) == ["1@101 taker"]


def test_two_orders_that_waited_for_the_book_do_not_get_the_same() -> None:
    exchange = exchange_with()
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.become(FeedState.STALE, "silence"))
    exchange.buy("8", "100")
    exchange.buy("8", "100")
    assert filled(exchange.tell(market.become(FeedState.LIVE))) == ["8@100 taker", "2@100 taker"]


def test_a_stop_the_last_price_meets_is_refused() -> None:
    exchange = exchange_with()
    assert refusal(exchange, "buy", "1", "99.5") == ("would_trigger", "stop_price")
    assert refusal(exchange, "sell", "1", "99.5") == ("would_trigger", "stop_price")
    assert refusal(exchange, "buy", "1", "99.5", type=OrderType.TAKE_PROFIT) == ("would_trigger", "stop_price")
    silent = exchange_with(last=None)
    assert refusal(silent, "buy", "1", "99") == ("no_last_price", "stop_price")
    assert refusal(silent, "buy", "1", None, type=OrderType.TRAILING_STOP, trailing_bps=9)[0] == "no_last_price"


@pytest.mark.parametrize(
    ("more", "code", "field"),
    (
        ({"type": OrderType.STOP, "stop_price": None}, "invalid_order", "stop_price"),
        ({"type": OrderType.STOP, "price": D(101)}, "invalid_order", "price"),
        ({"type": OrderType.STOP_LIMIT}, "invalid_order", "price"),
        ({"type": OrderType.TRAILING_STOP}, "invalid_order", "trailing_bps"),
        ({"type": OrderType.STOP, "trailing_bps": 10_000}, "invalid_order", "trailing_bps"),
        ({"type": OrderType.STOP, "post_only": True}, "invalid_order", "post_only"),
        ({"type": OrderType.MARKET}, "invalid_order", "stop_price"),
        ({"stop_price": D("101.001")}, "price_filter", "stop_price"),
        ({"quantity": D(121)}, "market_lot_size", "quantity"),
        ({"quantity": D("0.00002")}, "notional", "quantity"),
        ({"trailing_bps": 9}, "trailing_delta", "trailing_bps"),
        ({"quantity": D(120), "stop_price": D(900)}, "insufficient_balance", "quantity"),
    ),
)
def test_a_conditional_order_that_does_not_fit_is_refused(more: dict[str, Any], code: str, field: str) -> None:
    exchange = exchange_with(
        min_notional=D(1), trailing_delta=TrailingDelta(min_above=10, max_above=20, min_below=30, max_below=40)
    )
    with pytest.raises(Refused) as refused:
        exchange.buy(**{"type": OrderType.STOP, "quantity": D(1), "stop_price": D(101), **more})
    assert (refused.value.code, refused.value.field) == (code, field)
    assert exchange.journal.batches == []


def test_a_symbol_refuses_the_types_it_does_not_list() -> None:
    exchange = exchange_with(order_types=("LIMIT", "MARKET", "STOP_LOSS_LIMIT"), features=frozenset[Feature]())
    assert refusal(exchange, "buy", "1", "101") == ("not_supported", "type")
    assert refusal(exchange, "buy", "1", "101", type=OrderType.TRAILING_STOP, trailing_bps=10)[0] == "not_supported"
    listed = {"type": OrderType.STOP_LIMIT, "price": D(101)}
    assert refusal(exchange, "buy", "1", "101", trailing_bps=10, **listed) == ("not_supported", "trailing_bps")
    assert stop(exchange, "buy", "1", "101", **listed).stage is Stage.ARMED
    with pytest.raises(Refused, match="quote_quantity"):
        exchange.buy(quote_quantity=D(100))


def test_the_venue_bounds_how_many_conditional_orders_are_open() -> None:
    exchange = exchange_with(max_algo_orders=2)
    for _ in range(2):
        stop(exchange, "buy", "1", "101")
    assert refusal(exchange, "buy", "1", "101")[0] == "max_algo_orders"
    assert exchange.buy("1", "90").created


def test_the_venue_bounds_what_open_buys_may_lead_to() -> None:
    exchange = exchange_with(max_position=D(510))
    stop(exchange, "buy", "6", "101")
    assert refusal(exchange, "buy", "5", "101")[0] == "max_position"
    stop(exchange, "buy", "4", "101")


def test_an_armed_order_can_be_cancelled_and_gives_back_what_it_held() -> None:
    exchange = exchange_with()
    order = stop(exchange, "sell", "5", "98")
    (cancelled,) = exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    assert (cancelled.status, cancelled.stage, exchange.balance("BTC")) == (
        OrderStatus.CANCELLED,
        Stage.ARMED,
        (D(500), ZERO),
    )
    assert printed(exchange, "97") == []


def test_the_same_client_order_id_is_a_repeat_only_with_the_same_trigger() -> None:
    exchange = exchange_with()
    command = exchange.order(exchange.buy("1", "90").order.side, "1", type=OrderType.STOP, stop_price=D(101))
    first = exchange.engine.submit(command)
    again = exchange.engine.submit(command)
    assert (again.order, again.created) == (first.order, False)
    with pytest.raises(Refused, match="other content"):
        exchange.buy("1", type=OrderType.STOP, stop_price=D(102), client_order_id=command.client_order_id)


def test_nothing_triggers_while_the_book_is_not_live_and_what_was_met_meanwhile_does_then() -> None:
    exchange = exchange_with()
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.become(FeedState.STALE, "silence"))
    met, unmet = stop(exchange, "buy", "1", "100"), stop(exchange, "buy", "1", "103")
    assert printed(exchange, "102") == []
    events = exchange.tell(market.load())
    assert [event.order_id for event in events if hasattr(event, "extreme")] == [met.id]
    assert exchange.now(unmet.id).stage is Stage.ARMED
    exchange.engine.check()


def test_a_print_the_order_knew_of_does_not_set_it_off() -> None:
    exchange = exchange_with()
    market = exchange.markets["BTCUSDT"]
    exchange.buy("1", "90")
    early = market.print_("105", "1", buyer_is_maker=False)
    market.print_("99.5", "1", buyer_is_maker=True)
    stop(exchange, "buy", "1", "101")
    assert exchange.tell(early) == []


def test_a_restart_keeps_armed_orders_and_what_they_follow() -> None:
    exchange = exchange_with("40000x10", "42000x10", last="39999")
    order = stop(exchange, "sell", "1", None, type=OrderType.TRAILING_STOP, trailing_bps=100)
    printed(exchange, "41000")
    exchange.engine.load(exchange.engine.state())
    exchange.engine.check()
    assert printed(exchange, "40600") == []
    assert kinds(printed(exchange, "40590")) == ["OrderTriggered", "OrderFilled"]
    assert exchange.now(order.id).trailing_extreme == D(41_000)
    rebuilt = history.rebuild(exchange.history())
    assert {each.id: each for each in rebuilt.orders} == {each.id: each for each in exchange.engine.state().orders}


def test_what_a_trailing_order_follows_is_kept_between_restarts() -> None:
    exchange = exchange_with("40000x10", "42000x10", last="39999")
    order = stop(exchange, "sell", "1", None, type=OrderType.TRAILING_STOP, trailing_bps=100)
    printed(exchange, "41000")
    exchange.engine.keep_memory()
    (memory,) = [each for each in exchange.journal.batches[-1].memory if each.key == "triggers"]
    assert memory.body == f'{{"sell": [["41000", [{order.id}]]]}}'


def test_a_trigger_that_cannot_be_stored_changes_nothing_and_comes_again() -> None:
    exchange = exchange_with()
    order = stop(exchange, "buy", "1", "100")
    exchange.journal.broken = True
    assert printed(exchange, "100") == []
    assert exchange.now(order.id) == order
    exchange.journal.broken = False
    assert kinds(printed(exchange, "100")) == ["OrderTriggered", "OrderFilled"]


def test_a_trailing_stop_with_a_stop_price_begins_when_the_price_meets_it() -> None:
    exchange = exchange_with(asks="100x10 101x50 103x50")
    order = stop(exchange, "buy", "1", "98", type=OrderType.TRAILING_STOP, trailing_bps=100)
    assert order.condition is Condition.TAKE_PROFIT
    assert printed(exchange, "99") == printed(exchange, "103") == printed(exchange, "98") == []
    assert printed(exchange, "97") == printed(exchange, "97.96") == []
    assert kinds(printed(exchange, "97.97")) == ["OrderTriggered", "OrderFilled"]


def test_a_preview_of_a_stop_takes_nothing() -> None:
    exchange = exchange_with()
    preview = exchange.engine.preview(
        exchange.order(exchange.buy("1", "90").order.side, "1", type=OrderType.STOP, stop_price=D(101))
    )
    assert (preview.fills, preview.rests, preview.queue_ahead) == ((), D(1), None)
