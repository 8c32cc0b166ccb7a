"""Trading rules out of `exchangeInfo`: every generation of the answer, every filter and flag in it, nothing lost."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.binance.decoding import Malformed
from trading_engine.binance.rules import ExchangeInfo, decode_exchange_info
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.symbols import (
    EVERY_FEATURE,
    NO_EXCHANGE_LIMITS,
    ExchangeLimits,
    Feature,
    Symbol,
    TrailingDelta,
)
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.rest import Rest

D = Decimal
Json = dict[str, Any]

FLAGS = {
    "icebergAllowed": Feature.ICEBERG,
    "ocoAllowed": Feature.OCO,
    "otoAllowed": Feature.OTO,
    "quoteOrderQtyMarketAllowed": Feature.QUOTE_QUANTITY,
    "allowTrailingStop": Feature.TRAILING_STOP,
    "cancelReplaceAllowed": Feature.CANCEL_REPLACE,
    "amendAllowed": Feature.AMEND,
}

GENERATIONS = {
    "exchangeInfo_20211012_full.json.gz": 1695,
    "exchangeInfo_20230410_tr_full.json.gz": 2183,
    "exchangeInfo_20240908_full.json.gz": 1248,
    "exchangeInfo_20240908_majors.json": 6,
    "exchangeInfo_examples_2025_2026.jsonl": 3,
}


def answers_in(captures: Path, name: str) -> list[bytes]:
    path = captures / "rest" / name
    if not path.is_file():
        pytest.skip(f"this recorded exchangeInfo is missing: {path}")
    body = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return body.splitlines() if path.suffix == ".jsonl" else [body]


def text(document: Json) -> bytes:
    return json.dumps(document).encode()


# --- an obvious second reading of a row, straight from the venue's documentation ---

Reading = Callable[[Symbol], object]


def percent(name: str) -> Reading:
    return lambda symbol: getattr(symbol.percent_price, name)


def trailing(name: str) -> Reading:
    return lambda symbol: getattr(symbol.trailing_delta, name)


def plainly(name: str) -> Reading:
    return lambda symbol: getattr(symbol, name)


def count(name: str) -> Reading:
    """A count of None is a venue's 0: no limit."""
    return lambda symbol: getattr(symbol, name) or 0


MEANING: dict[tuple[str, str], Reading] = {
    ("PRICE_FILTER", "minPrice"): plainly("min_price"),
    ("PRICE_FILTER", "maxPrice"): plainly("max_price"),
    ("PRICE_FILTER", "tickSize"): plainly("tick_size"),
    ("LOT_SIZE", "minQty"): plainly("min_quantity"),
    ("LOT_SIZE", "maxQty"): plainly("max_quantity"),
    ("LOT_SIZE", "stepSize"): plainly("step_size"),
    ("MARKET_LOT_SIZE", "minQty"): plainly("market_min_quantity"),
    ("MARKET_LOT_SIZE", "maxQty"): plainly("market_max_quantity"),
    ("MARKET_LOT_SIZE", "stepSize"): plainly("market_step_size"),
    ("MIN_NOTIONAL", "minNotional"): plainly("min_notional"),
    ("MIN_NOTIONAL", "applyToMarket"): plainly("min_notional_applies_to_market"),
    ("NOTIONAL", "minNotional"): plainly("min_notional"),
    ("NOTIONAL", "applyMinToMarket"): plainly("min_notional_applies_to_market"),
    ("NOTIONAL", "maxNotional"): plainly("max_notional"),
    ("NOTIONAL", "applyMaxToMarket"): plainly("max_notional_applies_to_market"),
    ("PERCENT_PRICE", "multiplierUp"): percent("bid_up"),
    ("PERCENT_PRICE", "multiplierDown"): percent("ask_down"),
    ("PERCENT_PRICE_BY_SIDE", "bidMultiplierUp"): percent("bid_up"),
    ("PERCENT_PRICE_BY_SIDE", "bidMultiplierDown"): percent("bid_down"),
    ("PERCENT_PRICE_BY_SIDE", "askMultiplierUp"): percent("ask_up"),
    ("PERCENT_PRICE_BY_SIDE", "askMultiplierDown"): percent("ask_down"),
    ("TRAILING_DELTA", "minTrailingAboveDelta"): trailing("min_above"),
    ("TRAILING_DELTA", "maxTrailingAboveDelta"): trailing("max_above"),
    ("TRAILING_DELTA", "minTrailingBelowDelta"): trailing("min_below"),
    ("TRAILING_DELTA", "maxTrailingBelowDelta"): trailing("max_below"),
    ("ICEBERG_PARTS", "limit"): count("iceberg_parts"),
    ("MAX_POSITION", "maxPosition"): plainly("max_position"),
    ("MAX_NUM_ORDERS", "maxNumOrders"): count("max_open_orders"),
    ("MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders"): count("max_algo_orders"),
    ("MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders"): count("max_iceberg_orders"),
    ("MAX_NUM_ORDER_LISTS", "maxNumOrderLists"): count("max_order_lists"),
    ("MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends"): count("max_amends"),
    **{
        (kind, "avgPriceMins"): plainly("average_price_minutes")
        for kind in ("PERCENT_PRICE", "PERCENT_PRICE_BY_SIDE", "MIN_NOTIONAL", "NOTIONAL")
    },
}
SWITCHED_OFF: dict[str, object] = {
    "MARKET_LOT_SIZE": ZERO,
    "ICEBERG_PARTS": 0,
    "MAX_POSITION": ZERO,
    "MAX_NUM_ORDERS": 0,
    "MAX_NUM_ALGO_ORDERS": 0,
    "MAX_NUM_ICEBERG_ORDERS": 0,
    "MAX_NUM_ORDER_LISTS": 0,
    "MAX_NUM_ORDER_AMENDS": 0,
}


def check_row(symbol: Symbol, row: Json) -> None:
    """Compare a symbol with the row it was read from: every filter that is there, and those that are not."""
    for rule in row["filters"]:
        kind = rule["filterType"]
        for field, stated in rule.items():
            if field != "filterType":
                value = D(stated) if isinstance(stated, str) else stated
                assert MEANING[kind, field](symbol) == value, (symbol.name, kind, field)
    present = {rule["filterType"] for rule in row["filters"]}
    for (kind, _), reading in MEANING.items():
        if kind in SWITCHED_OFF and kind not in present:
            assert reading(symbol) == SWITCHED_OFF[kind], (symbol.name, kind)
    assert (symbol.trailing_delta is None) == ("TRAILING_DELTA" not in present)
    assert (symbol.percent_price is None) == (present & {"PERCENT_PRICE", "PERCENT_PRICE_BY_SIDE"} == set())
    assert symbol.features == {feature for flag, feature in FLAGS.items() if row.get(flag, True)}
    assert symbol.stp_mode == row.get("defaultSelfTradePreventionMode", "NONE")
    assert symbol.stp_modes == tuple(row.get("allowedSelfTradePreventionModes", ()))
    assert symbol.is_trading == (row["status"] == "TRADING")


# --- the recorded generations ---


@pytest.mark.parametrize("name", GENERATIONS)
def test_every_symbol_of_every_generation_is_read_whole(captures: Path, name: str) -> None:
    read = 0
    for body in answers_in(captures, name):
        info = decode_exchange_info(body)
        assert (info.unreadable, info.unknown_filters) == ((), ())
        for symbol, row in zip(info.symbols, json.loads(body)["symbols"], strict=True):
            check_row(symbol, row)
            assert symbol.exchange_limits == NO_EXCHANGE_LIMITS
            read += 1
    assert read == GENERATIONS[name]


def test_leveraged_tokens_had_a_maximum_position(captures: Path) -> None:
    (body,) = answers_in(captures, "exchangeInfo_20211012_full.json.gz")
    limited = [symbol for symbol in decode_exchange_info(body).symbols if symbol.max_position]
    assert len(limited) == 40
    assert all(Feature.QUOTE_QUANTITY not in symbol.features for symbol in limited)


def test_before_there_were_flags_for_them_later_features_are_not_forbidden(captures: Path) -> None:
    (old,) = answers_in(captures, "exchangeInfo_20211012_full.json.gz")
    symbol = next(symbol for symbol in decode_exchange_info(old).symbols if symbol.name == "BTCUSDT")
    assert symbol.features == EVERY_FEATURE
    assert (symbol.stp_mode, symbol.stp_modes) == ("NONE", ())
    (middle,) = answers_in(captures, "exchangeInfo_20230410_tr_full.json.gz")
    for symbol in decode_exchange_info(middle).symbols:
        assert symbol.features == EVERY_FEATURE - {Feature.TRAILING_STOP}, "it says so itself"


def test_the_newest_answers_limit_lists_and_amendments(captures: Path) -> None:
    *_, newest = answers_in(captures, "exchangeInfo_examples_2025_2026.jsonl")
    (share,) = decode_exchange_info(newest).symbols
    assert (share.iceberg_parts, share.max_order_lists, share.max_algo_orders, share.max_amends) == (100, 20, 5, 10)
    assert share.trailing_delta == TrailingDelta(min_above=10, max_above=2000, min_below=10, max_below=2000)
    assert share.stp_modes == ("EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER")


@pytest.mark.parametrize("name", [name for name in GENERATIONS if "full" in name])
def test_thousands_of_symbols_share_what_is_equal(captures: Path, name: str) -> None:
    (body,) = answers_in(captures, name)
    symbols = decode_exchange_info(body).symbols
    for field in ("percent_price", "trailing_delta", "exchange_limits", "features", "order_types", "stp_modes"):
        values = [getattr(symbol, field) for symbol in symbols]
        assert len({id(value) for value in values}) == len(set(values)) < 10, field
    for field in ("tick_size", "quote_asset", "max_position"):
        kinds = Counter(str(getattr(symbol, field)) for symbol in symbols)
        assert len({id(getattr(symbol, field)) for symbol in symbols}) == len(kinds), field


def test_an_answer_read_twice_gives_equal_symbols(captures: Path) -> None:
    (body,) = answers_in(captures, "exchangeInfo_20240908_majors.json")
    first, second = decode_exchange_info(body), decode_exchange_info(body)
    assert first == second
    assert [symbol.price_decimals for symbol in first.symbols] == [symbol.price_decimals for symbol in second.symbols]


def test_the_simulated_venue_has_every_kind_of_filter_the_venue_has_today(captures: Path) -> None:
    *_, newest = answers_in(captures, "exchangeInfo_examples_2025_2026.jsonl")
    (share,) = json.loads(newest)["symbols"]
    exchange = Exchange(seed="rules", now_ms=1_795_435_200_000, symbols=("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    body = Rest(exchange).answer("GET", "/api/v3/exchangeInfo", {}, 1_795_435_200_000).body.encode()
    info = decode_exchange_info(body)
    assert (info.unreadable, info.unknown_filters, info.simulated) == ((), (), True)
    for symbol, row in zip(info.symbols, json.loads(body)["symbols"], strict=True):
        check_row(symbol, row)
        stated = {rule["filterType"]: rule for rule in row["filters"]}
        model = {rule["filterType"]: rule for rule in share["filters"]}
        assert stated.keys() == model.keys()
        for kind in ("ICEBERG_PARTS", "TRAILING_DELTA", *(kind for kind in model if kind.startswith("MAX_NUM"))):
            assert stated[kind] == model[kind], kind
        assert [row[flag] for flag in FLAGS] == [share[flag] for flag in FLAGS]
        assert symbol.features == EVERY_FEATURE


# --- invented ones ---


def row(*filters: Json, **changes: Any) -> Json:
    return {
        "symbol": "BTCUSDT",
        "status": "TRADING",
        "baseAsset": "BTC",
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0", "stepSize": "0.00001"},
            *filters,
        ],
    } | changes


def info_of(*rows: Json, **more: Any) -> ExchangeInfo:
    return decode_exchange_info(text({"symbols": list(rows), **more}))


def read(*filters: Json, **changes: Any) -> Symbol:
    (symbol,) = info_of(row(*filters, **changes)).symbols
    return symbol


NUMBERS = st.decimals(0, 10**9, places=8).map(lambda value: f"{value:f}")
COUNTS = st.integers(0, 2**31 - 1)
KINDS = sorted({kind for kind, _ in MEANING} - {"PRICE_FILTER", "LOT_SIZE", "MIN_NOTIONAL", "PERCENT_PRICE"})
WHOLE = {"limit", "avgPriceMins"}


@st.composite
def rules_of(draw: st.DrawFn, kind: str) -> Json:
    """Give one filter with figures of any size; of the average's minutes there is one for all."""
    rule: Json = {"filterType": kind}
    for owner, field in MEANING:
        if owner != kind:
            continue
        if field == "avgPriceMins":
            rule[field] = 5
        elif field.startswith("apply"):
            rule[field] = draw(st.booleans())
        elif field in WHOLE or field.startswith("maxNum") or "Trailing" in field:
            rule[field] = draw(COUNTS)
        else:
            rule[field] = draw(NUMBERS)
    return rule


@given(data=st.data(), kinds=st.sets(st.sampled_from(KINDS)), flags=st.sets(st.sampled_from(sorted(FLAGS))))
def test_any_choice_of_filters_and_flags_is_read(data: st.DataObject, kinds: set[str], flags: set[str]) -> None:
    rules = [data.draw(rules_of(kind)) for kind in sorted(kinds)]
    stated = row(*rules, **{flag: data.draw(st.booleans()) for flag in sorted(flags)})
    info = info_of(stated)
    assert (info.unreadable, info.unknown_filters) == ((), ())
    check_row(info.symbols[0], stated)


def test_zeros_switch_filters_off() -> None:
    symbol = read(
        {"filterType": "ICEBERG_PARTS", "limit": 0},
        {"filterType": "MAX_POSITION", "maxPosition": "0.00000000"},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 0},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 0},
        {"filterType": "MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders": 0},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 0},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 0},
    )
    assert symbol == read()
    assert (symbol.max_open_orders, symbol.max_algo_orders, symbol.iceberg_parts, symbol.max_amends) == (None,) * 4


def test_a_trailing_bound_that_is_not_stated_is_none() -> None:
    symbol = read({"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000})
    assert symbol.trailing_delta == TrailingDelta(min_above=10, max_above=2000, min_below=0, max_below=0)


@pytest.mark.parametrize(
    "odd",
    [
        row({"filterType": "ICEBERG_PARTS", "limit": -1}),
        row({"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 2**31}),
        row({"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": "many"}),
        row({"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 1.5}),
        row({"filterType": "MAX_POSITION", "maxPosition": "-1"}),
        row({"filterType": "MAX_POSITION", "maxPosition": "NaN"}),
        row({"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": -10}),
        row({"limit": 10}),
        row(icebergAllowed="yes"),
        row(allowedSelfTradePreventionModes="NONE"),
        row(defaultSelfTradePreventionMode=None),
    ],
    ids=str,
)
def test_a_symbol_with_an_odd_filter_or_flag_is_named_and_left_out(odd: Json) -> None:
    info = info_of(row(symbol="ETHUSDT"), odd)
    assert [symbol.name for symbol in info.symbols] == ["ETHUSDT"]
    ((name, reason),) = info.unreadable
    assert (name, bool(reason)) == ("BTCUSDT", True)


def test_filters_of_kinds_unknown_here_are_named_whatever_is_in_them() -> None:
    info = info_of(
        row({"filterType": "T_PLUS_SELL", "endTime": 1741672924895}, {"filterType": "NEWER", "limit": "1.5"}),
        exchangeFilters=[{"filterType": "EXCHANGE_NEWER", "maxNumOrders": "many"}],
    )
    assert info.symbols == (read(),)
    assert info.unknown_filters == ("EXCHANGE_NEWER", "NEWER", "T_PLUS_SELL")


# --- the whole exchange ---


def test_limits_of_the_whole_exchange_are_those_of_each_symbol() -> None:
    info = info_of(
        row(),
        row(symbol="ETHUSDT"),
        exchangeFilters=[
            {"filterType": "EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders": 1000},
            {"filterType": "EXCHANGE_MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 200},
            {"filterType": "EXCHANGE_MAX_NUM_ICEBERG_ORDERS", "maxNumIcebergOrders": 10_000},
            {"filterType": "EXCHANGE_MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 0},
        ],
    )
    bitcoin, ether = info.symbols
    assert bitcoin.exchange_limits == ExchangeLimits(
        max_open_orders=1000, max_algo_orders=200, max_iceberg_orders=10_000, max_order_lists=None
    )
    assert bitcoin.exchange_limits is ether.exchange_limits
    assert info.unknown_filters == ()
    assert bitcoin != read(), "a limit of the exchange that changes is a rule that changes"


def test_a_symbols_filter_is_none_of_the_whole_exchange_and_the_other_way_round() -> None:
    orders: Json = {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 7}
    exchange_orders: Json = {"filterType": "EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders": 8}
    info = info_of(row(orders, exchange_orders), exchangeFilters=[orders])
    assert info.unknown_filters == ("EXCHANGE_MAX_NUM_ORDERS", "MAX_NUM_ORDERS")
    (symbol,) = info.symbols
    assert (symbol.max_open_orders, symbol.exchange_limits) == (7, NO_EXCHANGE_LIMITS)


@pytest.mark.parametrize(
    "odd", [[{"filterType": "EXCHANGE_MAX_NUM_ORDERS", "maxNumOrders": -1}], [{}], ["EXCHANGE_MAX_NUM_ORDERS"], 7]
)
def test_odd_limits_of_the_whole_exchange_are_malformed(odd: object) -> None:
    with pytest.raises(Malformed):
        info_of(row(), exchangeFilters=odd)
