"""What is said on the streams, without a socket: the source that the broadcaster's thread asks."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor
from trading_engine.api.stream import EVERYBODY, WITHOUT_ACCOUNT, StreamNews
from trading_engine.broadcast import Message, Subscription
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import Batch

ORDERS = "/api/v1/orders"
BUY = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.5"}
SECOND_NS = 1_000_000_000
TOPICS = frozenset({EVERYBODY, "symbol:BTCUSDT", "account:1"})


class Listener:
    """Asks for news as the broadcaster does, and keeps the commits it was told of."""

    def __init__(self, floor: Floor) -> None:
        self.news = StreamNews(floor)  # type: ignore[arg-type]  # a floor is all it needs of a runtime
        self.floor = floor
        self.now_ns = SECOND_NS
        self.commits: list[Batch] = []
        publish = floor.broadcaster.publish

        def keep(commit: Any) -> None:
            self.commits.append(commit)
            publish(commit)

        floor.broadcaster.publish = keep  # type: ignore[method-assign]  # listen in on the journal

    def tick(self, after_s: float = 0.1, topics: frozenset[str] = TOPICS) -> list[tuple[str, Any]]:
        self.now_ns += int(after_s * SECOND_NS)
        return said(self.news.tick(self.now_ns, topics))

    def committed(self, topics: frozenset[str] = TOPICS) -> list[tuple[str, Any]]:
        """Return what is said of the commits since the last call."""
        commits, self.commits = self.commits, []
        return [message for commit in commits for message in said(self.news.committed(commit, topics))]


@pytest.fixture
def listener(floor: Floor, client: FlaskClient) -> Listener:
    return Listener(floor)


def said(messages: Iterable[Message]) -> list[tuple[str, Any]]:
    return [parsed(message.frame) for message in messages]


def parsed(frame: bytes) -> tuple[str, Any]:
    fields = dict(line.split(": ", 1) for line in frame.decode().strip().split("\n"))
    return fields["event"], json.loads(fields["data"])


def test_news_is_only_what_changed(listener: Listener) -> None:
    names = [name for name, _ in listener.tick()]
    assert names == ["book", "prices", "status", "portfolio"]
    assert listener.tick() == []
    listener.floor.quote([(99.5, 1.0)], [])
    ((name, book),) = listener.tick()
    assert (name, book["bids"][0]) == ("book", ["99.50", "1.00000"])


def test_a_print_is_no_news_of_the_book(listener: Listener) -> None:
    listener.tick()
    listener.floor.print_("100", "1", buyer_is_maker=False)
    assert [name for name, _ in listener.tick()] == ["trades"]


def test_prices_come_four_times_a_second_at_most_and_only_those_that_changed(listener: Listener) -> None:
    listener.tick()
    listener.floor.quote([(99.5, 1.0)], [], "ETHUSDT")
    assert listener.tick(0.1) == []
    ((name, prices),) = listener.tick(0.2)
    assert (name, list(prices)) == ("prices", ["ETHUSDT"])


def test_a_status_comes_every_second_and_at_once_when_a_market_changes_its_state(listener: Listener) -> None:
    listener.tick()
    assert [name for name, _ in listener.tick(1.05)] == ["status"]
    listener.floor.become(FeedState.STALE)
    told = dict(listener.tick(0.1))
    assert told["status"]["feed"]["symbols"]["BTCUSDT"]["state"] == "stale"
    assert told["book"]["state"] == "stale"


def test_prints_are_told_once_oldest_first_and_none_of_before(listener: Listener) -> None:
    floor = listener.floor
    floor.print_("100", "1", buyer_is_maker=False)
    assert "trades" not in dict(listener.tick())
    floor.print_("100", "2", buyer_is_maker=False)
    floor.print_("99", "3", buyer_is_maker=True)
    told = dict(listener.tick())["trades"]
    assert told["symbol"] == "BTCUSDT"
    assert [(row["id"], row["quantity"], row["side"]) for row in told["trades"]] == [
        (2, "2.00000", "buy"),
        (3, "3.00000", "sell"),
    ]
    assert "trades" not in dict(listener.tick())


def test_a_commit_tells_the_orders_it_changed_then_the_portfolio(listener: Listener, client: FlaskClient) -> None:
    placed = client.post(ORDERS, json=BUY).json
    assert [name for name, _ in listener.committed()] == ["order", "portfolio"]
    client.post(ORDERS, json=BUY)
    ((_, order),) = listener.committed()  # in a burst the portfolio waits for the next tick
    assert (placed or {})["id"] < order["id"]
    assert "portfolio" in dict(listener.tick())
    assert listener.committed(frozenset({EVERYBODY})) == []


def test_a_portfolio_follows_its_commit_even_if_a_tick_was_quicker_to_tell_it(
    listener: Listener, client: FlaskClient
) -> None:
    client.post(ORDERS, json=BUY)
    assert "portfolio" in dict(listener.tick(1.05))
    told = [name for name, _ in listener.committed()] + [name for name, _ in listener.tick(0.1)]
    assert told.index("order") < told.index("portfolio")


def test_an_order_filled_bit_by_bit_is_told_with_all_its_fills(listener: Listener, client: FlaskClient) -> None:
    client.post(ORDERS, json={**BUY, "price": "98.5"})
    listener.floor.print_("98.4", "0.2", buyer_is_maker=True)
    listener.floor.print_("98.3", "0.2", buyer_is_maker=True)
    told = [data for name, data in listener.committed() if name == "order"]
    assert [(order["status"], len(order["fills"])) for order in told] == [
        ("new", 0), ("partially_filled", 1), ("partially_filled", 2)
    ]  # fmt: skip
    assert [fill["trade_id"] for fill in told[-1]["fills"]] == [1, 2]


def test_cancelling_all_tells_each_order_under_its_own_number(listener: Listener, client: FlaskClient) -> None:
    for _ in range(3):
        client.post(ORDERS, json={**BUY, "price": "90"})
    listener.committed()
    listener.commits.clear()
    client.delete(ORDERS)
    (commit,) = listener.commits
    frames = [message.frame for message in listener.news.committed(commit, TOPICS)][:3]
    numbers = [int(frame.split(b"\nid: ")[1].split(b"\n")[0]) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == commit.seq


def test_what_is_ahead_of_resting_orders_is_told_when_it_changes_once_a_second(
    listener: Listener, client: FlaskClient
) -> None:
    assert "queue" not in dict(listener.tick())
    joined = str(client.post(ORDERS, json={**BUY, "price": "99"}).json["id"])  # type: ignore[index]  # it is JSON
    alone = str(client.post(ORDERS, json={**BUY, "price": "98.5"}).json["id"])  # type: ignore[index]  # it is JSON
    assert dict(listener.tick(1.05))["queue"] == {joined: "5.00000", alone: "0.00000"}
    assert "queue" not in dict(listener.tick(1.05))
    listener.floor.print_("99", "2", buyer_is_maker=True)
    assert "queue" not in dict(listener.tick(0.1))
    assert dict(listener.tick(1.05))["queue"] == {joined: "3.00000", alone: "0.00000"}
    client.delete(ORDERS)
    assert dict(listener.tick(1.05))["queue"] == {}


def test_an_amended_and_a_triggered_order_are_told(listener: Listener, client: FlaskClient) -> None:
    listener.floor.print_("99.5", "0.1", buyer_is_maker=True)
    resting = client.post(ORDERS, json={**BUY, "price": "98.5"}).json["id"]  # type: ignore[index]  # it is JSON
    client.post(ORDERS, json={**BUY, "type": "stop_limit", "price": "95", "stop_price": "100"})
    listener.committed()
    client.patch(f"{ORDERS}/{resting}", json={"quantity": "0.2"})
    told = [data for name, data in listener.committed() if name == "order"]
    assert [(order["id"], order["quantity"]) for order in told] == [(resting, "0.20000")]
    listener.floor.print_("100", "0.1", buyer_is_maker=False)
    told = [data for name, data in listener.committed() if name == "order"]
    assert [(order["type"], order["status"], order["stage"]) for order in told] == [("stop_limit", "new", "live")]


def test_a_new_epoch_is_a_reset(listener: Listener, client: FlaskClient) -> None:
    client.post(ORDERS, json={**BUY, "price": "90"})
    listener.committed()
    listener.tick()
    listener.tick()
    client.post("/api/v1/account/reset", json={"balances": {"USDT": "5"}})
    names = [name for name, _ in listener.committed()]
    assert names == ["reset", "order", "portfolio"]


def test_the_portfolio_comes_when_the_marks_move_once_a_second(listener: Listener) -> None:
    listener.tick()
    listener.floor.quote([(99.5, 1.0)], [])
    assert "portfolio" not in dict(listener.tick(0.1))
    told = dict(listener.tick(1.0))
    assert told["portfolio"]["positions"]["BTCUSDT"]["market_price"] == "99.75"
    assert "portfolio" not in dict(listener.tick(1.0))


def test_a_stream_without_account_is_ended_when_there_is_one(listener: Listener) -> None:
    topics = frozenset({EVERYBODY, WITHOUT_ACCOUNT})
    account, listener.floor.account_id = listener.floor.account_id, None
    assert "goodbye" not in dict(listener.tick(topics=topics))
    listener.floor.account_id = account
    (message,) = [one for one in listener.news.tick(listener.now_ns, topics) if one.topic == WITHOUT_ACCOUNT]
    assert message.closes


def test_what_a_stream_shows_is_not_dropped_as_unused(listener: Listener) -> None:
    listener.tick()
    assert listener.floor.touched == {"BTCUSDT"}


def test_a_market_that_is_not_there_yet_is_left_out(listener: Listener) -> None:
    topics = frozenset({EVERYBODY, "symbol:XRPUSDT"})
    assert "book" not in dict(listener.tick(topics=topics))
    opening = list(listener.news.welcome(Subscription(topics=topics, after_seq=0, opening=b"")))
    assert [parsed(frame)[0] for frame in opening] == ["status", "prices"]
    listener.floor.follow_live("XRPUSDT")
    assert dict(listener.tick(topics=topics))["book"]["symbol"] == "XRPUSDT"
