"""What the API says of markets: exact numbers, null where nothing is known, and the state always beside them."""

import gzip
import json

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import D, Floor, said
from tests.exchange.fakes import symbol
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.symbols import ExchangeLimits, Feature, TrailingDelta


def test_prices_say_what_every_followed_symbol_trades_at(client: FlaskClient, floor: Floor) -> None:
    floor.print_("100.10", "0.25", buyer_is_maker=False)
    floor.day()
    prices = said(client.get("/api/v1/prices"))
    updated_at = prices["BTCUSDT"].pop("updated_at")
    assert updated_at.endswith("Z")
    assert prices["BTCUSDT"] == {
        "price": "100.10",
        "change_percent_24h": "-1.25",
        "open_24h": "101.00",
        "high_24h": "105.50",
        "low_24h": "95.00",
        "volume_24h": "1234.50000",
        "quote_volume_24h": "123450",
        "state": "live",
    }
    assert prices["ETHUSDT"]["price"] == "99.50"  # nothing printed yet: the middle of the book
    assert prices["ETHUSDT"]["high_24h"] is None
    assert list(said(client.get("/api/v1/prices?symbol=ethusdt"))) == ["ETHUSDT"]


def test_depth_of_all_says_the_best_prices_and_what_lies_between(client: FlaskClient, floor: Floor) -> None:
    floor.quote([(99.99, 0.5)], [])
    top = said(client.get("/api/v1/depth"))["BTCUSDT"]
    del top["updated_at"]
    assert top == {
        "bid_price": "99.99",
        "ask_price": "100.00",
        "bid_quantity": "0.50000",
        "ask_quantity": "1.00000",
        "spread": "0.01",
        "spread_bps": "1.0001",
        "mid_price": "99.995",
        "update_id": 2,
        "state": "live",
    }


def test_depth_of_one_gives_its_levels(client: FlaskClient) -> None:
    book = said(client.get("/api/v1/depth?symbol=BTCUSDT&limit=2"))
    assert (book["symbol"], book["state"], book["update_id"]) == ("BTCUSDT", "live", 1)
    assert book["bids"] == [["99.00", "5.00000"], ["98.00", "10.00000"]]
    assert book["asks"] == [["100.00", "1.00000"], ["101.00", "2.00000"]]


def test_a_market_that_is_not_live_says_so_and_an_unknown_number_is_null(client: FlaskClient, floor: Floor) -> None:
    floor.become(FeedState.DOWN)
    assert said(client.get("/api/v1/depth"))["BTCUSDT"]["state"] == "down"
    assert said(client.get("/api/v1/prices"))["BTCUSDT"]["state"] == "down"
    floor.tell(floor.markets["ETHUSDT"].load_snapshot(9, [], [(100.0, 1.0)], limit=1000))
    top = said(client.get("/api/v1/depth"))["ETHUSDT"]
    assert (top["bid_price"], top["spread"], top["spread_bps"], top["mid_price"]) == (None, None, None, None)


@pytest.mark.parametrize("path", ("prices?", "depth?", "trades?", "candles?", "depth?limit=5&"))
def test_a_symbol_is_followed_on_first_use_or_refused(client: FlaskClient, floor: Floor, path: str) -> None:
    unknown = client.get(f"/api/v1/{path}symbol=NOPEUSDT")
    assert (unknown.status_code, said(unknown)["code"]) == (422, "unknown_symbol")
    syncing = client.get(f"/api/v1/{path}symbol=XRPUSDT")
    assert (syncing.status_code, said(syncing)["code"]) == (503, "syncing")
    floor.follow_live("XRPUSDT")
    assert client.get(f"/api/v1/{path}symbol=XRPUSDT").status_code == 200


def test_a_number_of_levels_needs_a_symbol(client: FlaskClient) -> None:
    answer = client.get("/api/v1/depth?limit=5")
    assert (answer.status_code, list(said(answer)["errors"])) == (422, ["limit"])


def test_prints_are_newest_first_and_name_the_taker(client: FlaskClient, floor: Floor) -> None:
    floor.print_("100.00", "0.25", buyer_is_maker=False)
    floor.print_("99.00", "1", buyer_is_maker=True)
    answer = said(client.get("/api/v1/trades?symbol=BTCUSDT"))
    assert [(row["id"], row["price"], row["quantity"], row["side"]) for row in answer["trades"]] == [
        (2, "99.00", "1.00000", "sell"),
        (1, "100.00", "0.25000", "buy"),
    ]
    assert len(said(client.get("/api/v1/trades?symbol=BTCUSDT&limit=1"))["trades"]) == 1


def test_candles_are_asked_for_as_given_and_shown_exactly(client: FlaskClient, floor: Floor) -> None:
    floor.print_("100.00", "0.25", buyer_is_maker=False)
    answer = said(client.get("/api/v1/candles?symbol=BTCUSDT&interval=1m&limit=5&before=1700000000000"))
    assert floor.candle_calls == [("BTCUSDT", "1m", 5, 1_700_000_000_000)]
    (candle,) = answer["candles"]
    assert candle["open_time_ms"] % 60_000 == 0
    assert (candle["open"], candle["close"], candle["volume"], candle["quote_volume"]) == (
        "100.00",
        "100.00",
        "0.25000",
        "25",
    )
    assert (candle["trades"], candle["closed"]) == (1, False)
    assert client.get("/api/v1/candles?symbol=BTCUSDT&interval=7m").status_code == 422


def test_symbols_list_every_rule_and_whether_it_is_followed(client: FlaskClient) -> None:
    listed = {row["symbol"]: row for row in said(client.get("/api/v1/symbols"))["symbols"]}
    assert {name: row["followed"] for name, row in listed.items()} == {
        "BTCUSDT": True,
        "ETHUSDT": True,
        "XRPUSDT": False,
    }
    bitcoin = listed["BTCUSDT"]
    assert (bitcoin["status"], bitcoin["tick_size"], bitcoin["step_size"]) == ("TRADING", "0.01", "0.00001")
    assert bitcoin["market_step_size"] is None
    assert (bitcoin["max_algo_orders"], bitcoin["iceberg_parts"], bitcoin["max_position"]) == (None, None, None)
    assert (bitcoin["trailing_delta"], bitcoin["stp_mode"], bitcoin["stp_modes"]) == (None, "NONE", [])
    assert set(bitcoin["exchange_limits"].values()) == {None}
    assert bitcoin["features"] == sorted(Feature)
    assert [row["symbol"] for row in said(client.get("/api/v1/symbols?symbol=xrpusdt"))["symbols"]] == ["XRPUSDT"]
    assert said(client.get("/api/v1/symbols?symbol=NOPE"))["code"] == "unknown_symbol"


def test_a_symbols_counts_and_flags_are_listed_as_the_venue_states_them(client: FlaskClient, floor: Floor) -> None:
    floor.symbols["BTCUSDT"] = symbol(
        max_algo_orders=5,
        max_iceberg_orders=6,
        max_order_lists=20,
        max_amends=10,
        iceberg_parts=100,
        max_position=D("1000.5"),
        trailing_delta=TrailingDelta(min_above=10, max_above=2000, min_below=0, max_below=0),
        exchange_limits=ExchangeLimits(max_open_orders=1000),
        features=frozenset({Feature.OTO, Feature.AMEND}),
        stp_mode="EXPIRE_MAKER",
        stp_modes=("EXPIRE_MAKER", "DECREMENT"),
    )
    (row,) = said(client.get("/api/v1/symbols?symbol=BTCUSDT"))["symbols"]
    counts = ("max_algo_orders", "max_iceberg_orders", "max_order_lists", "max_amends", "iceberg_parts")
    assert [row[name] for name in counts] == [5, 6, 20, 10, 100]
    assert row["max_position"] == "1000.50000"
    assert row["trailing_delta"] == {"min_above": 10, "max_above": 2000, "min_below": None, "max_below": None}
    assert row["exchange_limits"]["max_open_orders"] == 1000
    assert row["features"] == ["amend", "oto"]
    assert (row["stp_mode"], row["stp_modes"]) == ("EXPIRE_MAKER", ["EXPIRE_MAKER", "DECREMENT"])


def test_symbols_are_compressed_for_who_can_read_it(client: FlaskClient) -> None:
    plain = client.get("/api/v1/symbols")
    packed = client.get("/api/v1/symbols", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(packed.data)) == plain.json


def test_before_the_venue_is_known_there_are_no_symbols(client: FlaskClient, floor: Floor) -> None:
    floor.symbols.clear()
    assert said(client.get("/api/v1/symbols"))["code"] == "starting"
