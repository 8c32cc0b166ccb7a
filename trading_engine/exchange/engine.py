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
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, overload

from trading_engine.exchange import epochs, risk
from trading_engine.exchange.admission import Standing
from trading_engine.exchange.amending import emit_amendment, plan_amendment
from trading_engine.exchange.audit import check_books, check_open_orders
from trading_engine.exchange.client_ids import ClientIds
from trading_engine.exchange.door import EngineRole, EngineStatus, Journal, KnownOrder, Ticket
from trading_engine.exchange.ending import emit_cancels
from trading_engine.exchange.execution import FeeRates, terms_or_refuse
from trading_engine.exchange.ledger import Books, Draft
from trading_engine.exchange.market import MarketChange
from trading_engine.exchange.meeting import meet, touches
from trading_engine.exchange.messages import (
    EMPTY_STATE,
    Account,
    AmendOrder,
    Batch,
    CancelAll,
    CancelOrder,
    Command,
    EngineState,
    Memory,
    OpenAccount,
    Placed,
    PlaceOrder,
    Preview,
    Refused,
    ResetAccount,
)
from trading_engine.exchange.open_orders import OpenOrders
from trading_engine.exchange.orders import Order, Stage
from trading_engine.exchange.placing import Plan, emit_order, plan_order, previewed
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.resting import Shelf, Took
from trading_engine.exchange.symbols import step_of
from trading_engine.exchange.waiting import LevelKey

FORGET_MS = 10_000
"""How often memories of what was taken are looked through, by the venue's clock."""

HIGHEST_FEE_RATE = Decimal("0.1")
"""A tenth of what is received; no venue is near it, so more is a mistake in the settings."""


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
        queue_rule: Rule = Rule.INFERRED,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        for rate in (maker_fee_rate, taker_fee_rate):
            if not 0 <= rate <= HIGHEST_FEE_RATE:
                raise ValueError(f"a fee rate must lie between 0 and {HIGHEST_FEE_RATE}, not {rate}")
        self.lock = lock if lock is not None else threading.RLock()
        self._journal = journal
        self._markets = markets
        self._clock_ms = now_ms
        self._queue_rule = queue_rule
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
    def submit(self, command: PlaceOrder | AmendOrder, known_order: KnownOrder | None = None) -> Placed: ...

    @overload
    def submit(self, command: CancelOrder | CancelAll) -> tuple[Order, ...]: ...

    @overload
    def submit(self, command: OpenAccount | ResetAccount) -> Account: ...

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

    def preview(self, command: PlaceOrder) -> Preview:
        """Say what an order would do if it arrived now, by the very plan that would be carried out; change nothing.

        Raises Refused as placing it would.
        """
        with self.lock:
            self._must_run()
            return self._preview(command)

    def on_market(self, change: MarketChange) -> None:
        """Let a market change meet the orders of its symbol. Never waits for a commit.

        What the journal refuses is dropped and counted: the orders stay as they were, for the next change to meet.
        Raises only our own faults, after halting.
        """
        with self.lock:
            shelf = self._open.shelves.get(change.symbol)
            if self._role is not EngineRole.RUNNING or shelf is None:
                return
            if not change.live:
                shelf.missed = True
            elif touches(shelf, change):
                self._meet(shelf, change)
            if change.time_ms >= shelf.forget_at_ms:
                self._forget(shelf, change)

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

    def queue_ahead(self, account_id: int, order_ids: Collection[int] | None = None) -> dict[int, Decimal | None]:
        """Return, by order id, the real quantity ahead of an account's resting orders; None where it is not known.

        `order_ids`: only of these (None: all). An order that waits for a live book, or is closed, is not among them.
        """
        with self.lock:
            wanted = self._open.of(account_id) if order_ids is None else order_ids
            orders = [order for order_id in wanted if (order := self._books.orders.get(order_id)) is not None]
            return {
                order.id: self._open.shelves[order.symbol].ahead(order)
                for order in orders
                if order.is_open
                and order.account_id == account_id
                and order.market_seq is not None
                and order.stage is Stage.LIVE
            }

    def keep_memory(self) -> None:
        """Hand the journal what has been learnt of queues and of what accounts took, so that a restart knows it.

        Not waited for: what a crash loses of it makes places in queues worse and fills fewer, never more.
        """
        with self.lock:
            self._keep_memory()

    def halt(self, reason: str) -> None:
        """Refuse every command and ignore every change from now on; the first reason stays."""
        with self.lock:
            self._halt(reason)

    def close(self) -> None:
        """Take no more commands; harmless when repeated."""
        with self.lock:
            if self._role is not EngineRole.HALTED:
                self._keep_memory()
                self._role, self._reason = EngineRole.CLOSED, "the engine is shutting down"

    def check(self) -> None:
        """Walk every invariant; raise BrokenBooksError on the first that does not hold."""
        with self.lock:
            check_books(self._books)
            check_open_orders(self._books, self._open)

    def state(self) -> EngineState:
        """Return everything in memory as a frozen value, committed or not: for checks, never for answers."""
        with self.lock:
            return replace(self._books.state(), memory=self._memory(whole=True))

    # Private from here on: the lock is held, and nothing below takes it.

    def _remember(self, state: EngineState) -> None:
        self._books = Books(state)
        self._open = OpenOrders(self._markets, self._queue_rule)
        self._client_ids = ClientIds()
        self._account_names = {(account.name, account.venue): account.id for account in state.accounts}
        self._last_ticket = None
        for order in sorted(state.orders, key=lambda order: order.updated_ms):
            self._place_in_memory(order, queue_it=False)
            self._time_ms = max(self._time_ms, order.updated_ms)
        self._open.recall(state)
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
            case AmendOrder():
                return self._amend(command)
            case CancelOrder():
                return self._cancel_orders([self._open_order(self._account(command.account_id), command.order_id).id])
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
        order_id = self._client_ids.find(account.id, account.epoch, command.client_order_id)
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
            plan = self._plan(command, account)
            draft = Draft(self._books)
            with self._or_halt():
                order = emit_order(draft, command, account, plan)
                self._commit(draft)
                if plan.taking.slices:
                    step = step_of(plan.terms.symbol)
                    taken = Took(account_id=account.id, side=order.side, slices=plan.taking.slices, step=step)
                    self._took(order.symbol, taken)
        finally:
            if rests and command.symbol not in self._open.shelves:
                self.watched -= {command.symbol}
        return Placed(order=order, fills=tuple(draft.fills), created=True)

    def _amend(self, command: AmendOrder) -> Placed:
        account = self._account(command.account_id)
        order = self._open_order(account, command.order_id)
        shelf = self._open.shelf(order.symbol)
        plan = plan_amendment(
            order,
            command,
            shelf,
            self._standing(account, order.symbol),
            lambda symbol: terms_or_refuse(symbol, self._markets, self._fees, self._now()),
        )
        draft = Draft(self._books)
        with self._or_halt():
            emit_amendment(draft, plan)
            self._commit(draft)
            if plan.taking.slices:
                step = step_of(plan.terms.symbol)
                taken = Took(account_id=account.id, side=order.side, slices=plan.taking.slices, step=step)
                self._took(order.symbol, taken)
        return Placed(order=draft.order(order.id), fills=tuple(draft.fills), created=True)

    def _open_order(self, account: Account, order_id: int) -> Order:
        order = self._books.orders.get(order_id)
        if order is None or order.account_id != account.id:
            raise Refused("order_not_found", f"there is no order {order_id}")
        if not order.is_open:
            raise Refused("order_closed", f"order {order.id} is {order.status}")
        return order

    def _cancel_orders(self, order_ids: list[int]) -> tuple[Order, ...]:
        draft = Draft(self._books)
        with self._or_halt():
            emit_cancels(draft, order_ids, None, self._now())
            self._commit(draft)
        return tuple(self._books.orders[order_id] for order_id in order_ids)

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
            emit_cancels(draft, self._open.of(account.id), "account_reset", self._now())
            epochs.emit_reset(draft, account, deposits, self._markets, self._now())
            self._commit(draft)
            for shelf in self._open.shelves.values():
                shelf.forget_account(account.id)
        return self._books.accounts[account.id]

    def _meet(self, shelf: Shelf, change: MarketChange) -> None:
        draft = Draft(self._books)
        with self._or_halt():
            met = meet(draft, shelf, change, markets=self._markets, fees=self._fees, time_ms=self._now())
            try:
                self._commit(draft)
            except Refused:
                self._unstored_changes += 1
                for order_id in draft.orders:
                    order = self._books.orders[order_id]
                    if order.market_seq is not None and order.stage is Stage.LIVE:
                        shelf.undo(order)
                return
            if met.last is not None:
                shelf.printed(met.last.price, change.seq)
            for took in met.took:
                self._took(change.symbol, took)

    def _plan(self, command: PlaceOrder, account: Account) -> Plan:
        standing = self._standing(account, command.symbol)
        return plan_order(command, self._markets, standing, self._fees, self._now())

    def _standing(self, account: Account, symbol: str) -> Standing:
        shelf = self._open.shelves.get(symbol)
        return Standing(
            free=lambda asset: self._books.free(account.id, asset),
            total=lambda asset: self._books.total(account.id, asset),
            open_orders=lambda: [self._books.orders[order_id] for order_id in self._open.of(account.id)],
            on_symbol=self._open.count(account.id, symbol),
            in_all=self._open.count(account.id),
            impact=None if shelf is None else shelf.impacts.get(account.id),
        )

    def _preview(self, command: PlaceOrder) -> Preview:
        account = self._account(command.account_id)
        risk.check_shape(command)
        if command.symbol not in self._markets:
            raise Refused("unknown_symbol", f"{command.symbol} is not followed here", "symbol")
        plan = self._plan(command, account)
        ahead = None
        if plan.rest and plan.live and plan.condition is None and command.price is not None:
            key = LevelKey(command.side, command.price)
            ahead = self._open.shelf(command.symbol).ahead_of_newcomer(key, account.id)
            self._open.drop_if_empty(command.symbol)
        return previewed(plan, command.side, ahead)

    def _took(self, symbol: str, took: Took) -> None:
        self._open.shelf(symbol).took(took, self._time_ms)
        self._watch_shelves()

    def _memory(self, *, whole: bool) -> tuple[Memory, ...]:
        seq = self._books.next_seq - 1
        return tuple(memory for shelf in self._open.shelves.values() for memory in shelf.memory(seq, whole=whole))

    def _keep_memory(self) -> None:
        memory = self._memory(whole=False) if self._role is EngineRole.RUNNING else ()
        if memory:
            for symbol in list(self._open.shelves):
                self._open.drop_if_empty(symbol)
            self._watch_shelves()
            with suppress(Refused):  # then all is loaded again, and with it what was kept before
                self._journal.append(Batch(generation=self._generation, memory=memory))

    def _forget(self, shelf: Shelf, change: MarketChange) -> None:
        """Let what accounts took fade out of memory, now and then."""
        shelf.forget_at_ms = change.time_ms + FORGET_MS
        shelf.forget(self._now())
        self._open.drop_if_empty(change.symbol)
        self._watch_shelves()

    def _watch_shelves(self) -> None:
        if self.watched != self._open.shelves.keys():
            self.watched = frozenset(self._open.shelves)

    def _commit(self, draft: Draft) -> None:
        """Append the draft's batch, then merge it: a journal that refuses leaves the books as they were."""
        if not draft.events:
            return
        self._last_ticket = self._journal.append(draft.batch(self._generation))
        draft.merge()
        for account in draft.accounts.values():
            self._account_names[account.name, account.venue] = account.id
        for order in draft.orders.values():
            self._place_in_memory(order, queue_it=True)
        self._watch_shelves()

    def _place_in_memory(self, order: Order, *, queue_it: bool) -> None:
        """Index an order as it now is; one that rests already keeps its place."""
        self._client_ids.note(order)
        if order.is_open:
            self._open.put(order, queue_it=queue_it)
        else:
            self._open.remove(order)

    def _forget_closed(self) -> None:
        """Forget orders closed too long ago: the store knows them."""
        for order_id in self._client_ids.forget(self._now()):
            del self._books.orders[order_id]

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
