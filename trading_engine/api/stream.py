"""The live stream: who may open one, and what is said on it.

The view authorises and gathers what a resuming client missed; then the socket leaves for the broadcaster, whose thread
asks `StreamNews` for messages. Nothing here runs on a feed's or the journal's thread. Where the server cannot give its
socket away (Flask's development server), a pair of sockets stands in between, and the response reads from it.
"""

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from trading_engine import __version__
from trading_engine.api import current_runtime
from trading_engine.api.accounts import portfolio_answer
from trading_engine.api.answers import Json, book_json, fixed_or_none, price_json, symbol_decimals, trade_json
from trading_engine.api.auth import SECURITY_HEADERS
from trading_engine.api.operations import operation
from trading_engine.api.orders import order_answer, queues_ahead, stored_answers
from trading_engine.api.problems import Problem
from trading_engine.api.schemas import LARGEST_ID, StreamQuery
from trading_engine.broadcast import GOODBYE, RESET, Commit, Message, Subscription, TooManyStreams, frame
from trading_engine.exchange.messages import (
    AccountOpened,
    AccountReset,
    Batch,
    Event,
    OrderAccepted,
    OrderFilled,
    Refused,
)
from trading_engine.exchange.orders import Fill, Order
from trading_engine.runtime import Runtime

blueprint = Blueprint("stream", __name__)

MOST_REPLAYED = 1_000
"""Events a resuming stream is brought up to date with; beyond, it is told to fetch everything again."""

LEVELS = 20
MOST_QUEUED = 100
"""Resting orders, the newest, whose place in the queue a stream tells; of others `GET /orders` does."""

MOST_TRADES = 500
"""Prints in one message; a market prints less in a tenth of a second."""

PRICES_NS = 250_000_000
STATUS_NS = 1_000_000_000
PORTFOLIO_NS = 1_000_000_000
TOUCH_NS = 10_000_000_000
"""How often a symbol followed on demand is told that a stream still shows it."""

HEADERS = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
)
RETRY = b"retry: 1000\n\n"
"""How long a browser waits before it connects again, in ms."""

EVERYBODY = "everybody"
WITHOUT_ACCOUNT = "without-account"
"""Topic of streams opened before there was an account: they end when it is there, and come back."""


@operation(blueprint, "GET /api/v1/stream", query=StreamQuery, answers={200: []}, media_type="text/event-stream",
           refusals=("unknown_symbol", "too_many_streams"))  # fmt: skip
def open_stream(query: dict[str, Any]) -> Response:
    """Stream what changes, as server-sent events with JSON data.

    `hello` first; then `status` (as /health), `prices` (changed symbols), `book` (20 levels a side) and `trades` of the
    chosen symbols, `order` (with its fills; the event id is the journal's sequence), `portfolio`, and `queue` (order id
    to what is ahead of it). After a reconnect with `Last-Event-ID` the orders changed since then are sent again;
    `reset` says that too much was missed, and all must be fetched again. `goodbye` says that the server stops.
    """
    if request.method != "GET":  # Flask adds HEAD to every GET
        return Response(headers=list(HEADERS))
    runtime = current_runtime()
    symbols = query["symbols"].split(",") if query["symbols"] else list(runtime.config.symbols)
    for symbol in symbols:
        _follow(runtime, symbol)
    subscription = _subscription(runtime, symbols, request.headers.get("Last-Event-ID", type=_sequence))
    hand_over = request.environ.get("paper_exchange.hand_over")
    try:
        if hand_over is not None:
            head = "".join(f"{name}: {value}\r\n" for name, value in (*HEADERS, *SECURITY_HEADERS))
            octets = f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n".encode("latin-1")
            hand_over(lambda sock: runtime.broadcaster.adopt(sock, octets, subscription))
            return Response()
        return Response(_relay(runtime, subscription), headers=list(HEADERS))
    except TooManyStreams:
        raise Problem("too_many_streams", "The server has as many streams as it takes, or is stopping.") from None


def _sequence(text: str) -> int:
    sequence = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else LARGEST_ID
    return min(sequence, LARGEST_ID)


def _follow(runtime: Runtime, symbol: str) -> None:
    """Begin to follow a symbol; a stream may open while its book is still being fetched."""
    try:
        runtime.follow(symbol)
    except Refused as refused:
        # What the operator has set is streamed all the same: `status` says what is wrong with it.
        known = symbol in runtime.markets or symbol in runtime.config.symbols
        if not known and (refused.code == "unknown_symbol" or runtime.symbols):
            raise


def _subscription(runtime: Runtime, symbols: Sequence[str], last_event_id: int | None) -> Subscription:
    account = runtime.account_id
    view = runtime.accounts.get(account) if account is not None else None
    topics = {EVERYBODY, *(f"symbol:{symbol}" for symbol in symbols)}
    topics.add(WITHOUT_ACCOUNT if view is None else f"account:{view.account.id}")
    seq = view.seq if view is not None else 0
    venue = runtime.venue
    hello = {
        "version": __version__,
        "venue": venue.name if venue is not None else None,
        "simulated": venue is not None and venue.simulated,
        "account": view.account.name if view is not None else None,
        "seq": seq,
        "server_time_ms": time.time_ns() // 1_000_000,
    }
    opening = [RETRY, frame("hello", msgspec.json.encode(hello), seq)]
    if view is not None and last_event_id is not None:
        opening += _missed(runtime, view.account.id, last_event_id, seq)
    return Subscription(topics=frozenset(topics), after_seq=seq, opening=b"".join(opening))


def _missed(runtime: Runtime, account: int, after_seq: int, seq: int) -> list[bytes]:
    """Return the frames of the orders that changed after `after_seq`, or a reset."""
    events = runtime.queries.events_after(account, after_seq, MOST_REPLAYED) if after_seq <= seq else ()
    if after_seq > seq or len(events) == MOST_REPLAYED or _begins_anew(events):
        return [RESET]
    changed = _last_seqs(events)
    orders = [
        order for order in (runtime.queries.order(account, order_id) for order_id in changed) if order is not None
    ]
    return [
        frame("order", msgspec.json.encode(answer), changed[answer["id"]])
        for answer in sorted(stored_answers(runtime, orders), key=lambda answer: changed[answer["id"]])
    ]


def _begins_anew(events: Iterable[Event]) -> bool:
    """Whether an epoch began: then nothing a client holds is current."""
    return any(isinstance(event, (AccountOpened, AccountReset)) for event in events)


def _last_seqs(events: Iterable[Event]) -> dict[int, int]:
    """Return each order's last event, by order id."""
    changed: dict[int, int] = {}
    for event in events:
        if isinstance(event, OrderAccepted):
            changed[event.order.id] = event.seq
        elif isinstance(event, OrderFilled):
            changed[event.fill.order_id] = event.seq
        elif not isinstance(event, (AccountOpened, AccountReset)):
            changed[event.order_id] = event.seq
    return changed


def _relay(runtime: Runtime, subscription: Subscription) -> Iterator[bytes]:
    """Open the stream on one end of a pair of sockets and return what comes out of the other."""
    ours, theirs = socket.socketpair()
    try:
        runtime.broadcaster.adopt(theirs, b"", subscription)
    except BaseException:
        ours.close()
        theirs.close()
        raise
    return _received(ours)


def _received(sock: socket.socket) -> Iterator[bytes]:
    with sock:
        while octets := sock.recv(64 * 1024):
            yield octets


class StreamNews:
    """Makes the messages of all streams; used by the broadcaster's thread alone."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._books: dict[str, object] = {}
        self._last_trades: dict[str, int] = {}
        self._prices: dict[str, object] = {}
        self._portfolios: dict[int, Json] = {}
        self._queues: dict[int, Json] = {}
        self._told: set[int] = set()
        self._untold: set[int] = set()
        self._states: object = None
        self._prices_due = self._status_due = self._portfolios_due = self._touch_due = 0

    def welcome(self, subscription: Subscription) -> Iterator[bytes]:
        """Say how everything stands that the new stream listens to."""
        runtime = self._runtime
        yield frame("status", msgspec.json.encode(runtime.health()))
        prices = {name: price_json(market.view(1)) for name, market in sorted(runtime.markets.items())}
        yield frame("prices", msgspec.json.encode(prices))
        for symbol in _named("symbol:", subscription.topics):
            market = runtime.markets.get(symbol)
            if market is not None:
                yield frame("book", msgspec.json.encode(book_json(market.view(LEVELS))))
        for account in _named("account:", subscription.topics):
            view = runtime.accounts.get(int(account))
            if view is not None:
                yield frame("portfolio", msgspec.json.encode(portfolio_answer(runtime, view)))

    def tick(self, now_ns: int, topics: AbstractSet[str]) -> list[Message]:
        """Look at the markets, and at the rest when it is due."""
        news: list[Message] = []
        symbols = _named("symbol:", topics)
        for symbol in symbols:
            news += self._market(symbol)
        for symbol in self._books.keys() - symbols:
            del self._books[symbol]
            self._last_trades.pop(symbol, None)
        if now_ns >= self._touch_due:
            self._touch_due = now_ns + TOUCH_NS
            self._runtime.touch(symbols)
        if now_ns >= self._prices_due:
            self._prices_due = now_ns + PRICES_NS
            news += self._changed_prices()
        states = self._feed_states()
        if now_ns >= self._status_due or states != self._states:
            self._status_due = now_ns + STATUS_NS
            self._states = states
            news.append(_message(EVERYBODY, "status", self._runtime.health()))
        news += self._of_accounts(now_ns, topics)
        if WITHOUT_ACCOUNT in topics and self._account_is_there():
            news.append(Message(topic=WITHOUT_ACCOUNT, frame=GOODBYE, closes=True))
        return news

    def _of_accounts(self, now_ns: int, topics: AbstractSet[str]) -> Iterator[Message]:
        self._told.clear()
        looks_at_marks = now_ns >= self._portfolios_due
        if looks_at_marks:
            self._portfolios_due = now_ns + PORTFOLIO_NS
        for account in map(int, _named("account:", topics)):
            if account in self._untold or looks_at_marks:
                yield from self._portfolio(account)
            if looks_at_marks:
                yield from self._queue(account)

    def committed(self, commit: Commit, topics: AbstractSet[str]) -> list[Message]:
        """Tell each account's streams which of its orders changed, and what it now has."""
        assert isinstance(commit, Batch)
        news: list[Message] = []
        for account in dict.fromkeys(event.account_id for event in commit.events):
            topic = f"account:{account}"
            if topic not in topics:
                continue
            events = [event for event in commit.events if event.account_id == account]
            if _begins_anew(events):
                news.append(Message(topic=topic, frame=RESET))
            changed = _last_seqs(events)
            orders = [order for order in commit.orders if order.id in changed]
            ahead = queues_ahead(self._runtime, orders)
            for order in sorted(orders, key=lambda order: changed[order.id]):
                answer = order_answer(self._runtime, order, self._fills(order, commit), ahead.get(order.id))
                news.append(Message(topic=topic, frame=frame("order", msgspec.json.encode(answer), changed[order.id])))
            self._portfolios.pop(account, None)  # to be told after its commit, also when a tick was quicker to tell it
            self._untold.add(account)
            if account not in self._told:  # in a burst of commits, once a tick
                news += self._portfolio(account)
        return news

    def _fills(self, order: Order, commit: Batch) -> Sequence[Fill]:
        """Return all fills of an order: mostly they are all in the commit, else earlier ones are in the store."""
        fills = [fill for fill in commit.fills if fill.order_id == order.id]
        if sum(fill.quantity for fill in fills) == order.filled_quantity:
            return fills
        return self._runtime.queries.fills_of([order.id])[order.id]

    def _market(self, symbol: str) -> Iterator[Message]:
        market = self._runtime.markets.get(symbol)
        if market is None:
            return
        view = market.view(LEVELS)
        shown = (view.update_id, view.state, view.bids, view.asks)
        if self._books.get(symbol) != shown:
            self._books[symbol] = shown
            yield _message(f"symbol:{symbol}", "book", book_json(view))
        newest = view.last_trade.id if view.last_trade is not None else 0
        last = self._last_trades.setdefault(symbol, newest)
        if newest > last:
            self._last_trades[symbol] = newest
            trades = [trade_json(trade, view.symbol) for trade in market.trades(after_id=last, limit=MOST_TRADES)]
            yield _message(f"symbol:{symbol}", "trades", {"symbol": symbol, "trades": trades})

    def _changed_prices(self) -> Iterator[Message]:
        changed: dict[str, Json] = {}
        for symbol, market in sorted(self._runtime.markets.items()):
            view = market.view(1)
            shown = (view.seq, view.state)  # a market goes stale without a message
            if self._prices.get(symbol) != shown:
                self._prices[symbol] = shown
                changed[symbol] = price_json(view)
        if changed:
            parts = tuple(
                (f"prices:{name}", frame("prices", msgspec.json.encode({name: changed[name]}))) for name in changed
            )
            yield Message(
                topic=EVERYBODY, frame=frame("prices", msgspec.json.encode(changed)), key="prices", parts=parts
            )

    def _portfolio(self, account: int) -> Iterator[Message]:
        """Tell what an account is worth, unless nothing has changed since it was last told."""
        self._untold.discard(account)
        view = self._runtime.accounts.get(account)
        if view is None:
            return
        answer = portfolio_answer(self._runtime, view)
        figures = {name: value for name, value in answer.items() if name != "as_of"}
        if self._portfolios.get(account) != figures:
            self._portfolios[account] = figures
            self._told.add(account)
            yield _message(f"account:{account}", "portfolio", answer)

    def _queue(self, account: int) -> Iterator[Message]:
        """Tell what is ahead of an account's resting orders, when that has changed."""
        view = self._runtime.accounts.get(account)
        if view is None:
            return
        orders = list(view.open_orders.values())[-MOST_QUEUED:]
        figures = {
            str(order_id): fixed_or_none(
                ahead, symbol_decimals(self._runtime.symbols.get(view.open_orders[order_id].symbol))[1]
            )
            for order_id, ahead in queues_ahead(self._runtime, orders).items()
        }
        if self._queues.get(account, {}) != figures:
            self._queues[account] = figures
            yield _message(f"account:{account}", "queue", figures)

    def _feed_states(self) -> object:
        """What makes a status urgent when it changes."""
        runtime = self._runtime
        markets = runtime.markets
        states = [markets[symbol].view(1).state for symbol in runtime.config.symbols if symbol in markets]
        return (runtime.role, runtime.venue, states)

    def _account_is_there(self) -> bool:
        account = self._runtime.account_id
        return account is not None and self._runtime.accounts.get(account) is not None


def _message(topic: str, event: str, body: Json) -> Message:
    return Message(topic=topic, frame=frame(event, msgspec.json.encode(body)), key=f"{topic} {event}")


def _named(prefix: str, topics: AbstractSet[str]) -> list[str]:
    return sorted(topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix))
