"""What resting orders get: what the queue leaves them and what comes through, at their limit, never the same twice."""

from typing import Any

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, filled, kinds, levels, symbol
from trading_engine.exchange import history
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import CancelOrder, Refused, ResetAccount
from trading_engine.exchange.orders import Cause, Certainty, OrderStatus, Side, TimeInForce
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.waiting import LevelKey


def exchange_with(
    bids: str = "95x10",
    asks: str = "105x10",
    balances: str = "USDT=100000,BTC=500",
    queue_rule: Rule = Rule.INFERRED,
    **rules: Any,
) -> Exchange:
    market = FakeMarket(symbol(**rules), bids, asks)
    return Exchange(market, balances=balances, fees="0", queue_rule=queue_rule)


@pytest.mark.parametrize(
    ("price", "buyer_is_maker", "fills"),
    (
        ("99.99", True, ["7@100 maker"]),
        ("90", True, ["7@100 maker"]),
        ("100", True, ["7@100 maker"]),
        ("100.01", True, []),
        ("99.99", False, []),
    ),
)
def test_a_print_fills_a_bid_that_nobody_is_ahead_of_from_a_seller(
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
        ("100", False, ["7@100 maker"]),
        ("99.99", False, []),
        ("100.01", True, []),
    ),
)
def test_a_print_fills_an_ask_that_nobody_is_ahead_of_from_a_buyer(
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


def test_a_quote_that_comes_to_an_order_fills_it_and_the_same_size_does_not_again() -> None:
    """W8: BUY 30@99; the ask comes to 99 with 12, stays 12, then shows 20."""
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    assert filled(exchange.tell(market.quote(asks="99x12"))) == ["12@99 maker"]
    assert exchange.tell(market.quote(asks="99x12")) == []
    assert filled(exchange.tell(market.quote(asks="99x20"))) == ["8@99 maker"]


def test_an_order_waits_behind_what_rests_at_its_price() -> None:
    """W4: bid 99 x 100, join 20. Print 30; diff to 50, of which 20 were cancelled; back to 90; then prints."""
    exchange = exchange_with(bids="99x100", queue_rule=Rule.PRO_RATA)
    order = exchange.buy("20", "99").order
    market = exchange.markets["BTCUSDT"]
    assert exchange.ahead(order) == D(100)
    assert exchange.tell(market.print_("99", "30", buyer_is_maker=True)) == []
    assert exchange.ahead(order) == D(70)
    assert exchange.tell(market.quote(bids="99x50")) == []
    assert exchange.ahead(order) == D(50)
    assert exchange.tell(market.quote(bids="99x90")) == []
    assert exchange.ahead(order) == D(50)
    fill = exchange.tell(market.print_("99", "62", buyer_is_maker=True))[0].fill
    assert (fill.quantity, fill.certainty, fill.receipt.cause) == (D(12), Certainty.LIKELY, Cause.PRINT)
    assert (fill.receipt.ahead_before, fill.receipt.ahead_after) == (D(50), ZERO)
    fill = exchange.tell(market.print_("98", "100", buyer_is_maker=True))[0].fill
    assert (fill.quantity, fill.price) == (D(8), D(99))
    assert (fill.certainty, fill.receipt.cause) == (Certainty.CERTAIN, Cause.PRINT_THROUGH)
    assert exchange.now(order.id).status is OrderStatus.FILLED
    exchange.engine.check()


@pytest.mark.parametrize(
    ("rule", "ahead"), ((Rule.PRO_RATA, "15"), (Rule.POWER_2, "18"), (Rule.STRICT, "20"), (Rule.TOUCH, "0"))
)
def test_each_rule_judges_a_cancellation_its_own_way(rule: Rule, ahead: str) -> None:
    """W5: 20 ahead of 80, of which 20 are cancelled."""
    exchange = exchange_with(bids="99x20", queue_rule=rule)
    order = exchange.buy("5", "99").order
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(bids="99x80"), market.quote(bids="99x60"))
    found = exchange.ahead(order)
    assert found is not None
    assert found.quantize(D("0.1")) == D(ahead)


def test_a_print_that_comes_after_the_diff_that_shows_it_gives_what_it_would_have_given_before() -> None:
    """W6: 20 shown, 5 ahead. The diff to 12 looks like cancels; then the print of 8 that explains it comes."""
    exchange = exchange_with(bids="99x5", queue_rule=Rule.PRO_RATA)
    order = exchange.buy("10", "99").order
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(bids="99x20"), market.quote(bids="99x12"))
    assert exchange.ahead(order) == D(3)
    late = market.print_("99", "8", buyer_is_maker=True, time_ms=market.time_ms - 5)
    assert late.late
    assert filled(exchange.tell(late)) == ["3@99 maker"]
    assert exchange.ahead(order) == ZERO


def test_own_orders_stand_in_line() -> None:
    """W7: own 5 and 5, 10 and 16 ahead; a print of 18: 10 ahead, 5 filled, 3 between."""
    exchange = exchange_with(bids="99x10", queue_rule=Rule.PRO_RATA)
    market = exchange.markets["BTCUSDT"]
    first = exchange.buy("5", "99").order
    exchange.tell(market.quote(bids="99x16"))
    second = exchange.buy("5", "99").order
    assert (exchange.ahead(first), exchange.ahead(second)) == (D(10), D(16))
    assert filled(exchange.tell(market.print_("99", "18", buyer_is_maker=True))) == ["5@99 maker"]
    assert exchange.now(first.id).status is OrderStatus.FILLED
    assert exchange.ahead(second) == D(3)


def test_a_marketable_limit_takes_and_its_rest_is_first_in_line() -> None:
    """W9: BUY 70 limit 100 against 100 x 50, 101 x 80."""
    exchange = exchange_with(asks="100x50 101x80")
    placed = exchange.buy("70", "100")
    assert filled(exchange.journal.events) == ["50@100 taker"]
    assert exchange.ahead(placed.order) == ZERO
    assert exchange.buy("200", "101", time_in_force=TimeInForce.FOK).order.status is OrderStatus.EXPIRED
    with pytest.raises(Refused, match="would_take"):
        exchange.buy("1", "100", post_only=True)


def test_a_cancelled_order_leaves_the_line_and_the_level_is_watched_no_more() -> None:
    exchange = exchange_with(bids="99x10")
    market = exchange.markets["BTCUSDT"]
    order = exchange.buy("5", "99").order
    assert market.watched == {LevelKey(Side.BUY, D("99"))}
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    assert market.watched == set()
    assert exchange.tell(market.print_("98", "5", buyer_is_maker=True)) == []


def test_beyond_the_known_book_nobody_knows_what_is_ahead_until_it_is_shown() -> None:
    exchange = exchange_with(bids="95x10")
    market = exchange.markets["BTCUSDT"]
    market.unknown.add(LevelKey(Side.BUY, D("90")))
    order = exchange.buy("5", "90").order
    assert exchange.ahead(order) is None
    assert exchange.tell(market.print_("90", "50", buyer_is_maker=True)) == []
    market.unknown.clear()
    market.quote(bids="90x7")
    exchange.tell(market.load())
    assert exchange.ahead(order) == D(7)
    assert filled(exchange.tell(market.print_("90", "9", buyer_is_maker=True))) == ["2@90 maker"]


def test_a_print_through_a_price_whose_queue_is_unknown_fills_there() -> None:
    exchange = exchange_with(bids="95x10")
    market = exchange.markets["BTCUSDT"]
    market.unknown.add(LevelKey(Side.BUY, D("90")))
    exchange.buy("5", "90")
    exchange.buy("5", "90")
    assert filled(exchange.tell(market.print_("89", "7", buyer_is_maker=True))) == ["5@90 maker", "2@90 maker"]
    exchange.engine.check()


def test_size_shown_before_a_restart_is_not_given_again_after_it() -> None:
    exchange = exchange_with()
    order = exchange.buy("30", "99").order
    market = exchange.markets["BTCUSDT"]
    assert filled(exchange.tell(market.quote(asks="98x12 98.5x3"))) == ["12@99 maker", "3@99 maker"]
    exchange.engine.load(exchange.engine.state())
    assert exchange.tell(market.quote(asks="98x12 98.5x3")) == []
    assert filled(exchange.tell(market.quote(asks="98x14 98.5x3"))) == ["2@99 maker"]
    assert exchange.now(order.id).filled_quantity == 17


def test_what_was_taken_is_remembered_also_from_history_alone() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    exchange.buy("4")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="98x12 105x10"))
    exchange.engine.load(history.rebuild(exchange.history()))
    assert exchange.tell(market.quote(asks="98x12 105x10")) == []
    assert filled(exchange.tell(market.quote(asks="98x13 105x10"))) == ["1@99 maker"]
    market.quote(asks="105x10")
    assert filled(exchange.buy_events("7")) == ["6@105 taker"]


def test_a_place_in_the_queue_survives_a_restart() -> None:
    exchange = exchange_with(bids="99x100")
    order = exchange.buy("20", "99").order
    market = exchange.markets["BTCUSDT"]
    exchange.tell(
        market.print_("99", "70", buyer_is_maker=True), market.quote(bids="99x30"), market.quote(bids="99x80")
    )
    assert exchange.ahead(order) == D(30)
    exchange.engine.load(exchange.engine.state())
    exchange.tell(market.load())
    assert exchange.ahead(order) == D(30)
    exchange.engine.load(exchange.engine.state())
    market.bids = levels("99x20")
    exchange.tell(market.load())
    assert exchange.ahead(order) == D(20)


def test_a_quote_that_flickers_gives_its_size_once() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="98x12"))
    exchange.tell(market.quote(asks="105x10"))
    assert exchange.tell(market.quote(asks="98x12")) == []
    exchange.clock.now_ms += 3_600_000
    assert filled(exchange.tell(market.quote(asks="98x13"))) == ["13@99 maker"]


def test_a_level_that_stands_still_does_not_feed_crumbs_to_an_order_it_has_filled_from() -> None:
    exchange = exchange_with()
    exchange.buy("30", "99")
    market = exchange.markets["BTCUSDT"]
    exchange.tell(market.quote(asks="99x12"))
    for _ in range(5):
        exchange.clock.now_ms += 3_000
        assert exchange.tell(market.quote(asks="99x12")) == []


def test_a_reset_account_has_taken_nothing() -> None:
    exchange = exchange_with(asks="105x10")
    exchange.buy("4")
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances={"USDT": D(100_000)}))
    assert filled(exchange.buy_events("10")) == ["10@105 taker"]
    exchange.engine.load(history.rebuild(exchange.history()))
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances={"USDT": D(100_000)}))
    exchange.engine.load(history.rebuild(exchange.history()))
    assert filled(exchange.buy_events("10")) == ["10@105 taker"]


def test_orders_that_take_of_one_level_with_an_off_grid_quantity_do_not_take_too_much() -> None:
    """Books hold quantities between the lots, and prints have them."""
    exchange = exchange_with(bids="95x10")
    market = exchange.markets["BTCUSDT"]
    exchange.buy("3", "99")
    exchange.buy("3", "99")
    exchange.tell(market.print_("98", "0.50000753", buyer_is_maker=True))
    assert filled(exchange.tell(market.quote(asks="99x5.49999753"))) == ["2.5@99 maker", "2.99999@99 maker"]
    exchange.engine.check()


def test_fills_are_whole_lots_although_books_hold_what_lies_between() -> None:
    exchange = exchange_with(bids="99x0.00199921", queue_rule=Rule.PRO_RATA)
    market = exchange.markets["BTCUSDT"]
    order = exchange.buy("0.00300", "99").order
    assert exchange.tell(market.print_("99", "0.002", buyer_is_maker=True)) == []
    assert exchange.ahead(order) == ZERO
    assert filled(exchange.tell(market.print_("99", "0.00012345", buyer_is_maker=True))) == ["0.00012@99 maker"]
    assert exchange.tell(market.print_("98", "0.00000999", buyer_is_maker=True)) == []
    exchange.engine.check()


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
    assert len(filled(exchange.tell(market.quote(asks=deep)))) == 36


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
    assert exchange.engine.status.open_orders == 0


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
    exchange.tell(pair.quote())
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


def test_a_symbol_is_watched_while_it_has_open_orders_or_memories() -> None:
    exchange = exchange_with()
    order = exchange.buy("1", "100").order
    assert exchange.engine.watched == {"BTCUSDT"}
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    exchange.engine.keep_memory()
    assert exchange.engine.watched == frozenset()
    market = exchange.markets["BTCUSDT"]
    exchange.buy("1")
    assert exchange.engine.watched == {"BTCUSDT"}  # as long as it is remembered what was taken
    exchange.clock.now_ms += 3_600_000
    market.seq += 1_000_000
    exchange.tell(market.quote())
    exchange.engine.keep_memory()
    assert exchange.engine.watched == frozenset()
    assert market.watched == set()


def test_what_is_kept_of_a_queue_goes_with_its_last_order() -> None:
    exchange = exchange_with()
    order = exchange.buy("1", "100").order
    exchange.engine.keep_memory()
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    exchange.engine.keep_memory()
    kept = [memory for batch in exchange.journal.batches for memory in batch.memory]
    assert [(memory.key, memory.body is None) for memory in kept] == [("buy 100", False), ("buy 100", True)]
    exchange.engine.keep_memory()
    assert not exchange.journal.batches[-1].events
    assert sum(bool(batch.memory) for batch in exchange.journal.batches) == 2


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
