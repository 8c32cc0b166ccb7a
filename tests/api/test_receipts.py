"""Why a fill came about, over HTTP: the evidence, the sentence, and what older fills still tell."""

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor, said
from tests.api.test_orders import BUY, ORDERS, place
from trading_engine.exchange.messages import OpenAccount


def receipt(client: FlaskClient, fill: dict[str, Any]) -> dict[str, Any]:
    answer = client.get(f"/api/v1/fills/{fill['id']}/receipt")
    assert answer.status_code == 200, answer.text
    return dict(said(answer))


def fills_of(client: FlaskClient, order: dict[str, Any]) -> list[dict[str, Any]]:
    return list(said(client.get(f"{ORDERS}/{order['id']}"))["fills"])


def test_a_taken_level_says_what_it_showed_and_what_had_been_taken_there_before(client: FlaskClient) -> None:
    (first,) = place(client, {**BUY, "quantity": "0.4"})["fills"]
    second, third = place(client, {**BUY, "quantity": "1"})["fills"]
    told = receipt(client, second)
    assert (told["cause"], told["certainty"], told["liquidity"]) == ("arrival", "certain", "taker")
    assert (told["price"], told["quantity"]) == ("100.00", second["quantity"])
    assert (told["level_price"], told["level_quantity"], told["waiting"]) == ("100.00", "1.00000", "0.00000")
    # What was taken a moment ago fades with time, so hardly any of it is back.
    assert Decimal("0.3") < Decimal(told["taken_before"]) <= Decimal("0.4")
    assert (told["best_bid"], told["best_ask"], told["mid_price"]) == ("99.00", "100.00", "99.50")
    assert (told["queue_ahead_before"], told["queued_ms"], told["trade_id"]) == (None, None, None)
    assert (told["fill_number"], receipt(client, third)["fill_number"], told["complete"]) == (1, 2, True)
    assert told["sentence"].startswith(
        f"Your order bought {second['quantity'].rstrip('0')} BTC at 100.00 as it arrived"
    )
    assert "the asks showed 1 BTC there, you had taken 0." in told["sentence"]
    assert receipt(client, first)["sentence"] == (
        "Your order bought 0.4 BTC at 100.00 as it arrived: the asks showed 1 BTC there, you got 0.4."
    )


def test_a_print_at_the_price_serves_the_queue_and_the_receipt_shows_how(client: FlaskClient, floor: Floor) -> None:
    order = place(client, {**BUY, "price": "99"})
    assert order["queue_ahead"] == "5.00000"
    floor.print_("99.00", "2", buyer_is_maker=True)
    assert said(client.get(f"{ORDERS}/{order['id']}"))["queue_ahead"] == "3.00000"
    floor.print_("99.00", "3.2", buyer_is_maker=True)
    (fill,) = fills_of(client, order)
    assert fill["certainty"] == "likely"
    told = receipt(client, fill)
    assert (told["cause"], told["certainty"], told["trade_id"]) == ("print", "likely", 2)
    assert (told["trade_quantity"], told["level_quantity"], told["level_price"]) == ("3.20000", None, None)
    assert (told["queue_ahead_before"], told["queue_ahead_after"], told["quantity"]) == (
        "3.00000",
        "0.00000",
        "0.20000",
    )
    assert isinstance(told["queued_ms"], int)
    assert told["order_created_at"] <= told["filled_at"]
    assert told["sentence"].startswith("Your bid at 99.00 waited 0.")
    assert told["sentence"].endswith(
        "s and had 3 BTC ahead of it. Trade 2 sold 3.2 BTC at 99.00: 3 went to those ahead, 0.2 to you."
    )
    floor.print_("99.00", "0.1", buyer_is_maker=True)
    last = fills_of(client, order)[-1]
    assert receipt(client, last)["sentence"].endswith(
        "and was at the front. Trade 3 sold 0.1 BTC at 99.00: 0.1 went to you."
    )


def test_a_fill_that_only_cancels_ahead_explain_is_modelled(client: FlaskClient, floor: Floor) -> None:
    watching = place(client, {**BUY, "price": "99"})
    floor.quote([(99.0, 8.0)], [])  # somebody joins with 3
    order = place(client, {**BUY, "price": "99"})
    assert order["queue_ahead"] == "8.00000"
    floor.quote([(99.0, 14.0)], [])
    floor.quote([(99.0, 11.0)], [])  # a cancellation of 3: most likely that one, which was ahead
    assert Decimal(said(client.get(f"{ORDERS}/{order['id']}"))["queue_ahead"]) < 7
    floor.print_("99.00", "7", buyer_is_maker=True)
    assert {fill["certainty"] for fill in fills_of(client, watching)} == {"likely"}
    (fill,) = fills_of(client, order)
    assert fill["certainty"] == "modelled"
    assert receipt(client, fill)["certainty"] == "modelled"


def test_a_print_through_the_price_is_certain(client: FlaskClient, floor: Floor) -> None:
    order = place(client, {**BUY, "price": "98.50"})
    assert order["queue_ahead"] == "0.00000"
    floor.print_("98.40", "0.2", buyer_is_maker=True)
    told = receipt(client, fills_of(client, order)[0])
    assert (told["cause"], told["certainty"]) == ("print_through", "certain")
    assert told["sentence"].endswith(
        "in the book. Trade 1 of 0.2 BTC went through that price, so whatever was ahead was gone; you got 0.2."
    )


def test_an_opposite_quote_that_comes_to_the_price_is_certain(client: FlaskClient, floor: Floor) -> None:
    order = place(client, {**BUY, "side": "sell", "price": "99.50"})
    floor.quote([(99.5, 0.3)], [])
    told = receipt(client, fills_of(client, order)[0])
    assert (told["cause"], told["certainty"], told["liquidity"]) == ("book", "certain", "maker")
    assert (told["level_price"], told["level_quantity"], told["price"]) == ("99.50", "0.30000", "99.50")
    assert told["sentence"].startswith("Your offer at 99.50 waited 0.")
    assert told["sentence"].endswith("s until a bid came to 99.50: it showed 0.3 BTC there, you got 0.3.")


@pytest.mark.parametrize("fill_id", ("999", "0", "99999999999999999999999"))
def test_a_fill_that_is_not_there_is_not_found(client: FlaskClient, fill_id: str) -> None:
    answer = client.get(f"/api/v1/fills/{fill_id}/receipt")
    assert (answer.status_code, said(answer)["code"]) == (404, "fill_not_found")


def test_neither_an_order_nor_another_accounts_fill_has_a_receipt_here(client: FlaskClient, floor: Floor) -> None:
    order = place(client, BUY)
    answer = client.get(f"/api/v1/fills/{order['id']}/receipt")
    assert (answer.status_code, said(answer)["code"]) == (404, "fill_not_found")
    floor.account_id = floor.engine.submit(OpenAccount(name="other", venue="binance", balances={"USDT": Decimal(1)})).id
    floor.settle()
    answer = client.get(f"/api/v1/fills/{order['fills'][0]['id']}/receipt")
    assert (answer.status_code, said(answer)["code"]) == (404, "fill_not_found")


@pytest.mark.parametrize(
    ("resting", "cause", "words"),
    (
        (
            False,
            "arrival",
            "Your order bought 0.5 BTC at 100.00 as it arrived: the asks showed 1 BTC there, you got 0.5.",
        ),
        (True, "print_through", "Your bid at 98.50 waited in the book. Trade 1 of 0.2 BTC went through that price"),
    ),
)
def test_a_fill_from_before_receipts_tells_what_is_known(
    client: FlaskClient, floor: Floor, tmp_path: Path, resting: bool, cause: str, words: str
) -> None:
    order = place(client, {**BUY, "price": "98.50"} if resting else BUY)
    if resting:
        floor.print_("98.40", "0.2", buyer_is_maker=True)
    (fill,) = fills_of(client, order)
    older = "UPDATE events SET body = json_remove(body, '$.fill.receipt', '$.fill.certainty') WHERE seq = ?"
    with closing(sqlite3.connect(tmp_path / "exchange.db")) as database, database:
        assert database.execute(older, (fill["id"],)).rowcount == 1
    told = receipt(client, fill)
    assert (told["complete"], told["cause"], told["certainty"]) == (False, cause, "certain")
    assert (told["best_bid"], told["queued_ms"], told["taken_before"], told["waiting"]) == (None, None, None, None)
    assert told["sentence"].startswith(words)
