"""Whatever was traded: what the store gives back is what memory held, to the last digit."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.desk import D, Desk, comparable, market
from trading_engine.exchange import history
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import CancelAll, CancelOrder, Event, Refused, ResetAccount
from trading_engine.exchange.orders import Side
from trading_engine.store import Queries, Store
from trading_engine.store.loading import RECENT_MS

Action = tuple[Any, ...]

_numbers = itertools.count()

sides = st.sampled_from(Side)
quantities = st.integers(1, 3_000_000).map(lambda lots: str(D(lots) * D("0.00001")))
prices = st.integers(9_700, 10_300).map(lambda ticks: str(D(ticks) * D("0.01")))
symbols = st.sampled_from(("BTCUSDT", "ETHBTC"))
actions = st.one_of(
    st.tuples(st.just("market"), sides, quantities, symbols),
    st.tuples(st.just("limit"), sides, quantities, prices, symbols),
    st.tuples(st.just("limit"), sides, quantities, prices, symbols),
    st.tuples(st.just("print"), quantities, prices, st.booleans()),
    st.tuples(st.just("stale")),
    st.tuples(st.just("live")),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("cancel all")),
    st.tuples(st.just("reset"), st.integers(1, 10**14)),
    st.tuples(st.just("wait"), st.integers(1, RECENT_MS)),
    st.tuples(st.just("fail")),
)


def act(desk: Desk, action: Action) -> None:  # noqa: C901 - one case an action
    """Do one thing; a refusal is one of the things that may happen."""
    book = desk.markets["BTCUSDT"]
    try:
        match action:
            case ("market", side, quantity, symbol):
                desk.place(side, quantity, symbol=symbol)
            case ("limit", side, quantity, price, symbol):
                desk.place(side, quantity, price, symbol=symbol)
            case ("print", quantity, price, buyer_is_maker):
                desk.engine.on_market(book.print_(price, quantity, buyer_is_maker=buyer_is_maker))
            case ("stale",):
                desk.engine.on_market(book.become(FeedState.STALE, "silent"))
            case ("live",):
                desk.engine.on_market(book.become(FeedState.LIVE))
            case ("cancel", n):
                orders = desk.engine.state().orders
                if orders:
                    desk.engine.submit(CancelOrder(account_id=desk.account_id, order_id=orders[n % len(orders)].id))
            case ("cancel all",):
                desk.engine.submit(CancelAll(account_id=desk.account_id, symbol=None))
            case ("reset", amount):
                balances = {"USDT": D(amount) * D("0.00000001"), "ETH": D("2.5")}
                desk.engine.submit(ResetAccount(account_id=desk.account_id, balances=balances))
            case ("wait", ms):
                desk.clock.now_ms += ms
            case ("fail",):
                desk.store.fence()  # a commit under way is refused from here on, until memory is loaded again
                desk.reload()
    except Refused:
        return


def trade(store: Store, steps: list[Action]) -> None:
    quotes = market("ETHUSDT", "ETH"), market("ETHBTC", "ETH", "BTC")
    with Desk(store, market(), *quotes) as desk:
        for step in steps:
            act(desk, step)
        desk.engine.submit(CancelAll(account_id=desk.account_id, symbol="NOTHING"))  # waits for all that went before
    live, now = desk.engine.state(), desk.clock.now_ms
    desk.engine.check()
    stored = comparable(store.load(now))
    kept = {order.id: order for order in live.orders if order.is_open or order.updated_ms >= now - RECENT_MS}
    assert stored == comparable(live) | {"orders": kept}
    queries = Queries(store)
    for order in live.orders:
        assert queries.order(desk.account_id, order.id) == order
        fills = queries.fills_of([order.id])[order.id]
        assert sum((fill.quantity for fill in fills), D(0)) == order.filled_quantity
        assert sum((fill.quote_amount for fill in fills), D(0)) == order.filled_quote
    rebuilt = history.rebuild(all_events(queries, desk.account_id))
    assert comparable(rebuilt)["balances"] == stored["balances"], "the events alone tell the balances"
    assert comparable(rebuilt)["positions"] == stored["positions"]


def all_events(queries: Queries, account_id: int) -> list[Event]:
    return list(queries.events_after(account_id, 0, 100_000))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(actions, max_size=30))
def test_a_restart_gives_back_exactly_what_memory_held(tmp_path: Path, migrated: Path, steps: list[Action]) -> None:
    path = tmp_path / f"{next(_numbers)}.db"
    shutil.copyfile(migrated, path)
    store = Store(f"sqlite:///{path}")
    assert store.claim()
    try:
        trade(store, steps)
    finally:
        store.release()


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(runs=st.lists(actions, min_size=10, max_size=40))
def test_and_so_does_postgres(postgres: str, runs: list[Action]) -> None:
    store = Store(postgres)
    assert store.claim()
    try:
        with store._writing() as connection:
            for table in ("events", "accounts", "epochs", "orders", "fills", "entries", "balances", "positions"):
                connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql("DELETE FROM system_balances")
            connection.exec_driver_sql("UPDATE claim SET seq = 0")
        trade(store, runs)
    finally:
        store.release()


def test_an_order_closed_long_ago_is_left_in_the_store(store: Store) -> None:
    with Desk(store) as desk:
        old = desk.buy("0.01").order
        resting = desk.buy("0.01", "90.00").order
        desk.clock.now_ms += RECENT_MS + 1
        recent = desk.buy("0.01").order
        loaded = store.load(desk.clock.now_ms)
        assert [order.id for order in loaded.orders] == [resting.id, recent.id]
        assert Queries(store).order(desk.account_id, old.id) == old


def test_an_old_order_cancelled_lately_is_loaded(store: Store) -> None:
    with Desk(store) as desk:
        resting = desk.buy("0.01", "90.00").order
        desk.clock.now_ms += RECENT_MS + 1
        (cancelled,) = desk.engine.submit(CancelOrder(account_id=desk.account_id, order_id=resting.id))
        assert store.load(desk.clock.now_ms).orders == (cancelled,)


def test_a_store_whose_log_was_cut_is_not_traded_on(store: Store) -> None:
    with Desk(store) as desk:
        desk.buy("0.01")
    with store._writing() as connection:
        connection.exec_driver_sql("DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)")
    with pytest.raises(Exception, match="damaged"):
        store.load(desk.clock.now_ms)
