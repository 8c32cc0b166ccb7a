"""Every refusal names the field and the rule with the figures at hand, and changes nothing."""

from dataclasses import replace
from typing import Any

import pytest

from tests.exchange.fakes import FIVEFOLD, ZERO, D, Exchange, FakeMarket, amounts, symbol
from trading_engine.exchange import risk
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import REFUSALS, CancelOrder, Command, OpenAccount, Refused, ResetAccount
from trading_engine.exchange.orders import OrderType, Side, TimeInForce


def exchange_with(balances: str = "USDT=100000,BTC=1", **rules: Any) -> Exchange:
    market = FakeMarket(symbol(**rules), "59999.00x2", "60000.00x2")
    market.average_price = D("60000")
    return Exchange(market, balances=balances)


def refusal(exchange: Exchange, command: Command) -> Refused:
    """Submit what must be refused; check that nothing changed."""
    before = exchange.engine.state()
    with pytest.raises(Refused) as caught:
        exchange.engine.submit(command)
    assert exchange.engine.state() == before
    assert exchange.journal.batches == []
    assert not exchange.engine.watched
    return caught.value


Case = tuple[dict[str, Any], dict[str, Any], tuple[str, str | None, str]]

FILTERS: dict[str, Case] = {
    "price below the minimum": (
        {"min_price": D("100.00")},
        {"quantity": "1", "price": "99.99"},
        ("price_filter", "price", "price 99.99 is below the minimum 100 of BTCUSDT"),
    ),
    "price above the maximum": (
        {},
        {"quantity": "1", "price": "1000000.01"},
        ("price_filter", "price", "price 1000000.01 is above the maximum 1000000 of BTCUSDT"),
    ),
    "price off the tick": (
        {},
        {"quantity": "0.1", "price": "59000.005"},
        ("price_filter", "price", "price 59000.005 is not a multiple of the tick 0.01 of BTCUSDT"),
    ),
    "price too fine where the tick is off": (
        {"tick_size": ZERO, "quote_precision": 4},
        {"quantity": "0.1", "price": "59000.00001"},
        ("price_filter", "price", "price 59000.00001 is not a multiple of the tick 0.0001 of BTCUSDT"),
    ),
    "quantity below the minimum": (
        {},
        {"quantity": "0.000001"},
        ("lot_size", "quantity", "quantity 0.000001 is below the minimum 0.00001 of BTCUSDT"),
    ),
    "quantity above the maximum": (
        {},
        {"quantity": "9000.00001", "price": "1"},
        ("lot_size", "quantity", "quantity 9000.00001 is above the maximum 9000 of BTCUSDT"),
    ),
    "quantity off the step": (
        {},
        {"quantity": "0.000015"},
        ("lot_size", "quantity", "quantity 0.000015 is not a multiple of the step 0.00001 of BTCUSDT"),
    ),
    "market quantity above the maximum": (
        {},
        {"quantity": "121"},
        ("market_lot_size", "quantity", "quantity 121 is above the maximum 120 of BTCUSDT"),
    ),
    "market quantity below the minimum": (
        {"market_min_quantity": D("0.1")},
        {"quantity": "0.01"},
        ("market_lot_size", "quantity", "quantity 0.01 is below the minimum 0.1 of BTCUSDT"),
    ),
    "market quantity off the step": (
        {"market_step_size": D("0.1")},
        {"quantity": "0.15"},
        ("market_lot_size", "quantity", "quantity 0.15 is not a multiple of the step 0.1 of BTCUSDT"),
    ),
    "order value below the minimum": (
        {"min_notional": D("5.00000000")},
        {"quantity": "0.0001", "price": "40000"},
        ("notional", "quantity", "an order value of 4 USDT is below the minimum 5 of BTCUSDT"),
    ),
    "market order value below the minimum": (
        {"min_notional": D(5)},
        {"quantity": "0.00008"},
        ("notional", "quantity", "an order value of 4.8 USDT is below the minimum 5 of BTCUSDT"),
    ),
    "quote amount below the minimum": (
        {"min_notional": D(5)},
        {"quote_quantity": D("4.99")},
        ("notional", "quote_quantity", "an order value of 4.99 USDT is below the minimum 5 of BTCUSDT"),
    ),
    "order value above the maximum": (
        {"max_notional": D(9_000_000)},
        {"quantity": "1000", "price": "10000"},
        ("notional", "quantity", "an order value of 10000000 USDT is above the maximum 9000000 of BTCUSDT"),
    ),
    "bid too high": (
        {"percent_price": FIVEFOLD},
        {"quantity": "0.1", "price": "300000.01"},
        ("percent_price", "price", "price 300000.01 is above 5 times the average price 60000 of BTCUSDT"),
    ),
    "bid too low": (
        {"percent_price": FIVEFOLD},
        {"quantity": "0.1", "price": "11999.99"},
        ("percent_price", "price", "price 11999.99 is below 0.2 times the average price 60000 of BTCUSDT"),
    ),
    "too many open orders": (
        {"max_open_orders": 0},
        {"quantity": "0.1", "price": "50000"},
        ("max_open_orders", None, "0 orders are open; BTCUSDT allows 0"),
    ),
    "post-only that would take": (
        {},
        {"quantity": "0.1", "price": "60000", "post_only": True},
        ("would_take", "price", "price 60000 would take the ask at 60000"),
    ),
    "limit dearer than the account": (
        {},
        {"quantity": "2", "price": "50000.01"},
        ("insufficient_balance", "quantity", "the order needs 100000.02 USDT; 100000 USDT is free"),
    ),
    "market order dearer than the account": (
        {},
        {"quantity": "1.7"},
        ("insufficient_balance", "quantity", "the order needs 102000 USDT; 100000 USDT is free"),
    ),
    "quote amount beyond the account": (
        {},
        {"quote_quantity": D(100_010)},
        ("insufficient_balance", "quote_quantity", "the order needs 100009.8 USDT; 100000 USDT is free"),
    ),
    "quote amount less than a lot": (
        {"min_quantity": ZERO},
        {"quote_quantity": D("0.5")},
        (
            "lot_size",
            "quote_quantity",
            "quote_quantity comes to 0 BTC, which is below the minimum 0.00001 of BTCUSDT",
        ),
    ),
    "quote amount too fine": (
        {"quote_precision": 2},
        {"quote_quantity": D("100.001")},
        (
            "lot_size",
            "quote_quantity",
            "quote_quantity 100.001 has more than 2 decimals, the finest amount of USDT in BTCUSDT",
        ),
    ),
    "symbol does not trade": (
        {"status": "BREAK"},
        {"quantity": "1"},
        ("symbol_not_trading", "symbol", "BTCUSDT is not trading: its status is BREAK"),
    ),
    "kind of order the symbol does not take": (
        {"order_types": ("LIMIT", "LIMIT_MAKER")},
        {"quantity": "1"},
        ("not_supported", "type", "BTCUSDT does not take MARKET orders"),
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_a_filter_refuses_with_its_figures(case: str) -> None:
    rules, order, (code, field, detail) = FILTERS[case]
    exchange = exchange_with(**rules)
    refused = refusal(exchange, exchange.order(Side.BUY, **order))
    assert (refused.code, refused.field, refused.detail) == (code, field, detail)
    assert (refused.status, refused.title) == (REFUSALS[code].status, REFUSALS[code].title)


SALES: dict[str, Case] = {
    "ask too high": (
        {"percent_price": replace(FIVEFOLD, ask_up=D("1.1"))},
        {"quantity": "0.1", "price": "66000.01"},
        ("percent_price", "price", "price 66000.01 is above 1.1 times the average price 60000 of BTCUSDT"),
    ),
    "ask too low": (
        {"percent_price": replace(FIVEFOLD, ask_down=D("0.9"))},
        {"quantity": "0.1", "price": "53999.99"},
        ("percent_price", "price", "price 53999.99 is below 0.9 times the average price 60000 of BTCUSDT"),
    ),
    "post-only that would take": (
        {},
        {"quantity": "0.1", "price": "59999", "post_only": True},
        ("would_take", "price", "price 59999 would take the bid at 59999"),
    ),
    "more than the account has": (
        {},
        {"quantity": "1.00001"},
        ("insufficient_balance", "quantity", "the order needs 1.00001 BTC; 1 BTC is free"),
    ),
    "quote amount beyond the account": (
        {},
        {"quote_quantity": D("60000")},
        ("insufficient_balance", "quote_quantity", "the order needs 1.00001 BTC; 1 BTC is free"),
    ),
}


@pytest.mark.parametrize("case", SALES)
def test_a_filter_refuses_a_sale(case: str) -> None:
    rules, order, expected = SALES[case]
    exchange = exchange_with(**rules)
    refused = refusal(exchange, exchange.order(Side.SELL, **order))
    assert (refused.code, refused.field, refused.detail) == expected


SHAPES: dict[str, tuple[dict[str, Any], str]] = {
    "market with a price": ({"type": OrderType.MARKET, "quantity": D(1), "price": D(1)}, "price"),
    "market without a quantity": ({"type": OrderType.MARKET}, "quantity"),
    "market with both quantities": ({"type": OrderType.MARKET, "quantity": D(1), "quote_quantity": D(1)}, "quantity"),
    "market post-only": ({"type": OrderType.MARKET, "quantity": D(1), "post_only": True}, "post_only"),
    "limit without a price": ({"type": OrderType.LIMIT, "quantity": D(1)}, "price"),
    "limit without a quantity": ({"type": OrderType.LIMIT, "price": D(1)}, "quantity"),
    "limit by quote amount": ({"type": OrderType.LIMIT, "price": D(1), "quote_quantity": D(1)}, "quantity"),
    "post-only that cannot rest": (
        {
            "type": OrderType.LIMIT,
            "price": D(1),
            "quantity": D(1),
            "post_only": True,
            "time_in_force": TimeInForce.IOC,
        },
        "time_in_force",
    ),
    "no quantity at all": ({"type": OrderType.MARKET, "quantity": ZERO}, "quantity"),
    "negative price": ({"type": OrderType.LIMIT, "quantity": D(1), "price": D(-1)}, "price"),
    "not a number": ({"type": OrderType.MARKET, "quantity": D("NaN")}, "quantity"),
    "endless": ({"type": OrderType.MARKET, "quote_quantity": D("Infinity")}, "quote_quantity"),
    "too long to multiply": ({"type": OrderType.MARKET, "quantity": D(10) ** 15}, "quantity"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_fields_that_do_not_fit_together_are_refused(case: str) -> None:
    fields, field = SHAPES[case]
    exchange = exchange_with()
    command = replace(exchange.order(Side.BUY), **{"type": OrderType.MARKET, **fields})
    refused = refusal(exchange, command)
    assert (refused.code, refused.field) == ("invalid_order", field)


@pytest.mark.parametrize(
    "order",
    (
        {"quantity": "0.1"},
        {"quantity": "0.1", "price": "50000", "time_in_force": TimeInForce.IOC},
        {"quantity": "0.1", "price": "50000", "time_in_force": TimeInForce.FOK},
        {"quantity": "0.1", "price": "50000", "post_only": True},
    ),
)
@pytest.mark.parametrize("state", (FeedState.STALE, FeedState.SYNCING, FeedState.DOWN))
def test_what_needs_a_live_book_is_refused_without_one(order: dict[str, Any], state: FeedState) -> None:
    exchange = exchange_with()
    exchange.markets["BTCUSDT"].become(state, "no frame for 7 s")
    refused = refusal(exchange, exchange.order(Side.BUY, **order))
    assert (refused.code, refused.status) == ("book_stale", 503)
    assert refused.detail == f"the order book of BTCUSDT is {state}: no frame for 7 s"


def test_an_asset_without_a_price_cannot_be_traded_against() -> None:
    exchange = Exchange(FakeMarket(symbol("ETHBTC", "ETH", "BTC"), "0.05x1", "0.06x1"))
    refused = refusal(exchange, exchange.order(Side.BUY, "1", "0.05"))
    assert (refused.code, refused.detail) == ("no_valuation", "no price is known to value BTC in USDT")


def test_unknown_names_are_refused() -> None:
    exchange = exchange_with()
    assert refusal(exchange, exchange.order(Side.BUY, "1", symbol="XYZ")).code == "unknown_symbol"
    assert refusal(exchange, exchange.order(Side.BUY, "1", account_id=999)).code == "account_not_found"
    assert refusal(exchange, CancelOrder(account_id=exchange.account.id, order_id=77)).code == "order_not_found"


def test_another_accounts_order_looks_like_none() -> None:
    exchange = exchange_with()
    order = exchange.buy("0.1", "50000").order
    other = exchange.open("other", "USDT=1")
    with pytest.raises(Refused) as theirs:
        exchange.engine.submit(CancelOrder(account_id=other.id, order_id=order.id))
    with pytest.raises(Refused) as nobodys:
        exchange.engine.submit(CancelOrder(account_id=other.id, order_id=777))
    assert theirs.value.code == nobodys.value.code == "order_not_found"
    assert theirs.value.detail.replace(str(order.id), "?") == nobodys.value.detail.replace("777", "?")


@pytest.mark.parametrize(
    ("balances", "code"),
    (
        ("", "invalid_balance"),
        ("USDT=0", "invalid_balance"),
        ("USDT=-5", "invalid_balance"),
        ("USDT=NaN", "invalid_balance"),
        ("USDT=1000000000000000", "invalid_balance"),
        ("USDT=0.000000001", "invalid_balance"),
        ("USDT=1,XYZ=1", "book_stale"),
    ),
)
def test_balances_no_account_can_begin_with(balances: str, code: str) -> None:
    exchange = exchange_with()
    for command in (
        OpenAccount(name="new", venue="test", balances=amounts(balances)),
        ResetAccount(account_id=exchange.account.id, balances=amounts(balances)),
    ):
        refused = refusal(exchange, command)
        assert (refused.code, refused.field) == (code, "balances")


def test_an_account_is_opened_once_per_venue() -> None:
    exchange = exchange_with()
    exchange.open("default", "USDT=1", venue="other")
    exchange.journal.batches.clear()
    refused = refusal(exchange, OpenAccount(name="default", venue="test", balances=amounts("USDT=1")))
    assert (refused.code, refused.status, refused.field) == ("account_exists", 409, "name")


ORDER_OF_CHECKS = (
    "symbol_not_trading",
    "book_stale",
    "price_filter",
    "lot_size",
    "notional",
    "percent_price",
    "max_open_orders",
    "would_take",
    "insufficient_balance",
)


def test_checks_run_in_their_order() -> None:
    """An order that is wrong in every way is refused for the first; each fault mended, for the next."""
    exchange = exchange_with(
        status="BREAK", min_notional=D(5), percent_price=FIVEFOLD, max_open_orders=0, min_price=D("0.02")
    )
    market = exchange.markets["BTCUSDT"]
    market.become(FeedState.STALE)
    order = exchange.order(Side.BUY, "0.000001", "0.01", post_only=True)
    found = []

    def mend(rules: Any = None, **fields: Any) -> None:
        nonlocal order
        found.append(refusal(exchange, order).code)
        market.symbol = replace(market.symbol, **(rules or {}))
        order = replace(order, **fields)

    mend({"status": "TRADING"})
    mend()
    market.state = FeedState.LIVE
    mend(price=D("0.02"))
    mend(quantity=D("0.00001"))
    mend(quantity=D(2))
    order = replace(order, quantity=D(250), price=D("0.02"))
    mend(price=D(60000))
    mend({"max_open_orders": 1})
    mend(price=D("59999"))
    mend()
    assert tuple(found) == ORDER_OF_CHECKS


def test_a_market_orders_value_is_taken_at_the_average_price_and_only_where_the_filter_says_so() -> None:
    exchange = exchange_with(min_notional=D(100), min_notional_applies_to_market=False)
    assert exchange.buy("0.00010").order.filled_quantity == D("0.00010")
    exchange = exchange_with(min_notional=D(100))
    exchange.markets["BTCUSDT"].average_price = D(1_000_000)
    assert exchange.buy("0.00010").order.filled_quantity == D("0.00010")
    exchange.markets["BTCUSDT"].average_price = None
    assert refusal_code(exchange, exchange.order(Side.BUY, "0.00010")) == "notional"


def refusal_code(exchange: Exchange, command: Command) -> str:
    with pytest.raises(Refused) as caught:
        exchange.engine.submit(command)
    return caught.value.code


def test_a_price_is_not_held_against_an_average_nobody_knows() -> None:
    exchange = exchange_with(percent_price=FIVEFOLD)
    exchange.markets["BTCUSDT"].average_price = None
    assert exchange.buy("0.1", "0.01").order.is_open


@pytest.mark.parametrize("price", ("12000", "59999.99"))
def test_a_price_on_the_bound_is_within_it(price: str) -> None:
    exchange = exchange_with(percent_price=FIVEFOLD, min_price=D(12_000), max_price=D(300_000), min_notional=D(price))
    assert exchange.buy("1", price).order.is_open
    assert exchange.sell("0.5", "300000").order.is_open


def test_filters_that_are_off_refuse_nothing() -> None:
    exchange = exchange_with(
        tick_size=ZERO, min_price=ZERO, max_price=ZERO, step_size=ZERO, min_quantity=ZERO, max_quantity=ZERO
    )
    assert exchange.buy("0.00000001", "0.00000001").order.is_open


def test_open_orders_are_counted_by_symbol_and_for_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    exchange = exchange_with(max_open_orders=2)
    first = exchange.buy("0.1", "50000").order
    exchange.buy("0.1", "50001")
    assert refusal_code(exchange, exchange.order(Side.BUY, "0.1", "50002")) == "max_open_orders"
    assert exchange.buy("0.1").order.filled_quantity == D("0.1")
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=first.id))
    assert exchange.buy("0.1", "50002").order.is_open
    monkeypatch.setattr(risk, "MAX_OPEN_ORDERS", 2)
    exchange.markets["BTCUSDT"].symbol = symbol(max_open_orders=None)
    assert refusal_code(exchange, exchange.order(Side.BUY, "0.1", "50003")) == "max_open_orders"


def test_every_code_has_a_status_and_a_title() -> None:
    for code, meaning in REFUSALS.items():
        assert 400 <= meaning.status < 600, code
        assert meaning.title[0].isupper(), code
