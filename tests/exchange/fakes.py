"""A market and a journal small enough to see through, and the symbols the tests trade.

Events are handed to the tests as `Any`: which kind each one is, is what a test states.
"""

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from trading_engine.exchange.engine import Engine
from trading_engine.exchange.market import ChangeKind, FeedState, LevelView, MarketChange, MarketView, Trade
from trading_engine.exchange.messages import (
    EMPTY_STATE,
    Account,
    Batch,
    Entry,
    Event,
    OpenAccount,
    OrderFilled,
    Placed,
    PlaceOrder,
    Position,
    Refused,
)
from trading_engine.exchange.orders import Order, OrderType, Side, TimeInForce
from trading_engine.exchange.queue_rules import Rule
from trading_engine.exchange.symbols import PercentPrice, Symbol, step_of
from trading_engine.exchange.waiting import LevelKey, WaitingPrints
from trading_engine.exchange.watching import LevelChange

D = Decimal
ZERO = D(0)
EVERY_TYPE = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")


def symbol(name: str = "BTCUSDT", base: str = "BTC", quote: str = "USDT", **rules: Any) -> Symbol:
    """A symbol with the rules BTCUSDT has on the venue, less its notional and percent-price filters."""
    usual = {
        "name": name,
        "status": "TRADING",
        "base_asset": base,
        "quote_asset": quote,
        "base_precision": 8,
        "quote_precision": 8,
        "tick_size": D("0.01000000"),
        "min_price": D("0.01000000"),
        "max_price": D("1000000.00000000"),
        "step_size": D("0.00001000"),
        "min_quantity": D("0.00001000"),
        "max_quantity": D("9000.00000000"),
        "market_step_size": ZERO,
        "market_min_quantity": ZERO,
        "market_max_quantity": D("120.00000000"),
        "min_notional": ZERO,
        "max_notional": None,
        "min_notional_applies_to_market": True,
        "max_notional_applies_to_market": False,
        "percent_price": None,
        "average_price_minutes": 5,
        "max_open_orders": 200,
        "order_types": EVERY_TYPE,
    }
    return Symbol(**{**usual, **rules})


FIVEFOLD = PercentPrice(bid_up=D(5), bid_down=D("0.2"), ask_up=D(5), ask_down=D("0.2"))


def levels(text: str) -> tuple[tuple[Decimal, Decimal], ...]:
    """Read "100x50 101x80" as price and quantity, best first."""
    return tuple((D(price), D(quantity)) for price, quantity in (level.split("x") for level in text.split()))


class FakeMarket:
    """One symbol whose book a test states outright. Each change of it is returned as the engine would be told.

    Its venue's clock goes on by 10 ms with each change. A book that is stated anew comes as one diff.
    """

    def __init__(
        self, rules: Symbol, bids: str = "", asks: str = "", lock: AbstractContextManager[Any] | None = None
    ) -> None:
        self.lock = lock or threading.RLock()
        self.symbol = rules
        self.state = FeedState.LIVE
        self.reason: str | None = None
        self.seq = 1
        self.update_id = 1000
        self.bids, self.asks = levels(bids), levels(asks)
        self.last_trade: Trade | None = None
        self.average_price: Decimal | None = None
        self.waiting = WaitingPrints()
        self.watched: set[LevelKey] = set()
        self.unknown: set[LevelKey] = set()
        self.looks: list[int | None] = []
        self.before_look: Callable[[], object] = lambda: None
        self.after_look: Callable[[], object] = lambda: None

    @property
    def time_ms(self) -> int:
        return self.seq * 10

    def view(self, levels: int | None = 20) -> MarketView:
        self.before_look()
        with self.lock:
            self.looks.append(levels)
            seen = MarketView(
                symbol=self.symbol,
                state=self.state,
                reason=self.reason,
                seq=self.seq,
                update_id=self.update_id,
                bids=self.bids[:levels],
                asks=self.asks[:levels],
                complete=levels is None or max(len(self.bids), len(self.asks)) <= levels,
                waiting=self.waiting.levels(),
                last_trade=self.last_trade,
                average_price=self.average_price,
                ticker=None,
                updated_at_ms=0,
                age_ms=0,
            )
        self.after_look()
        return seen

    def shown(self, key: LevelKey) -> Decimal:
        return dict(self.bids if key.side is Side.BUY else self.asks).get(key.price, ZERO)

    def watch(self, key: LevelKey) -> LevelView:
        with self.lock:
            self.watched.add(key)
            return LevelView(
                seq=self.seq,
                shown=None if key in self.unknown else self.shown(key),
                waiting=self.waiting.at(key),
                shown_until_ms=self.waiting.shown_until_ms,
                venue_ms=self.time_ms,
                lot=step_of(self.symbol),
            )

    def unwatch(self, key: LevelKey) -> None:
        with self.lock:
            self.watched.discard(key)

    def quote(self, *, bids: str | None = None, asks: str | None = None, shows_prints: bool = True) -> MarketChange:
        """Show another book, by a diff emitted now, or before the prints that wait."""
        return self.diff(
            self.bids if bids is None else levels(bids),
            self.asks if asks is None else levels(asks),
            shows_prints=shows_prints,
        )

    def diff(self, bids: Any, asks: Any, *, shows_prints: bool = True) -> MarketChange:
        with self.lock:
            before = {key: self.shown(key) for key in self.watched}
            self.bids, self.asks = bids, asks
            self.update_id += 1
            self.seq += 1
            traded = self.waiting.show_until(self.time_ms) if shows_prints else {}
            changes = [
                LevelChange(key, was, self.shown(key), traded.get(key, ZERO))
                for key, was in sorted(before.items())
                if was != self.shown(key) or key in traded
            ]
            return self.change(kind=ChangeKind.DIFF, levels=tuple(changes))

    def load(self) -> MarketChange:
        """Come back with a whole new book: the one shown now."""
        self.seq += 1
        self.state = FeedState.LIVE
        self.waiting.clear()
        return self.change(kind=ChangeKind.LOADED)

    def print_(
        self, price: str | Decimal, quantity: str | Decimal, *, buyer_is_maker: bool, time_ms: int | None = None
    ) -> MarketChange:
        """Report a public trade, of this moment unless said otherwise."""
        self.seq += 1
        self.last_trade = Trade(
            id=self.seq,
            price=D(price),
            quantity=D(quantity),
            buyer_is_maker=buyer_is_maker,
            time_ms=self.time_ms if time_ms is None else time_ms,
        )
        late = not self.waiting.add(self.last_trade, self.time_ms * 1_000_000)
        return self.change(self.last_trade, kind=ChangeKind.TRADE, late=late)

    def become(self, state: FeedState, reason: str | None = None) -> MarketChange:
        """Change the state of the feed."""
        self.state, self.reason = state, reason
        self.seq += 1
        return self.change()

    def change(
        self,
        trade: Trade | None = None,
        *,
        kind: ChangeKind = ChangeKind.OTHER,
        late: bool = False,
        levels: tuple[LevelChange, ...] = (),
    ) -> MarketChange:
        view = self.view(1)
        return MarketChange(
            symbol=self.symbol.name,
            seq=self.seq,
            live=self.state is FeedState.LIVE,
            kind=kind,
            time_ms=self.time_ms if trade is None else trade.time_ms,
            trade=trade,
            late=late,
            best_bid=view.best_bid,
            best_ask=view.best_ask,
            levels=levels,
        )


class Ticket:
    def __init__(self, failure: Refused | None = None) -> None:
        self.failure = failure

    def wait(self) -> None:
        if self.failure is not None:
            raise self.failure

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        tell(self.failure)


class ListJournal:
    """Keeps batches in a list. `broken`: takes none; `lost`: what waiting says; `fault`: breaks as no journal must."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.broken = False
        self.lost: Refused | None = None
        self.fault: BaseException | None = None

    def append(self, batch: Batch) -> Ticket:
        if self.fault is not None:
            raise self.fault
        if self.broken:
            raise Refused("not_committed", "the disk is full")
        self.batches.append(batch)
        return Ticket(self.lost)

    @property
    def events(self) -> list[Any]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def entries(self) -> list[Entry]:
        return [entry for batch in self.batches for entry in batch.entries]


class Clock:
    """Milliseconds that pass only when told."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Exchange:
    """An engine over fake markets with one account, and short words for what a test does with it."""

    def __init__(
        self,
        *markets: FakeMarket,
        balances: str = "USDT=100000",
        fees: str = "0.001",
        queue_rule: Rule = Rule.INFERRED,
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.markets = {market.symbol.name: market for market in markets}
        self.journal = ListJournal()
        self.clock = Clock()
        self.engine = Engine(
            journal=self.journal,
            markets=self.markets,
            now_ms=self.clock,
            maker_fee_rate=D(fees),
            taker_fee_rate=D(fees),
            queue_rule=queue_rule,
            lock=lock,
        )
        self.engine.load(EMPTY_STATE)
        self.orders_sent = 0
        self.account = self.open("default", balances)
        self._opening = self.journal.batches.pop()

    def open(self, name: str, balances: str, venue: str = "test") -> Account:
        return self.engine.submit(OpenAccount(name=name, venue=venue, balances=amounts(balances)))

    def history(self) -> list[Any]:
        """Return every event since the beginning; the journal's list begins after the account's opening."""
        return [*self._opening.events, *self.journal.events]

    def order(self, side: Side, quantity: Any = None, price: str | None = None, **more: Any) -> PlaceOrder:
        self.orders_sent += 1
        command = PlaceOrder(
            account_id=self.account.id,
            symbol=next(iter(self.markets)),
            side=side,
            type=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=None if quantity is None else D(quantity),
            quote_quantity=None,
            price=None if price is None else D(price),
            time_in_force=TimeInForce.GTC,
            post_only=False,
            client_order_id=f"order-{self.orders_sent}",
        )
        return replace(command, **more)

    def buy(self, quantity: Any = None, price: str | None = None, **more: Any) -> Placed:
        return self.engine.submit(self.order(Side.BUY, quantity, price, **more))

    def sell(self, quantity: Any = None, price: str | None = None, **more: Any) -> Placed:
        return self.engine.submit(self.order(Side.SELL, quantity, price, **more))

    def buy_events(self, quantity: str) -> list[Any]:
        """Buy at the market; return the events of it."""
        before = len(self.journal.events)
        self.buy(quantity)
        return self.journal.events[before:]

    def ahead(self, order: Order) -> Decimal | None:
        """Return what is ahead of a resting order."""
        return self.engine.queue_ahead(order.account_id).get(order.id)

    def tell(self, *changes: MarketChange) -> list[Any]:
        """Hand market changes to the engine as the feed does; return the events they cause."""
        before = len(self.journal.events)
        for change in changes:
            if change.symbol in self.engine.watched:
                self.engine.on_market(change)
        return self.journal.events[before:]

    def balance(self, asset: str, account_id: int | None = None) -> tuple[Decimal, Decimal]:
        """Return free and held."""
        for balance in self.engine.state().balances:
            if balance.asset == asset and balance.account_id == (account_id or self.account.id):
                return balance.free, balance.held
        return ZERO, ZERO

    def now(self, order_id: int) -> Order:
        """Return the order as it is now."""
        return next(order for order in self.engine.state().orders if order.id == order_id)

    def position(self, asset: str) -> Position:
        return next(position for position in self.engine.state().positions if position.asset == asset)


def amounts(text: str) -> dict[str, Decimal]:
    """Read "USDT=100000,BTC=1"."""
    return {asset: D(amount) for asset, amount in (part.split("=") for part in text.split(",") if part)}


def filled(events: Iterable[Event]) -> list[str]:
    """Write the fills among the events as "quantity@price liquidity"."""
    fills = [event.fill for event in events if isinstance(event, OrderFilled)]
    return [f"{fill.quantity.normalize():f}@{fill.price.normalize():f} {fill.liquidity}" for fill in fills]


def kinds(events: Iterable[Event]) -> list[str]:
    return [type(event).__name__ for event in events]
