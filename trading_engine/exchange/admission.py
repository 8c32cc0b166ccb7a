"""Every check that an order must pass before it is planned, in the order in which they apply.

`check_order` refuses or returns, and changes nothing; the single rules are in `risk` and `filters`. What an account
stands with is handed in as a `Standing`, asked only for what a rule needs. Guarded by `Engine.lock`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange import filters, risk
from trading_engine.exchange.conditions import Trigger, Unfit, activation, check_trigger
from trading_engine.exchange.impact import Impact
from trading_engine.exchange.market import MarketView
from trading_engine.exchange.messages import PlaceOrder
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Condition, Order, OrderType, Side
from trading_engine.exchange.symbols import Feature, Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the account stands with: free and total balances by asset, its open orders, what it took at the symbol."""

    free: Callable[[str], Decimal]
    total: Callable[[str], Decimal]
    open_orders: Callable[[], Sequence[Order]]
    on_symbol: int
    in_all: int
    impact: Impact | None

    def check_position(self, symbol: Symbol, quantity: Decimal) -> None:
        """Refuse to buy `quantity` more where that could lead beyond the symbol's largest position."""
        if not symbol.max_position:
            return
        buys = [order.leaves for order in self.open_orders() if order.symbol == symbol.name and order.side is Side.BUY]
        have = self.total(symbol.base_asset)
        filters.check_position(symbol, have=have, open_buys=sum(buys, ZERO), quantity=quantity)


def check_order(command: PlaceOrder, view: MarketView, standing: Standing) -> Trigger | None:
    """Refuse an order that its market does not take; return what a conditional one waits for."""
    symbol = view.symbol
    risk.check_symbol(command, symbol)
    risk.check_book(command, view)
    _check_filters(command, view)
    if risk.may_rest(command):
        risk.check_open_orders(symbol, on_symbol=standing.on_symbol, in_all=standing.in_all)
        filters.check_exchange_orders(symbol, in_all=standing.in_all)
    if command.side is Side.BUY and command.quantity is not None:
        standing.check_position(symbol, command.quantity)
    if command.post_only and command.price is not None:
        risk.check_post_only(command.side, command.price, view)
    if command.type not in risk.CONDITIONAL:
        return None
    _check_algo_orders(symbol, standing)
    return _trigger(command, view)


def _check_filters(command: PlaceOrder, view: MarketView) -> None:
    symbol = view.symbol
    if command.quote_quantity is not None:
        filters.check_feature(Feature.QUOTE_QUANTITY, symbol)
    if command.price is not None:
        risk.check_price(command.price, symbol)
    if command.stop_price is not None:
        filters.check_trigger_price(command.stop_price, symbol)
    if command.quantity is not None:
        risk.check_quantity(command.quantity, symbol, market=command.price is None)
    if command.quote_quantity is not None:
        risk.check_quote_quantity(command.quote_quantity, symbol)
    risk.check_notional(command, view)
    if command.price is not None:
        risk.check_percent_price(command.side, command.price, view)


def check_amended(command: PlaceOrder, view: MarketView) -> None:
    """Refuse an order that, as it would be amended, its market does not take. Its trigger stays as it was."""
    risk.check_symbol(command, view.symbol)
    _check_filters(command, view)


def condition_of(command: PlaceOrder, last: Decimal | None) -> Condition:
    """Return what a conditional order is for; of a trailing stop with a stop price, its side of the last price says."""
    if command.type in {OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}:
        return Condition.TAKE_PROFIT
    if command.type is not OrderType.TRAILING_STOP or command.stop_price is None:
        return Condition.STOP_LOSS
    if last is None:
        raise Unfit("no_last_price", "no last price is known to judge stop_price against", "stop_price")
    return activation(command.side, command.stop_price, last)


def last_price(view: MarketView) -> Decimal | None:
    """Return the price of the last print, None before any."""
    return view.last_trade.price if view.last_trade is not None else None


def _trigger(command: PlaceOrder, view: MarketView) -> Trigger:
    last = last_price(view)
    trigger = Trigger(
        side=command.side,
        condition=condition_of(command, last),
        stop_price=command.stop_price,
        trailing_bps=command.trailing_bps,
    )
    if command.trailing_bps is not None:
        filters.check_trailing(command.trailing_bps, view.symbol, above=trigger.rises)
    check_trigger(trigger, last)
    return trigger


def _check_algo_orders(symbol: Symbol, standing: Standing) -> None:
    conditional = [order.symbol for order in standing.open_orders() if order.condition is not None]
    filters.check_algo_orders(symbol, on_symbol=conditional.count(symbol.name), in_all=len(conditional))
