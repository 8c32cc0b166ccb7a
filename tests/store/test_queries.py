"""Questions to history: pages, filters, and walls between accounts."""

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.store.desk import D, Desk, market
from trading_engine.exchange.messages import (
    Account,
    CancelOrder,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    Refused,
    ResetAccount,
)
from trading_engine.exchange.orders import Certainty, Fill, Order, OrderStatus
from trading_engine.store import Queries, Store
from trading_engine.store.tables import is_open, orders


def ids(rows: Sequence[Account | Order | Fill]) -> list[int]:
    return [row.id for row in rows]


def test_orders_come_newest_first_page_by_page(store: Store) -> None:
    with Desk(store) as desk:
        placed = [desk.buy("0.01").order.id for _ in range(7)]
        queries = Queries(store)
        pages, before = [], None
        while page := queries.orders(desk.account_id, limit=3, before_id=before):
            pages.append(ids(page))
            before = page[-1].id
        assert pages == [placed[:3:-1], placed[3:0:-1], placed[:1]]


def test_filters_narrow_the_list(store: Store) -> None:
    with Desk(store, market(), market("ETHUSDT", "ETH")) as desk:
        filled = desk.buy("0.01").order.id
        resting = desk.buy("0.01", "90.00").order.id
        other = desk.buy("0.01", "90.00", symbol="ETHUSDT").order.id
        desk.engine.submit(CancelOrder(account_id=desk.account_id, order_id=other))
        queries = Queries(store)

        def found(**wanted: object) -> list[int]:
            return ids(queries.orders(desk.account_id, **wanted))  # type: ignore[arg-type]  # keywords of the call

        assert found() == [other, resting, filled]
        assert found(status="open") == [resting]
        assert found(status="closed") == [other, filled]
        assert found(status="cancelled") == [other]
        assert found(status="filled") == [filled]
        assert found(symbol="ETHUSDT") == [other]
        assert found(symbol="BTCUSDT", status="open") == [resting]
        assert found(symbol="SOLUSDT") == []
        assert found(limit=1) == [other]
        cancelled = queries.order(desk.account_id, other)
        assert cancelled is not None
        assert cancelled.status is OrderStatus.CANCELLED


def test_an_old_epoch_stays_readable_and_apart(store: Store) -> None:
    with Desk(store) as desk:
        before = desk.buy("0.01", client_order_id="mine").order
        desk.engine.submit(ResetAccount(account_id=desk.account_id, balances={"USDT": D(1000)}))
        after = desk.buy("0.02", client_order_id="mine").order
        queries = Queries(store)
        assert ids(queries.orders(desk.account_id, epoch=1)) == [before.id]
        assert ids(queries.orders(desk.account_id, epoch=2)) == [after.id]
        assert ids(queries.orders(desk.account_id, epoch=3)) == []
        assert ids(queries.orders(desk.account_id)) == [after.id, before.id]
        assert [fill.order_id for fill in queries.fills(desk.account_id, epoch=1)] == [before.id]
        assert queries.order_by_client_id(desk.account_id, 1, "mine") == before
        assert queries.order_by_client_id(desk.account_id, 2, "mine") == after
        assert queries.order_by_client_id(desk.account_id, 2, "Mine") is None


def test_accounts_are_walls(store: Store) -> None:
    with Desk(store) as desk:
        other = desk.open("other")
        theirs = desk.buy("0.01", client_order_id="secret", account_id=other)
        queries = Queries(store)
        assert queries.order(desk.account_id, theirs.order.id) is None
        assert queries.order_by_client_id(desk.account_id, 1, "secret") is None
        assert queries.orders(desk.account_id) == ()
        assert queries.fills(desk.account_id) == ()
        assert queries.fills(desk.account_id, order_id=theirs.order.id) == ()
        assert ids(queries.orders(other)) == [theirs.order.id]
        kinds = {type(event) for event in queries.events_after(desk.account_id, 1)}
        assert kinds == set(), "what the other account did is not ours to see"


def test_fills_of_several_orders_come_by_order_oldest_first(store: Store) -> None:
    with Desk(store) as desk:
        first, second = desk.buy("60"), desk.buy("0.01")  # 50 at the best level, 10 at the next
        queries = Queries(store)
        found = queries.fills_of([second.order.id, first.order.id, 999_999])
        assert found == {second.order.id: second.fills, first.order.id: first.fills, 999_999: ()}
        assert [fill.price for fill in found[first.order.id]] == [D("100.00"), D("101.00")]
        assert queries.fills(desk.account_id, limit=1) == second.fills
        assert queries.fills(desk.account_id, order_id=first.order.id) == first.fills[::-1]
        assert queries.fills(desk.account_id, symbol="ETHUSDT") == ()


def test_a_stream_that_resumes_gets_the_events_it_missed(store: Store) -> None:
    with Desk(store) as desk:
        resting = desk.buy("0.01", "90.00").order
        desk.engine.submit(CancelOrder(account_id=desk.account_id, order_id=resting.id))
        filled = desk.buy("0.01")
        queries = Queries(store)
        missed = queries.events_after(desk.account_id, resting.id - 1)
        assert [type(event) for event in missed] == [OrderAccepted, OrderCancelled, OrderAccepted, OrderFilled]
        assert missed == tuple(event for batch in desk.published[1:] for event in batch.events)
        assert queries.events_after(desk.account_id, filled.fills[0].id) == ()
        assert len(queries.events_after(desk.account_id, 0, limit=2)) == 2


def test_the_same_account_on_another_venue_is_named(store: Store) -> None:
    with Desk(store) as desk:
        elsewhere = desk.open("default", venue="simulated")
        desk.open("somebody", venue="simulated")
        queries = Queries(store)
        assert ids(queries.other_venues("default", "test")) == [elsewhere]
        assert ids(queries.other_venues("default", "simulated")) == [desk.account_id]
        assert queries.other_venues("nobody", "test") == ()


def test_a_venues_accounts_are_loaded_alone_and_balance_alone(store: Store) -> None:
    with Desk(store) as desk:
        desk.buy("0.5", "90.00")
        state = store.load(desk.clock.now_ms, "elsewhere")
        assert (state.accounts, state.orders, state.balances, state.positions) == ((), (), (), ())
        assert state.system_balances == {}
        assert state.next_seq == desk.engine.state().next_seq, "numbers are the whole store's"
        desk.journal.reopen(desk.engine.load(state), "elsewhere")
        desk.account_id = desk.open("default", venue="elsewhere")
        desk.buy("0.25")
        desk.engine.check()
        again = store.load(desk.clock.now_ms, "elsewhere")
        assert [account.venue for account in again.accounts] == ["elsewhere"]
        sums: dict[str, Decimal] = {}
        for balance in again.balances:
            sums[balance.asset] = sums.get(balance.asset, D(0)) + balance.total
        for (_, asset), amount in again.system_balances.items():
            sums[asset] = sums.get(asset, D(0)) + amount
        assert set(sums.values()) == {D(0)}


def test_a_reader_never_blocks_the_writer(store: Store) -> None:
    with Desk(store) as desk, store.reading() as connection:
        if store.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        connection.execute(text("SELECT count(*) FROM orders")).scalar()
        done = threading.Event()

        def buy() -> None:
            desk.buy("0.01")
            done.set()

        threading.Thread(target=buy, daemon=True).start()
        assert done.wait(5)


def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(Exception, match=r"read.?only"), store.reading() as connection:
        connection.execute(text("DELETE FROM orders"))


def test_a_database_that_cannot_be_read_is_a_refusal(sqlite: str) -> None:
    with pytest.raises(Refused) as caught:
        Queries(Store(sqlite)).order(1, 1)
    assert caught.value.code == "not_committed"


def test_open_orders_are_found_by_their_own_small_index(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(sqlite)
    store.migrate()
    asked: list[Any] = []
    queries = Queries(store)

    def ask(question: Any, _values: Any = None) -> list[Any]:
        asked.append(question)
        return []

    monkeypatch.setattr(queries, "_rows", ask)
    queries.orders(1, status="open")
    queries.orders(1, status="open", symbol="BTCUSDT", before_id=9)
    asked.append(select(orders).where(is_open))  # what is loaded at start
    for question in asked:
        sql = str(question.compile(dialect=store.dialect, compile_kwargs={"literal_binds": True}))
        with store.reading() as connection:
            plan = " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").all())
        assert "ix_orders_open" in plan, sql
    store.release()


@pytest.mark.parametrize(
    ("question", "index"),
    (
        ("SELECT * FROM orders WHERE account_id=1 AND id<9 ORDER BY id DESC LIMIT 9", "ix_orders_account"),
        ("SELECT * FROM orders WHERE account_id=1 AND symbol='A' AND id<9 ORDER BY id DESC", "ix_orders_symbol"),
        ("SELECT * FROM orders WHERE account_id=1 AND epoch=1 AND client_order_id='a'", "ix_orders_client"),
        ("SELECT * FROM fills WHERE account_id=1 AND id<9 ORDER BY id DESC LIMIT 9", "ix_fills_account"),
        ("SELECT * FROM fills WHERE account_id=1 AND symbol='A' ORDER BY id DESC LIMIT 9", "ix_fills_symbol"),
        ("SELECT * FROM fills WHERE order_id IN (1, 2) ORDER BY id", "ix_fills_order"),
        ("SELECT max(seq) FROM events", "PRIMARY KEY"),
    ),
)
def test_questions_of_a_large_store_use_their_index(sqlite: str, question: str, index: str) -> None:
    store = Store(sqlite)
    store.migrate()
    with store.reading() as connection:
        plan = " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}").all())
    store.release()
    assert index in plan or (index == "PRIMARY KEY" and plan.startswith("SEARCH events"))
    assert "TEMP B-TREE" not in plan or "IN (" in question


def test_a_fill_is_found_with_its_receipt_by_its_own_account_alone(store: Store) -> None:
    with Desk(store) as desk:
        placed = desk.buy("60")
        first, second = placed.fills
        queries = Queries(store)
        for fill in (first, second):
            found = queries.fill(desk.account_id, fill.id)
            assert found == fill
            assert found.receipt == fill.receipt is not None
        (row, _) = queries.fills(desk.account_id, order_id=placed.order.id)
        assert row.receipt is None, "the fill's row has none"
        assert queries.fill(desk.account_id, placed.order.id) is None, "an order is no fill"
        assert queries.fill(desk.open("other"), first.id) is None


def test_fills_are_counted_by_how_sure_they_are_epoch_by_epoch(store: Store) -> None:
    with Desk(store) as desk:
        queries = Queries(store)

        def counts(epoch: int) -> list[int]:
            return list(queries.certainties(desk.account_id, epoch).values())

        assert counts(1) == [0, 0, 0]
        desk.buy("60")
        assert counts(1) == [2, 0, 0]
        desk.buy("0.01")
        assert counts(1) == [3, 0, 0], "those of before are not counted again"
        desk.engine.submit(ResetAccount(account_id=desk.account_id, balances={"USDT": D(1000)}))
        desk.buy("0.01")
        assert (counts(1), counts(2)) == ([3, 0, 0], [1, 0, 0])
        assert Queries(store).certainties(desk.open("other"), 1) == dict.fromkeys(Certainty, 0)
