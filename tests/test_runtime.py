"""The running program, on the simulated market: it starts, trades, stands by, recovers, and stops."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.servers import ROOT, free_port
from tests.store.desk import together
from trading_engine.binance import venues
from trading_engine.binance.venues import Hosts
from trading_engine.config import Config
from trading_engine.exchange.latency import Latency, LatencyModel
from trading_engine.exchange.messages import CancelOrder, Placed, PlaceOrder, Refused
from trading_engine.exchange.orders import OrderStatus, OrderType, Side, TimeInForce
from trading_engine.runtime import STOP_S, Runtime
from trading_engine.simulator_child import SimulatorChild
from trading_engine.store import StoreUnavailable
from trading_engine.store.writer import SqliteWriter

D = Decimal

pytestmark = pytest.mark.slow


def wait_for(what: str, look: Callable[[], Any], within_s: float = 20.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {within_s:.0f} s for {what}"
        time.sleep(0.01)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Runtime]]:
    """Start runtimes on one data directory; all are stopped at the end."""
    runtimes: list[Runtime] = []

    def start(*, end_process: Callable[[], None] | None = None, **settings: Any) -> Runtime:
        config = Config(**{"market": "simulated", "data_dir": tmp_path, "log_level": "warning", **settings})
        runtime = Runtime(config, end_process=end_process or (lambda: None))
        runtimes.append(runtime)
        runtime.start()
        return runtime

    yield start
    for runtime in runtimes:
        runtime.stop()


def live(runtime: Runtime) -> Runtime:
    def look() -> bool:
        health = runtime.health()
        return bool(health["engine"]["accepting_orders"]) and health["feed"]["state"] == "live"

    wait_for("a live market and an open account", look)
    return runtime


def account_of(runtime: Runtime) -> int:
    assert runtime.account_id is not None
    return runtime.account_id


def order(
    runtime: Runtime, side: Side = Side.BUY, quantity: str = "0.001", price: str | None = None, **more: Any
) -> Placed:
    command: dict[str, Any] = {
        "account_id": account_of(runtime),
        "symbol": "BTCUSDT",
        "side": side,
        "type": OrderType.MARKET if price is None else OrderType.LIMIT,
        "quantity": D(quantity),
        "quote_quantity": None,
        "price": None if price is None else D(price),
        "time_in_force": TimeInForce.GTC,
        "post_only": False,
        "client_order_id": f"order-{time.monotonic_ns()}",
        **more,
    }
    placed, ticket = runtime.place(PlaceOrder(**command))
    if ticket is not None:
        ticket.wait()
    return placed


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code


def test_from_nothing_to_a_filled_order_and_back_after_a_restart(run: Callable[..., Runtime]) -> None:
    first = live(run())
    assert first.venue is not None
    assert (first.venue.name, first.venue.simulated, first.role) == ("simulated", True, "active")
    placed = order(first)
    assert placed.order.status is OrderStatus.FILLED
    resting = order(first, price="50000.00").order
    first.stop()

    second = live(run(symbols=("ETHUSDT",)))
    assert account_of(second) == account_of(first)
    assert second.queries.order(account_of(second), placed.order.id) == placed.order
    (fill, *_) = placed.fills
    kept = second.queries.fill(account_of(second), fill.id)
    assert kept is not None
    assert kept.receipt == fill.receipt is not None
    wait_for("what orders and holdings need to be followed", lambda: "BTCUSDT" in second.markets)
    (cancelled,) = second.submit(CancelOrder(account_id=account_of(second), order_id=resting.id))
    assert cancelled.status is OrderStatus.CANCELLED


def test_with_a_latency_an_order_arrives_later_and_its_answer_comes_later_still(run: Callable[..., Runtime]) -> None:
    runtime = live(run(latency_ms=LatencyModel.parse("fixed:200/300")))
    sent_ms, begun = time.time_ns() // 1_000_000, time.monotonic()
    placed = order(runtime, price="50000.00").order
    assert time.monotonic() - begun >= 0.5
    assert 200 <= placed.created_ms - sent_ms < 500, "it arrived before the answer set out"
    begun = time.monotonic()
    runtime.submit(CancelOrder(account_id=placed.account_id, order_id=placed.id))
    assert time.monotonic() - begun >= 0.5
    begun = time.monotonic()
    assert refused(lambda: order(runtime, price="50000.001")) == "price_filter"
    assert time.monotonic() - begun >= 0.5, "a refusal comes from the exchange as well"


def test_a_stop_does_not_wait_for_orders_that_are_on_their_way(run: Callable[..., Runtime]) -> None:
    sent = threading.Event()

    class Noted(LatencyModel):
        def draw(self, seed: str, key: str) -> Latency:
            sent.set()
            return super().draw(seed, key)

    runtime = live(run(latency_ms=Noted(in_ms=D(10_000), out_ms=D(0))))
    before = runtime.engine.status.seq
    outcome: list[str] = []
    sender = threading.Thread(target=lambda: outcome.append(refused(lambda: order(runtime))))
    sender.start()
    assert sent.wait(20)
    runtime.stop()
    sender.join(STOP_S)
    assert (outcome, runtime.engine.status.seq) == (["standby"], before)


def test_a_second_process_stands_by_and_takes_over(run: Callable[..., Runtime]) -> None:
    first = live(run())
    order(first)
    second = run()
    wait_for("it to stand by", lambda: second.role == "standby")
    health = second.health()
    assert (health["status"], health["engine"]["accepting_orders"]) == ("ok", False)
    assert refused(lambda: second.submit(CancelOrder(account_id=1, order_id=1))) == "standby"
    first.stop()
    live(second)
    assert len(second.queries.orders(account_of(second))) == 1
    assert order(second).created


def test_failed_commits_are_refused_and_the_service_resumes_by_itself(run: Callable[..., Runtime]) -> None:
    runtime = live(run())
    before = runtime.accounts.get(account_of(runtime))
    disk = Disk(runtime)
    disk.full.set()
    outcomes = together(*(lambda: refused(lambda: order(runtime)) for _ in range(4)))
    assert set(outcomes) == {"not_committed"}
    wait_for("health to say why", lambda: "disk is full" in (runtime.health()["engine"]["reason"] or ""))
    assert runtime.health()["status"] == "failing"
    assert refused(lambda: order(runtime)) == "not_committed"
    assert runtime.accounts.get(account_of(runtime)) == before
    disk.full.clear()
    wait_for("orders to be taken again", lambda: runtime.health()["engine"]["accepting_orders"])
    assert order(runtime).created
    runtime.engine.check()


def test_a_store_that_cannot_be_opened_is_said_and_tried_again(run: Callable[..., Runtime], tmp_path: Path) -> None:
    in_the_way = tmp_path / "folder" / "exchange.db"
    in_the_way.mkdir(parents=True)
    runtime = run(database_url=f"sqlite:///{in_the_way}")
    wait_for("health to fail", lambda: runtime.health()["status"] == "failing")
    assert "unable to open" in runtime.health()["engine"]["reason"]
    assert refused(lambda: runtime.submit(CancelOrder(account_id=1, order_id=1))) == "starting"
    in_the_way.rmdir()
    live(runtime)
    assert runtime.health()["status"] == "ok"


def test_a_simulator_that_dies_is_started_again_where_it_was(run: Callable[..., Runtime]) -> None:
    runtime = live(run())
    assert runtime.venue is not None
    address, child = runtime.venue.rest_url, runtime._link._simulator._process
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    wait_for("the loss to be noticed", lambda: runtime.health()["feed"]["state"] != "live")
    assert runtime.health()["status"] == "ok", "a dead venue is not our fault"
    assert refused(lambda: order(runtime)) in {"book_stale", "syncing"}
    live(runtime)
    assert runtime.venue.rest_url == address
    assert order(runtime).created


class Disk:
    """Lets a test fill the disk under a store, and free it again."""

    def __init__(self, runtime: Runtime) -> None:
        self.full = threading.Event()
        store = runtime._store
        self._fence, self._run = store.fence, SqliteWriter.run
        store.fence = self.fence  # type: ignore[method-assign]  # the fault is the test
        writer = runtime._journal._writer
        assert isinstance(writer, SqliteWriter)
        self._writer = writer
        writer.run = self.run  # type: ignore[method-assign]  # as above

    def run(self, statements: Any) -> int:
        if self.full.is_set():
            raise sqlite3.OperationalError("database or disk is full")
        return self._run(self._writer, statements)

    def fence(self) -> None:
        if self.full.is_set():
            raise StoreUnavailable("database or disk is full")
        self._fence()


def test_without_any_exchange_auto_is_the_simulated_market_and_says_why(
    run: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    hosts = Hosts(venue="binance", rest_urls=(f"http://127.0.0.1:{port}",), ws_urls=(f"ws://127.0.0.1:{port}",))
    monkeypatch.setattr(venues, "CANDIDATES", {"auto": (hosts,)})
    runtime = live(run(market="auto"))
    assert runtime.venue is not None
    assert (runtime.venue.name, runtime.venue.simulated) == ("simulated", True)
    assert f"127.0.0.1:{port}" in runtime.venue.reason
    assert runtime.health()["simulated"] is True


def test_with_the_venue_down_the_account_is_there_and_cancels_work(run: Callable[..., Runtime]) -> None:
    port = free_port()
    runtime = run(market_rest_url=f"http://127.0.0.1:{port}", market_ws_url=f"ws://127.0.0.1:{port}")
    wait_for("the account", lambda: runtime.role == "active")
    wait_for("the reason", lambda: runtime.health()["feed"]["reason"])
    health = runtime.health()
    assert (health["status"], health["feed"]["state"], health["venue"]) == ("ok", "down", "custom")
    assert refused(lambda: order(runtime)) == "syncing"
    assert (
        refused(lambda: runtime.submit(CancelOrder(account_id=account_of(runtime), order_id=99))) == "order_not_found"
    )


def test_a_restart_while_the_venue_is_down_knows_the_rules_and_takes_resting_orders(
    run: Callable[..., Runtime], tmp_path: Path
) -> None:
    child = SimulatorChild(tmp_path / "venue.json")
    child.begin()
    rest_url, ws_url = child.addresses(threading.Event())
    first = live(run(market_rest_url=rest_url, market_ws_url=ws_url))
    wait_for("the whole list", lambda: "ETHBTC" in first.symbols)
    order(first)
    first.stop()
    child.end()

    second = run(market_rest_url=rest_url, market_ws_url=ws_url)
    wait_for("the kept rules", lambda: "BTCUSDT" in second.markets)
    wait_for("the account", lambda: second.role == "active")
    wait_for("the feed to be down", lambda: second.health()["feed"]["state"] == "down")
    assert second.health()["status"] == "ok"
    assert refused(lambda: order(second)) == "book_stale"
    waiting = order(second, price="50000.00").order
    assert (waiting.status, waiting.market_seq) == (OrderStatus.NEW, None)
    (cancelled,) = second.submit(CancelOrder(account_id=account_of(second), order_id=waiting.id))
    assert cancelled.status is OrderStatus.CANCELLED


def test_a_venue_none_of_whose_hosts_answers_is_known_from_an_earlier_time(
    run: Callable[..., Runtime], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = SimulatorChild(tmp_path / "venue.json")
    child.begin()
    rest_url, ws_url = child.addresses(threading.Event())
    hosts = Hosts(venue="binance", rest_urls=(rest_url,), ws_urls=(ws_url,))
    monkeypatch.setattr(venues, "CANDIDATES", {"auto": (hosts,), "binance": (hosts,)})
    first = live(run(market="auto"))
    assert first.venue is not None
    assert first.venue.name == "binance"
    wait_for("the whole list", lambda: "ETHBTC" in first.symbols)
    first.stop()
    child.end()

    second = run(market="binance")
    wait_for("the kept rules", lambda: "BTCUSDT" in second.markets)
    wait_for("the account", lambda: second.role == "active")
    waiting = order(second, price="50000.00").order
    assert (waiting.status, waiting.market_seq) == (OrderStatus.NEW, None)
    health = second.health()
    assert (health["status"], health["venue"]) == ("ok", "binance")
    assert "127.0.0.1" in str(health["feed"]["reason"])


def test_a_configured_symbol_the_venue_does_not_list_is_named(run: Callable[..., Runtime]) -> None:
    runtime = run(symbols=("BTCUSDT", "NOPEUSDT"))
    reason = wait_for("the reason", lambda: "NOPEUSDT" in str(runtime.health()["feed"]["reason"]))
    assert reason
    wait_for("the other symbol", lambda: runtime.health()["feed"]["symbols"]["BTCUSDT"]["state"] == "live")
    assert runtime.health()["feed"]["symbols"]["NOPEUSDT"]["state"] == "down"
    assert order(runtime).created


def test_candles_come_with_the_running_one_last(run: Callable[..., Runtime]) -> None:
    runtime = live(run())
    candles = runtime.candles("BTCUSDT", "1m", 10, None)
    assert len(candles) == 10
    assert [candle.closed for candle in candles] == [True] * 9 + [False]
    older = runtime.candles("BTCUSDT", "1m", 5, candles[0].open_time_ms)
    assert older[-1].open_time_ms == candles[0].open_time_ms - 60_000
    assert refused(lambda: runtime.candles("NOPE", "1m", 5, None)) == "unknown_symbol"


def test_a_named_venue_that_calls_itself_simulated_is_shown_so(run: Callable[..., Runtime], tmp_path: Path) -> None:
    child = SimulatorChild(tmp_path / "venue.json")
    child.begin()
    try:
        rest_url, ws_url = child.addresses(threading.Event())
        runtime = live(run(market_rest_url=rest_url, market_ws_url=ws_url))
        assert runtime.venue is not None
        assert (runtime.venue.name, runtime.venue.simulated) == ("custom", True)
        runtime.stop()
    finally:
        child.end()


def test_a_symbol_is_followed_on_first_use_with_what_values_it(run: Callable[..., Runtime]) -> None:
    runtime = live(run(symbols=("SOLUSDT",)))
    wait_for("the whole list", lambda: "ETHBTC" in runtime.symbols)
    assert "ETHBTC" not in runtime.markets
    market = runtime.follow("ETHBTC")
    assert market.view(1).bids
    assert "BTCUSDT" in runtime.markets
    assert refused(lambda: runtime.follow("NOPEUSDT")) == "unknown_symbol"
    assert order(runtime, symbol="ETHUSDT", quantity="0.01").created


def test_a_starting_balance_waits_for_the_price_it_is_valued_at(run: Callable[..., Runtime]) -> None:
    runtime = live(run(symbols=("ETHUSDT",), starting_balance={"USDT": D(1000), "BTC": D(1)}))
    view = runtime.accounts.get(account_of(runtime))
    assert view is not None
    assert view.balances["BTC"].free == 1
    assert view.net_deposits > 1000


def test_an_asset_without_a_price_keeps_the_account_waiting_and_says_so(run: Callable[..., Runtime]) -> None:
    runtime = run(starting_balance={"NOSUCHCOIN": D(1)})
    wait_for("the whole list", lambda: "STARTING_BALANCE" in (runtime.health()["engine"]["reason"] or ""))
    assert runtime.health()["engine"]["reason"] == (
        "the account waits: simulated lists nothing that values NOSUCHCOIN in USDT (STARTING_BALANCE)"
    )
    assert runtime.role == "starting"


def test_a_symbol_that_the_venue_does_not_list_is_named_with_its_setting(run: Callable[..., Runtime]) -> None:
    runtime = run(symbols=("BTCUSDT", "NOPEUSDT"))
    wait_for("the others", lambda: runtime.health()["feed"]["symbols"]["BTCUSDT"]["state"] == "live")
    wait_for("the reason", lambda: runtime.health()["feed"]["symbols"]["NOPEUSDT"]["reason"] != "not followed")
    feed = runtime.health()["feed"]
    assert (feed["state"], feed["reason"]) == ("down", "simulated does not list NOPEUSDT (SYMBOLS)")
    assert runtime.role == "active"


def test_a_fault_of_our_own_halts_and_ends_the_process(run: Callable[..., Runtime]) -> None:
    ended = threading.Event()
    runtime = live(run(end_process=ended.set))
    runtime.engine.halt("the books are off")
    assert refused(lambda: order(runtime)) == "halted"
    assert ended.wait(10)
    health = runtime.health()
    assert (health["status"], health["engine"]["role"]) == ("failing", "halted")
    assert "the books are off" in health["engine"]["reason"]


def test_a_dead_journal_ends_the_process(run: Callable[..., Runtime]) -> None:
    ended = threading.Event()
    runtime = live(run(end_process=ended.set))
    runtime._journal_stop.set()
    assert ended.wait(10)
    assert runtime.role == "halted"
    assert "journal" in runtime.health()["engine"]["dead_threads"]


def test_a_lost_claim_is_stood_by_and_taken_again(run: Callable[..., Runtime], tmp_path: Path) -> None:
    runtime = live(run())
    order(runtime)
    lock_file = tmp_path / "paper-exchange.db.lock"
    lock_file.unlink()
    # Standing by may be over in a blink; a new lock file says that the claim was missed and made again.
    wait_for("it to come back", lambda: lock_file.exists() and runtime.role == "active")
    assert order(runtime).created


def test_stopping_is_quick_complete_and_harmless_to_repeat(run: Callable[..., Runtime]) -> None:
    before = threading.active_count()
    runtime = live(run())
    child = runtime._link._simulator._process
    began = time.monotonic()
    runtime.stop()
    assert time.monotonic() - began < STOP_S
    runtime.stop()
    runtime.start()
    assert threading.active_count() == before
    assert child is not None
    assert child.poll() is not None
    assert refused(lambda: order(runtime)) == "standby"


def test_stopping_what_never_came_up_is_as_quick(run: Callable[..., Runtime]) -> None:
    runtime = run()
    began = time.monotonic()
    runtime.stop()
    assert time.monotonic() - began < STOP_S


def test_importing_the_application_starts_no_thread_and_opens_no_file(tmp_path: Path) -> None:
    code = "import threading, wsgi; print(threading.active_count())"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path / "data")}
    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert said.stdout == "1\n"
    assert list((tmp_path / "data").iterdir()) == []


def test_the_database_command_brings_the_tables_up_to_date(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
    said = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert said.stdout.endswith("paper-exchange.db is up to date\n")
    with sqlite3.connect(tmp_path / "paper-exchange.db") as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (0,)
    connection.close()
