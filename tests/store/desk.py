"""A trading desk for tests: the real engine over markets a test states outright, the real journal, a real database."""

import itertools
import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Self

from tests.exchange.fakes import Clock, FakeMarket, amounts, symbol
from trading_engine.exchange.accounts import Accounts
from trading_engine.exchange.engine import Engine
from trading_engine.exchange.messages import Batch, EngineState, OpenAccount, Placed, PlaceOrder
from trading_engine.exchange.orders import OrderType, Side, TimeInForce
from trading_engine.store import Journal, Store

D = Decimal


def market(name: str = "BTCUSDT", base: str = "BTC", quote: str = "USDT") -> FakeMarket:
    return FakeMarket(symbol(name, base, quote), bids="99.00x50 98.00x500", asks="100.00x50 101.00x500")


class Desk:
    """An engine with an account. `published` are the batches in the order they were shown, `failures` what broke."""

    def __init__(self, store: Store, *markets: FakeMarket, balances: str = "USDT=100000,BTC=1") -> None:
        self.store = store
        self.markets = {market.symbol.name: market for market in markets or (market(),)}
        self.published: list[Batch] = []
        self.failures: list[BaseException] = []
        self.failed = threading.Event()
        self.groups: list[int] = []
        self.accounts = Accounts()
        self.clock = Clock()
        self.journal = Journal(store, self.publish, self.fail, committed=lambda batches, _: self.groups.append(batches))
        self.engine = Engine(
            journal=self.journal,
            markets=self.markets,
            now_ms=self.clock,
            maker_fee_rate=D("0.001"),
            taker_fee_rate=D("0.001"),
        )
        self._numbers = itertools.count(store.load(0).next_seq)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.journal.run, args=(self.stop,), daemon=True, name="journal")
        self.reload()
        self.thread.start()
        found = self.accounts.find("default", "test")
        self.account_id = found.account.id if found else self.open("default", balances)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stop.set()
        self.journal.wake()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def publish(self, batch: Batch) -> None:
        self.accounts.apply(batch)
        self.published.append(batch)

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)
        self.failed.set()

    def reload(self) -> EngineState:
        state = self.store.load(self.clock.now_ms)
        generation = self.engine.load(state)
        self.accounts.load(state)
        self.journal.reopen(generation, "test")
        return state

    def open(self, name: str, balances: str = "USDT=100000", venue: str = "test") -> int:
        return self.engine.submit(OpenAccount(name=name, venue=venue, balances=amounts(balances))).id

    def order(
        self,
        side: Side,
        quantity: str,
        price: str | None = None,
        *,
        client_order_id: str = "",
        symbol: str = "BTCUSDT",
        account_id: int | None = None,
    ) -> PlaceOrder:
        return PlaceOrder(
            account_id=account_id or self.account_id,
            symbol=symbol,
            side=side,
            type=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=D(quantity),
            quote_quantity=None,
            price=None if price is None else D(price),
            time_in_force=TimeInForce.GTC,
            post_only=False,
            client_order_id=client_order_id or f"order-{next(self._numbers)}",
        )

    def place(self, side: Side, quantity: str, price: str | None = None, **more: Any) -> Placed:
        return self.engine.submit(self.order(side, quantity, price, **more))

    def buy(self, quantity: str, price: str | None = None, **more: object) -> Placed:
        return self.place(Side.BUY, quantity, price, **more)

    def sell(self, quantity: str, price: str | None = None, **more: object) -> Placed:
        return self.place(Side.SELL, quantity, price, **more)


def together(*acts: Callable[[], object]) -> list[object]:
    """Do things at once, each in a thread of its own; return what each returned or raised."""
    results: list[object] = [None] * len(acts)

    def do(n: int) -> None:
        try:
            results[n] = acts[n]()
        except Exception as error:  # noqa: BLE001 - the outcome under test
            results[n] = error

    threads = [threading.Thread(target=do, args=(n,), daemon=True) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "still waiting after 30 s"
    return results


def comparable(state: EngineState) -> dict[str, object]:
    """What must be equal between memory and store, whatever the order of its rows."""
    return {
        "next_seq": state.next_seq,
        "accounts": {account.id: account for account in state.accounts},
        "orders": {order.id: order for order in state.orders},
        "balances": {(balance.account_id, balance.asset): balance for balance in state.balances},
        "positions": {(position.account_id, position.asset): position for position in state.positions},
        "system": dict(state.system_balances),
        "net_deposits": dict(state.net_deposits),
    }
