"""The REST answers: shapes as the venue sends them, weights, and refusals with the venue's codes."""

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from trading_engine.simulator.candles import INTERVALS_MS
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.listings import LISTINGS
from trading_engine.simulator.rest import ApiError, Reply, Rest

NOON_MS = 1_795_435_200_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "ETHBTC")


@pytest.fixture(scope="module")
def rest() -> Rest:
    exchange = Exchange(seed="rest", now_ms=NOON_MS - 5_000, symbols=SYMBOLS)
    for step in range(1, 51):
        exchange.advance(NOON_MS - 5_000 + 100 * step)
    return Rest(exchange)


def ask(rest: Rest, path: str, **parameters: object) -> Reply:
    return rest.answer("GET", f"/api/v3/{path}", {name: str(value) for name, value in parameters.items()}, NOON_MS)


def document(rest: Rest, path: str, **parameters: object) -> Any:
    return json.loads(ask(rest, path, **parameters).body)


def refusal(rest: Rest, path: str, **parameters: object) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        ask(rest, path, **parameters)
    return refused.value.code, refused.value.message


def shape(value: Any) -> Any:
    """Field names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: shape(field) for name, field in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value and not isinstance(value[0], str | int) else [type(item) for item in value]
    return type(value)


# --- the venue's own answers, recorded ---


def recorded(captures: Path, name: str) -> Any:
    return json.loads((captures / "rest" / name).read_text("utf-8"))


@pytest.mark.parametrize(
    ("name", "path", "parameters"),
    (
        ("btcusdt_20211022_depth.json", "depth", {"limit": 10}),
        ("btcusdt_20211022_klines.json", "klines", {"interval": "1m", "limit": 10}),
        ("btcusdt_20211022_trades.json", "trades", {"limit": 10}),
        ("btcusdt_20211022_agg_trades.json", "aggTrades", {"limit": 10}),
        ("btcusdt_20211022_historical_trades.json", "historicalTrades", {"limit": 10}),
        ("btcusdt_20211022_book_ticker.json", "ticker/bookTicker", {}),
        ("btcusdt_20211217_ticker_24hr.json", "ticker/24hr", {}),
    ),
)
def test_answers_have_the_shape_of_recorded_ones(
    rest: Rest, captures: Path, name: str, path: str, parameters: dict[str, object]
) -> None:
    ours = document(rest, path, symbol="BTCUSDT", **parameters)
    theirs = recorded(captures, name)
    assert shape(ours) == shape(theirs)
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)


def test_exchange_info_has_every_field_of_the_newest_recorded_one(rest: Rest, captures: Path) -> None:
    lines = (captures / "rest" / "exchangeInfo_examples_2025_2026.jsonl").read_text("utf-8").splitlines()
    theirs = json.loads(lines[-1])
    ours = document(rest, "exchangeInfo", symbol="BTCUSDT")
    assert set(ours) == {*theirs, "simulated"}
    row, model = ours["symbols"][0], theirs["symbols"][0]
    assert list(row) == list(model)
    assert {name: type(value) for name, value in row.items()} == {name: type(value) for name, value in model.items()}
    ours_by_type = {entry["filterType"]: entry for entry in row["filters"]}
    theirs_by_type = {entry["filterType"]: entry for entry in model["filters"]}
    assert {kind: shape(entry) for kind, entry in ours_by_type.items()} == {
        kind: shape(entry) for kind, entry in theirs_by_type.items()
    }


# --- general ---


def test_time_and_ping(rest: Rest) -> None:
    assert document(rest, "ping") == {}
    assert document(rest, "time") == {"serverTime": NOON_MS}


def test_exchange_info_says_that_it_is_simulated_and_lists_what_was_asked(rest: Rest) -> None:
    everything = document(rest, "exchangeInfo")
    assert everything["simulated"] is True
    assert [row["symbol"] for row in everything["symbols"]] == list(SYMBOLS)
    some = document(rest, "exchangeInfo", symbols='["ETHBTC","BTCUSDT"]')
    assert [row["symbol"] for row in some["symbols"]] == ["ETHBTC", "BTCUSDT"]
    assert document(rest, "exchangeInfo", symbolStatus="HALT")["symbols"] == []
    assert document(rest, "exchangeInfo", permissions="MARGIN")["symbols"] == []
    hidden = document(rest, "exchangeInfo", symbol="BTCUSDT", showPermissionSets="false")
    assert hidden["symbols"][0]["permissionSets"] == []


def test_every_listing_obeys_its_own_filters() -> None:
    exchange = Exchange(seed="1", now_ms=NOON_MS, symbols=tuple(LISTINGS))
    rest = Rest(exchange)
    for row in document(rest, "exchangeInfo")["symbols"]:
        rules = {entry["filterType"]: entry for entry in row["filters"]}
        book = document(rest, "depth", symbol=row["symbol"], limit=5_000)
        tick, step = (
            Decimal(rules[kind][name]) for kind, name in (("PRICE_FILTER", "tickSize"), ("LOT_SIZE", "stepSize"))
        )
        most = Decimal(rules["PRICE_FILTER"]["maxPrice"])
        for price, quantity in book["bids"] + book["asks"]:
            assert tick <= Decimal(price) <= most
            assert Decimal(price) % tick == 0
            assert step <= Decimal(quantity) <= Decimal(rules["LOT_SIZE"]["maxQty"])
            assert Decimal(quantity) % step == 0


# --- book ---


@pytest.mark.parametrize(("limit", "weight"), ((1, 5), (100, 5), (101, 25), (500, 25), (1_000, 50), (1_001, 250)))
def test_depth_gives_the_levels_asked_for_at_its_weight(rest: Rest, limit: int, weight: int) -> None:
    reply = ask(rest, "depth", symbol="BTCUSDT", limit=limit)
    book = json.loads(reply.body)
    assert reply.weight == weight
    assert len(book["bids"]) == len(book["asks"]) == limit
    for rows, sign in ((book["bids"], -1), (book["asks"], 1)):
        assert all(sign * Decimal(before[0]) < sign * Decimal(after[0]) for before, after in pairwise(rows))
    assert Decimal(book["bids"][0][0]) < Decimal(book["asks"][0][0])


def test_a_snapshot_of_a_thousand_has_an_edge(rest: Rest) -> None:
    assert len(document(rest, "depth", symbol="BTCUSDT")["bids"]) == 100
    whole = document(rest, "depth", symbol="BTCUSDT", limit=9_999)
    assert min(len(whole["bids"]), len(whole["asks"])) >= 1_500


def test_the_tickers_agree_with_the_book_and_each_other(rest: Rest) -> None:
    book = document(rest, "depth", symbol="BTCUSDT", limit=5)
    quote = document(rest, "ticker/bookTicker", symbol="BTCUSDT")
    day = document(rest, "ticker/24hr", symbol="BTCUSDT")
    price = document(rest, "ticker/price", symbol="BTCUSDT")
    last = document(rest, "trades", symbol="BTCUSDT", limit=1)[0]
    assert [quote["bidPrice"], quote["bidQty"]] == book["bids"][0] == [day["bidPrice"], day["bidQty"]]
    assert [quote["askPrice"], quote["askQty"]] == book["asks"][0] == [day["askPrice"], day["askQty"]]
    assert price["price"] == day["lastPrice"] == last["price"]
    assert (day["lastId"], day["lastQty"]) == (last["id"], last["qty"])
    assert day["count"] == day["lastId"] - day["firstId"] + 1
    assert Decimal(day["priceChange"]) == Decimal(day["lastPrice"]) - Decimal(day["openPrice"])
    error = Decimal(day["priceChangePercent"]) * Decimal(day["openPrice"]) - 100 * Decimal(day["priceChange"])
    assert abs(error) < Decimal("0.001") * Decimal(day["openPrice"])
    assert Decimal(day["lowPrice"]) <= Decimal(day["weightedAvgPrice"]) <= Decimal(day["highPrice"])


@pytest.mark.parametrize("path", ("ticker/24hr", "ticker/price", "ticker/bookTicker"))
def test_tickers_come_as_an_object_for_one_symbol_and_a_list_for_more(rest: Rest, path: str) -> None:
    assert document(rest, path, symbol="ETHBTC")["symbol"] == "ETHBTC"
    assert [row["symbol"] for row in document(rest, path, symbols='["ETHBTC"]')] == ["ETHBTC"]
    assert [row["symbol"] for row in document(rest, path)] == list(SYMBOLS)
    assert ask(rest, path).weight > ask(rest, path, symbol="ETHBTC").weight


def test_the_mini_form_of_the_day_statistics(rest: Rest) -> None:
    mini = document(rest, "ticker/24hr", symbol="BTCUSDT", type="MINI")
    assert list(mini) == [
        "symbol", "openPrice", "highPrice", "lowPrice", "lastPrice", "volume", "quoteVolume", "openTime", "closeTime",
        "firstId", "lastId", "count",
    ]  # fmt: skip


# --- prints and candles ---


@pytest.mark.parametrize("interval", list(INTERVALS_MS))
def test_every_interval_has_candles(rest: Rest, interval: str) -> None:
    rows = document(rest, "klines", symbol="ETHUSDT", interval=interval, limit=3)
    assert len(rows) == 3
    assert rows == document(rest, "uiKlines", symbol="ETHUSDT", interval=interval, limit=3)
    assert rows[-1][0] <= NOON_MS <= rows[-1][6]


def test_candles_of_a_span(rest: Rest) -> None:
    start_ms = NOON_MS - 7_200_000
    rows = document(
        rest, "klines", symbol="ETHUSDT", interval="5m", startTime=start_ms, endTime=start_ms + 3_600_000, limit=1_000
    )
    assert [row[0] for row in rows] == list(range(start_ms, start_ms + 3_600_001, 300_000))
    assert len(document(rest, "klines", symbol="ETHUSDT", interval="1m")) == 500
    assert len(document(rest, "klines", symbol="ETHUSDT", interval="1m", limit=5_000)) == 1_000


def test_trades_page_by_id(rest: Rest) -> None:
    rows = document(rest, "trades", symbol="BTCUSDT", limit=300)
    assert [row["id"] for row in rows] == list(range(rows[0]["id"], rows[0]["id"] + 300))
    assert document(rest, "historicalTrades", symbol="BTCUSDT", fromId=rows[100]["id"], limit=20) == rows[100:120]
    for row in rows:
        assert abs(Decimal(row["price"]) * Decimal(row["qty"]) - Decimal(row["quoteQty"])) < Decimal("1e-8")


def test_aggregate_trades_page_by_id_and_by_time(rest: Rest) -> None:
    rows = document(rest, "aggTrades", symbol="BTCUSDT", limit=300)
    assert [row["a"] for row in rows] == list(range(rows[0]["a"], rows[0]["a"] + 300))
    assert all(before["l"] + 1 == after["f"] for before, after in pairwise(rows))
    assert document(rest, "aggTrades", symbol="BTCUSDT", fromId=rows[50]["a"], limit=10) == rows[50:60]
    start_ms, end_ms = rows[100]["T"], rows[200]["T"]
    expected = [row for row in rows if start_ms <= row["T"] <= end_ms]
    assert document(rest, "aggTrades", symbol="BTCUSDT", startTime=start_ms, endTime=end_ms, limit=1_000) == expected
    assert document(rest, "aggTrades", symbol="BTCUSDT", endTime=end_ms, limit=5)[-1] == expected[-1]


def test_the_average_price_is_that_of_five_minutes(rest: Rest) -> None:
    answer = document(rest, "avgPrice", symbol="BTCUSDT")
    rows = document(rest, "aggTrades", symbol="BTCUSDT", startTime=NOON_MS - 300_000, limit=1_000)
    prices = [Decimal(row["p"]) for row in rows]
    assert answer["mins"] == 5
    assert min(prices) <= Decimal(answer["price"]) <= max(prices)


# --- refusals ---


@pytest.mark.parametrize(
    ("path", "parameters", "code"),
    (
        ("depth", {}, -1102),
        ("depth", {"symbol": ""}, -1105),
        ("depth", {"symbol": "btcusdt"}, -1100),
        ("depth", {"symbol": "NOSUCH"}, -1121),
        ("depth", {"symbol": "BTCUSDT", "limit": "many"}, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": "-5"}, -1100),
        ("depth", {"symbol": "BTCUSDT", "limit": 0}, -1130),
        ("depth", {"symbol": "BTCUSDT", "depth": 5}, -1104),
        ("klines", {"symbol": "BTCUSDT"}, -1102),
        ("klines", {"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "startTime": 2, "endTime": 1}, -1127),
        ("klines", {"symbol": "BTCUSDT", "interval": "1m", "timeZone": "8"}, -1020),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
        ("aggTrades", {"symbol": "BTCUSDT", "startTime": 1, "endTime": 3_600_002}, -1127),
        ("ticker/price", {"symbol": "BTCUSDT", "symbols": '["BTCUSDT"]'}, -1128),
        ("ticker/price", {"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151),
        ("ticker/price", {"symbols": "BTCUSDT"}, -1100),
        ("ticker/price", {"symbols": '["NOSUCH"]'}, -1121),
        ("ticker/24hr", {"symbol": "BTCUSDT", "type": "HUGE"}, -1139),
        ("exchangeInfo", {"symbolStatus": "ASLEEP"}, -1122),
        ("order", {"symbol": "BTCUSDT"}, -5000),
    ),
)
def test_refusals_carry_the_venues_code(rest: Rest, path: str, parameters: dict[str, object], code: int) -> None:
    assert refusal(rest, path, **parameters)[0] == code


def test_refusals_say_it_in_the_venues_words(rest: Rest) -> None:
    assert refusal(rest, "depth", symbol="NOSUCH") == (-1121, "Invalid symbol.")
    assert refusal(rest, "klines", symbol="BTCUSDT", interval="9x") == (-1120, "Invalid interval.")
    missing = "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
    assert refusal(rest, "depth") == (-1102, missing)
