"""The engine: the one door through which accounts, orders and money change.

A call takes `Engine.lock` once and then *decides* (checks everything and plans; a refusal leaves all as it was),
*drafts* (emits events and applies each to a draft over the books, by the same `history.apply` that rebuilds them),
*appends* the draft's batch to the journal, and only then *merges* the draft into the books. So when the journal refuses
a batch, or anything fails before the merge, memory is what it was. A failure of our own in drafting, appending or
merging halts the engine all the same: wrong is worse than down. Callers wait for their commit outside the lock; feeds
never wait.

Lock order: engine, then market, then journal. No public method calls another, private ones never take the lock.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, overload

from trading_engine.exchange import epochs, history, risk
from trading_engine.exchange.audit import check_books, check_open_orders
from trading_engine.exchange.execution import FeeRates
from trading_engine.exchange.fills import Part
from trading_engine.exchange.ledger import Books, Draft
from trading_engine.exchange.market import MarketChange
from trading_engine.exchange.meeting import meet, touches
from trading_engine.exchange.messages import (
    EMPTY_STATE,
    Account,
    Batch,
    CancelAll,
    CancelOrder,
    Command,
    EngineState,
    OpenAccount,
    OrderCancelled,
    Placed,
    PlaceOrder,
    Refused,
    ResetAccount,
)
from trading_engine.exchange.orders import Order, TimeInForce
from trading_engine.exchange.placing import Standing, emit_order, plan_order
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.resting import ANY_CHANGE, OpenOrders, Shelf

CLOSED_KEPT_MS = 600_000
"""How long a closed order stays in memory, for repeats of its client order id; older ones are in the store."""

HIGHEST_FEE_RATE = Decimal("0.1")
"""A tenth of what is received; no venue is near it, so more is a mistake in the settings."""

KnownOrder = Callable[[int, int, str], Order | None]
"""Looks an order up in the store by account id, epoch and client order id."""


class Ticket(Protocol):
    """The promise of a commit."""

    def wait(self) -> None:
        """Return once the batch is committed; raise Refused `not_committed` or `outcome_unknown` if it is not."""
        ...

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        """Have `tell` called with the outcome, None for committed: at once where it is known, else by the journal."""
        ...


class Journal(Protocol):
    """What the engine needs of its journal."""

    def append(self, batch: Batch) -> Ticket:
        """Take the batch, in order, without I/O; raise Refused `not_committed` while nothing can be stored."""
        ...


class EngineRole(StrEnum):
    """Whether the engine takes commands."""

    STARTING = "starting"
    RUNNING = "running"
    HALTED = "halted"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """How the engine stands. `unstored_changes`: market changes whose fills the journal refused since the start."""

    role: EngineRole
    reason: str | None
    generation: int
    seq: int
    accounts: int
    open_orders: int
    unstored_changes: int


class Engine:
    """The trading engine: accounts, orders and balances, and the rules by which they change.

    All of it is guarded by `lock`, a `threading.RLock` (tests hand in one that watches the order of locks).
    `now_ms` stamps each command and change once; time never goes back here. `watched` are the symbols whose market
    changes it wants: a frozenset, swapped whole, that feeds read without the lock.
    """

    def __init__(
        self,
        *,
        journal: Journal,
        markets: Mapping[str, MarketSource],
        now_ms: Callable[[], int],
        maker_fee_rate: Decimal,
        taker_fee_rate: Decimal,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        for rate in (maker_fee_rate, taker_fee_rate):
            if not 0 <= rate <= HIGHEST_FEE_RATE:
                raise ValueError(f"a fee rate must lie between 0 and {HIGHEST_FEE_RATE}, not {rate}")
        self.lock = lock if lock is not None else threading.RLock()
        self._journal = journal
        self._markets = markets
        self._clock_ms = now_ms
        self._fees = FeeRates(maker=maker_fee_rate, taker=taker_fee_rate)
        self._role = EngineRole.STARTING
        self._reason: str | None = None
        self._generation = 0
        self._time_ms = 0
        self._unstored_changes = 0
        self._last_ticket: Ticket | None = None
        self._remember(EMPTY_STATE)

    def load(self, state: EngineState) -> int:
        """Replace all memory by what is stored, at start and after a failed commit; return the new generation.

        Resting orders are judged by the market from its next change on, never by what was missed. Raises Refused
        `halted` or `standby` once the engine is halted or closed.
        """
        with self.lock:
            if self._role in {EngineRole.HALTED, EngineRole.CLOSED}:
                self._must_run()
            self._remember(state)
            self._generation += 1
            self._role = EngineRole.RUNNING
            return self._generation

    @overload
    def submit(self, command: PlaceOrder, known_order: KnownOrder | None = None) -> Placed: ...

    @overload
    def submit(self, command: CancelOrder | CancelAll, known_order: KnownOrder | None = None) -> tuple[Order, ...]: ...

    @overload
    def submit(self, command: OpenAccount | ResetAccount, known_order: KnownOrder | None = None) -> Account: ...

    def submit(self, command: Command, known_order: KnownOrder | None = None) -> Placed | tuple[Order, ...] | Account:
        """Carry a command out and return once it is committed; raise Refused, with nothing changed, if it cannot be.

        `known_order` finds orders that memory has forgotten, so that their client order ids are not used again.
        """
        known = None
        if isinstance(command, PlaceOrder) and known_order is not None:
            known = self._find_stored(command, known_order)
        with self.lock:
            self._must_run()
            result = self._decide(command, known)
            ticket = self._last_ticket
        if ticket is not None:
            ticket.wait()
        return result

    def place(self, command: PlaceOrder, known_order: KnownOrder | None = None) -> tuple[Placed, Ticket | None]:
        """Place an order as `submit` does, without waiting: nothing of it may be told before the ticket's commit.

        What becomes of the commit is the ticket's to say; None: all this rests on is committed.
        """
        known = self._find_stored(command, known_order) if known_order is not None else None
        with self.lock:
            self._must_run()
            self._forget_closed()
            return self._place(command, known), self._last_ticket

    def on_market(self, change: MarketChange) -> None:
        """Let a market change meet the orders of its symbol. Never waits for a commit.

        What the journal refuses is dropped and counted: the orders stay as they were, for the next change to meet.
        Raises only our own faults, after halting.
        """
        with self.lock:
            shelf = self._open.shelves.get(change.symbol)
            if self._role is not EngineRole.RUNNING or shelf is None or not change.live:
                return
            if not touches(shelf, change):
                # No quote is through any limit any more, so nothing of what was given is still shown.
                shelf.buys.remember({})
                shelf.sells.remember({})
                return
            self._meet(shelf, change)

    @property
    def status(self) -> EngineStatus:
        """Return how the engine stands, without taking the lock: each figure is true of a moment, not all of one."""
        return EngineStatus(
            role=self._role,
            reason=self._reason,
            generation=self._generation,
            seq=self._books.next_seq - 1,
            accounts=len(self._books.accounts),
            open_orders=self._open.size,
            unstored_changes=self._unstored_changes,
        )

    def halt(self, reason: str) -> None:
        """Refuse every command and ignore every change from now on; the first reason stays."""
        with self.lock:
            self._halt(reason)

    def close(self) -> None:
        """Take no more commands; harmless when repeated."""
        with self.lock:
            if self._role is not EngineRole.HALTED:
                self._role, self._reason = EngineRole.CLOSED, "the engine is shutting down"

    def check(self) -> None:
        """Walk every invariant; raise BrokenBooksError on the first that does not hold."""
        with self.lock:
            check_books(self._books)
            check_open_orders(self._books, self._open)

    def state(self) -> EngineState:
        """Return everything in memory as a frozen value, committed or not: for checks, never for answers."""
        with self.lock:
            return self._books.state()

    # Private from here on: the lock is held, and nothing below takes it.

    def _remember(self, state: EngineState) -> None:
        self._books = Books(state)
        self._open = OpenOrders()
        self._client_ids: dict[tuple[int, int, str], int] = {}
        self._account_names = {(account.name, account.venue): account.id for account in state.accounts}
        self._closed: deque[tuple[int, int]] = deque()
        self._last_ticket = None
        for order in sorted(state.orders, key=lambda order: order.updated_ms):
            self._place_in_memory(order, after=None if order.market_seq is None else ANY_CHANGE)
            self._time_ms = max(self._time_ms, order.updated_ms)
        for order in state.orders:
            shelf = self._open.shelves.get(order.symbol)
            if shelf is not None and order.filled_quantity and order.time_in_force is TimeInForce.GTC and order.price:
                shelf.ladder(order.side).filled_before(order.account_id, order.filled_quantity)
        self.watched = frozenset(self._open.shelves)

    def _must_run(self) -> None:
        if self._role is EngineRole.RUNNING:
            return
        if self._role is EngineRole.STARTING:
            raise Refused("starting", "the engine has not loaded its state yet")
        if self._role is EngineRole.CLOSED:
            raise Refused("standby", self._reason or "")
        raise Refused("halted", f"the engine is halted: {self._reason}")

    def _now(self) -> int:
        self._time_ms = max(self._time_ms, self._clock_ms())
        return self._time_ms

    def _account(self, account_id: int) -> Account:
        account = self._books.accounts.get(account_id)
        if account is None:
            raise Refused("account_not_found", f"there is no account {account_id}")
        return account

    def _decide(self, command: Command, known: Order | None) -> Placed | tuple[Order, ...] | Account:
        self._forget_closed()
        match command:
            case PlaceOrder():
                return self._place(command, known)
            case CancelOrder():
                return self._cancel(command)
            case CancelAll():
                account = self._account(command.account_id)
                return self._cancel_orders(self._open.of(account.id, command.symbol))
            case OpenAccount():
                return self._open_account(command)
            case ResetAccount():
                return self._reset_account(command)

    def _place(self, command: PlaceOrder, known: Order | None) -> Placed:
        account = self._account(command.account_id)
        risk.check_shape(command)
        order_id = self._client_ids.get((account.id, account.epoch, command.client_order_id))
        seen = self._books.orders[order_id] if order_id is not None else known
        if seen is not None and seen.epoch == account.epoch:
            risk.check_same(command, seen)
            return Placed(order=seen, fills=(), created=False)
        if command.symbol not in self._markets:
            raise Refused("unknown_symbol", f"{command.symbol} is not followed here", "symbol")
        rests = risk.may_rest(command)
        if rests:
            # Watch first, look second: a change that lands after the look must find the symbol watched.
            self.watched |= {command.symbol}
        try:
            standing = Standing(
                free=lambda asset: self._books.free(account.id, asset),
                on_symbol=self._open.count(account.id, command.symbol),
                in_all=self._open.count(account.id),
            )
            plan = plan_order(command, self._markets, standing, self._fees, self._now())
            draft = Draft(self._books)
            with self._or_halt():
                order = emit_order(draft, command, account, plan)
                self._commit(draft)
                self._took(order, plan.taking.parts)
        finally:
            if rests and command.symbol not in self._open.shelves:
                self.watched -= {command.symbol}
        return Placed(order=order, fills=tuple(draft.fills), created=True)

    def _cancel(self, command: CancelOrder) -> tuple[Order, ...]:
        account = self._account(command.account_id)
        order = self._books.orders.get(command.order_id)
        if order is None or order.account_id != account.id:
            raise Refused("order_not_found", f"there is no order {command.order_id}")
        if not order.is_open:
            raise Refused("order_closed", f"order {order.id} is {order.status}")
        return self._cancel_orders([order.id])

    def _cancel_orders(self, order_ids: list[int]) -> tuple[Order, ...]:
        if not order_ids:
            return ()
        draft = Draft(self._books)
        with self._or_halt():
            self._emit_cancels(draft, order_ids, None)
            self._commit(draft)
        return tuple(self._books.orders[order_id] for order_id in order_ids)

    def _emit_cancels(self, draft: Draft, order_ids: list[int], reason: str | None) -> None:
        now = self._now()
        for order_id in order_ids:
            event = OrderCancelled(
                seq=draft.next_seq,
                time_ms=now,
                account_id=draft.order(order_id).account_id,
                order_id=order_id,
                reason=reason,
            )
            history.apply(draft, event)

    def _open_account(self, command: OpenAccount) -> Account:
        if (command.name, command.venue) in self._account_names:
            raise Refused("account_exists", f"account {command.name} exists on {command.venue}", "name")
        deposits = epochs.valued(command.balances, self._markets)
        draft = Draft(self._books)
        with self._or_halt():
            account_id = epochs.emit_opening(draft, command, deposits, self._now())
            self._commit(draft)
        return self._books.accounts[account_id]

    def _reset_account(self, command: ResetAccount) -> Account:
        account = self._account(command.account_id)
        deposits = epochs.valued(command.balances, self._markets)
        draft = Draft(self._books)
        with self._or_halt():
            self._emit_cancels(draft, self._open.of(account.id), "account_reset")
            epochs.emit_reset(draft, account, deposits, self._markets, self._now())
            self._commit(draft)
        return self._books.accounts[account.id]

    def _meet(self, shelf: Shelf, change: MarketChange) -> None:
        draft = Draft(self._books)
        with self._or_halt():
            meeting = meet(draft, shelf, change, markets=self._markets, fees=self._fees, time_ms=self._now())
            try:
                self._commit(draft)
            except Refused:
                self._unstored_changes += 1
                return
            for side, given in meeting.given.items():
                shelf.ladder(side).remember(given)
            for order, parts in meeting.took:
                self._took(order, parts)

    def _took(self, order: Order, parts: tuple[Part, ...]) -> None:
        shelf = self._open.shelves.get(order.symbol)
        if shelf is not None and parts:
            shelf.ladder(order.side).took(order.account_id, parts)

    def _commit(self, draft: Draft) -> None:
        """Append the draft's batch, then merge it: a journal that refuses leaves the books as they were."""
        if not draft.events:
            return
        self._last_ticket = self._journal.append(draft.batch(self._generation))
        draft.merge()
        for account in draft.accounts.values():
            self._account_names[account.name, account.venue] = account.id
        for order in draft.orders.values():
            self._place_in_memory(order, after=order.market_seq)
        if self.watched != self._open.shelves.keys():
            self.watched = frozenset(self._open.shelves)

    def _place_in_memory(self, order: Order, *, after: int | None) -> None:
        """Index an order as it now is; one that rests already keeps its place."""
        self._client_ids[order.account_id, order.epoch, order.client_order_id] = order.id
        if order.is_open:
            self._open.put(order, after)
        else:
            self._open.remove(order)
            self._closed.append((order.updated_ms, order.id))

    def _forget_closed(self) -> None:
        """Forget orders closed too long ago: the store knows them."""
        oldest = self._now() - CLOSED_KEPT_MS
        while self._closed and self._closed[0][0] < oldest:
            order = self._books.orders.pop(self._closed.popleft()[1])
            del self._client_ids[order.account_id, order.epoch, order.client_order_id]

    def _find_stored(self, command: PlaceOrder, known_order: KnownOrder) -> Order | None:
        """Look a client order id up in the store, unless memory has it. Runs before the lock is taken: it may block."""
        account = self._books.accounts.get(command.account_id)
        if account is None or (account.id, account.epoch, command.client_order_id) in self._client_ids:
            return None
        return known_order(account.id, account.epoch, command.client_order_id)

    @contextmanager
    def _or_halt(self) -> Iterator[None]:
        """Halt on any fault of our own; a refusal passes, for then nothing has changed."""
        try:
            yield
        except Refused:
            raise
        except BaseException as fault:
            self._halt(f"{type(fault).__name__}: {fault}")
            raise

    def _halt(self, reason: str) -> None:
        if self._role is not EngineRole.HALTED:
            self._role, self._reason = EngineRole.HALTED, reason
