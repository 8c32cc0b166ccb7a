"""Orders over HTTP: placing, repeating, refusing, cancelling, looking up."""

import threading
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor, said
from trading_engine.api.operations import ANSWER_AFTER, OUTCOME
from trading_engine.exchange.door import Ticket
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import Refused

ORDERS = "/api/v1/orders"
BUY = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.5"}
RESTING = {**BUY, "price": "90"}


def place(client: FlaskClient, order: dict[str, Any], status: int = 201) -> dict[str, Any]:
    answer = client.post(ORDERS, json=order)
    assert answer.status_code == status, answer.text
    return dict(said(answer))


def refuse(
    client: FlaskClient, order: dict[str, Any], status: int, code: str, field: str | None = None
) -> dict[str, Any]:
    """Place an order that must be refused, and must change nothing."""
    before = said(client.get("/api/v1/portfolio"))
    answer = client.post(ORDERS, json=order)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json"), answer.text
    problem = said(answer)
    assert problem["code"] == code
    if field is not None:
        assert list(problem["errors"]) == [field], problem
    after = said(client.get("/api/v1/portfolio"))
    assert {**before, "as_of": 0} == {**after, "as_of": 0}
    return dict(problem)


def test_a_market_order_takes_the_book_level_by_level(client: FlaskClient) -> None:
    order = place(client, {**BUY, "quantity": "2.5"})
    assert order["status"] == "filled"
    assert [(fill["price"], fill["quantity"], fill["fee"], fill["liquidity"]) for fill in order["fills"]] == [
        ("100.00", "1.00000", "0.001", "taker"),
        ("101.00", "1.50000", "0.0015", "taker"),
    ]
    assert (order["average_price"], order["filled_quote"]) == ("100.60", "251.5")
    assert (order["type"], order["price"], order["venue"], order["simulated"]) == ("market", None, "binance", False)
    assert client.get(f"{ORDERS}/{order['id']}").json == order


def test_a_limit_order_rests_and_is_filled_by_a_print_through_its_price(client: FlaskClient, floor: Floor) -> None:
    order = place(client, {**BUY, "price": 98.5, "type": "LIMIT", "time_in_force": "gtc", "side": "Buy"})
    assert (order["status"], order["price"], order["held"], order["held_asset"]) == ("new", "98.50", "49.25", "USDT")
    floor.print_("98.40", "0.2", buyer_is_maker=True)
    now = said(client.get(f"{ORDERS}/{order['id']}"))
    assert (now["status"], now["filled_quantity"], now["average_price"]) == ("partially_filled", "0.20000", "98.50")
    assert [(fill["liquidity"], fill["trade_id"]) for fill in now["fills"]] == [("maker", 1)]


def test_a_stop_waits_for_the_last_price_and_then_takes(client: FlaskClient, floor: Floor) -> None:
    floor.print_("99.50", "0.1", buyer_is_maker=True)
    order = place(client, {**BUY, "type": "stop", "stop_price": "100.50"})
    assert (order["status"], order["stage"], order["stop_price"]) == ("new", "armed", "100.50")
    floor.print_("100.50", "0.1", buyer_is_maker=False)
    now = said(client.get(f"{ORDERS}/{order['id']}"))
    assert (now["status"], now["stage"], [fill["liquidity"] for fill in now["fills"]]) == ("filled", "live", ["taker"])
    assert now["triggered_at"] is not None


def test_a_trailing_stop_follows_the_last_price(client: FlaskClient, floor: Floor) -> None:
    floor.print_("99.50", "0.1", buyer_is_maker=True)
    order = place(client, {**BUY, "side": "sell", "trailing_bps": 100})
    assert (order["type"], order["trailing_bps"], order["stage"]) == ("trailing_stop", 100, "armed")
    for price in ("99.60", "110.00", "109.00"):
        floor.print_(price, "0.1", buyer_is_maker=True)
    assert said(client.get(f"{ORDERS}/{order['id']}"))["stage"] == "armed"
    floor.print_("108.90", "0.1", buyer_is_maker=True)
    assert said(client.get(f"{ORDERS}/{order['id']}"))["status"] == "filled"


def test_a_stop_price_that_is_met_already_is_refused(client: FlaskClient, floor: Floor) -> None:
    floor.print_("99.50", "0.1", buyer_is_maker=True)
    refuse(client, {**BUY, "type": "stop", "stop_price": "99.50"}, 422, "would_trigger", "stop_price")


def test_an_open_order_can_be_changed(client: FlaskClient) -> None:
    order = place(client, {**BUY, "price": "98.50"})
    address = f"{ORDERS}/{order['id']}"
    smaller = said(client.patch(address, json={"quantity": "0.3"}))
    assert (smaller["id"], smaller["quantity"], smaller["held"]) == (order["id"], "0.30000", "29.55")
    moved = said(client.patch(address, json={"price": "97.50"}))
    assert (moved["price"], moved["status"]) == ("97.50", "new")
    taken = said(client.patch(address, json={"price": "101"}))
    assert (taken["status"], taken["fills"][0]["liquidity"]) == ("filled", "taker")
    again = client.patch(address, json={"quantity": "0.1"})
    assert (again.status_code, said(again)["code"]) == (409, "order_closed")


def test_a_change_that_changes_nothing_or_too_much_is_refused(client: FlaskClient) -> None:
    order = place(client, {**BUY, "price": "98.50"})
    address = f"{ORDERS}/{order['id']}"
    for change in ({}, {"quantity": "0"}, {"price": "98.505"}, {"quantity": "0.5", "price": "98.50"}):
        assert client.patch(address, json=change).status_code == 422, change
    assert said(client.get(address))["updated_at"] == order["updated_at"]


@pytest.mark.parametrize("quantity", (0.001, "0.001"))
def test_a_quantity_may_be_a_number_and_is_read_exactly(client: FlaskClient, quantity: object) -> None:
    assert place(client, {**BUY, "quantity": quantity})["quantity"] == "0.00100"


def test_a_number_is_read_from_its_text(client: FlaskClient) -> None:
    body = b'{"symbol":"BTCUSDT","side":"sell","quantity":0.10000000000000000,"price":99.99999999999999999999}'
    answer = client.post(ORDERS, data=body, content_type="application/json")
    assert answer.status_code == 422
    assert list(said(answer)["errors"]) == ["price"]  # through float it would have been 100


def test_a_market_order_can_be_given_in_the_quote_asset(client: FlaskClient) -> None:
    order = place(client, {"symbol": "BTCUSDT", "side": "buy", "quote_quantity": "201"})
    assert (order["filled_quantity"], order["filled_quote"], order["quote_quantity"]) == ("2.00000", "201", "201")


def test_the_same_id_and_content_answer_the_order_as_it_is_now(client: FlaskClient, floor: Floor) -> None:
    first = place(client, {**RESTING, "client_order_id": "mine:1"})
    floor.print_("89", "0.2", buyer_is_maker=True)
    again = place(client, {**RESTING, "price": 90.0, "side": "BUY", "client_order_id": "mine:1"}, status=200)
    assert (again["id"], again["status"], len(again["fills"])) == (first["id"], "partially_filled", 1)


def test_the_same_id_with_other_content_is_refused(client: FlaskClient) -> None:
    place(client, {**RESTING, "client_order_id": "mine"})
    other = {**RESTING, "quantity": "0.4", "client_order_id": "mine"}
    refuse(client, other, 409, "duplicate_client_order_id", "client_order_id")


def test_a_refused_order_does_not_use_its_id_up(client: FlaskClient) -> None:
    refuse(client, {**BUY, "quantity": "5000", "client_order_id": "mine", "price": "99"}, 422, "insufficient_balance")
    place(client, {**RESTING, "client_order_id": "mine"})


def test_an_order_without_an_id_gets_one(client: FlaskClient) -> None:
    ids = [place(client, RESTING)["client_order_id"] for _ in range(3)]
    assert ids == sorted(set(ids)), "the later the greater"
    assert all(len(one) == 32 for one in ids)


def test_many_requests_with_one_id_make_one_order(client: FlaskClient, floor: Floor) -> None:
    answers: list[tuple[int, int]] = []

    def send() -> None:
        answer = client.application.test_client().post(ORDERS, json={**BUY, "client_order_id": "once"})
        answers.append((answer.status_code, said(answer)["id"]))

    threads = [threading.Thread(target=send) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({order_id for _, order_id in answers}) == 1
    assert floor.engine.status.seq == 3  # account, order, one fill


@pytest.mark.parametrize(
    ("change", "field"),
    (
        ({"type": "market", "price": "90"}, "price"),
        ({"type": "limit"}, "price"),
        ({"quantity": None}, "quantity"),
        ({"quote_quantity": "10"}, "quantity"),
        ({"price": "90", "quantity": None, "quote_quantity": "10"}, "quote_quantity"),
        ({"post_only": True}, "post_only"),
        ({"price": "90", "post_only": True, "time_in_force": "IOC"}, "post_only"),
    ),
)
def test_fields_that_do_not_fit_together_are_named(client: FlaskClient, change: dict[str, Any], field: str) -> None:
    answer = client.post(ORDERS, json={**BUY, **change})
    assert answer.status_code == 422
    assert said(answer)["code"] == "validation_failed"
    assert field in said(answer)["errors"]


@pytest.mark.parametrize(
    ("change", "field"),
    (
        *(({"type": name}, "stop_price") for name in ("stop", "take_profit")),
        *(({"type": name}, "price") for name in ("STOP_LIMIT", "take_profit_limit")),
        ({"type": "trailing_stop"}, "trailing_bps"),
        ({"type": "stop", "stop_price": "90", "price": "91"}, "price"),
        ({"stop_price": "110", "post_only": True}, "post_only"),
    ),
)
def test_a_conditional_order_that_lacks_something_names_it(
    client: FlaskClient, change: dict[str, Any], field: str
) -> None:
    refuse(client, {**BUY, **change}, 422, "invalid_order", field)


@pytest.mark.parametrize("bips", (0, 10_000, 1.5, "many", True))
def test_basis_points_are_a_whole_number(client: FlaskClient, bips: object) -> None:
    answer = client.post(ORDERS, json={**BUY, "trailing_bps": bips})
    assert answer.status_code == 422
    assert list(said(answer)["errors"]) == ["trailing_bps"]


@pytest.mark.parametrize(
    ("order", "code", "field"),
    (
        ({**BUY, "symbol": "NOPE"}, "unknown_symbol", "symbol"),
        ({**BUY, "price": "90.001"}, "price_filter", "price"),
        ({**BUY, "price": "1000000.01"}, "price_filter", "price"),
        ({**BUY, "quantity": "0.000001", "price": "90"}, "lot_size", "quantity"),
        ({**BUY, "quantity": "9001", "price": "90"}, "lot_size", "quantity"),
        ({**BUY, "quantity": "121"}, "market_lot_size", "quantity"),
        ({**BUY, "price": "100", "post_only": True}, "would_take", None),
        ({**BUY, "quantity": "2000", "price": "90"}, "insufficient_balance", None),
        ({**BUY, "side": "sell", "quantity": "1.5"}, "insufficient_balance", None),
    ),
)
def test_what_the_rules_do_not_allow_is_refused(
    client: FlaskClient, order: dict[str, Any], code: str, field: str | None
) -> None:
    refuse(client, order, 422, code, field)


def test_while_the_book_is_not_live_only_a_limit_order_may_wait(client: FlaskClient, floor: Floor) -> None:
    waiting = place(client, RESTING)
    floor.become(FeedState.STALE)
    refuse(client, BUY, 503, "book_stale")
    refuse(client, {**RESTING, "time_in_force": "IOC"}, 503, "book_stale")
    refuse(client, {**RESTING, "time_in_force": "FOK"}, 503, "book_stale")
    refuse(client, {**RESTING, "post_only": True}, 503, "book_stale")
    later = place(client, {**BUY, "price": "100"})
    assert later["status"] == "new"
    assert client.delete(f"{ORDERS}/{waiting['id']}").status_code == 200
    floor.tell(floor.markets["BTCUSDT"].load_snapshot(5, [(99.0, 1.0)], [(100.0, 1.0)], limit=1000))
    assert said(client.get(f"{ORDERS}/{later['id']}"))["status"] == "filled"


def test_a_503_says_when_to_come_back(client: FlaskClient, floor: Floor) -> None:
    floor.become(FeedState.DOWN)
    assert client.post(ORDERS, json=BUY).headers["Retry-After"] == "1"


@pytest.mark.parametrize(("role", "code"), (("starting", "starting"), ("standby", "standby"), ("halted", "halted")))
def test_without_an_account_the_answer_says_why(client: FlaskClient, floor: Floor, role: str, code: str) -> None:
    floor.account_id, floor.role = None, role
    for answer in (
        client.post(ORDERS, json=BUY),
        client.get(ORDERS),
        client.get("/api/v1/portfolio"),
        client.delete(ORDERS),
    ):
        assert (answer.status_code, said(answer)["code"]) == (503, code)


def test_an_order_is_cancelled_once(client: FlaskClient) -> None:
    order = place(client, RESTING)
    cancelled = client.delete(f"{ORDERS}/{order['id']}")
    assert cancelled.status_code == 200
    assert (said(cancelled)["status"], said(cancelled)["held"]) == ("cancelled", "0")
    again = client.delete(f"{ORDERS}/{order['id']}")
    assert (again.status_code, said(again)["code"]) == (409, "order_closed")


def test_an_order_closed_long_ago_is_closed_not_unknown(client: FlaskClient, floor: Floor) -> None:
    order = place(client, BUY)
    floor.engine.load(floor.store.load(2**45))  # so far in the future that memory keeps no closed order
    floor.journal.reopen(floor.engine.status.generation)
    answer = client.delete(f"{ORDERS}/{order['id']}")
    assert (answer.status_code, said(answer)["code"]) == (409, "order_closed")


@pytest.mark.parametrize("order_id", ("1", "999", str(2**63 - 1), str(2**63), "1" * 40, "0"))
def test_an_order_that_does_not_exist_is_not_found(client: FlaskClient, order_id: str) -> None:
    for answer in (client.get(f"{ORDERS}/{order_id}"), client.delete(f"{ORDERS}/{order_id}")):
        assert (answer.status_code, said(answer)["code"]) == (404, "order_not_found")


@pytest.mark.parametrize("order_id", ("-1", "one", "1.0", "%00", "1%2F2", "٣"))
def test_what_is_no_id_is_no_address(client: FlaskClient, order_id: str) -> None:
    answer = client.get(f"{ORDERS}/{order_id}")
    assert (answer.status_code, said(answer)["code"]) == (404, "not_found")


def test_all_orders_of_a_symbol_or_all_are_cancelled(client: FlaskClient) -> None:
    bitcoin = [place(client, RESTING)["id"] for _ in range(2)]
    ether = place(client, {**RESTING, "symbol": "ETHUSDT"})["id"]
    only = said(client.delete(f"{ORDERS}?symbol=btcusdt"))
    assert [order["id"] for order in only["cancelled"]] == bitcoin
    rest = said(client.delete(ORDERS))
    assert [order["id"] for order in rest["cancelled"]] == [ether]
    assert client.delete(ORDERS).json == {"cancelled": []}
    assert said(client.get("/api/v1/orders?status=open"))["orders"] == []


def test_orders_are_listed_newest_first_and_page_by_page(client: FlaskClient) -> None:
    placed = [place(client, RESTING)["id"] for _ in range(5)]
    seen: list[int] = []
    cursor = ""
    while True:
        page = said(client.get(f"{ORDERS}?limit=2{cursor}"))
        seen += [order["id"] for order in page["orders"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == placed[::-1]


def test_orders_can_be_chosen(client: FlaskClient) -> None:
    resting = place(client, {**RESTING, "client_order_id": "a/b"})
    filled = place(client, {**BUY, "symbol": "ETHUSDT"})

    def listed(query: str) -> list[int]:
        return [order["id"] for order in said(client.get(f"{ORDERS}?{query}"))["orders"]]

    assert listed("status=open") == [resting["id"]]
    assert listed("status=FILLED") == [filled["id"]]
    assert listed("symbol=ethusdt") == [filled["id"]]
    assert listed("client_order_id=a/b") == [resting["id"]]
    assert listed("client_order_id=other") == []
    assert listed("epoch=2") == []


def test_fills_are_listed_newest_first_and_page_by_page(client: FlaskClient) -> None:
    order = place(client, {**BUY, "quantity": "2.5"})
    place(client, {**BUY, "symbol": "ETHUSDT"})
    first = said(client.get("/api/v1/fills?limit=2"))
    second = said(client.get(f"/api/v1/fills?limit=2&cursor={first['next_cursor']}"))
    assert [fill["symbol"] for fill in first["fills"] + second["fills"]] == ["ETHUSDT", "BTCUSDT", "BTCUSDT"]
    assert second["next_cursor"] is None
    own = said(client.get(f"/api/v1/fills?order_id={order['id']}"))
    assert [Decimal(fill["quantity"]) for fill in own["fills"]] == [Decimal("1.5"), Decimal(1)]


@pytest.mark.parametrize("cursor", ("x", "b3JkZXJzOjA", "ZmlsbHM6NQ", "-" * 64, "b3JkZXJzOjk5OTk5OTk5OTk5OTk5OTk5OTk"))
def test_a_cursor_of_another_list_or_none_is_refused(client: FlaskClient, cursor: str) -> None:
    answer = client.get(f"{ORDERS}?cursor={cursor}")
    assert answer.status_code == 422
    assert list(said(answer)["errors"]) == ["cursor"]


def test_a_server_that_keeps_answers_back_gets_the_commit_to_wait_for(client: FlaskClient, floor: Floor) -> None:
    commits: list[Ticket] = []
    answer = client.post(ORDERS, json=BUY, environ_overrides={ANSWER_AFTER: commits.append})
    assert answer.status_code == 201
    (commit,) = commits
    commit.wait()
    assert said(client.get(f"{ORDERS}/{said(answer)['id']}")) == said(answer)


def test_what_became_of_an_order_is_answered_instead_of_placing_it_again(client: FlaskClient, floor: Floor) -> None:
    seq = floor.engine.status.seq
    outcome = Refused("outcome_unknown", "the commit's answer was lost")
    answer = client.post(ORDERS, json=BUY, environ_overrides={OUTCOME: outcome})
    assert (answer.status_code, said(answer)["code"]) == (503, "outcome_unknown")
    assert floor.engine.status.seq == seq


def test_a_repeat_is_answered_after_the_commit_of_the_order_it_repeats(client: FlaskClient) -> None:
    commits: list[Ticket] = []
    named = {**BUY, "client_order_id": "once"}
    first = client.post(ORDERS, json=named, environ_overrides={ANSWER_AFTER: commits.append})
    again = client.post(ORDERS, json=named, environ_overrides={ANSWER_AFTER: commits.append})
    assert (first.status_code, again.status_code, len(commits)) == (201, 200, 1)
    assert said(again) == said(first)
