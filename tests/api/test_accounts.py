"""Portfolio, account and reset over HTTP."""

from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor, said

D = Decimal


def test_the_portfolio_adds_up_exactly(client: FlaskClient, floor: Floor) -> None:
    client.post("/api/v1/orders", json={"symbol": "BTCUSDT", "side": "buy", "quantity": "2.5"})
    client.post("/api/v1/orders", json={"symbol": "BTCUSDT", "side": "buy", "quantity": "1", "price": "90"})
    portfolio = said(client.get("/api/v1/portfolio"))
    balances = {row["asset"]: row for row in portfolio["balances"]}
    assert balances["USDT"] == {"asset": "USDT", "free": "99658.5", "locked": "90", "total": "99748.5"}
    assert balances["BTC"]["total"] == "3.4975"  # 1 + 2.5 less a thousandth
    position = portfolio["positions"]["BTCUSDT"]
    assert D(position["market_value"]) == D("3.4975") * D("99.5")
    assert D(portfolio["total_value"]) == D(portfolio["cash_balance"]) + D(position["market_value"])
    assert D(portfolio["total_pnl"]) == D(portfolio["realized_pnl"]) + D(portfolio["unrealized_pnl"])
    assert D(portfolio["total_value"]) - D(portfolio["net_deposits"]) == D(portfolio["total_pnl"])
    assert D(portfolio["fees_paid"]) == D("0.001") * 100 + D("0.0015") * 101


def test_without_a_mark_the_value_is_unknown_not_zero(client: FlaskClient, floor: Floor) -> None:
    del floor.markets["BTCUSDT"]
    portfolio = said(client.get("/api/v1/portfolio"))
    position = portfolio["positions"]["BTCUSDT"]
    assert (position["market_price"], position["market_value"], position["market_state"]) == (None, None, None)
    assert (portfolio["total_value"], portfolio["total_pnl"], portfolio["unrealized_pnl"]) == (None, None, None)


def test_a_reset_begins_a_new_epoch_and_the_old_one_stays_readable(client: FlaskClient) -> None:
    order = said(
        client.post("/api/v1/orders", json={"symbol": "BTCUSDT", "side": "buy", "quantity": "1", "price": "90"})
    )
    answer = client.post("/api/v1/account/reset", json={"balances": {"USDT": 5000, "BTC": "0.5"}})
    assert (answer.status_code, said(answer)["epoch"]) == (200, 2)
    balances = {row["asset"]: row["total"] for row in said(client.get("/api/v1/portfolio"))["balances"]}
    assert balances == {"USDT": "5000", "BTC": "0.5"}
    assert said(client.get("/api/v1/orders"))["orders"] == []
    (old,) = said(client.get("/api/v1/orders?epoch=1"))["orders"]
    assert (old["id"], old["status"], old["reason"]) == (order["id"], "cancelled", "account_reset")
    account = said(client.get("/api/v1/account"))
    assert [epoch["epoch"] for epoch in account["epochs"]] == [2, 1]
    assert account["epochs"][1]["final_balances"] == {"USDT": "100000", "BTC": "1"}


def test_a_reset_without_balances_gives_the_configured_ones(client: FlaskClient) -> None:
    assert client.post("/api/v1/account/reset", json={}).status_code == 200
    balances = {row["asset"]: row["total"] for row in said(client.get("/api/v1/portfolio"))["balances"]}
    assert balances["USDT"] == "100000"


@pytest.mark.parametrize(
    "balances",
    ({}, [], "USDT", {"usdt": 1}, {"USDT": 0}, {"USDT": "-1"}, {"USDT": None}, {"USDT": "1e5"}, {"": 1},
     {f"A{n}": 1 for n in range(51)}),
    ids=lambda balances: repr(balances)[:20],
)  # fmt: skip
def test_balances_that_make_no_sense_are_named(reader: FlaskClient, balances: Any) -> None:
    answer = reader.post("/api/v1/account/reset", json={"balances": balances})
    assert (answer.status_code, list(said(answer)["errors"])) == (422, ["balances"])


def test_an_asset_without_a_price_cannot_be_deposited(reader: FlaskClient) -> None:
    answer = reader.post("/api/v1/account/reset", json={"balances": {"USDT": "5", "DOGE": "5"}})
    assert (answer.status_code, list(said(answer)["errors"])) == (422, ["balances"])
    assert "DOGE" in said(answer)["detail"]
    syncing = reader.post("/api/v1/account/reset", json={"balances": {"XRP": "5"}})
    assert (syncing.status_code, said(syncing)["code"]) == (503, "syncing")


def test_the_account_says_where_it_is_and_what_it_pays(reader: FlaskClient) -> None:
    account = said(reader.get("/api/v1/account"))
    assert (account["name"], account["venue"], account["simulated"], account["epoch"]) == (
        "default",
        "binance",
        False,
        1,
    )
    assert (account["maker_fee_rate"], account["taker_fee_rate"]) == ("0.001", "0.001")
    assert account["starting_balance"] == {"USDT": "100000"}
    assert account["other_venues"] == []


def test_the_account_says_how_sure_its_fills_are_and_how_long_orders_take(client: FlaskClient, floor: Floor) -> None:
    for price in ("99", None):
        client.post("/api/v1/orders", json={"symbol": "BTCUSDT", "side": "buy", "quantity": "0.5", "price": price})
    floor.print_("99", "5.2", buyer_is_maker=True)
    account = said(client.get("/api/v1/account"))
    assert account["fill_certainty"] == {"certain": 1, "likely": 1, "modelled": 0}
    assert account["latency"] == {"in_ms": "0", "out_ms": "0", "sigma": "0"}
