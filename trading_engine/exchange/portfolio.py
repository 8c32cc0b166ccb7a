"""What an account has and what became of it: positions at average cost, and everything valued in USDT.

What is received enters with its value, what is given leaves at its average cost; the difference is realised. A fee
lowers the realised result of the traded (base) asset when it is paid; a fee taken in the base asset also leaves the
position, at the fill's price, so the average price excludes fees. Whatever the marks, therefore, realised and open
result together are exactly total value less net deposits. Pure functions: no lock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from trading_engine.exchange.accounts import AccountView
from trading_engine.exchange.market import LevelView, MarketView
from trading_engine.exchange.messages import Position
from trading_engine.exchange.money import ONE, REPORTING_ASSET, VALUE_DECIMALS, ZERO, average, divide
from trading_engine.exchange.waiting import LevelKey

RATE_DECIMALS = 16
"""Decimals of a rate found by inverting a price: keeps 8 digits and more of rates as small as 0.00000001."""


class MarketSource(Protocol):
    """What valuation and the engine need of a market: a frozen look at it, from any thread."""

    def view(self, levels: int | None = 20) -> MarketView:
        """Return the market as it stands with the best `levels` of each side; None: all that are known."""
        ...

    def watch(self, key: LevelKey) -> LevelView:
        """Tell of this level's changes from now on; return it as it is."""
        ...

    def unwatch(self, key: LevelKey) -> None:
        """Tell of this level no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionValue:
    """One position, marked. Everything in USDT but `quantity`; None where the mark (or the average) is unknown."""

    asset: str
    quantity: Decimal
    cost: Decimal
    average_price: Decimal | None
    market_price: Decimal | None
    market_value: Decimal | None
    unrealized_pnl: Decimal | None
    realized_pnl: Decimal
    fees_paid: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """An account's epoch in figures, all in USDT. `cash_balance` is its USDT, free and held.

    None where a holding's mark is unknown: nothing is ever valued at zero for want of a price.
    """

    cash_balance: Decimal
    total_value: Decimal | None
    total_pnl: Decimal | None
    realized_pnl: Decimal
    unrealized_pnl: Decimal | None
    fees_paid: Decimal
    net_deposits: Decimal
    positions: tuple[PositionValue, ...]


def entered(position: Position, quantity: Decimal, value: Decimal) -> Position:
    """Return the position after `quantity` came in with its `value` in USDT.

    Where the quantity rounded to nothing, so did the value: it is realised as a loss, for nothing held costs nothing.
    """
    if not quantity:
        return _changed(position, realized_pnl=-value)
    return _changed(position, quantity=quantity, cost=value)


def left(position: Position, quantity: Decimal, value: Decimal) -> Position:
    """Return the position after `quantity` went for `value`: it leaves at average cost, all of it with the last."""
    if quantity == position.quantity:
        cost_out = position.cost
    else:
        cost_out = divide(position.cost * quantity, position.quantity, VALUE_DECIMALS)
    return _changed(position, quantity=-quantity, cost=-cost_out, realized_pnl=value - cost_out)


def paid_fee(position: Position, value: Decimal) -> Position:
    """Return the position after a fee worth `value` was paid on trading it."""
    return _changed(position, realized_pnl=-value, fees_paid=value)


def asset_rate(asset: str, markets: Mapping[str, MarketSource]) -> Decimal | None:
    """Return USDT per unit of an asset: 1 for USDT, else mid of {asset}USDT, else 1 / mid of USDT{asset}, else None.

    A market whose book is no longer live still gives its last mid: the caller knows the book's age from the view.
    """
    if asset == REPORTING_ASSET:
        return ONE
    market = markets.get(asset + REPORTING_ASSET)
    mid = market.view(1).mid if market is not None else None
    if mid is not None:
        return mid
    market = markets.get(REPORTING_ASSET + asset)
    mid = market.view(1).mid if market is not None else None
    return divide(ONE, mid, RATE_DECIMALS) if mid else None


def value(view: AccountView, rate: Callable[[str], Decimal | None]) -> Portfolio:
    """Value an account with `rate` (USDT per unit of an asset, None where unknown)."""
    balance = view.balances.get(REPORTING_ASSET)
    cash = balance.total if balance is not None else ZERO
    positions = tuple(_mark(position, rate(position.asset)) for position in view.positions.values())
    realized = sum((position.realized_pnl for position in positions), ZERO)
    worth = _sum_known(position.market_value for position in positions)
    total = cash + worth if worth is not None else None
    return Portfolio(
        cash_balance=cash,
        total_value=total,
        total_pnl=total - view.net_deposits if total is not None else None,
        realized_pnl=realized,
        unrealized_pnl=_sum_known(position.unrealized_pnl for position in positions),
        fees_paid=sum((position.fees_paid for position in positions), ZERO),
        net_deposits=view.net_deposits,
        positions=positions,
    )


def _changed(
    position: Position,
    *,
    quantity: Decimal = ZERO,
    cost: Decimal = ZERO,
    realized_pnl: Decimal = ZERO,
    fees_paid: Decimal = ZERO,
) -> Position:
    """Return the position with these amounts added. Spelt out: `dataclasses.replace` takes four times as long."""
    return Position(
        account_id=position.account_id,
        epoch=position.epoch,
        asset=position.asset,
        quantity=position.quantity + quantity,
        cost=position.cost + cost,
        realized_pnl=position.realized_pnl + realized_pnl,
        fees_paid=position.fees_paid + fees_paid,
    )


def _mark(position: Position, rate: Decimal | None) -> PositionValue:
    """Mark one position; nothing held is worth nothing, whatever the mark."""
    quantity = position.quantity
    worth = ZERO if not quantity else None if rate is None else quantity * rate
    return PositionValue(
        asset=position.asset,
        quantity=quantity,
        cost=position.cost,
        average_price=average(position.cost, quantity) if quantity else None,
        market_price=rate,
        market_value=worth,
        unrealized_pnl=worth - position.cost if worth is not None else None,
        realized_pnl=position.realized_pnl,
        fees_paid=position.fees_paid,
    )


def _sum_known(values: Iterable[Decimal | None]) -> Decimal | None:
    """Add the values up; one unknown makes the sum unknown."""
    total = ZERO
    for worth in values:
        if worth is None:
            return None
        total += worth
    return total
