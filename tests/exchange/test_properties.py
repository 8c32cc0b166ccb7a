"""Random trading against random markets: whatever happens, the books balance and rebuild to the same state."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, amounts, symbol
from trading_engine.exchange import history
from trading_engine.exchange.accounts import Accounts
from trading_engine.exchange.fills import limit_of
from trading_engine.exchange.market import FeedState, MarketChange
from trading_engine.exchange.messages import (
    Account,
    AmendOrder,
    CancelAll,
    CancelOrder,
    Command,
    OpenAccount,
    OrderFilled,
    Placed,
    PlaceOrder,
    Refused,
    ResetAccount,
)
from trading_engine.exchange.money import round_up
from trading_engine.exchange.orders import (
    Certainty,
    Fill,
    Liquidity,
    Order,
    OrderType,
    Side,
    Stage,
    TimeInForce,
    hold_of,
)
from trading_engine.exchange.portfolio import asset_rate, value
from trading_engine.exchange.risk import CONDITIONAL, LIMITS
from trading_engine.exchange.symbols import Symbol

# Tick x step needs 8, 9, 9 and 2 decimals: where it is more than the quote asset's 8 (or 2), amounts must round.
OPEN: dict[str, Any] = {"min_price": ZERO, "min_quantity": ZERO, "max_quantity": ZERO, "market_max_quantity": ZERO}
RULES = (
    symbol("BTCUSDT", tick_size=D("0.001"), step_size=D("0.00001"), **OPEN),
    symbol("ODDUSDT", "ODD", "USDT", tick_size=D("0.00001"), step_size=D("0.0001"), **OPEN),
    symbol("ODDBTC", "ODD", "BTC", tick_size=D("0.00001"), step_size=D("0.0001"), **OPEN),
    symbol("USDTTRY", "USDT", "TRY", tick_size=D("0.01"), step_size=D("0.0001"), quote_precision=2, **OPEN),
)
BALANCES = ("USDT=100,BTC=10,ODD=100,TRY=50", "USDT=0.01,BTC=0.00123,ODD=0.5,TRY=0.55", "USDT=0.003")
KINDS = (*(3 * [(TimeInForce.GTC, False)]), (TimeInForce.GTC, True), (TimeInForce.IOC, False), (TimeInForce.FOK, False))

ticks = st.integers(5, 25)
lots = st.integers(1, 30_000)
sizes = st.lists(st.integers(1, 30_000), min_size=1, max_size=4)
sides = st.sampled_from(Side)


def book(market: FakeMarket, middle: int, bids: list[int], asks: list[int]) -> MarketChange:
    """Quote the sizes (in lots) on neighbouring ticks around the middle one."""
    tick, step = market.symbol.tick_size, market.symbol.step_size
    return market.diff(
        tuple((tick * (middle - 1 - n), step * size) for n, size in enumerate(bids) if middle - 1 - n > 0),
        tuple((tick * (middle + 1 + n), step * size) for n, size in enumerate(asks)),
    )


class Trading(RuleBasedStateMachine):
    """Two accounts, four symbols, a journal that breaks, restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = Exchange(*(FakeMarket(rules) for rules in RULES), balances="USDT=1000", fees="0.001")
        for market in self.exchange.markets.values():
            book(market, 15, [9_000, 20_000], [9_000, 20_000])
        self.engine = self.exchange.engine
        self.journal = self.exchange.journal
        self.committed = Accounts()
        self.published = 0
        self.terminal: dict[int, Order] = {}
        # The opening of the exchange's own account was cleared from the journal; begin with a clean one.
        self.engine.load(history.rebuild([]))
        self.accounts: list[int] = []

    @initialize(first=st.sampled_from(BALANCES), second=st.sampled_from(BALANCES))
    def open_accounts(self, first: str, second: str) -> None:
        for name, balances in (("first", first), ("second", second)):
            account = self.engine.submit(OpenAccount(name=name, venue="test", balances=amounts(balances)))
            self.accounts.append(account.id)

    def try_(self, command: Command) -> Placed | tuple[Order, ...] | Account | Refused:
        """Submit; a refusal must have changed nothing."""
        before, batches = self.engine.state(), len(self.journal.batches)
        try:
            return self.engine.submit(command)
        except Refused as refusal:
            assert len(self.journal.batches) == batches
            after = self.engine.state()
            assert replace(after, orders=()) == replace(before, orders=())
            assert set(after.orders) <= set(before.orders)
            return refusal

    @rule(
        who=st.integers(0, 1),
        what=st.sampled_from(RULES),
        side=sides,
        ticks=ticks,
        lots=lots,
        kind=st.sampled_from(KINDS),
        repeat=st.integers(0, 200),
    )
    def limit(
        self, who: int, what: Symbol, side: Side, ticks: int, lots: int, kind: tuple[TimeInForce, bool], repeat: int
    ) -> None:
        self.place(who, what, side, *kind, f"limit-{repeat}", price=ticks * what.tick_size, lots=lots)

    @rule(who=st.integers(0, 1), what=st.sampled_from(RULES), away=st.integers(0, 3), lots=lots, side=sides)
    def rest(self, who: int, what: Symbol, away: int, lots: int, side: Side) -> None:
        """Place a limit on the own side of the book, where it rests."""
        market = self.exchange.markets[what.name]
        price = market.bids[0][0] - away * what.tick_size if side is Side.BUY else market.asks[0][0]
        if price > 0:
            self.place(
                who, what, side, TimeInForce.GTC, False, f"rest-{self.journal.events[-1].seq}", price=price, lots=lots
            )

    @rule(who=st.integers(0, 1), what=st.sampled_from(RULES), side=sides, lots=lots, repeat=st.integers(0, 200))
    def market(self, who: int, what: Symbol, side: Side, lots: int, repeat: int) -> None:
        self.place(who, what, side, TimeInForce.GTC, False, f"market-{repeat}", lots=lots)

    @rule(
        who=st.integers(0, 1),
        what=st.sampled_from(RULES),
        side=sides,
        kind=st.sampled_from(sorted(CONDITIONAL)),
        away=st.integers(1, 4),
        above=st.booleans(),
        lots=lots,
        tif=st.sampled_from(TimeInForce),
    )
    def conditional(
        self, who: int, what: Symbol, side: Side, kind: OrderType, away: int, above: bool, lots: int, tif: TimeInForce
    ) -> None:
        """Place a stop, a take-profit or a trailing stop near the last price, mostly on the side where it belongs."""
        last = self.exchange.markets[what.name].last_trade
        price = (last.price if last is not None else 15 * what.tick_size) + (away if above else -away) * what.tick_size
        trails = kind is OrderType.TRAILING_STOP or away == 4
        command = PlaceOrder(
            account_id=self.accounts[who],
            symbol=what.name,
            side=side,
            type=kind,
            quantity=lots * what.step_size,
            quote_quantity=None,
            price=price if kind in LIMITS else None,
            time_in_force=tif if kind in LIMITS else TimeInForce.GTC,
            post_only=False,
            client_order_id=f"stop-{self.journal.events[-1].seq}",
            stop_price=None if trails and above else price,
            trailing_bps=away * 300 if trails else None,
        )
        if price <= 0:
            return
        placed = self.try_(command)
        assert not isinstance(placed, Placed) or placed.order.stage is Stage.ARMED

    @precondition(lambda self: any(order.stage is Stage.ARMED for order in self.armed()))
    @rule(data=st.data(), lots=lots, buyer_is_maker=st.booleans(), beyond=st.integers(-1, 2))
    def last_price_reaches_a_stop(self, data: st.DataObject, lots: int, buyer_is_maker: bool, beyond: int) -> None:
        order = data.draw(st.sampled_from(self.armed()))
        market = self.exchange.markets[order.symbol]
        standing = self.engine._open.shelves[order.symbol].triggers.standing(order.id)
        fires_at = standing.fires_at or order.stop_price or market.symbol.tick_size * 15
        tick = market.symbol.tick_size
        price = round_up(fires_at / tick, 0) * tick + (beyond if order.side is Side.BUY else -beyond) * tick
        if price > 0:
            self.tell(market.print_(price, lots * market.symbol.step_size, buyer_is_maker=buyer_is_maker))

    def armed(self) -> list[Order]:
        return [order for order in self.engine.state().orders if order.is_open and order.stage is Stage.ARMED]

    @rule(who=st.integers(0, 1), what=st.sampled_from(RULES), side=sides, share=st.integers(1, 600_000))
    def market_by_quote(self, who: int, what: Symbol, side: Side, share: int) -> None:
        amount = round_up(share * what.tick_size * what.step_size, what.quote_precision)
        self.place(who, what, side, TimeInForce.GTC, False, f"quote-{share}", quote_quantity=amount)

    def place(
        self,
        who: int,
        what: Symbol,
        side: Side,
        tif: TimeInForce,
        post_only: bool,
        client_order_id: str,
        *,
        price: Decimal | None = None,
        lots: int | None = None,
        quote_quantity: Decimal | None = None,
    ) -> None:
        command = PlaceOrder(
            account_id=self.accounts[who],
            symbol=what.name,
            side=side,
            type=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=None if lots is None else lots * what.step_size,
            quote_quantity=quote_quantity,
            price=price,
            time_in_force=tif,
            post_only=post_only,
            client_order_id=client_order_id,
        )
        placed = self.try_(command)
        if not isinstance(placed, Placed) or not placed.created:
            return
        if post_only:
            assert not placed.fills
        if tif is TimeInForce.FOK:
            assert not placed.fills or placed.order.filled_quantity == placed.order.quantity
        if quote_quantity is not None:
            assert placed.order.filled_quote <= quote_quantity
        if price is None or tif is not TimeInForce.GTC:
            assert not placed.order.is_open

    @rule(who=st.integers(0, 1), data=st.data())
    def cancel(self, who: int, data: st.DataObject) -> None:
        known = [order.id for order in self.engine.state().orders][-6:] or [999]
        self.try_(CancelOrder(account_id=self.accounts[who], order_id=data.draw(st.sampled_from(known))))

    @precondition(lambda self: self.engine.status.open_orders)
    @rule(data=st.data(), lots=st.none() | lots, ticks=st.none() | ticks)
    def amend(self, data: st.DataObject, lots: int | None, ticks: int | None) -> None:
        order = data.draw(st.sampled_from([order for order in self.engine.state().orders if order.is_open]))
        rules = self.exchange.markets[order.symbol].symbol
        command = AmendOrder(
            account_id=order.account_id,
            order_id=order.id,
            quantity=None if lots is None else lots * rules.step_size,
            price=None if ticks is None else ticks * rules.tick_size,
        )
        amended = self.try_(command)
        assert not isinstance(amended, Placed) or amended.order.id == order.id

    @rule(
        who=st.integers(0, 1),
        symbol=st.sampled_from([None, *(rules.name for rules in RULES)]),
        chance=st.integers(0, 3),
    )
    def cancel_all(self, who: int, symbol: str | None, chance: int) -> None:
        if chance == 3:
            self.try_(CancelAll(account_id=self.accounts[who], symbol=symbol))

    @rule(who=st.integers(0, 1), balances=st.sampled_from(BALANCES), chance=st.integers(0, 5))
    def reset(self, who: int, balances: str, chance: int) -> None:
        if chance == 5:
            self.try_(ResetAccount(account_id=self.accounts[who], balances=amounts(balances)))

    @rule(what=st.sampled_from(RULES), middle=st.integers(6, 24), bids=sizes, asks=sizes)
    def quote(self, what: Symbol, middle: int, bids: list[int], asks: list[int]) -> None:
        self.tell(book(self.exchange.markets[what.name], middle, bids, asks))

    @rule(what=st.sampled_from(RULES), ticks=ticks, lots=lots, buyer_is_maker=st.booleans())
    def public_trade(self, what: Symbol, ticks: int, lots: int, buyer_is_maker: bool) -> None:
        market = self.exchange.markets[what.name]
        self.tell(market.print_(ticks * what.tick_size, lots * what.step_size, buyer_is_maker=buyer_is_maker))

    @rule(
        what=st.sampled_from(RULES),
        state=st.sampled_from([FeedState.LIVE, FeedState.LIVE, FeedState.LIVE, FeedState.STALE]),
    )
    def feed(self, what: Symbol, state: FeedState) -> None:
        self.tell(self.exchange.markets[what.name].become(state))

    @precondition(lambda self: self.engine.status.open_orders)
    @rule(data=st.data(), lots=lots, by_print=st.booleans(), depth=sizes)
    def market_reaches_an_order(self, data: st.DataObject, lots: int, by_print: bool, depth: list[int]) -> None:
        """Trade or quote one tick through an open order."""
        order = data.draw(st.sampled_from([order for order in self.engine.state().orders if order.is_open]))
        if order.price is None:
            return
        market = self.exchange.markets[order.symbol]
        tick, step = market.symbol.tick_size, market.symbol.step_size
        buys, limit = order.side is Side.BUY, limit_of(order)
        if by_print:
            price = limit - tick if buys else limit + tick
            self.tell(market.print_(price, lots * step, buyer_is_maker=buys))
        else:
            middle = int(limit / tick) - 2 if buys else int(limit / tick) + 2
            self.tell(book(market, max(2, middle), depth, depth))

    def tell(self, change: MarketChange) -> None:
        before = len(self.journal.events)
        self.exchange.tell(change)
        given: dict[int, Decimal] = {}
        for event in self.journal.events[before:]:
            assert change.live
            if isinstance(event, OrderFilled) and event.fill.trade_id is not None and change.trade is not None:
                given[event.account_id] = given.get(event.account_id, ZERO) + event.fill.quantity
                assert given[event.account_id] <= change.trade.quantity
            if isinstance(event, OrderFilled) and event.fill.liquidity is Liquidity.MAKER:
                self.met_by(event.fill, change)

    def met_by(self, fill: Fill, change: MarketChange) -> None:
        """A maker fill is at its own limit, and what met it was at or through that."""
        order = self.exchange.now(fill.order_id)
        assert fill.price == order.price
        if fill.trade_id is not None:
            assert change.trade is not None
            reached = change.trade.price
            assert (fill.certainty is Certainty.CERTAIN) == (reached != fill.price)
        else:
            best = self.exchange.markets[fill.symbol].view(1)
            assert fill.receipt is not None
            assert fill.receipt.level_price is not None
            reached = fill.receipt.level_price
            assert best.best_ask is not None
            assert best.best_bid is not None
            assert reached >= best.best_ask if fill.side is Side.BUY else reached <= best.best_bid
        assert reached <= fill.price if fill.side is Side.BUY else reached >= fill.price

    @rule(broken=st.sampled_from([False, False, False, True]))
    def disk(self, broken: bool) -> None:
        self.journal.broken = broken

    @rule(minutes=st.integers(0, 12))
    def time_passes(self, minutes: int) -> None:
        self.exchange.clock.now_ms += minutes * 60_000

    @precondition(lambda self: self.accounts)
    @rule()
    def restart(self) -> None:
        """Begin again from what is stored; nothing else may have mattered."""
        generation = self.engine.status.generation
        assert self.engine.load(self.engine.state()) == generation + 1

    @invariant()
    def books_are_right(self) -> None:
        self.engine.check()

    @invariant()
    def history_leads_here(self) -> None:
        state, rebuilt = self.engine.state(), history.rebuild(self.journal.events)
        remembered = {order.id for order in state.orders}
        assert {order for order in rebuilt.orders if order.is_open or order.id in remembered} == set(state.orders)
        assert replace(rebuilt, orders=()) == replace(state, orders=())

    @invariant()
    def entries_fold_to_balances(self) -> None:
        folded: dict[tuple[str, int | None, str], Decimal] = {}
        for entry in self.journal.entries:
            key = (entry.ledger_account, entry.account_id, entry.asset)
            assert entry.balance_before == folded.get(key, ZERO)
            folded[key] = entry.balance_before + entry.amount
            assert entry.balance_after == folded[key]
        for balance in self.engine.state().balances:
            assert folded.get(("free", balance.account_id, balance.asset), ZERO) == balance.free
            assert folded.get(("held", balance.account_id, balance.asset), ZERO) == balance.held

    @invariant()
    def terminal_orders_stay(self) -> None:
        for order in self.engine.state().orders:
            if order.id in self.terminal:
                assert order == self.terminal[order.id]
            if not order.is_open:
                self.terminal[order.id] = order

    @invariant()
    def holds_are_exact(self) -> None:
        decimals = {rules.name: rules.quote_precision for rules in RULES}
        for order in self.engine.state().orders:
            if order.is_open and (order.stage is Stage.LIVE or order.price is not None or order.side is Side.SELL):
                price = ZERO if order.side is Side.SELL else limit_of(order)
                assert order.held == hold_of(order.side, price, order.leaves, decimals[order.symbol])

    @invariant()
    def fills_keep_their_limits(self) -> None:
        orders = {order.id: order for order in history.rebuild(self.journal.events).orders}
        for event in self.journal.events:
            if isinstance(event, OrderFilled):
                fill, limit = event.fill, orders[event.fill.order_id].price
                if limit is not None:
                    assert fill.price <= limit if fill.side is Side.BUY else fill.price >= limit

    @invariant()
    def committed_views_agree(self) -> None:
        for batch in self.journal.batches[self.published :]:
            self.committed.apply(batch)
        self.published = len(self.journal.batches)
        state = self.engine.state()
        fresh = Accounts()
        fresh.load(state)
        for account_id in self.accounts:
            view, other = self.committed.get(account_id), fresh.get(account_id)
            assert view is not None
            assert other is not None
            assert replace(view, seq=0) == replace(other, seq=0)
            portfolio = value(view, lambda asset: asset_rate(asset, self.exchange.markets))
            unrealized, total = portfolio.unrealized_pnl, portfolio.total_value
            assert unrealized is not None
            assert total is not None
            assert portfolio.realized_pnl + unrealized == total - view.net_deposits


TestTrading = Trading.TestCase
TestTrading.settings = settings(stateful_step_count=40)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(1, 120), st.booleans())
def test_resting_orders_in_pieces_get_what_one_would(pieces: list[int], met: int, by_print: bool) -> None:
    """One print, or one quote, has one budget for an account, however its order is cut up."""
    filled = []
    for parts in ([sum(pieces)], pieces):
        exchange = Exchange(FakeMarket(symbol(), "100x1", "102x1"))
        market = exchange.markets["BTCUSDT"]
        for part in parts:
            exchange.buy(str(part), "101")
        if by_print:
            exchange.tell(market.print_("100.5", D(met), buyer_is_maker=True))
        else:
            exchange.tell(market.quote(asks=f"100.5x{met}"), market.quote(asks=f"100.5x{met}"))
        orders = exchange.engine.state().orders
        filled.append(sum(order.filled_quantity for order in orders))
        exchange.engine.check()
    assert filled[0] == filled[1] == min(sum(pieces), met)


@given(st.integers(1, 400), st.integers(1, 400))
def test_a_market_order_in_two_gets_the_same_within_the_best_level(first: int, second: int) -> None:
    assume(first + second <= 500)
    spent = []
    for parts in ((first + second,), (first, second)):
        exchange = Exchange(FakeMarket(symbol(market_max_quantity=ZERO), "99x500", "100x500"))
        for part in parts:
            exchange.buy(str(part))
        spent.append((exchange.balance("USDT"), exchange.balance("BTC")))
    assert spent[0] == spent[1]
