"""An exchange floor for the API's tests: the real engine, journal, store and markets behind the real application.

Only the venue is missing: a test states the book, and prints, itself.
"""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from tests.exchange.fakes import symbol
from trading_engine.api.operations import Answer, Operation
from trading_engine.api.shapes import ProblemAnswer
from trading_engine.app import create_app
from trading_engine.broadcast import Broadcaster
from trading_engine.config import Config
from trading_engine.exchange.accounts import Accounts
from trading_engine.exchange.candles import Candle
from trading_engine.exchange.door import Ticket
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.market import FeedState, Market, MarketChange, Ticker, Trade
from trading_engine.exchange.messages import Batch, OpenAccount, Placed, PlaceOrder, Preview, Refused
from trading_engine.store.database import Store
from trading_engine.store.journal import Journal
from trading_engine.store.queries import Queries
from trading_engine.telemetry import Metrics

D = Decimal
VENUE = SimpleNamespace(name="binance", simulated=False, rest_url="", ws_url="", reason="")
BTC = symbol()
ETH = symbol("ETHUSDT", "ETH", tick_size=D("0.01"), step_size=D("0.0001"))
STILL_NS = 1_000_000_000
"""The markets' clock stands still: a book goes stale when the test says so."""

BOOK = ([(99.0, 5.0), (98.0, 10.0)], [(100.0, 1.0), (101.0, 2.0), (102.0, 40.0)])


class Floor:
    """Stands in for the runtime: all of it that the API uses, without a venue."""

    def __init__(self, database: Path, config: Config) -> None:
        self.config = config
        self.store = Store(f"sqlite:///{database}")
        self.store.claim()
        self.accounts = Accounts()
        self.queries = Queries(self.store)
        self.metrics = Metrics()
        self.broadcaster = Broadcaster()
        self.journal = Journal(self.store, self._publish, lambda _fault: None)
        self.symbols = {"BTCUSDT": BTC, "ETHUSDT": ETH, "XRPUSDT": symbol("XRPUSDT", "XRP")}
        self.markets: dict[str, Market] = {}
        self.venue: Any = VENUE
        self.role = "active"
        self.engine = Engine(
            journal=self.journal,
            markets=self.markets,
            now_ms=lambda: time.time_ns() // 1_000_000,
            maker_fee_rate=config.maker_fee_rate,
            taker_fee_rate=config.taker_fee_rate,
        )
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=work, args=(self._stop,), name=name, daemon=True)
            for name, work in (("journal", self.journal.run), ("broadcaster", self.broadcaster.run))
        ]
        self.account_id: int | None = None
        self.touched: set[str] = set()
        self.candle_calls: list[tuple[str, str, int, int | None]] = []

    def open(self) -> None:
        """Begin trading: both books live, one account."""
        for thread in self._threads:
            thread.start()
        state = self.store.load(time.time_ns() // 1_000_000)
        self.journal.reopen(self.engine.load(state))
        self.accounts.load(state)
        self.follow_live("BTCUSDT")
        self.follow_live("ETHUSDT")
        opening = OpenAccount(name="default", venue="binance", balances={"USDT": D(100_000), "BTC": D(1)})
        self.account_id = self.engine.submit(opening).id

    def close(self) -> None:
        """Tell the threads to end. Nobody waits for them: the journal may take a fifth of a second to notice."""
        self._stop.set()
        self.store.release()

    def settle(self) -> None:
        """Wait until what the market did is stored: feeds, unlike callers, do not wait for that."""
        deadline = time.monotonic() + 5
        while (view := self.accounts.get(self.account_id or 0)) is None or view.seq < self.engine.status.seq:
            assert time.monotonic() < deadline, "the journal does not commit"
            time.sleep(0.001)

    def _publish(self, batch: Batch) -> None:
        self.accounts.apply(batch)
        self.broadcaster.publish(batch)

    def follow_live(self, name: str) -> None:
        self.markets[name] = Market(
            self.symbols[name], monotonic_ns=lambda: STILL_NS, wall_ms=lambda: time.time_ns() // 1_000_000
        )
        self.tell(self.markets[name].load_snapshot(1, *BOOK, limit=1000))
        self.tell(self.markets[name].connection_alive(STILL_NS))

    def tell(self, change: MarketChange | None) -> None:
        if change is not None and change.symbol in self.engine.watched:
            self.engine.on_market(change)
            self.settle()

    def quote(self, bids: list[tuple[float, float]], asks: list[tuple[float, float]], name: str = "BTCUSDT") -> None:
        """Change the book: only the levels that are named, a quantity of 0 takes one away."""
        market = self.markets[name]
        self.tell(market.apply_diff(market.view(1).update_id + 1, bids, asks, time.time_ns() // 1_000_000))

    def print_(self, price: str, quantity: str, *, buyer_is_maker: bool, name: str = "BTCUSDT") -> None:
        market = self.markets[name]
        last = market.view(1).last_trade
        trade = Trade(
            id=(last.id if last else 0) + 1, price=D(price), quantity=D(quantity), buyer_is_maker=buyer_is_maker,
            time_ms=time.time_ns() // 1_000_000,
        )  # fmt: skip
        self.tell(market.apply_trade(trade))

    def day(self, name: str = "BTCUSDT") -> None:
        ticker = Ticker(
            price_change_percent=D("-1.250"), open_price=D("101.00"), high_price=D("105.5"), low_price=D(95),
            volume=D("1234.50000"), quote_volume=D("123450.00000000"), time_ms=1,
        )  # fmt: skip
        self.tell(self.markets[name].apply_ticker(ticker))

    def become(self, state: FeedState, name: str = "BTCUSDT") -> None:
        self.tell(self.markets[name].set_unready(state, "as the test says"))

    # What the API asks of the runtime.

    def follow(self, name: str, timeout_s: float = 3) -> Market:
        if name not in self.symbols:
            raise Refused("unknown_symbol", f"the venue has no symbol {name}", "symbol")
        if name not in self.markets:
            raise Refused("syncing", f"{name} is being fetched")
        return self.markets[name]

    def submit(self, command: Any) -> Any:
        return self.engine.submit(command)

    def place(self, command: PlaceOrder, *, new_id: bool = False) -> tuple[Placed, Ticket | None]:
        if command.symbol not in self.markets:
            self.follow(command.symbol)
        return self.engine.place(command, None if new_id else self.queries.order_by_client_id)

    def preview(self, command: PlaceOrder) -> Preview:
        if command.symbol not in self.markets:
            self.follow(command.symbol)
        return self.engine.preview(command)

    def touch(self, symbols: list[str]) -> None:
        self.touched |= set(symbols)

    def candles(self, name: str, interval: str, limit: int, before_ms: int | None) -> tuple[Candle, ...]:
        self.candle_calls.append((name, interval, limit, before_ms))
        return self.markets[name].minute_candles()[-limit:]

    def health(self) -> dict[str, Any]:
        states = {name: market.view(1) for name, market in self.markets.items()}
        live = all(view.state is FeedState.LIVE for view in states.values())
        return {
            "status": "ok" if self.role in {"active", "standby"} else "starting",
            "venue": self.venue.name,
            "simulated": self.venue.simulated,
            "feed": {
                "state": "live" if live else "stale",
                "reason": None,
                "symbols": {name: {"state": view.state, "age_ms": view.age_ms} for name, view in states.items()},
            },
            "engine": {"role": self.role},
            "version": "0",
            "uptime_s": 1.5,
        }


def said(answer: TestResponse) -> Any:
    """Return an answer's JSON."""
    assert answer.is_json, answer.text
    return answer.json


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a migrated database: making one takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    store.release()
    return path.read_bytes()


@pytest.fixture
def config() -> Config:
    return Config(symbols=("BTCUSDT", "ETHUSDT"))


class Client(FlaskClient):
    """A client that holds every answer against the API's own description."""

    def open(self, *args: Any, **options: Any) -> TestResponse:
        """Send a request."""
        answer = super().open(*args, **options)
        check_answer(self.application, answer)
        return answer


def check_answer(app: Flask, answer: TestResponse) -> None:
    """Fail unless the answer is one that the OpenAPI document announces."""
    if answer.request.method == "HEAD":
        return
    if answer.mimetype == "application/problem+json":
        problem = said(answer)
        assert problem["status"] == answer.status_code
        assert ProblemAnswer().validate(problem) == {}
        return
    try:
        endpoint, _ = app.url_map.bind("localhost").match(answer.request.path, method=answer.request.method)
    except HTTPException:
        return  # the page's files, which no blueprint serves
    described = app.view_functions[endpoint]
    assert isinstance(described, Operation), f"{endpoint} is not described"
    assert answer.status_code in described.answers, f"{endpoint} does not announce {answer.status_code}"
    assert answer.mimetype == described.media_type
    shapes = described.answers[answer.status_code]
    faults = [fault for fault in (_misshapen(shape, answer) for shape in shapes) if fault]
    assert len(faults) == max(0, len(shapes) - 1), faults


def _misshapen(shape: Answer, answer: TestResponse) -> Any:
    if shape.by_symbol:
        return [fault for value in said(answer).values() if (fault := shape.schema().validate(value))]
    if answer.headers.get("Content-Encoding") == "gzip":
        return shape.schema().validate(json.loads(gzip.decompress(answer.data)))
    return shape.schema().validate(said(answer))


@contextmanager
def trading(empty_database: bytes, folder: Path, config: Config) -> Iterator[Floor]:
    """Open a floor, and audit its books when it closes."""
    database = folder / "exchange.db"
    database.write_bytes(empty_database)
    floor = Floor(database, config)
    floor.open()
    yield floor
    floor.engine.check()
    floor.close()


def client_of(floor: Floor) -> FlaskClient:
    """Return a client of a floor's API."""
    app = create_app(floor.config, runtime=floor)  # type: ignore[arg-type]  # a floor is all the API needs of a runtime
    app.test_client_class = Client
    return app.test_client()


@pytest.fixture
def floor(empty_database: bytes, tmp_path: Path, config: Config) -> Iterator[Floor]:
    """A floor that trades."""
    with trading(empty_database, tmp_path, config) as opened:
        yield opened


@pytest.fixture
def client(floor: Floor) -> FlaskClient:
    """A client of that floor."""
    return client_of(floor)


@pytest.fixture(scope="module")
def still_floor(empty_database: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    """A floor for a whole module of tests that must not change anything on it."""
    with trading(empty_database, tmp_path_factory.mktemp("floor"), Config(symbols=("BTCUSDT", "ETHUSDT"))) as opened:
        seq = opened.engine.status.seq
        yield opened
        assert opened.engine.status.seq == seq


@pytest.fixture(scope="module")
def reader(still_floor: Floor) -> FlaskClient:
    """A client of that floor."""
    return client_of(still_floor)
