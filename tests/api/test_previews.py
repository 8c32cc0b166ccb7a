"""What an order would do, over HTTP: as the order itself would, and without a trace."""

from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor, said
from tests.api.test_orders import BUY, ORDERS, RESTING, place
from trading_engine.exchange.market import FeedState

PREVIEW = f"{ORDERS}/preview"


def preview(client: FlaskClient, floor: Floor, order: dict[str, Any], status: int = 200) -> dict[str, Any]:
    """Ask what an order would do; nothing may change by asking."""
    before = (floor.engine.state(), floor.engine.status, floor.engine.watched)
    answer = client.post(PREVIEW, json=order)
    assert (floor.engine.state(), floor.engine.status, floor.engine.watched) == before
    assert answer.status_code == status, answer.text
    return dict(said(answer))


def test_a_market_order_is_told_level_by_level(client: FlaskClient, floor: Floor) -> None:
    told = preview(client, floor, {**BUY, "quantity": "2.5"})
    assert [(fill["price"], fill["quantity"], fill["fee"], fill["level_quantity"]) for fill in told["fills"]] == [
        ("100.00", "1.00000", "0.001", "1.00000"),
        ("101.00", "1.50000", "0.0015", "2.00000"),
    ]
    assert (told["filled_quantity"], told["filled_quote"]) == ("2.50000", "251.5")
    assert (told["average_price"], told["worst_price"], told["fees"]) == ("100.60", "101.00", {"BTC": "0.0025"})
    # 100.60 against the middle, 99.50, and against the best ask, 100.00.
    assert (told["slippage_mid_bps"], told["slippage_best_bps"]) == ("110.5528", "60.0000")
    assert (told["best_bid"], told["best_ask"], told["mid_price"], told["update_id"]) == ("99.00", "100.00", "99.50", 1)
    assert (told["rests"], told["queue_ahead"], told["expires"], told["live"]) == ("0.00000", None, None, True)


def test_a_sale_slips_downwards_and_pays_in_what_it_gets(client: FlaskClient, floor: Floor) -> None:
    told = preview(client, floor, {**BUY, "side": "sell", "quantity": "1"})
    assert (told["average_price"], told["fees"]) == ("99.00", {"USDT": "0.099"})
    assert (told["slippage_mid_bps"], told["slippage_best_bps"]) == ("50.2513", "0.0000")


def test_an_order_that_would_rest_is_told_what_is_ahead_of_it(client: FlaskClient, floor: Floor) -> None:
    told = preview(client, floor, {**BUY, "price": "99"})
    assert (told["fills"], told["fees"], told["average_price"], told["slippage_mid_bps"]) == ([], {}, None, None)
    assert (told["rests"], told["queue_ahead"]) == ("0.50000", "5.00000")
    assert preview(client, floor, {**BUY, "price": "98.50"})["queue_ahead"] == "0.00000"


def test_what_would_rest_after_a_fill_stands_at_the_front(client: FlaskClient, floor: Floor) -> None:
    told = preview(client, floor, {**BUY, "quantity": "1.7", "price": "100"})
    assert (told["filled_quantity"], told["rests"], told["queue_ahead"]) == ("1.00000", "0.70000", "0.00000")


@pytest.mark.parametrize("force", ("IOC", "FOK"))
def test_what_would_expire_says_why(client: FlaskClient, floor: Floor, force: str) -> None:
    told = preview(client, floor, {**BUY, "quantity": "1.7", "price": "100", "time_in_force": force})
    assert (told["expires"], told["rests"]) == (force.lower(), "0.00000")
    assert told["filled_quantity"] == ("1.00000" if force == "IOC" else "0.00000")


def test_a_market_order_ends_at_the_price_band(client: FlaskClient, floor: Floor) -> None:
    floor.quote([], [(101.0, 0.0), (102.0, 0.0), (103.0, 50.0)])
    told = preview(client, floor, {**BUY, "quantity": "2"})
    assert (told["filled_quantity"], told["expires"]) == ("1.00000", "price_band")


def test_what_was_taken_before_is_not_offered_again(client: FlaskClient, floor: Floor) -> None:
    place(client, {**BUY, "quantity": "1"})
    told = preview(client, floor, {**BUY, "quantity": "1"})
    assert told["worst_price"] == "101.00"
    assert Decimal(told["slippage_best_bps"]) > 90


def test_an_order_does_what_its_preview_said(client: FlaskClient, floor: Floor) -> None:
    wanted = {**BUY, "quantity": "2.2", "price": "101"}
    told = preview(client, floor, wanted)
    done = place(client, wanted)
    same = ("price", "quantity", "quote_amount", "fee", "fee_asset")
    assert [[fill[name] for name in same] for fill in told["fills"]] == [
        [fill[name] for name in same] for fill in done["fills"]
    ]
    for name in ("filled_quantity", "filled_quote", "average_price", "queue_ahead"):
        assert told[name] == done[name], name


def test_while_the_book_is_not_live_a_limit_order_would_wait(client: FlaskClient, floor: Floor) -> None:
    floor.become(FeedState.STALE)
    told = preview(client, floor, {**BUY, "price": "100"})
    assert (told["live"], told["rests"], told["queue_ahead"], told["fills"]) == (False, "0.50000", None, [])
    assert preview(client, floor, BUY, status=503)["code"] == "book_stale"


@pytest.mark.parametrize(
    ("order", "code"),
    (
        ({**BUY, "symbol": "NOPE"}, "unknown_symbol"),
        ({**BUY, "price": "90.001"}, "price_filter"),
        ({**BUY, "quantity": "0.000001", "price": "90"}, "lot_size"),
        ({**BUY, "price": "100", "post_only": True}, "would_take"),
        ({**BUY, "quantity": "2000", "price": "90"}, "insufficient_balance"),
        ({**BUY, "type": "market", "price": "90"}, "validation_failed"),
        ({**BUY, "typ": "market"}, "validation_failed"),
    ),
)
def test_a_preview_is_refused_as_the_order_would_be(
    client: FlaskClient, floor: Floor, order: dict[str, Any], code: str
) -> None:
    told = preview(client, floor, order, status=422)
    placed = client.post(ORDERS, json=order)
    assert said(placed) == told
    assert told["code"] == code


def test_a_preview_follows_a_symbol_as_an_order_does(client: FlaskClient, floor: Floor) -> None:
    assert preview(client, floor, {**RESTING, "symbol": "XRPUSDT"}, status=503)["code"] == "syncing"
    floor.follow_live("XRPUSDT")
    assert preview(client, floor, {**RESTING, "symbol": "XRPUSDT"})["rests"] == "0.50000"
