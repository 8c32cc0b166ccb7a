"""The engine's own life: accounts and epochs, cancels, what it remembers, and what it does when something fails."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, ListJournal, amounts, filled, kinds, symbol
from trading_engine.exchange import history
from trading_engine.exchange.client_ids import CLOSED_KEPT_MS
from trading_engine.exchange.door import EngineRole
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.ledger import Books, BrokenBooksError, Draft
from trading_engine.exchange.market import FeedState
from trading_engine.exchange.messages import (
    EMPTY_STATE,
    CancelAll,
    CancelOrder,
    Command,
    Deposit,
    EngineState,
    OpenAccount,
    Refused,
    ResetAccount,
)
from trading_engine.exchange.orders import Order, OrderStatus, Side


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(
        FakeMarket(symbol(), "99x50", "100x50"),
        FakeMarket(symbol("ETHUSDT", "ETH"), "9x50", "10x50"),
        balances="USDT=100000,BTC=2",
        fees="0",
    )


def code(exchange: Exchange, command: Command) -> str:
    with pytest.raises(Refused) as caught:
        exchange.engine.submit(command)
    return caught.value.code


def test_an_account_opens_with_its_deposits_at_mid() -> None:
    exchange = Exchange(FakeMarket(symbol(), "99x1", "102x1"))
    account = exchange.open("other", "USDT=1000,BTC=2")
    opened = exchange.journal.events[0]
    assert (account.id, account.epoch, account.name, account.venue) == (opened.seq, 1, "other", "test")
    assert opened.deposits == (
        Deposit(asset="BTC", amount=D(2), rate=D("100.5")),
        Deposit(asset="USDT", amount=D(1000), rate=D(1)),
    )
    assert opened.net_deposits == D(1201)
    assert [(entry.ledger_account, entry.asset, entry.amount) for entry in exchange.journal.entries] == [
        ("deposits", "BTC", D(-2)),
        ("free", "BTC", D(2)),
        ("deposits", "USDT", D(-1000)),
        ("free", "USDT", D(1000)),
    ]
    batch = exchange.journal.batches[0]
    assert batch.accounts == (account,)
    assert batch.net_deposits == {account.id: D(1201)}
    assert [(position.asset, position.cost) for position in batch.positions] == [("BTC", D(201))]


def test_a_batch_holds_the_last_state_of_every_row_it_touched(exchange: Exchange) -> None:
    placed = exchange.buy("70", "100")
    batch = exchange.journal.batches[0]
    assert (batch.seq, batch.generation) == (batch.events[-1].seq, 1)
    assert batch.orders == (placed.order,)
    assert batch.fills == placed.fills
    assert {(row.asset, row.free, row.held) for row in batch.balances} == {
        ("USDT", D(93_000), D(2000)),
        ("BTC", D(52), ZERO),
    }
    assert [row.quantity for row in batch.positions] == [D(52)]
    assert (batch.accounts, dict(batch.net_deposits)) == ((), {})


def test_a_cancel_gives_the_hold_back(exchange: Exchange) -> None:
    order = exchange.buy("70", "100").order
    (cancelled,) = exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    assert (cancelled.status, cancelled.reason, cancelled.held) == (OrderStatus.CANCELLED, None, ZERO)
    assert exchange.balance("USDT") == (D(95_000), ZERO)
    assert [(entry.ledger_account, entry.amount) for entry in exchange.journal.batches[-1].entries] == [
        ("held", D(-2000)),
        ("free", D(2000)),
    ]
    again = CancelOrder(account_id=exchange.account.id, order_id=order.id)
    assert code(exchange, again) == "order_closed"
    exchange.engine.check()


def test_cancels_work_whatever_the_market_does(exchange: Exchange) -> None:
    order = exchange.buy("1", "90").order
    market = exchange.markets["BTCUSDT"]
    market.become(FeedState.DOWN)
    market.symbol = symbol(status="BREAK")
    (cancelled,) = exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    assert cancelled.status is OrderStatus.CANCELLED


def test_cancel_all_ends_what_is_open_of_one_symbol_or_of_all(exchange: Exchange) -> None:
    first, second = exchange.buy("1", "90").order, exchange.sell("1", "110").order
    other = exchange.buy("1", "5", symbol="ETHUSDT").order
    theirs = exchange.buy("1", "90", account_id=exchange.open("other", "USDT=100").id).order
    cancelled = exchange.engine.submit(CancelAll(account_id=exchange.account.id, symbol="BTCUSDT"))
    assert [order.id for order in cancelled] == [first.id, second.id]
    cancelled = exchange.engine.submit(CancelAll(account_id=exchange.account.id, symbol=None))
    assert [order.id for order in cancelled] == [other.id]
    batches = len(exchange.journal.batches)
    assert exchange.engine.submit(CancelAll(account_id=exchange.account.id, symbol=None)) == ()
    assert len(exchange.journal.batches) == batches
    assert exchange.now(theirs.id).is_open


def test_a_reset_begins_a_new_epoch_and_keeps_the_books_balanced(exchange: Exchange) -> None:
    exchange.buy("10")
    resting = exchange.buy("1", "90").order
    exchange.journal.batches.clear()
    account = exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances=amounts("USDT=500,ETH=1")))
    assert kinds(exchange.journal.events) == ["OrderCancelled", "AccountReset"]
    cancelled, reset = exchange.journal.events
    assert (cancelled.reason, exchange.now(resting.id).reason) == ("account_reset", "account_reset")
    assert reset.withdrawn == (
        Deposit(asset="BTC", amount=D(12), rate=D("99.5")),
        Deposit(asset="USDT", amount=D(99_000), rate=D(1)),
    )
    assert reset.net_deposits == D("509.5")
    assert (account.id, account.epoch, account.epoch_started_ms) == (exchange.account.id, 2, exchange.clock.now_ms)
    assert [exchange.balance(asset) for asset in ("USDT", "BTC", "ETH")] == [(D(500), ZERO), (ZERO, ZERO), (D(1), ZERO)]
    assert [(row.asset, row.epoch, row.cost) for row in exchange.engine.state().positions] == [("ETH", 2, D("9.5"))]
    exchange.engine.check()
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances=amounts("USDT=1")))
    assert [row.asset for row in exchange.journal.events[-1].withdrawn] == ["ETH", "USDT"]


def test_a_reset_leaves_a_rate_open_where_none_is_known(exchange: Exchange) -> None:
    market = exchange.markets["BTCUSDT"]
    market.quote(bids="", asks="")
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances=amounts("USDT=500")))
    withdrawn = exchange.journal.events[-1].withdrawn
    assert [(row.asset, row.rate) for row in withdrawn] == [("BTC", None), ("USDT", D(1))]


def test_client_order_ids_begin_anew_with_an_epoch(exchange: Exchange) -> None:
    exchange.buy("1", client_order_id="mine")
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances=amounts("USDT=500")))
    assert exchange.buy("2", client_order_id="mine").order.epoch == 2


def test_other_accounts_are_untouched_by_a_reset(exchange: Exchange) -> None:
    other = exchange.open("other", "USDT=1000,BTC=1")
    order = exchange.buy("1", "90", account_id=other.id).order
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances=amounts("USDT=500")))
    assert exchange.now(order.id).is_open
    assert exchange.balance("BTC", other.id) == (D(1), ZERO)
    exchange.engine.check()


def test_memory_forgets_closed_orders_after_ten_minutes_and_the_store_is_asked(exchange: Exchange) -> None:
    first = exchange.buy("1", client_order_id="mine").order
    asked = []

    def known_order(*key: object) -> Order:
        asked.append(key)
        return first

    command = replace(exchange.order(Side.BUY, "1"), client_order_id="mine")
    assert exchange.engine.submit(command, known_order).order == first
    assert asked == [], "memory knew it"
    exchange.clock.now_ms += CLOSED_KEPT_MS + 1
    exchange.engine.submit(CancelAll(account_id=exchange.account.id, symbol=None))
    assert exchange.engine.state().orders == ()
    again = exchange.engine.submit(command, known_order)
    assert (again.created, again.order) == (False, first)
    assert asked == [(exchange.account.id, 1, "mine")]
    with pytest.raises(Refused, match="duplicate_client_order_id"):
        exchange.engine.submit(replace(command, quantity=D(3)), known_order)


def test_an_order_the_store_knows_from_another_epoch_is_no_repeat(exchange: Exchange) -> None:
    """The look in the store comes before the lock: an account may be reset in between."""
    first = exchange.buy("1", client_order_id="mine").order
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances=amounts("USDT=500")))
    command = exchange.order(Side.BUY, "1", client_order_id="mine")
    assert exchange.engine.submit(command, lambda *_: first).created


def test_an_order_the_store_does_not_know_is_placed(exchange: Exchange) -> None:
    command = exchange.order(Side.BUY, "1")
    assert exchange.engine.submit(command, lambda *_: None).created


def test_time_never_goes_back(exchange: Exchange) -> None:
    first = exchange.buy("1").order
    exchange.clock.now_ms -= 3_600_000
    assert exchange.buy("1").order.created_ms == first.created_ms


def test_time_does_not_go_back_over_a_restart(exchange: Exchange) -> None:
    order = exchange.buy("1").order
    exchange.clock.now_ms -= 3_600_000
    exchange.engine.load(exchange.engine.state())
    assert exchange.buy("1").order.created_ms == order.created_ms


def test_nothing_is_taken_before_the_state_is_loaded() -> None:
    engine = Engine(journal=ListJournal(), markets={}, now_ms=lambda: 0, maker_fee_rate=ZERO, taker_fee_rate=ZERO)
    assert engine.status.role is EngineRole.STARTING
    with pytest.raises(Refused, match="starting"):
        engine.submit(OpenAccount(name="a", venue="b", balances={"USDT": D(1)}))


@pytest.mark.parametrize("rate", ("-0.001", "0.11"))
def test_a_fee_rate_beyond_reason_stops_the_start(rate: str) -> None:
    with pytest.raises(ValueError, match="fee rate"):
        Engine(journal=ListJournal(), markets={}, now_ms=lambda: 0, maker_fee_rate=D(rate), taker_fee_rate=ZERO)


def test_a_restart_goes_on_where_it_was(exchange: Exchange) -> None:
    """A partly filled order, its hold and the ids survive; the market judges it from its next change on."""
    order = exchange.buy("70", "100", client_order_id="mine").order
    exchange.engine.load(exchange.engine.state())
    assert exchange.engine.watched == {"BTCUSDT"}
    assert exchange.engine.status.open_orders == 1
    assert not exchange.buy("70", "100", client_order_id="mine").created
    market = exchange.markets["BTCUSDT"]
    # Another process counts its market's changes from the beginning.
    market.seq = 0
    assert exchange.tell(market.load()) == []
    assert filled(exchange.tell(market.print_("99", "5", buyer_is_maker=True))) == ["5@100 maker"]
    assert exchange.now(order.id).leaves == D(15)
    exchange.engine.check()


def test_an_order_that_waits_for_a_live_book_waits_on_after_a_restart(exchange: Exchange) -> None:
    market = exchange.markets["BTCUSDT"]
    market.become(FeedState.STALE)
    exchange.buy("1", "100")
    exchange.engine.load(exchange.engine.state())
    assert filled(exchange.tell(market.become(FeedState.LIVE))) == ["1@100 taker"]


def test_each_load_raises_the_generation(exchange: Exchange) -> None:
    assert exchange.engine.status.generation == 1
    assert exchange.engine.load(exchange.engine.state()) == 2
    exchange.buy("1")
    assert exchange.journal.batches[-1].generation == 2


def test_a_journal_that_refuses_leaves_memory_as_it_was(exchange: Exchange) -> None:
    resting = exchange.buy("70", "100").order
    exchange.markets["BTCUSDT"].become(FeedState.STALE)
    exchange.buy("1", "50")
    exchange.markets["BTCUSDT"].become(FeedState.LIVE)
    before, watched = exchange.engine.state(), exchange.engine.watched
    exchange.journal.broken = True
    account_id = exchange.account.id
    for command in (
        exchange.order(Side.BUY, "1", client_order_id="mine"),
        exchange.order(Side.BUY, "1", "10", symbol="ETHUSDT"),
        CancelOrder(account_id=account_id, order_id=resting.id),
        CancelAll(account_id=account_id, symbol=None),
        ResetAccount(account_id=account_id, balances=amounts("USDT=1")),
        OpenAccount(name="other", venue="test", balances=amounts("USDT=1")),
    ):
        assert code(exchange, command) == "not_committed"
        assert exchange.engine.state() == before
        assert exchange.engine.watched == watched
        exchange.engine.check()
    exchange.journal.broken = False
    assert exchange.buy("1", client_order_id="mine").created
    assert exchange.open("other", "USDT=1").name == "other"


def test_fills_the_journal_refuses_are_counted_and_met_again(exchange: Exchange) -> None:
    exchange.buy("70", "100")
    market = exchange.markets["BTCUSDT"]
    exchange.journal.broken = True
    before = exchange.engine.state()
    assert exchange.tell(market.quote(asks="99x5"), market.print_("98", "7", buyer_is_maker=True)) == []
    assert exchange.engine.state() == before
    assert exchange.engine.status.unstored_changes == 2
    exchange.journal.broken = False
    # What the refused change would have given is still to be had.
    assert filled(exchange.tell(market.quote(asks="99x5"))) == ["5@100 maker"]


def test_a_fault_of_our_own_halts_the_engine_with_memory_unchanged(exchange: Exchange) -> None:
    order = exchange.buy("70", "100").order
    before = exchange.engine.state()
    exchange.journal.fault = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        exchange.buy("1")
    assert exchange.engine.state() == before
    exchange.engine.check()
    status = exchange.engine.status
    assert (status.role, status.reason) == (EngineRole.HALTED, "ZeroDivisionError: a bug")
    exchange.journal.fault = None
    assert code(exchange, CancelOrder(account_id=exchange.account.id, order_id=order.id)) == "halted"
    assert exchange.tell(exchange.markets["BTCUSDT"].print_("90", "7", buyer_is_maker=True)) == []
    with pytest.raises(Refused, match="halted"):
        exchange.engine.load(EMPTY_STATE)


def test_a_fault_in_a_market_change_halts_the_engine(exchange: Exchange) -> None:
    exchange.buy("70", "100")
    before = exchange.engine.state()
    exchange.journal.fault = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        exchange.tell(exchange.markets["BTCUSDT"].print_("90", "7", buyer_is_maker=True))
    assert exchange.engine.state() == before
    assert exchange.engine.status.role is EngineRole.HALTED


def test_a_fault_while_planning_changes_nothing_and_halts_nothing(exchange: Exchange) -> None:
    market = exchange.markets["BTCUSDT"]

    def fail() -> None:
        raise RuntimeError("no view")

    market.before_look = fail
    with pytest.raises(RuntimeError):
        exchange.buy("1", "100")
    market.before_look = lambda: None
    assert exchange.engine.watched == frozenset()
    assert exchange.buy("1").created


def test_an_order_is_answered_only_once_committed(exchange: Exchange) -> None:
    exchange.journal.lost = Refused("outcome_unknown", "the database did not answer")
    assert code(exchange, exchange.order(Side.BUY, "1", client_order_id="mine")) == "outcome_unknown"
    # A repeat meets the order in memory, and must wait for the same commit.
    assert code(exchange, exchange.order(Side.BUY, "1", client_order_id="mine")) == "outcome_unknown"
    assert len(exchange.journal.batches) == 1


def test_a_closed_engine_takes_nothing(exchange: Exchange) -> None:
    exchange.engine.close()
    exchange.engine.close()
    assert code(exchange, CancelAll(account_id=exchange.account.id, symbol=None)) == "standby"
    assert exchange.engine.status.role is EngineRole.CLOSED


def test_the_first_reason_to_halt_stays(exchange: Exchange) -> None:
    exchange.engine.halt("the ledger is off by 1 USDT")
    exchange.engine.halt("something later")
    exchange.engine.close()
    assert exchange.engine.status.reason == "the ledger is off by 1 USDT"


def test_status_says_how_the_engine_stands(exchange: Exchange) -> None:
    exchange.buy("70", "100")
    status = exchange.engine.status
    assert (status.role, status.generation, status.accounts, status.open_orders) == (EngineRole.RUNNING, 1, 1, 1)
    assert status.seq == exchange.journal.events[-1].seq


TAMPERED: dict[str, Callable[[EngineState], EngineState]] = {
    "a balance of its own": lambda state: replace(
        state, balances=(replace(state.balances[0], free=state.balances[0].free + 1), *state.balances[1:])
    ),
    "a negative balance": lambda state: replace(
        state, balances=(replace(state.balances[0], free=D(-1)), *state.balances[1:])
    ),
    "a hold without an order": lambda state: replace(state, orders=()),
    "an order filled beyond its quantity": lambda state: replace(
        state, orders=(replace(state.orders[0], filled_quantity=D(71)),)
    ),
    "an open order that is full": lambda state: replace(
        state, orders=(replace(state.orders[0], filled_quantity=D(70)),)
    ),
    "a position that is not there": lambda state: replace(
        state, positions=(replace(state.positions[0], quantity=D(1)),)
    ),
    "a result from nowhere": lambda state: replace(state, positions=(replace(state.positions[0], realized_pnl=D(1)),)),
    "a position of another epoch": lambda state: replace(state, positions=(replace(state.positions[0], epoch=7),)),
    "a position missing": lambda state: replace(state, positions=()),
    "deposits nobody made": lambda state: replace(
        state, net_deposits={account_id: amount + 1 for account_id, amount in state.net_deposits.items()}
    ),
}


@pytest.mark.parametrize("fault", TAMPERED)
def test_the_check_finds(fault: str, exchange: Exchange) -> None:
    exchange.buy("70", "100")
    exchange.engine.check()
    exchange.engine.load(TAMPERED[fault](exchange.engine.state()))
    with pytest.raises(BrokenBooksError):
        exchange.engine.check()


def test_a_posting_that_is_off_or_overdraws_is_never_drafted(exchange: Exchange) -> None:
    draft = Draft(Books(exchange.engine.state()))
    draft.begin_posting()
    draft.move(7, exchange.account.id, "USDT", free=D(-1))
    with pytest.raises(BrokenBooksError, match="off by -1 USDT"):
        draft.end_posting(7)
    with pytest.raises(BrokenBooksError, match="would leave"):
        draft.move(7, exchange.account.id, "BTC", free=D(-3))
    with pytest.raises(BrokenBooksError, match="would leave"):
        draft.move(7, exchange.account.id, "BTC", held=D(-1))


def test_a_history_with_a_hole_does_not_rebuild(exchange: Exchange) -> None:
    exchange.buy("70", "100")
    with pytest.raises(BrokenBooksError, match="came where"):
        history.rebuild(exchange.journal.events)
