"""The books: accounts, orders, balances and positions as they stand, and drafts in which a batch of events takes shape.

A draft lies over the books: it reads through to them and writes only to itself, so that a batch which the journal
refuses, or which fails half-way, leaves the books as they were. `merge` then lays it down with plain dictionary updates
that cannot fail. Money moves only by `Draft.post`: the postings of one event sum to zero per asset, no balance of an
account goes below zero, and each entry holds the balance before and after.

Guarded by `Engine.lock`: books and drafts are touched by whoever stands inside the engine's door, or by one thread that
rebuilds them from events.
"""

from decimal import Decimal

from trading_engine.exchange.messages import (
    Account,
    Balance,
    Batch,
    EngineState,
    Entry,
    Event,
    LedgerAccount,
    Position,
)
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Fill, Order


class BrokenBooksError(AssertionError):
    """Our own fault: an event would leave the books wrong, or a check found them so. The engine halts on it."""


class Books:
    """Everything current, by key. Positions are those of each account's present epoch."""

    __slots__ = ("accounts", "balances", "net_deposits", "next_seq", "orders", "positions", "system")

    def __init__(self, state: EngineState) -> None:
        self.next_seq = state.next_seq
        self.accounts = {account.id: account for account in state.accounts}
        self.orders = {order.id: order for order in state.orders}
        self.balances = {(balance.account_id, balance.asset): balance for balance in state.balances}
        self.positions = {(position.account_id, position.asset): position for position in state.positions}
        self.system = dict(state.system_balances)
        self.net_deposits = dict(state.net_deposits)

    def state(self) -> EngineState:
        """Return the books as the frozen value they can be loaded from again."""
        return EngineState(
            next_seq=self.next_seq,
            accounts=tuple(self.accounts.values()),
            orders=tuple(self.orders.values()),
            balances=tuple(self.balances.values()),
            positions=tuple(self.positions.values()),
            system_balances=dict(self.system),
            net_deposits=dict(self.net_deposits),
        )

    def free(self, account_id: int, asset: str) -> Decimal:
        """Return what an account has free of an asset."""
        balance = self.balances.get((account_id, asset))
        return balance.free if balance is not None else ZERO

    def total(self, account_id: int, asset: str) -> Decimal:
        """Return what an account has of an asset, free and held."""
        balance = self.balances.get((account_id, asset))
        return balance.total if balance is not None else ZERO


class Draft:
    """The rows that the events of one batch have touched so far, over the books they will be merged into."""

    __slots__ = (
        "_books",
        "_line",
        "_sums",
        "accounts",
        "balances",
        "entries",
        "events",
        "fills",
        "net_deposits",
        "next_seq",
        "orders",
        "positions",
        "system",
    )

    def __init__(self, books: Books) -> None:
        self._books = books
        self.next_seq = books.next_seq
        self.events: list[Event] = []
        self.fills: list[Fill] = []
        self.entries: list[Entry] = []
        self.accounts: dict[int, Account] = {}
        self.orders: dict[int, Order] = {}
        self.balances: dict[tuple[int, str], Balance] = {}
        self.positions: dict[tuple[int, str], Position | None] = {}
        self.system: dict[tuple[LedgerAccount, str], Decimal] = {}
        self.net_deposits: dict[int, Decimal] = {}
        self._line = 0
        self._sums: dict[str, Decimal] = {}

    def account(self, account_id: int) -> Account:
        """Return the account as it stands in this draft."""
        return self.accounts.get(account_id) or self._books.accounts[account_id]

    def order(self, order_id: int) -> Order:
        """Return the order as it stands in this draft."""
        return self.orders.get(order_id) or self._books.orders[order_id]

    def balance(self, account_id: int, asset: str) -> Balance:
        """Return the balance as it stands in this draft, zero where there is none."""
        key = (account_id, asset)
        return (
            self.balances.get(key)
            or self._books.balances.get(key)
            or Balance(account_id=account_id, asset=asset, free=ZERO, held=ZERO)
        )

    def balances_of(self, account_id: int) -> list[Balance]:
        """Return every balance of an account as it stands in this draft, in order of asset."""
        keys = dict.fromkeys(key for rows in (self._books.balances, self.balances) for key in rows)
        return [self.balance(*key) for key in sorted(keys) if key[0] == account_id]

    def position(self, account_id: int, asset: str) -> Position:
        """Return the position of the account's present epoch, empty where there is none."""
        key = (account_id, asset)
        position = self.positions[key] if key in self.positions else self._books.positions.get(key)
        if position is not None:
            return position
        return Position(
            account_id=account_id,
            epoch=self.account(account_id).epoch,
            asset=asset,
            quantity=ZERO,
            cost=ZERO,
            realized_pnl=ZERO,
            fees_paid=ZERO,
        )

    def put_position(self, position: Position) -> None:
        """Keep a position as it stands now."""
        self.positions[position.account_id, position.asset] = position

    def forget_positions(self, account_id: int) -> None:
        """Take an account's positions off the books: its epoch is over (their last rows stay in the store)."""
        for rows in (self._books.positions, dict(self.positions)):
            for key in rows:
                if key[0] == account_id:
                    self.positions[key] = None

    def begin_posting(self) -> None:
        """Begin the posting of one event."""
        self._line = 0
        self._sums = {}

    def move(self, seq: int, account_id: int, asset: str, *, free: Decimal = ZERO, held: Decimal = ZERO) -> None:
        """Post a change of an account's balance: what it has free, held, or both at once."""
        before = self.balance(account_id, asset)
        after = Balance(account_id=account_id, asset=asset, free=before.free + free, held=before.held + held)
        if after.free < 0 or after.held < 0:
            raise BrokenBooksError(
                f"event {seq} would leave account {account_id} with {after.free}+{after.held} {asset}"
            )
        if held:
            self._enter(seq, (LedgerAccount.HELD, account_id, asset), held, before=before.held)
        if free:
            self._enter(seq, (LedgerAccount.FREE, account_id, asset), free, before=before.free)
        self.balances[account_id, asset] = after

    def post(self, seq: int, ledger_account: LedgerAccount, asset: str, amount: Decimal) -> None:
        """Post a change of one of the exchange's own ledger accounts."""
        if not amount:
            return
        key = (ledger_account, asset)
        before = self.system[key] if key in self.system else self._books.system.get(key, ZERO)
        self._enter(seq, (ledger_account, None, asset), amount, before=before)
        self.system[key] = before + amount

    def end_posting(self, seq: int) -> None:
        """Close the posting of event `seq`: it must sum to zero per asset."""
        for asset, total in self._sums.items():
            if total:
                raise BrokenBooksError(f"the posting of event {seq} is off by {total} {asset}")

    def batch(self, generation: int) -> Batch:
        """Return what this draft did, for the journal."""
        return Batch(
            generation=generation,
            events=tuple(self.events),
            accounts=tuple(self.accounts.values()),
            orders=tuple(self.orders.values()),
            fills=tuple(self.fills),
            entries=tuple(self.entries),
            balances=tuple(self.balances.values()),
            positions=tuple(position for position in self.positions.values() if position is not None),
            net_deposits=self.net_deposits,
        )

    def merge(self) -> None:
        """Lay the draft down in the books. Nothing here can fail half-way."""
        books = self._books
        books.next_seq = self.next_seq
        books.accounts.update(self.accounts)
        books.orders.update(self.orders)
        books.balances.update(self.balances)
        books.system.update(self.system)
        books.net_deposits.update(self.net_deposits)
        for key, position in self.positions.items():
            if position is None:
                books.positions.pop(key, None)
            else:
                books.positions[key] = position

    def _enter(
        self, seq: int, where: tuple[LedgerAccount, int | None, str], amount: Decimal, *, before: Decimal
    ) -> None:
        ledger_account, account_id, asset = where
        self.entries.append(
            Entry(
                seq=seq,
                n=self._line,
                ledger_account=ledger_account,
                account_id=account_id,
                asset=asset,
                amount=amount,
                balance_before=before,
                balance_after=before + amount,
            )
        )
        self._line += 1
        self._sums[asset] = self._sums.get(asset, ZERO) + amount
