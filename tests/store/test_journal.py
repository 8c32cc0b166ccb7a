"""The journal: what is acknowledged is stored, in order; what fails is refused, and the service resumes."""

import contextlib
import sqlite3
import threading
from collections.abc import Sequence

import psycopg
import pytest

from tests.store.desk import D, Desk, comparable, together
from trading_engine.exchange.messages import Placed, Refused, ResetAccount
from trading_engine.exchange.orders import OrderStatus, Side
from trading_engine.store import ClaimLost, CommitUnknown, Queries, Store
from trading_engine.store.grouping import Statement
from trading_engine.store.rows import Amount
from trading_engine.store.writer import SqliteWriter, Writer


class Valve:
    """Stands between a store and its writer: holds transactions back, or breaks them, when a test says so."""

    def __init__(self, store: Store) -> None:
        self.open = threading.Event()
        self.open.set()
        self.began = threading.Event()
        self.run_error: Exception | None = None
        self.commit_error: Exception | None = None
        self.after_commit_error: Exception | None = None
        self.transactions: list[int] = []
        self._make = store.writer
        store.writer = lambda: ValvedWriter(self, self._make())  # type: ignore[method-assign]  # the fault is the test


class ValvedWriter:
    def __init__(self, valve: Valve, writer: Writer) -> None:
        self.valve, self.writer = valve, writer

    def run(self, statements: Sequence[Statement]) -> int:
        self.valve.began.set()
        assert self.valve.open.wait(20)
        changed = self.writer.run(statements)
        self.valve.transactions.append(len(statements))
        if self.valve.run_error is not None:
            raise self.valve.run_error
        return changed

    def commit(self) -> None:
        if self.valve.commit_error is not None:
            raise self.valve.commit_error
        self.writer.commit()
        if self.valve.after_commit_error is not None:
            raise self.valve.after_commit_error

    def rollback(self) -> None:
        self.writer.rollback()

    def close(self) -> None:
        self.writer.close()

    @property
    def amount(self) -> Amount:
        return self.writer.amount


def code(outcome: object) -> str:
    assert isinstance(outcome, Refused), outcome
    return outcome.code


def test_an_answered_order_is_in_the_store_and_in_the_views(store: Store) -> None:
    with Desk(store) as desk:
        placed = desk.buy("0.5")
        assert placed.order.status is OrderStatus.FILLED
        assert Queries(store).order(desk.account_id, placed.order.id) == placed.order
        assert Queries(store).fills_of([placed.order.id]) == {placed.order.id: placed.fills}
        view = desk.accounts.get(desk.account_id)
        assert view is not None
        assert view.balances["BTC"].free == D("1.4995")
    assert comparable(store.load(desk.clock.now_ms)) == comparable(desk.engine.state())


def test_who_does_not_wait_is_told_once_after_the_commit(store: Store) -> None:
    valve = Valve(store)
    told: list[Refused | None] = []
    with Desk(store) as desk:
        valve.open.clear()
        _, ticket = desk.engine.place(desk.order(Side.BUY, "0.01"))
        assert ticket is not None
        ticket.then(told.append)
        assert told == []
        valve.open.set()
        ticket.wait()
        ticket.then(told.append)  # known by now: told at once
        desk.buy("0.01")  # the journal's thread is past its telling
        assert told == [None, None]


def test_who_does_not_wait_is_told_of_a_failed_commit(store: Store) -> None:
    valve = Valve(store)
    told: list[Refused | None] = []
    with Desk(store) as desk:
        valve.run_error = sqlite3.OperationalError("disk I/O error")
        _, ticket = desk.engine.place(desk.order(Side.BUY, "0.01"))
        assert ticket is not None
        ticket.then(told.append)
        with pytest.raises(Refused):
            ticket.wait()
        ticket.then(told.append)
        assert [code(refused) for refused in told] == ["not_committed", "not_committed"]


def test_what_queued_during_one_commit_goes_into_the_next_together_and_in_order(store: Store) -> None:
    valve = Valve(store)
    with Desk(store) as desk:
        desk.groups.clear()
        desk.published.clear()
        valve.began.clear()
        valve.open.clear()
        first = threading.Thread(target=desk.buy, args=("0.01",), daemon=True)
        first.start()
        assert valve.began.wait(10)
        waiting = [threading.Thread(target=desk.buy, args=("0.01",), daemon=True) for _ in range(20)]
        for thread in waiting:
            thread.start()
        deadline = threading.Event()
        while len(desk.journal._queue) < 20 and not deadline.wait(0.005):
            pass
        assert desk.published == [], "nothing is shown before it is stored"
        valve.open.set()
        for thread in (first, *waiting):
            thread.join(10)
        assert desk.groups == [1, 20]
        seqs = [event.seq for batch in desk.published for event in batch.events]
        assert seqs == list(range(seqs[0], seqs[0] + 42))
    assert comparable(store.load(desk.clock.now_ms)) == comparable(desk.engine.state())


def test_of_a_row_that_changes_often_in_a_group_only_the_last_state_is_written(store: Store) -> None:
    valve = Valve(store)
    with Desk(store) as desk:
        valve.open.clear()
        valve.began.clear()
        outcomes: list[object] = []
        threads = [threading.Thread(target=lambda: outcomes.append(desk.buy("0.01")), daemon=True) for _ in range(9)]
        for thread in threads:
            thread.start()
        assert valve.began.wait(10)
        valve.open.set()
        for thread in threads:
            thread.join(10)
        state = store.load(desk.clock.now_ms)
        assert {balance.asset: balance.free for balance in state.balances} == {
            balance.asset: balance.free for balance in desk.engine.state().balances
        }
        assert all(isinstance(outcome, Placed) for outcome in outcomes)


@pytest.mark.parametrize("where", ("run", "commit"))
def test_a_refused_commit_refuses_the_callers_and_those_behind_them_and_changes_nothing(
    store: Store, where: str
) -> None:
    valve = Valve(store)
    with Desk(store) as desk:
        before = comparable(store.load(desk.clock.now_ms))
        setattr(valve, f"{where}_error", sqlite3.OperationalError("disk I/O error"))
        valve.open.clear()
        valve.began.clear()
        released = threading.Timer(0.2, valve.open.set)
        released.start()
        outcomes = together(*(lambda: desk.buy("0.01") for _ in range(8)))
        assert {code(outcome) for outcome in outcomes} == {"not_committed"}
        assert desk.failed.wait(10)
        assert code_of(desk) == "not_committed", "refused without waiting while memory is ahead of the store"
        assert comparable(store.load(desk.clock.now_ms)) == before
        assert len(desk.published) == 1, "only the opening of the account was ever shown"

        setattr(valve, f"{where}_error", None)
        store.fence()
        desk.reload()
        assert comparable(desk.engine.state()) == before
        assert desk.buy("0.01").order.status is OrderStatus.FILLED
        desk.engine.check()


def code_of(desk: Desk) -> str:
    with pytest.raises(Refused) as caught:
        desk.buy("0.01")
    return caught.value.code


def test_a_lost_answer_is_an_unknown_outcome_and_repeating_tells(store: Store) -> None:
    valve = Valve(store)
    queries = Queries(store)
    with Desk(store) as desk:
        valve.after_commit_error = CommitUnknown("the server went away")
        with pytest.raises(Refused) as caught:
            desk.buy("0.01", client_order_id="mine")
        assert caught.value.code == "outcome_unknown"
        valve.after_commit_error = None
        store.fence()
        desk.reload()
        stored = queries.order_by_client_id(desk.account_id, 1, "mine")
        assert stored is not None, "this one had been committed"
        again = desk.buy("0.01", client_order_id="mine")
        assert not again.created
        assert again.order == stored


def test_a_full_disk_is_a_refusal_and_space_brings_the_service_back(sqlite: str) -> None:
    pages: list[int] = []

    class Small(SqliteWriter):
        def run(self, statements: Sequence[Statement]) -> int:
            connection = self._connection
            used = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count={pages[0] if pages else used + 1_000_000}")
            return super().run(statements)

    store = Store(sqlite)
    assert store.claim()
    store.writer = lambda: Small(store._path)  # type: ignore[method-assign]  # the fault is the test
    with Desk(store) as desk:
        before = comparable(store.load(desk.clock.now_ms))
        pages.append(1)  # SQLite allows no fewer than there are: the next new page does not fit
        outcomes = together(*(lambda n=n: desk.buy("0.01", client_order_id=f"{n}" * 36) for n in range(10)))
        refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
        for n in range(10, 200):
            if refused:
                break
            try:
                desk.buy("0.01", client_order_id=f"full-{n}-" + "x" * 25)
            except Refused as outcome:
                refused.append(outcome)
        assert {outcome.code for outcome in refused} == {"not_committed"}
        assert desk.failures
        assert "full" in str(desk.failures[0])
        del before
        pages.clear()
        store.fence()
        desk.reload()
        assert desk.buy("0.01").order.status is OrderStatus.FILLED
        desk.engine.check()
        assert comparable(store.load(desk.clock.now_ms)) == comparable(desk.engine.state())
    store.release()


def test_a_failure_to_show_what_was_stored_still_answers_the_caller(store: Store) -> None:
    with Desk(store) as desk:
        shown = desk.publish
        desk.journal._publish = lambda _batch: (_ for _ in ()).throw(RuntimeError("no view"))
        assert desk.buy("0.01").created
        assert desk.failed.wait(10)
        desk.journal._publish = shown
        desk.reload()
        view = desk.accounts.get(desk.account_id)
        assert view is not None
        assert view.balances["BTC"].free == D("1.00999")


def test_a_process_that_lost_the_claim_cannot_write(store: Store) -> None:
    with Desk(store) as desk:
        usurper = Store(store.url.render_as_string(hide_password=False))
        usurper.fence()  # what a new holder does first
        assert code_of(desk) == "not_committed"
        assert isinstance(desk.failures[0], ClaimLost)
        assert usurper.load(desk.clock.now_ms).next_seq == 2
        usurper.release()


def test_stopping_stores_what_waits_and_then_takes_no_more(store: Store) -> None:
    valve = Valve(store)
    desk = Desk(store)
    valve.open.clear()
    valve.began.clear()
    outcomes: list[object] = []
    thread = threading.Thread(target=lambda: outcomes.append(desk.buy("0.01")), daemon=True)
    thread.start()
    assert valve.began.wait(10)
    desk.stop.set()
    valve.open.set()
    thread.join(10)
    desk.close()
    assert isinstance(outcomes[0], Placed)
    assert code_of(desk) == "not_committed"


def test_a_journal_that_dies_leaves_nobody_waiting(store: Store) -> None:
    valve = Valve(store)
    desk = Desk(store)

    class Death(BaseException):
        pass

    valve.run_error = Death()  # type: ignore[assignment]  # worse than any Exception
    threading.excepthook, hook = lambda _: None, threading.excepthook
    try:
        valve.open.clear()
        valve.began.clear()
        threading.Timer(0.2, valve.open.set).start()
        outcomes = together(*(lambda: desk.buy("0.01") for _ in range(4)))
        desk.thread.join(10)
    finally:
        threading.excepthook = hook
    assert {code(outcome) for outcome in outcomes} <= {"not_committed", "outcome_unknown"}
    assert not desk.thread.is_alive()


def test_a_reset_ends_an_epoch_with_its_final_balances(store: Store) -> None:
    with Desk(store) as desk:
        desk.buy("0.5")
        desk.engine.submit(ResetAccount(account_id=desk.account_id, balances={"USDT": D("50.50")}))
        present, former = Queries(store).epochs(desk.account_id)
        assert (former.epoch, former.final_balances) == (1, {"BTC": D("1.4995"), "USDT": D("99950")})
        assert former.ended_seq == present.started_seq
        assert (present.epoch, present.net_deposits, present.final_balances) == (2, D("50.50"), None)
        assert comparable(store.load(desk.clock.now_ms)) == comparable(desk.engine.state())


def test_a_postgres_server_that_restarts_costs_one_reload(postgres: str) -> None:
    store = Store(postgres)
    assert store.claim()
    with Desk(store) as desk, contextlib.ExitStack() as kept:
        desk.buy("0.01")
        for _ in range(4):  # fill the pool of read connections
            kept.enter_context(store.reading())
        kept.pop_all().close()
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid()"
            )
        assert code_of(desk) in {"not_committed", "outcome_unknown"}
        assert not store.claimed(), "the lock died with its connection"
        assert store.claim()
        desk.reload()
        queries = Queries(store)
        assert queries.order_by_client_id(desk.account_id, 1, "nobody's") is None
        assert len(queries.orders(desk.account_id)) == 1, "connections kept from before are replaced unseen"
        assert desk.buy("0.01").order.status is OrderStatus.FILLED
    store.release()
