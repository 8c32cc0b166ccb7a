"""What a group of batches writes: new rows as they come, and of every row that changes only its last state.

Pure, and the journal's innermost work. The statements come in an order that never meets itself: a group has at most
one row of each key, whatever happened to it in between.
"""

from __future__ import annotations

from collections.abc import Sequence

from trading_engine.exchange.messages import AccountOpened, AccountReset, Batch, Entry
from trading_engine.store.rows import (
    Amount,
    RowValues,
    Value,
    account_row,
    balance_row,
    entry_row,
    epoch_row,
    event_row,
    fill_row,
    final_balances,
    memory_row,
    order_row,
    position_row,
    system_balance_row,
)
from trading_engine.store.statements import Statements, Upsert

Statement = tuple[str, Sequence[Value]]
"""SQL and its parameters."""


class Group:
    """The rows of some batches, gathered in their order; `venue` is the one whose ledger accounts they move."""

    def __init__(self, statements: Statements, amount: Amount, venue: str) -> None:
        self._sql = statements
        self._amount = amount
        self._venue = venue
        self._events: list[RowValues] = []
        self._fills: list[RowValues] = []
        self._entries: list[RowValues] = []
        self._accounts: dict[int, RowValues] = {}
        self._orders: dict[int, RowValues] = {}
        self._balances: dict[tuple[int, str], RowValues] = {}
        self._positions: dict[tuple[int, int, str], RowValues] = {}
        self._system: dict[tuple[str, str], Entry] = {}
        self._epochs: list[Statement] = []
        self._memory: dict[tuple[str, str], RowValues] = {}

    def add(self, batch: Batch) -> None:
        """Gather a batch, which comes after all that were gathered before."""
        amount, seq = self._amount, batch.seq
        self._events += [event_row(event, seq) for event in batch.events]
        self._fills += [fill_row(fill, amount) for fill in batch.fills]
        for order in batch.orders:
            self._orders[order.id] = order_row(order, seq, amount)
        for entry in batch.entries:
            self._entries.append(entry_row(entry, amount))
            if entry.account_id is None:
                self._system[entry.ledger_account, entry.asset] = entry
        for balance in batch.balances:
            self._balances[balance.account_id, balance.asset] = balance_row(balance, seq, amount)
        for position in batch.positions:
            key = (position.account_id, position.epoch, position.asset)
            self._positions[key] = position_row(position, seq, amount)
        for memory in batch.memory:
            self._memory[memory.symbol, memory.key] = memory_row(memory, self._venue)
        if batch.accounts or batch.net_deposits:
            self._add_accounts(batch)

    def _add_accounts(self, batch: Batch) -> None:
        """Gather openings and resets: rare, and written one by one."""
        self._accounts.update((account.id, account_row(account)) for account in batch.accounts)
        for event in batch.events:
            if isinstance(event, AccountReset):
                ended = (event.seq, event.time_ms, final_balances(event.withdrawn), event.account_id, event.epoch - 1)
                self._epochs.append((self._sql.end_epoch, ended))
            if isinstance(event, AccountOpened | AccountReset):
                self._epochs += self._sql.epochs.statements([epoch_row(event, self._amount)])
        for account_id, value in batch.net_deposits.items():
            self._epochs.append((self._sql.set_net_deposits, (self._amount(value), account_id)))

    def statements(self) -> list[Statement]:
        """Return what writes it all."""
        sql = self._sql
        system = [system_balance_row(entry, self._venue, self._amount) for entry in self._system.values()]
        written: tuple[tuple[Upsert, list[RowValues]], ...] = (
            (sql.events, self._events),
            (sql.accounts, list(self._accounts.values())),
            (sql.orders, list(self._orders.values())),
            (sql.fills, self._fills),
            (sql.entries, self._entries),
            (sql.balances, list(self._balances.values())),
            (sql.positions, list(self._positions.values())),
            (sql.system_balances, system),
            (sql.market_memory, list(self._memory.values())),
        )
        return [*self._epochs, *(statement for upsert, rows in written for statement in upsert.statements(rows))]
