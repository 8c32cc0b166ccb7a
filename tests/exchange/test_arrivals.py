"""What an arriving order does: the fills it gets, how the rest of it ends, and every entry in the ledger."""

from typing import Any

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, filled, kinds, symbol
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import Refused
from trading_engine.exchange.orders import Liquidity, OrderStatus, TimeInForce

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK
BIDS, ASKS = "99x50 98x80", "100x50 101x80"


def exchange_with(bids: str = BIDS, asks: str = ASKS, balances: str = "USDT=100000,BTC=500", **rules: Any) -> Exchange:
    return Exchange(FakeMarket(symbol(market_max_quantity=ZERO, **rules), bids, asks), balances=balances, fees="0")


def postings(exchange: Exchange) -> list[str]:
    """Write the ledger's entries as "account asset amount"."""
    return [f"{entry.ledger_account} {entry.asset} {entry.amount.normalize():+f}" for entry in exchange.journal.entries]


def test_a_bought_half_bitcoin_to_the_last_entry() -> None:
    """W14: 0.5 at 60000 with 0.1 % is -30000 USDT, +0.4995 BTC, average 60000, realised -30."""
    exchange = Exchange(FakeMarket(symbol(), "59999.00x2", "60000.00x2"))
    placed = exchange.buy("0.5")

    assert kinds(exchange.journal.events) == ["OrderAccepted", "OrderFilled"]
    assert postings(exchange) == [
        "free USDT -30000",
        "market USDT +30000",
        "market BTC -0.5",
        "free BTC +0.4995",
        "fees BTC +0.0005",
    ]
    entry = exchange.journal.entries[0]
    assert (entry.balance_before, entry.balance_after) == (D(100_000), D(70_000))
    assert exchange.balance("USDT") == (D(70_000), ZERO)
    assert exchange.balance("BTC") == (D("0.4995"), ZERO)
    position = exchange.position("BTC")
    assert (position.quantity, position.cost) == (D("0.4995"), D(29_970))
    assert (position.realized_pnl, position.fees_paid) == (D(-30), D(30))

    order, fill = placed.order, placed.fills[0]
    assert (order.status, order.average_price, order.held) == (OrderStatus.FILLED, D(60_000), ZERO)
    assert (order.id, fill.id) == tuple(event.seq for event in exchange.journal.events)
    assert (fill.fee, fill.fee_asset, fill.fee_value, fill.quote_rate) == (D("0.0005"), "BTC", D(30), D(1))
    assert (fill.liquidity, fill.level_quantity, fill.update_id, fill.trade_id) == (Liquidity.TAKER, D(2), 1000, None)
    exchange.engine.check()


def test_a_sale_pays_its_fee_in_the_quote_asset() -> None:
    exchange = Exchange(FakeMarket(symbol(), "60000.00x2", "60000.01x2"), balances="USDT=1,BTC=1")
    placed = exchange.sell("0.5")
    assert postings(exchange) == [
        "free BTC -0.5",
        "market BTC +0.5",
        "market USDT -30000",
        "free USDT +29970",
        "fees USDT +30",
    ]
    assert (placed.fills[0].fee, placed.fills[0].fee_asset, placed.fills[0].fee_value) == (D(30), "USDT", D(30))
    position = exchange.position("BTC")
    # One bitcoin came in at mid, 60000.005: half of it cost 30000.0025.
    assert (position.quantity, position.cost) == (D("0.5"), D("30000.0025"))
    assert position.realized_pnl == D(30_000) - D("30000.0025") - D(30)
    exchange.engine.check()


@pytest.mark.parametrize(
    ("order", "fills", "status", "reason"),
    (
        ({"quantity": "60"}, ["50@100 taker", "10@101 taker"], OrderStatus.FILLED, None),
        ({"quantity": "130"}, ["50@100 taker", "80@101 taker"], OrderStatus.FILLED, None),
        ({"quantity": "131"}, ["50@100 taker", "80@101 taker"], OrderStatus.EXPIRED, "no_liquidity"),
        ({"quantity": "50", "price": "100"}, ["50@100 taker"], OrderStatus.FILLED, None),
        ({"quantity": "10", "price": "105"}, ["10@100 taker"], OrderStatus.FILLED, None),
        ({"quantity": "70", "price": "100"}, ["50@100 taker"], OrderStatus.PARTIALLY_FILLED, None),
        ({"quantity": "70", "price": "99"}, [], OrderStatus.NEW, None),
        (
            {"quantity": "200", "price": "101", "time_in_force": IOC},
            ["50@100 taker", "80@101 taker"],
            OrderStatus.EXPIRED,
            "ioc",
        ),
        (
            {"quantity": "60", "price": "101", "time_in_force": IOC},
            ["50@100 taker", "10@101 taker"],
            OrderStatus.FILLED,
            None,
        ),
        ({"quantity": "1", "price": "99", "time_in_force": IOC}, [], OrderStatus.EXPIRED, "ioc"),
        ({"quantity": "200", "price": "101", "time_in_force": FOK}, [], OrderStatus.EXPIRED, "fok"),
        ({"quantity": "51", "price": "100", "time_in_force": FOK}, [], OrderStatus.EXPIRED, "fok"),
        (
            {"quantity": "60", "price": "101", "time_in_force": FOK},
            ["50@100 taker", "10@101 taker"],
            OrderStatus.FILLED,
            None,
        ),
        ({"quantity": "20", "price": "99.99", "post_only": True}, [], OrderStatus.NEW, None),
    ),
)
def test_a_buy_takes_what_the_book_shows(
    order: dict[str, Any], fills: list[str], status: OrderStatus, reason: str | None
) -> None:
    exchange = exchange_with()
    placed = exchange.buy(**order)
    assert filled(exchange.journal.events) == fills
    assert (placed.order.status, placed.order.reason) == (status, reason)
    assert exchange.now(placed.order.id) == placed.order
    exchange.engine.check()


@pytest.mark.parametrize(
    ("order", "fills", "status", "reason"),
    (
        ({"quantity": "60"}, ["50@99 taker", "10@98 taker"], OrderStatus.FILLED, None),
        ({"quantity": "131"}, ["50@99 taker", "80@98 taker"], OrderStatus.EXPIRED, "no_liquidity"),
        ({"quantity": "70", "price": "99"}, ["50@99 taker"], OrderStatus.PARTIALLY_FILLED, None),
        ({"quantity": "70", "price": "100"}, [], OrderStatus.NEW, None),
        ({"quantity": "60", "price": "98.5", "time_in_force": IOC}, ["50@99 taker"], OrderStatus.EXPIRED, "ioc"),
        ({"quantity": "200", "price": "98", "time_in_force": FOK}, [], OrderStatus.EXPIRED, "fok"),
    ),
)
def test_a_sale_takes_what_the_book_shows(
    order: dict[str, Any], fills: list[str], status: OrderStatus, reason: str | None
) -> None:
    exchange = exchange_with()
    placed = exchange.sell(**order)
    assert filled(exchange.journal.events) == fills
    assert (placed.order.status, placed.order.reason) == (status, reason)
    exchange.engine.check()


def test_what_rests_is_held_and_what_was_taken_is_paid_from_free() -> None:
    exchange = exchange_with()
    placed = exchange.buy("70", "100.50")
    assert postings(exchange) == [
        "held USDT +2010",
        "free USDT -2010",
        "free USDT -5000",
        "market USDT +5000",
        "market BTC -50",
        "free BTC +50",
    ]
    assert placed.order.held == D(2010)
    assert exchange.balance("USDT") == (D(92_990), D(2010))
    assert exchange.engine.watched == {"BTCUSDT"}


def test_a_limit_needs_its_whole_price_free_even_if_it_fills_better() -> None:
    exchange = exchange_with(balances="USDT=5049.99")
    with pytest.raises(Refused, match=r"needs 5050 USDT; 5049\.99 USDT is free"):
        exchange.buy("50", "101")
    assert exchange_with(balances="USDT=5050").buy("50", "101").order.filled_quote == D(5000)


def test_a_walk_looks_deeper_only_when_it_runs_out() -> None:
    asks = " ".join(f"{10_000 + n}x1" for n in range(250))
    exchange = exchange_with(bids="9999x1", asks=asks, balances="USDT=10000000")
    market = exchange.markets["BTCUSDT"]

    def looks(quantity: str) -> list[int | None]:
        exchange.clock.now_ms += 3_600_000
        market.looks.clear()
        exchange.buy(quantity)
        return market.looks

    assert looks("20") == [20]
    assert looks("21") == [20, 200]
    assert looks("201") == [20, 200, None]
    exchange.clock.now_ms += 3_600_000
    order = exchange.buy("251").order
    assert (order.filled_quantity, order.reason) == (D(201), "price_band")


def test_a_book_that_dies_between_two_looks_fills_nothing() -> None:
    exchange = exchange_with(asks=" ".join(f"{100 + n / 100}x1" for n in range(30)))
    market = exchange.markets["BTCUSDT"]

    def die() -> None:
        market.state = FeedState.STALE

    market.after_look = die
    with pytest.raises(Refused, match="book_stale"):
        exchange.buy("25")
    market.state = FeedState.LIVE
    waits = exchange.buy("25", "200").order
    assert (waits.status, waits.market_seq, waits.held) == (OrderStatus.NEW, None, D(5000))


QUOTE = (
    # 5000 buys the first level; what is left over buys lots at 101, the last of which must fit.
    ("5000", "50", "5000", OrderStatus.FILLED, None),
    ("5000.01", "50", "5000", OrderStatus.FILLED, None),
    ("5101", "51", "5101", OrderStatus.FILLED, None),
    ("5100.99", "50.9999", "5100.9899", OrderStatus.FILLED, None),
    ("1", "0.01", "1", OrderStatus.FILLED, None),
    ("13080", "130", "13080", OrderStatus.FILLED, None),
    ("13081", "130", "13080", OrderStatus.EXPIRED, "no_liquidity"),
)


@pytest.mark.parametrize(("amount", "quantity", "cost", "status", "reason"), QUOTE)
def test_a_quote_amount_buys_the_most_that_fits(
    amount: str, quantity: str, cost: str, status: OrderStatus, reason: str | None
) -> None:
    exchange = exchange_with(step_size=D("0.0001"))
    order = exchange.buy(quote_quantity=D(amount)).order
    assert (order.filled_quantity, order.filled_quote) == (D(quantity), D(cost))
    assert (order.status, order.reason, order.quote_quantity) == (status, reason, D(amount))
    assert order.quantity == (None if reason else D(quantity))
    exchange.engine.check()


def test_a_quote_amount_sells_the_most_that_brings_no_more() -> None:
    order = exchange_with(step_size=D("0.01")).sell(quote_quantity=D("100")).order
    assert (order.filled_quantity, order.filled_quote) == (D("1.01"), D("99.99"))


def test_a_quote_amount_keeps_to_the_coarser_lot_step() -> None:
    order = exchange_with(market_step_size=D("0.1")).buy(quote_quantity=D("5055")).order
    assert (order.filled_quantity, order.filled_quote) == (D("50.5"), D("5050.5"))


def test_amounts_round_half_up_to_the_quote_assets_precision() -> None:
    exchange = exchange_with(bids="0.98x1", asks="0.99x1", quote_precision=2)
    assert exchange.buy("0.5").order.filled_quote == D("0.50")
    assert exchange.sell("0.5").order.filled_quote == D("0.49")


def test_rounding_takes_no_more_than_the_account_has() -> None:
    """Two levels at half a cent each round up to a cent each, but the order as a whole costs one cent and a bit."""
    exchange = exchange_with(bids="0.49x1", asks="0.50x0.01 0.51x0.01", balances="USDT=0.02", quote_precision=2)
    first, second = exchange.buy("0.02", "0.51").fills
    assert (first.quote_amount, second.quote_amount) == (D("0.01"), D("0.01"))
    exchange = exchange_with(bids="0.49x1", asks="0.50x0.01 0.51x0.01 0.52x1", balances="USDT=0.02", quote_precision=2)
    third = exchange.buy("0.03", "0.52").fills[2]
    assert (third.quantity, third.quote_amount) == (D("0.01"), ZERO)
    assert exchange.balance("USDT") == (ZERO, ZERO)
    exchange.engine.check()


def test_a_pair_against_bitcoin_moves_two_positions() -> None:
    """ETHBTC at 0.05 with BTC at 60000 mid: what is given leaves at cost, what is received enters at its value."""
    exchange = Exchange(
        FakeMarket(symbol("ETHBTC", "ETH", "BTC", tick_size=D("0.00001")), "0.04999x10", "0.05000x10"),
        FakeMarket(symbol(), "59999.00x5", "60001.00x5"),
        balances="USDT=100000,BTC=1",
    )
    exchange.markets["BTCUSDT"].quote(bids="69999x5", asks="70001x5")
    exchange.buy("2")
    ether, bitcoin = exchange.position("ETH"), exchange.position("BTC")
    # 0.1 BTC left, worth 7000, cost 6000; 1.998 ETH came in for 7000 less the fee's 7.
    assert (bitcoin.quantity, bitcoin.cost, bitcoin.realized_pnl) == (D("0.9"), D(54_000), D(1000))
    assert (ether.quantity, ether.cost, ether.realized_pnl, ether.fees_paid) == (D("1.998"), D(6993), D(-7), D(7))
    exchange.sell("1")
    ether, bitcoin = exchange.position("ETH"), exchange.position("BTC")
    # 1 ETH for 0.04999 BTC = 3499.3, fee 3.4993 of it, its cost 6993/1.998 = 3500.
    assert ether.realized_pnl == D(-7) + D("3499.3") - D(3500) - D("3.4993")
    assert bitcoin.cost == D(54_000) + D("3499.3") - D("3.4993")
    assert bitcoin.realized_pnl == D(1000)
    exchange.engine.check()


def test_buying_dollars_with_lira() -> None:
    exchange = Exchange(
        FakeMarket(symbol("USDTTRY", "USDT", "TRY", step_size=D("1")), "40x1000", "41x1000"), balances="TRY=8100,USDT=1"
    )
    assert exchange.position("TRY").cost == D(200)
    fill = exchange.buy("100").fills[0]
    # 4100 of 8100 lira, which cost 200 dollars, went for 100 dollars.
    left = exchange.position("TRY")
    assert (left.quantity, fill.fee, fill.fee_asset, fill.fee_value) == (D(4000), D("0.1"), "USDT", D("0.1"))
    assert left.cost == D(200) - D("101.234567901235")
    assert left.realized_pnl == D(100) - D("101.234567901235") - D("0.1")
    assert exchange.balance("USDT") == (D("100.9"), ZERO)
    exchange.sell("50")
    assert exchange.position("TRY").quantity == D(4000) + 2000 - 2
    exchange.engine.check()


def test_a_repeat_is_no_second_order() -> None:
    exchange = exchange_with()
    first = exchange.buy("1", client_order_id="mine")
    again = exchange.buy("1.000", client_order_id="mine")
    assert first.created
    assert (again.created, again.order, again.fills) == (False, first.order, ())
    assert len(exchange.journal.batches) == 1


@pytest.mark.parametrize(
    "other",
    (
        {"quantity": "2"},
        {"quantity": "1", "price": "90"},
        {"quote_quantity": D(1)},
        {"quantity": "1", "symbol": "ETHUSDT"},
    ),
)
def test_other_content_under_the_same_id_is_refused(other: dict[str, Any]) -> None:
    exchange = exchange_with()
    exchange.buy("1", client_order_id="mine")
    with pytest.raises(Refused, match="duplicate_client_order_id") as caught:
        exchange.buy(**other, client_order_id="mine")
    assert (caught.value.status, caught.value.field) == (409, "client_order_id")


def test_a_refused_order_does_not_use_its_id_up() -> None:
    exchange = exchange_with()
    with pytest.raises(Refused):
        exchange.buy("10000", client_order_id="mine")
    assert exchange.buy("1", client_order_id="mine").created


def test_ids_are_per_account_and_epoch() -> None:
    exchange = exchange_with()
    exchange.buy("1", client_order_id="mine")
    other = exchange.open("other", "USDT=1000")
    assert exchange.buy("2", client_order_id="mine", account_id=other.id).created


def test_a_repeat_of_an_order_by_quote_amount_is_known_whatever_it_came_to() -> None:
    exchange = exchange_with()
    first = exchange.buy(quote_quantity=D(150), client_order_id="mine")
    again = exchange.buy(quote_quantity=D("150.0"), client_order_id="mine")
    assert (again.created, again.order) == (False, first.order)
