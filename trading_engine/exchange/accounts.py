"""What is committed, account by account, as frozen views: what every GET reads, so that none takes the engine's lock.

The journal's thread applies each batch after its commit; readers on any thread take the view that is there. Guarded by
its own leaf lock, held for dictionary work only; it calls nothing that locks.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_engine.exchange.messages import Account, Balance, Batch, EngineState, Position
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountView:
    """One account as committed by event `seq`: never changed, only replaced (nor may a reader change its mappings).

    `balances` and `positions` by asset (positions of the present epoch, closed ones included with their results),
    `open_orders` by order id, oldest first, `net_deposits` in USDT.
    """

    account: Account
    balances: Mapping[str, Balance]
    positions: Mapping[str, Position]
    open_orders: Mapping[int, Order]
    net_deposits: Decimal
    seq: int


class Accounts:
    """The committed views of all accounts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: dict[int, AccountView] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def load(self, state: EngineState) -> None:
        """Replace every view by what `state` says: at start, and after a failed commit."""
        views = {
            account.id: AccountView(
                account=account,
                balances={},
                positions={},
                open_orders={},
                net_deposits=state.net_deposits.get(account.id, ZERO),
                seq=state.next_seq - 1,
            )
            for account in state.accounts
        }
        for balance in state.balances:
            view = views[balance.account_id]
            views[balance.account_id] = replace(view, balances={**view.balances, balance.asset: balance})
        for position in state.positions:
            view = views[position.account_id]
            views[position.account_id] = replace(view, positions={**view.positions, position.asset: position})
        open_orders: dict[int, dict[int, Order]] = {}
        for order in sorted(state.orders, key=lambda order: order.id):
            if order.is_open:
                open_orders.setdefault(order.account_id, {})[order.id] = order
        for account_id, orders in open_orders.items():
            views[account_id] = replace(views[account_id], open_orders=orders)
        ids = {(account.name, account.venue): account.id for account in state.accounts}
        with self._lock:
            self._views, self._ids = views, ids

    def apply(self, batch: Batch) -> None:
        """Bring the views up to a committed batch."""
        touched = dict.fromkeys(event.account_id for event in batch.events)
        with self._lock:
            for account in batch.accounts:
                self._ids[account.name, account.venue] = account.id
            for account_id in touched:
                self._views[account_id] = _next_view(self._views.get(account_id), account_id, batch)

    def get(self, account_id: int) -> AccountView | None:
        """Return the account's view, None if there is no such account."""
        with self._lock:
            return self._views.get(account_id)

    def find(self, name: str, venue: str) -> AccountView | None:
        """Return the view of the account of that name on that venue, None if there is none."""
        with self._lock:
            account_id = self._ids.get((name, venue))
            return self._views.get(account_id) if account_id is not None else None

    def all(self) -> tuple[AccountView, ...]:
        """Return every account's view, in order of account id."""
        with self._lock:
            return tuple(self._views[account_id] for account_id in sorted(self._views))


def _next_view(view: AccountView | None, account_id: int, batch: Batch) -> AccountView:
    account = next((account for account in batch.accounts if account.id == account_id), None)
    if account is None:
        if view is None:
            raise KeyError(f"batch {batch.seq} is about account {account_id}, which was never opened")
        account = view.account
    balances = dict(view.balances) if view is not None else {}
    balances.update((balance.asset, balance) for balance in batch.balances if balance.account_id == account_id)
    same_epoch = view is not None and view.account.epoch == account.epoch
    positions = dict(view.positions) if view is not None and same_epoch else {}
    positions.update(
        (position.asset, position)
        for position in batch.positions
        if position.account_id == account_id and position.epoch == account.epoch
    )
    open_orders: Mapping[int, Order] = view.open_orders if view is not None else {}
    changed = [order for order in batch.orders if order.account_id == account_id]
    if changed:
        open_orders = _with_changed(open_orders, changed)
    before = view.net_deposits if view is not None else ZERO
    return AccountView(
        account=account,
        balances=balances,
        positions=positions,
        open_orders=open_orders,
        net_deposits=batch.net_deposits.get(account_id, before),
        seq=batch.seq,
    )


def _with_changed(open_orders: Mapping[int, Order], changed: list[Order]) -> dict[int, Order]:
    orders = dict(open_orders)
    for order in changed:
        if order.is_open:
            orders[order.id] = order
        else:
            orders.pop(order.id, None)
    return orders
