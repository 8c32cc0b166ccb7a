"""Every filter at its edge: what lies just inside passes, what lies just outside is refused with rule and figures."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exchange.fakes import ZERO, D, symbol
from trading_engine.exchange import filters
from trading_engine.exchange.messages import REFUSALS, Refused
from trading_engine.exchange.symbols import EVERY_FEATURE, ExchangeLimits, Feature, Symbol, TrailingDelta

TRAILING = TrailingDelta(min_above=10, max_above=2000, min_below=20, max_below=1000)


def limited(rule: str, limit: int | None) -> Symbol:
    rules: dict[str, Any] = {rule: limit}
    return symbol(**rules)


def refusal(check: Callable[..., None], *given: Any, **named: Any) -> tuple[str, str | None, str]:
    with pytest.raises(Refused) as caught:
        check(*given, **named)
    assert caught.value.code in REFUSALS
    return caught.value.code, caught.value.field, caught.value.detail


# --- the price that sets an order off ---


@pytest.mark.parametrize("price", ["100.00", "100.01", "99999.99", "100000.00", "100.0100000"])
def test_a_stop_price_may_lie_on_the_bounds_and_on_the_grid(price: str) -> None:
    filters.check_trigger_price(D(price), symbol(min_price=D("100.00"), max_price=D("100000.00")))


@pytest.mark.parametrize(
    ("price", "detail"),
    [
        ("99.99", "stop_price 99.99 is below the minimum 100 of BTCUSDT"),
        ("100000.01", "stop_price 100000.01 is above the maximum 100000 of BTCUSDT"),
        ("100.001", "stop_price 100.001 is not a multiple of the tick 0.01 of BTCUSDT"),
        ("0", "stop_price 0 is below the minimum 100 of BTCUSDT"),
        ("-100.00", "stop_price -100.00 is below the minimum 100 of BTCUSDT"),
    ],
)
def test_a_stop_price_outside_the_price_filter_is_refused(price: str, detail: str) -> None:
    rules = symbol(min_price=D("100.00"), max_price=D("100000.00"))
    assert refusal(filters.check_trigger_price, D(price), rules) == ("price_filter", "stop_price", detail)


def test_a_price_filter_of_zeros_leaves_the_assets_own_decimals() -> None:
    rules = symbol(min_price=ZERO, max_price=ZERO, tick_size=ZERO, quote_precision=4)
    for price in ("0.0001", "123456789.1234"):
        filters.check_trigger_price(D(price), rules)
    assert refusal(filters.check_trigger_price, D("1.00001"), rules)[0] == "price_filter"
    assert refusal(filters.check_trigger_price, ZERO, rules)[2] == (
        "stop_price 0 is below the minimum 0.0001 of BTCUSDT"
    )


# --- trailing ---


@pytest.mark.parametrize(("bips", "above"), [(10, True), (11, True), (2000, True), (20, False), (1000, False)])
def test_a_stop_may_trail_by_what_its_side_of_the_market_allows(bips: int, above: bool) -> None:
    filters.check_trailing(bips, symbol(trailing_delta=TRAILING), above=above)


@pytest.mark.parametrize(
    ("bips", "above", "detail"),
    [
        (9, True, "trailing_bps 9 is below the minimum 10 for orders that wait above the market in BTCUSDT"),
        (2001, True, "trailing_bps 2001 is above the maximum 2000 for orders that wait above the market in BTCUSDT"),
        (19, False, "trailing_bps 19 is below the minimum 20 for orders that wait below the market in BTCUSDT"),
        (1001, False, "trailing_bps 1001 is above the maximum 1000 for orders that wait below the market in BTCUSDT"),
    ],
)
def test_a_stop_that_trails_too_near_or_too_far_is_refused(bips: int, above: bool, detail: str) -> None:
    rules = symbol(trailing_delta=TRAILING)
    assert refusal(filters.check_trailing, bips, rules, above=above) == ("trailing_delta", "trailing_bps", detail)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("bips", [1, 9_999])
def test_trailing_bounds_of_zero_and_no_filter_at_all_bound_nothing(bips: int, above: bool) -> None:
    nothing = TrailingDelta(min_above=0, max_above=0, min_below=0, max_below=0)
    filters.check_trailing(bips, symbol(trailing_delta=nothing), above=above)
    filters.check_trailing(bips, symbol(), above=above)


# --- icebergs ---


@pytest.mark.parametrize(
    ("quantity", "visible"),
    [
        ("1", "0.1"),  # ten parts
        ("0.99999", "0.1"),  # nine and a bit
        ("1", "1"),  # all of it shows
        ("0.5", "1"),
        ("0.00010", "0.00001"),
    ],
)
def test_an_iceberg_may_come_in_as_many_parts_as_allowed(quantity: str, visible: str) -> None:
    filters.check_iceberg(D(quantity), D(visible), symbol(iceberg_parts=10))


@pytest.mark.parametrize(
    ("quantity", "visible", "parts"), [("1.00001", "0.1", 11), ("1", "0.09999", 11), ("9000", "0.00001", 900_000_000)]
)
def test_an_iceberg_of_too_many_parts_is_refused(quantity: str, visible: str, parts: int) -> None:
    assert refusal(filters.check_iceberg, D(quantity), D(visible), symbol(iceberg_parts=10)) == (
        "iceberg_parts",
        "iceberg_quantity",
        f"iceberg_quantity {visible} cuts the order into {parts} parts; BTCUSDT allows 10",
    )
    filters.check_iceberg(D(quantity), D(visible), symbol(iceberg_parts=None))


@given(lots=st.integers(1, 10**7), shown=st.integers(1, 10**7), limit=st.integers(1, 200))
def test_parts_are_the_quantity_by_the_visible_one_rounded_up(lots: int, shown: int, limit: int) -> None:
    rules = symbol(iceberg_parts=limit, max_quantity=ZERO)
    quantity, visible = lots * rules.step_size, shown * rules.step_size
    if -(-lots // shown) <= limit:
        filters.check_iceberg(quantity, visible, rules)
    else:
        assert refusal(filters.check_iceberg, quantity, visible, rules)[0] == "iceberg_parts"


@pytest.mark.parametrize(
    ("visible", "detail"),
    [
        ("0.0009", "iceberg_quantity 0.0009 is below the minimum 0.001 of BTCUSDT"),
        ("0.0011", "iceberg_quantity 0.0011 is not a multiple of the step 0.001 of BTCUSDT"),
        ("5.001", "iceberg_quantity 5.001 is above the maximum 5 of BTCUSDT"),
        ("0", "iceberg_quantity 0 is below the minimum 0.001 of BTCUSDT"),
    ],
)
def test_what_an_iceberg_shows_is_a_lot_too(visible: str, detail: str) -> None:
    rules = symbol(min_quantity=D("0.001"), max_quantity=D(5), step_size=D("0.001"))
    filters.check_iceberg(D(5), D("0.001"), rules)
    filters.check_iceberg(D(5), D(5), rules)
    assert refusal(filters.check_iceberg, D(5), D(visible), rules) == ("lot_size", "iceberg_quantity", detail)


# --- the position ---


@pytest.mark.parametrize("quantity", ["0.00001", "3.99999", "4"])
def test_a_buy_may_fill_the_position_up(quantity: str) -> None:
    filters.check_position(symbol(max_position=D(10)), have=D("4.5"), open_buys=D("1.5"), quantity=D(quantity))


def test_a_buy_that_could_pass_the_maximum_position_is_refused() -> None:
    rules = symbol(max_position=D("10.00000000"))
    assert refusal(filters.check_position, rules, have=D("4.5"), open_buys=D("1.5"), quantity=D("4.00001")) == (
        "max_position",
        "quantity",
        "the account has 4.5 BTC and open buys of 1.5; 4.00001 more would pass the maximum position 10 of BTCUSDT",
    )
    refusal(filters.check_position, rules, have=D(11), open_buys=ZERO, quantity=D("0.00001"))


def test_a_maximum_position_of_zero_is_none() -> None:
    filters.check_position(symbol(max_position=ZERO), have=D(10**9), open_buys=D(10**9), quantity=D(10**9))


# --- counts ---

SYMBOL_COUNTS: dict[str, tuple[Callable[..., None], str, str]] = {
    "max_algo_orders": (filters.check_algo_orders, "max_algo_orders", "stop-loss and take-profit orders"),
    "max_iceberg_orders": (filters.check_iceberg_orders, "max_iceberg_orders", "iceberg orders"),
    "max_order_lists": (filters.check_lists, "max_order_lists", "order lists"),
}


@pytest.mark.parametrize(("check", "rule", "called"), SYMBOL_COUNTS.values(), ids=SYMBOL_COUNTS)
def test_counts_on_one_symbol(check: Callable[..., None], rule: str, called: str) -> None:
    rules = limited(rule, 5)
    check(rules, on_symbol=4, in_all=900)
    assert refusal(check, rules, on_symbol=5, in_all=5) == (
        rule,
        None,
        f"5 {called} are open and this adds 1; BTCUSDT allows 5",
    )
    refusal(check, rules, on_symbol=6, in_all=6)
    check(limited(rule, None), on_symbol=10**6, in_all=10**6)


@pytest.mark.parametrize(("check", "rule", "called"), SYMBOL_COUNTS.values(), ids=SYMBOL_COUNTS)
def test_counts_on_the_whole_exchange(check: Callable[..., None], rule: str, called: str) -> None:
    rules = symbol(exchange_limits=ExchangeLimits(**{rule: 5}))
    check(rules, on_symbol=4, in_all=4)
    assert refusal(check, rules, on_symbol=0, in_all=5) == (
        f"exchange_{rule}",
        None,
        f"5 {called} are open and this adds 1; the exchange allows 5",
    )


def test_all_orders_on_the_whole_exchange() -> None:
    rules = symbol(exchange_limits=ExchangeLimits(max_open_orders=5))
    filters.check_exchange_orders(rules, in_all=4)
    filters.check_exchange_orders(rules, in_all=2, adding=3)
    assert refusal(filters.check_exchange_orders, rules, in_all=5)[0] == "exchange_max_open_orders"
    assert refusal(filters.check_exchange_orders, rules, in_all=3, adding=3) == (
        "exchange_max_open_orders",
        None,
        "3 orders are open and this adds 3; the exchange allows 5",
    )
    filters.check_exchange_orders(symbol(), in_all=10**6)


@pytest.mark.parametrize("check", [filters.check_algo_orders, filters.check_iceberg_orders])
def test_a_list_counts_with_all_it_adds(check: Callable[..., None]) -> None:
    rules = symbol(max_algo_orders=5, max_iceberg_orders=5)
    check(rules, on_symbol=3, in_all=3, adding=2)
    refusal(check, rules, on_symbol=4, in_all=4, adding=2)


def test_an_order_is_amended_as_often_as_allowed() -> None:
    rules = symbol(max_amends=10)
    filters.check_amends(rules, amended=9)
    assert refusal(filters.check_amends, rules, amended=10) == (
        "max_amends",
        None,
        "the order was amended 10 times; BTCUSDT allows 10",
    )
    refusal(filters.check_amends, rules, amended=11)
    filters.check_amends(symbol(max_amends=None), amended=10**6)


# --- flags ---


@pytest.mark.parametrize("feature", Feature)
def test_each_flag_forbids_its_feature_and_no_other(feature: Feature) -> None:
    rules = symbol(features=EVERY_FEATURE - {feature})
    code, _, detail = refusal(filters.check_feature, feature, rules)
    assert code == "not_supported"
    assert detail.startswith("BTCUSDT does not take ")
    for other in EVERY_FEATURE - {feature}:
        filters.check_feature(other, rules)
    filters.check_feature(feature, symbol())


FORBIDDEN: dict[Feature, Callable[[Symbol], None]] = {
    Feature.TRAILING_STOP: lambda rules: filters.check_trailing(100, rules, above=True),
    Feature.ICEBERG: lambda rules: filters.check_iceberg(D(1), D(1), rules),
    Feature.AMEND: lambda rules: filters.check_amends(rules, amended=0),
}


@pytest.mark.parametrize("feature", FORBIDDEN)
def test_a_filters_check_minds_the_flag_of_its_kind_of_order(feature: Feature) -> None:
    FORBIDDEN[feature](symbol())
    assert refusal(FORBIDDEN[feature], symbol(features=EVERY_FEATURE - {feature}))[0] == "not_supported"


def test_only_self_trade_preventions_on_offer_are_taken() -> None:
    rules = symbol(stp_mode="EXPIRE_MAKER", stp_modes=("EXPIRE_TAKER", "EXPIRE_MAKER"))
    filters.check_stp_mode("EXPIRE_TAKER", rules)
    assert refusal(filters.check_stp_mode, "NONE", rules) == (
        "not_supported",
        "self_trade_prevention",
        "BTCUSDT does not take self-trade prevention NONE; it takes EXPIRE_TAKER, EXPIRE_MAKER",
    )
    filters.check_stp_mode("NONE", symbol())


# --- rules that changed are noticed ---

CHANGES: dict[str, Any] = {
    "max_algo_orders": 6,
    "max_iceberg_orders": 6,
    "max_order_lists": 6,
    "max_amends": 6,
    "iceberg_parts": 6,
    "max_position": D(6),
    "trailing_delta": TRAILING,
    "exchange_limits": ExchangeLimits(max_open_orders=6),
    "features": EVERY_FEATURE - {Feature.AMEND},
    "stp_mode": "EXPIRE_BOTH",
    "stp_modes": ("EXPIRE_BOTH",),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_symbol_with_another_rule_is_another_symbol(field: str) -> None:
    rules = symbol()
    changed = replace(rules, **{field: CHANGES[field]})
    assert changed != rules
    assert replace(changed, **{field: getattr(rules, field)}) == rules
    assert hash(replace(changed, **{field: getattr(rules, field)})) == hash(rules)
    assert (changed.price_decimals, changed.quantity_decimals) == (2, 5)
