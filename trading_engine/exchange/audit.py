"""Every invariant of the books, walked: what must hold after each batch, whatever happened before.

Raises `BrokenBooksError` naming the first thing that is wrong. Reads only; whoever calls holds what guards the books.
"""

from decimal import Decimal

from trading_engine.exchange.fills import key_of
from trading_engine.exchange.ledger import Books, BrokenBooksError
from trading_engine.exchange.money import REPORTING_ASSET, ZERO
from trading_engine.exchange.open_orders import OpenOrders
from trading_engine.exchange.orders import Order, OrderStatus, Stage, TimeInForce
from trading_engine.exchange.resting import Shelf


def check_books(books: Books) -> None:
    """Walk money, orders and positions."""
    _check_sums(books)
    _check_holds(books)
    for order in books.orders.values():
        _check_order(order)
    _check_positions(books)


def check_open_orders(books: Books, open_orders: OpenOrders) -> None:
    """Walk the index of open orders: it holds exactly the books' open orders, each in its place."""
    expected = {order.id for order in books.orders.values() if order.is_open}
    found: list[int] = []
    for symbol, shelf in open_orders.shelves.items():
        for ladder in (shelf.buys, shelf.sells):
            ids = ladder.ids()
            ranked = sorted(ids, key=lambda order_id: ladder.key(books.orders[order_id]))
            _must(ids == ranked, f"the {ladder.side} orders of {symbol} are out of order: {ids}")
            found += ids
        _check_queues(books, shelf, symbol)
        for order_id in shelf.waiting:
            _must(books.orders[order_id].market_seq is None, f"order {order_id} waits, but met a live book")
            found.append(order_id)
        armed = [order_id for order_id in sorted(expected) if order_id in shelf.triggers]
        _must(len(armed) == len(shelf.triggers), f"{symbol} has triggers of orders that are not open")
        _must(all(books.orders[order_id].stage is Stage.ARMED for order_id in armed), f"of {armed} some are not armed")
        shelf.triggers.check()
        found += armed
    _must(len(found) == len(expected) and set(found) == expected, f"orders {found} are indexed, {expected} are open")
    for account_id in books.accounts:
        mine = sorted(order.id for order in books.orders.values() if order.is_open and order.account_id == account_id)
        _must(
            open_orders.of(account_id) == mine,
            f"account {account_id} has {mine} open, not {open_orders.of(account_id)}",
        )


def _check_queues(books: Books, shelf: Shelf, symbol: str) -> None:
    """Each resting order stands in the queue of its price, with what is left of it, unless its place is unknown."""
    placed = {order_id: (key, queue) for key, queue in shelf.queues.items() for order_id in queue.order_ids()}
    resting = set(shelf.buys.ids()) | set(shelf.sells.ids())
    _must(
        placed.keys() | shelf.unplaced.keys() == resting and not placed.keys() & shelf.unplaced.keys(),
        f"orders {sorted(resting)} of {symbol} rest, {sorted(placed)} are queued, {sorted(shelf.unplaced)} unplaced",
    )
    for order_id, (key, queue) in placed.items():
        order = books.orders[order_id]
        _must(key == key_of(order), f"order {order_id} is queued at {key}, its limit is {order.price}")
        _must(
            queue.leaves(order_id) == order.leaves,
            f"order {order_id} is queued for {queue.leaves(order_id)}, {order.leaves} of it is left",
        )
        _must(0 <= queue.ahead(order_id) <= queue.most_ahead(order_id), f"{queue.ahead(order_id)} ahead of {order_id}")
    for key, queue in shelf.queues.items():
        _must(not queue.is_empty, f"the queue at {key} is empty")


def _check_sums(books: Books) -> None:
    """Per asset, what accounts have and the exchange's own ledger accounts have sums to zero; nothing is negative."""
    sums: dict[str, Decimal] = {}
    for (account_id, asset), balance in books.balances.items():
        _must(
            balance.free >= 0 and balance.held >= 0, f"account {account_id} has {balance.free}+{balance.held} {asset}"
        )
        sums[asset] = sums.get(asset, ZERO) + balance.total
    for (_, asset), amount in books.system.items():
        sums[asset] = sums.get(asset, ZERO) + amount
    for asset, total in sums.items():
        _must(not total, f"the ledger is off by {total} {asset}")


def _check_holds(books: Books) -> None:
    """What each account has held of an asset is what its open orders hold of it."""
    held: dict[tuple[int, str], Decimal] = {}
    for order in books.orders.values():
        key = (order.account_id, order.asset_given)
        held[key] = held.get(key, ZERO) + order.held
    for key, balance in books.balances.items():
        _must(balance.held == held.get(key, ZERO), f"{key} has {balance.held} held, its orders {held.get(key, ZERO)}")


def _check_order(order: Order) -> None:
    if order.quantity is not None:
        _must(order.filled_quantity <= order.quantity, f"order {order.id} is filled beyond its quantity")
        full = order.filled_quantity == order.quantity
        _must(full == (order.status is OrderStatus.FILLED), f"order {order.id} is {order.status}, filled {full}")
    if order.is_open:
        rests = order.price is not None and order.time_in_force is TimeInForce.GTC
        _must(rests or order.stage is not Stage.LIVE, f"order {order.id} is open and must not rest")
        _must(
            order.stage is Stage.LIVE or not order.filled_quantity, f"order {order.id} is {order.stage} and has fills"
        )
        _must(bool(order.held), f"order {order.id} is open and holds nothing")
    else:
        _must(not order.held, f"order {order.id} is {order.status} and still holds {order.held}")


def _check_positions(books: Books) -> None:
    """A position is what the account has of the asset; and cash + cost = net deposits + realised, to the last digit.

    The second is the statement realised + unrealised = total value - net deposits with the marks cancelled out, so it
    holds for all marks at once.
    """
    quantities = {key: balance.total for key, balance in books.balances.items() if key[1] != REPORTING_ASSET}
    off: dict[int, Decimal] = {account_id: -amount for account_id, amount in books.net_deposits.items()}
    for key, position in books.positions.items():
        account = books.accounts[position.account_id]
        _must(position.epoch == account.epoch, f"a position of {key} is of epoch {position.epoch}")
        quantity = quantities.pop(key, ZERO)
        _must(position.quantity == quantity, f"the position of {key} is {position.quantity}, its balance {quantity}")
        _must(bool(position.quantity) or not position.cost, f"the position of {key} is closed and cost {position.cost}")
        off[account.id] += position.cost - position.realized_pnl
    for key, quantity in quantities.items():
        _must(not quantity, f"{key} has {quantity} and no position")
    for (account_id, asset), balance in books.balances.items():
        if asset == REPORTING_ASSET:
            off[account_id] += balance.total
    for account_id, difference in off.items():
        _must(not difference, f"account {account_id}: realised and open result are off by {difference}")


def _must(holds: object, otherwise: str) -> None:
    if not holds:
        raise BrokenBooksError(otherwise)
