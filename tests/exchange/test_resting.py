"""What resting orders get: only what goes strictly through them, at their own limit, never the same size twice."""

from typing import Any

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, filled, kinds, symbol
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import CancelOrder
from trading_engine.exchange.orders import OrderStatus


def exchange_with(
    bids: str = "95x10", asks: str = "105x10", balances: str = "USDT=100000,BTC=500", **rules: Any
) -> Exchange:
    return Exchange(FakeMarket(symbol(**rules), bids, asks), balances=balances, fees="0")


@pytest.mark.parametrize(
    ("price", "buyer_is_maker", "fills"),
    (
        ("99.99", True, ["7@100 maker"]),
        ("90", True, ["7@100 maker"]),
        ("100", True, []),
        ("100.01", True, []),
        ("99.99", False, []),
    ),
)
def test_a_print_fills_a_bid_only_strictly_through_it_and_from_a_seller(
    price: str, buyer_is_maker: bool, fills: list[str]
) -> None:
    exchange = exchange_with()
    exchange.buy("20", "100")
    market = exchange.markets["BTCUSDT"]
    assert filled(exchange.tell(market.print_(price, "7", buyer_is_maker=buyer_is_maker))) == fills
    exchange.engine.check()


@pytest.mark.parametrize(
    ("price", "buyer_is_maker", "fills"),
    (
        ("100.01", False, ["7@100 maker"]),
        ("110", False, ["7@100 maker"]),
        ("100", False, []),
        ("99.99", False, []),
        ("100.01", True, []),
    ),
)
def test_a_print_fills_an_ask_only_strictly_through_it_and_from_a_buyer(
    price: str, buyer_is_maker: bool, fills: list[str]
) -> None:
    exchange = exchange_with()
    exchange.sell("20", "100")
    market = exchange.markets["BTCUSDT"]
    assert filled(exchange.tell(market.print_(price, "7", buyer_is_maker=buyer_is_maker))) == fills
    exchange.engine.check()


def test_a_maker_fill_spends_the_hold_and_names_its_print() -> None:
    exchange = exchange_with(bids="95.00x10")
    order = exchange.buy("20", "100").order
    assert exchange.balance("USDT") == (D(98_000), D(2000))
    change = exchange.markets["BTCUSDT"].print_("99", "7", buyer_is_maker=True)
    assert change.trade is not None
    exchange.tell(change)
    batch = exchange.journal.batches[-1]
    assert [(entry.ledger_account, entry.asset, entry.amount) for entry in batch.entries] == [
        ("held", "USDT", D(-700)),
        ("market", "USDT", D(700)),
        ("market", "BTC", D(-7)),
        ("free", "BTC", D(7)),
    ]
    fill = batch.fills[0]
    assert (fill.trade_id, fill.update_id, fill.level_quantity) == (change.trade.id, None, D(7))
    assert exchange.now(order.id).held == D(1300)
    assert exchange.now(order.id).status is OrderStatus.PARTIALLY_FILLED


def test_one_print_has_one_budget_for_an_account_best_price_first_then_age() -> None:
    exchange = exchange_with()
    low, old, new = exchange.buy("5", "99"), exchange.buy("5", "100"), exchange.buy("5", "100")
    events = exchange.tell(exchange.markets["BTCUSDT"].print_("98", "12", buyer_is_maker=True))
    assert [(event.fill.order_id, event.fill.quantity) for event in events] == [
        (old.order.id, 5),
        (new.order.id, 5),
        (low.order.id, 2),
    ]


def test_accounts_do_not_share_a_print() -> None:
    exchange = exchange_with()
    exchange.buy("5", "100")
    exchange.buy("5", "100", account_id=exchange.open("other", "USDT=1000").id)
    events = exchange.tell(exchange.markets["BTCUSDT"].print_("98", "5", buyer_is_maker=True))
    assert filled(events) == ["5@100 maker", "5@100 maker"]


def test_a_print_the_order_has_already_seen_is_ignored() -> None:
    exchange = exchange_with()
    market = exchange.markets["BTCUSDT"]
    exchange.buy("1", "90")
    late = market.print_("95", "5", buyer_is_maker=True)
    exchange.buy("5", "100")
    # The order looked at a market that held the print already; the feed tells of it only now.
    assert exchange.tell(late) == []
    assert filled(exchange.tell(market.print_("95", "5", buyer_is_maker=True))) == ["5@100 maker"]


def test_quotes_through_an_order_fill_it_level_by_level_but_never_twice() -> None:
    """W8 with the price strictly through: ask 98x12 gives 12; still 12, nothing; 20, the 8 that are new."""
    exchange = exchange_with()
    order = exchange.buy("30", "99").order
    market = exchange.markets["BTCUSDT"]
    assert filled(exchange.tell(market.quote(asks="98x12"))) == ["12@99 maker"]
    assert exchange.tell(market.quote(asks="98x12")) == []
    assert filled(exchange.tell(market.quote(asks="98x20"))) == ["8@99 maker"]
    assert filled(exchange.tell(market.quote(asks="97x3 98x20"))) == ["3@99 maker"]
    assert filled(exchange.tell(market.quote(asks="97x3 98x20 98.5x10"))) == ["7@99 maker"]
    assert exchange.now(order.id).status is OrderStatus.FILLED
    fill = exchange.journal.batches[-1].fills[0]
    assert (fill.update_id, fill.trade_id, fill.level_quantity) == (market.update_id, None, D(10))


def test_a_touching_quote_fills_nothing() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    exchange.sell("30", "101")
    market = exchange.markets["BTCUSDT"]
    assert exchange.tell(market.quote(asks="99x12"), market.quote(bids="101x5", asks="105x1")) == []


def test_size_shown_before_a_restart_is_not_given_again_after_it() -> None:
    exchange = exchange_with()
    order = exchange.buy("30", "99").order
    market = exchange.markets["BTCUSDT"]
    assert filled(exchange.tell(market.quote(asks="98x12 98.5x3"))) == ["12@99 maker", "3@99 maker"]
    exchange.engine.load(exchange.engine.state())
    assert exchange.tell(market.quote(asks="98x12 98.5x3")) == []
    assert filled(exchange.tell(market.quote(asks="98x14 98.5x3"))) == ["2@99 maker"]
    assert exchange.now(order.id).filled_quantity == 17


def test_after_a_restart_quotes_that_came_since_are_given() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="98x12"))
    exchange.engine.load(exchange.engine.state())
    assert exchange.tell(market.quote(asks="100x5")) == []
    assert filled(exchange.tell(market.quote(asks="98x12"))) == ["12@99 maker"]


def test_size_that_left_and_came_back_is_new() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="98x12"))
    exchange.tell(market.quote(asks="105x10"))
    assert filled(exchange.tell(market.quote(asks="98x12"))) == ["12@99 maker"]


def test_size_that_shrank_counts_from_what_is_left() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="98x12"))
    assert exchange.tell(market.quote(asks="98x4")) == []
    assert filled(exchange.tell(market.quote(asks="98x9"))) == ["5@99 maker"]


def test_what_an_arriving_order_took_does_not_fill_its_rest() -> None:
    exchange = exchange_with(asks="98x50 99x20 101x80")
    placed = exchange.buy("100", "100")
    assert filled(exchange.journal.events) == ["50@98 taker", "20@99 taker"]
    market = exchange.markets["BTCUSDT"]
    assert exchange.tell(market.quote(asks="98x50 99x20 101x80")) == []
    assert filled(exchange.tell(market.quote(asks="98x55 99x20"))) == ["5@100 maker"]
    assert exchange.now(placed.order.id).leaves == D(25)


def test_what_a_market_order_took_is_not_given_to_the_orders_that_rest() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="98x12"))
    raised = market.quote(asks="98x20")
    exchange.buy("20")
    assert exchange.tell(raised) == []


def test_a_cascade_of_levels_is_looked_at_as_deep_as_the_order_reaches() -> None:
    exchange = exchange_with()
    exchange.buy("100", "104")
    asks = " ".join(f"{100 + n}x1" if n < 4 else f"{104 + n}x1" for n in range(30))
    deep = " ".join(f"{100 + n / 10}x1" for n in range(39)) + " 104x9"
    market = exchange.markets["BTCUSDT"]
    assert len(filled(exchange.tell(market.quote(asks=asks)))) == 4
    assert len(filled(exchange.tell(market.quote(asks=deep)))) == 35


def test_both_sides_and_a_print_in_one_change() -> None:
    exchange = exchange_with()
    exchange.buy("10", "100")
    market = exchange.markets["BTCUSDT"]
    market.quote(asks="99x4")
    events = exchange.tell(market.print_("98", "3", buyer_is_maker=True))
    assert filled(events) == ["3@100 maker", "4@100 maker"]
    exchange.engine.check()


def test_nothing_fills_while_the_book_is_not_live() -> None:
    exchange = exchange_with()
    exchange.buy("10", "100")
    market = exchange.markets["BTCUSDT"]
    assert exchange.tell(market.become(FeedState.STALE), market.print_("90", "5", buyer_is_maker=True)) == []
    assert exchange.tell(market.quote(asks="90x3")) == []
    # The rebuilt book judges; the print that was missed does not.
    assert filled(exchange.tell(market.become(FeedState.LIVE))) == ["3@100 maker"]


def test_a_change_that_says_live_about_a_book_that_no_longer_is_fills_nothing() -> None:
    exchange = exchange_with()
    exchange.buy("10", "100")
    market = exchange.markets["BTCUSDT"]
    change = market.print_("90", "5", buyer_is_maker=True)
    market.state = FeedState.STALE
    assert exchange.tell(change) == []


def test_an_order_taken_without_a_live_book_arrives_when_there_is_one() -> None:
    exchange = exchange_with(asks="98x5 99x5 105x10")
    market = exchange.markets["BTCUSDT"]
    market.become(FeedState.SYNCING)
    order = exchange.buy("20", "99").order
    assert (order.market_seq, order.held) == (None, D(1980))
    assert exchange.tell(market.print_("90", "50", buyer_is_maker=True)) == []
    events = exchange.tell(market.become(FeedState.LIVE))
    assert kinds(events) == ["OrderFilled", "OrderFilled", "OrderRested"]
    assert filled(events) == ["5@98 taker", "5@99 taker"]
    rests = exchange.now(order.id)
    assert (rests.market_seq, rests.held) == (market.seq, D(990))
    assert exchange.balance("USDT") == (D(100_000) - 490 - 495 - 990, D(990))
    # What it took on arrival is not given to its rest; a new print through it is.
    assert exchange.tell(market.quote()) == []
    assert filled(exchange.tell(market.print_("98", "2", buyer_is_maker=True))) == ["2@99 maker"]
    exchange.engine.check()


def test_an_order_that_waited_may_fill_at_once_or_be_cancelled() -> None:
    exchange = exchange_with(asks="98x50")
    market = exchange.markets["BTCUSDT"]
    market.become(FeedState.STALE)
    fills, goes = exchange.buy("20", "99").order, exchange.buy("20", "99").order
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=goes.id))
    assert kinds(exchange.tell(market.become(FeedState.LIVE))) == ["OrderFilled"]
    assert exchange.now(fills.id).status is OrderStatus.FILLED
    assert exchange.engine.watched == frozenset()


def test_orders_against_bitcoin_wait_for_a_bitcoin_price() -> None:
    exchange = Exchange(
        FakeMarket(symbol("ETHBTC", "ETH", "BTC", tick_size=D("0.00001")), "0.04x10", "0.06x10"),
        FakeMarket(symbol(), "59999x5", "60001x5"),
        balances="USDT=1,BTC=1",
    )
    exchange.buy("2", "0.05")
    pair, bitcoin = exchange.markets.values()
    bitcoin.quote(bids="", asks="")
    assert exchange.tell(pair.print_("0.04", "1", buyer_is_maker=True)) == []
    bitcoin.quote(bids="69999x5", asks="70001x5")
    fill = exchange.tell(pair.print_("0.04", "1", buyer_is_maker=True))[0].fill
    assert (fill.quote_rate, fill.fee_value) == (D(70_000), D("3.5"))


def test_rules_that_change_leave_resting_orders_where_they_are() -> None:
    exchange = exchange_with()
    order = exchange.buy("0.00001", "100.01").order
    market = exchange.markets["BTCUSDT"]
    market.symbol = symbol(tick_size=D(1), step_size=D(1), min_quantity=D(1), min_notional=D(100))
    exchange.tell(market.print_("99", "5", buyer_is_maker=True))
    assert exchange.now(order.id).status is OrderStatus.FILLED


def test_a_change_that_touches_no_order_does_not_look_at_the_market() -> None:
    exchange = exchange_with()
    for n in range(50):
        exchange.buy("0.1", str(90 + n / 10))
    market = exchange.markets["BTCUSDT"]
    change = market.print_("95", "5", buyer_is_maker=True)
    market.looks.clear()
    exchange.engine.on_market(change)
    assert market.looks == []


def test_a_symbol_is_watched_while_it_has_open_orders() -> None:
    exchange = exchange_with()
    order = exchange.buy("1", "100").order
    assert exchange.engine.watched == {"BTCUSDT"}
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    assert exchange.engine.watched == frozenset()
    exchange.buy("1")
    assert exchange.engine.watched == frozenset()


def test_the_symbol_is_watched_before_the_market_is_looked_at() -> None:
    """A change that lands after the look must find the symbol watched, or it would be lost."""
    exchange = exchange_with()
    market = exchange.markets["BTCUSDT"]
    seen: list[frozenset[str]] = []
    market.before_look = lambda: seen.append(exchange.engine.watched)
    exchange.buy("1", "100")
    assert seen
    assert all(watched == {"BTCUSDT"} for watched in seen)


def test_rounding_of_many_small_maker_fills_stays_within_the_hold() -> None:
    """A thousandth at 0.999 rounds up to a cent or down to nothing; all of them together cost the hold and no more."""
    exchange = exchange_with(
        bids="0.5x10", asks="2x10", balances="USDT=1", quote_precision=2, tick_size=D("0.001"), step_size=D("0.001")
    )
    order = exchange.buy("1.001", "0.999").order
    assert order.held == D("1.00")
    market = exchange.markets["BTCUSDT"]
    while exchange.now(order.id).is_open:
        exchange.tell(market.print_("0.9", "0.006", buyer_is_maker=True))
        exchange.engine.check()
    free, held = exchange.balance("USDT")
    assert held == ZERO
    assert free >= 0
    assert exchange.balance("BTC")[0] == D("1.001")
