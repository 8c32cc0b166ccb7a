"""What a conditional order waits for, what it sets aside while it waits, and the checks before one is taken.

A *stop price* is met by the last price: a stop-loss buy and a take-profit sell wait for it to rise there, a stop-loss
sell and a take-profit buy for it to fall. A *trailing* order follows the last price's *extreme* (a sell the highest, a
buy the lowest) and fires when the price has come back from it by so many basis points. It follows from the next print
on or, with a stop price besides, from the print that meets it; that print sets the extreme and cannot fire the order.
Those are the venue's rules (its documentation on order types, and its FAQ on trailing stops).

Frozen values and pure functions: no lock. Which orders a print fires is found by `triggers`.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from trading_engine.exchange.money import ZERO, round_up, short
from trading_engine.exchange.orders import Condition, Order, Side, hold_of
from trading_engine.exchange.refusals import Refused

WHOLE_BPS: Final = 10_000
"""One, in basis points."""

_BPS_DECIMALS: Final = 4

STOP_BUY_BAND: Final = Decimal("1.02")
"""What a market buy may cost more than its stop price, so far as its hold foresees it."""


class Unfit(Refused):
    """An order or a list that cannot be taken, and nothing has changed; `rule` is exact where one code has several."""

    def __init__(self, code: str, detail: str, field: str, rule: str = "") -> None:
        super().__init__(code, detail, field)
        self.rule = rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What a conditional order waits for: a stop price, a reversal by `trailing_bps`, or first the one, then the other.

    Raises Unfit for a trigger that could never be judged.
    """

    side: Side
    condition: Condition
    stop_price: Decimal | None
    trailing_bps: int | None

    def __post_init__(self) -> None:
        """Let no trigger exist that waits for nothing."""
        if self.stop_price is None and self.trailing_bps is None:
            raise Unfit("invalid_order", "a conditional order needs stop_price or trailing_bps", "stop_price")
        if self.stop_price is not None and not (self.stop_price.is_finite() and self.stop_price > 0):
            raise Unfit("invalid_order", "stop_price must be above 0", "stop_price")
        if self.trailing_bps is not None and not 0 < self.trailing_bps < WHOLE_BPS:
            raise Unfit("invalid_order", f"trailing_bps must lie between 1 and {WHOLE_BPS - 1}", "trailing_bps")

    @property
    def rises(self) -> bool:
        """Say whether the stop price is met by a last price that rises to it; otherwise by one that falls."""
        return (self.condition is Condition.STOP_LOSS) == (self.side is Side.BUY)

    def met_by(self, price: Decimal) -> bool:
        """Say whether a last price meets the stop price; False where there is none."""
        if self.stop_price is None:
            return False
        return price >= self.stop_price if self.rises else price <= self.stop_price


def trigger_of(order: Order) -> Trigger:
    """Return what a conditional order waits for; raise ValueError for any other, which would be our own fault."""
    if order.condition is None:
        raise ValueError(f"order {order.id} waits for nothing")
    return Trigger(
        side=order.side, condition=order.condition, stop_price=order.stop_price, trailing_bps=order.trailing_bps
    )


def activation(side: Side, stop_price: Decimal, last: Decimal) -> Condition:
    """Return the condition of a trailing order whose stop price may lie on either side of the last price."""
    above = stop_price > last
    return Condition.STOP_LOSS if above == (side is Side.BUY) else Condition.TAKE_PROFIT


def reversal(side: Side, extreme: Decimal, trailing_bps: int) -> Decimal:
    """Return the price at which an order that follows `extreme` fires, exactly (four decimals more, no division)."""
    bps = WHOLE_BPS + trailing_bps if side is Side.BUY else WHOLE_BPS - trailing_bps
    return (extreme * bps).scaleb(-_BPS_DECIMALS)


def check_trigger(trigger: Trigger, last: Decimal | None) -> None:
    """Raise Unfit for a stop price that the last price meets already, or where no last price is known to say so.

    The symbol's own filters are checked apart (`filters.check_trigger_price`, `filters.check_trailing`).
    """
    if trigger.stop_price is None:
        return
    if last is None:
        raise Unfit("no_last_price", "no last price is known to judge stop_price against", "stop_price")
    if trigger.met_by(last):
        way = "above" if trigger.rises else "below"
        raise Unfit(
            "would_trigger",
            f"stop_price {short(trigger.stop_price)} is met already: it must lie {way} the last price {short(last)}",
            "stop_price",
        )


def hold_of_conditional(
    trigger: Trigger, leaves: Decimal, price: Decimal | None, last: Decimal | None, quote_decimals: int
) -> Decimal:
    """Return what a conditional order sets aside until it has triggered and what it then is has ended.

    With a limit `price` as any limit order. A market sale holds its quantity; a market buy what it would cost at its
    stop price (or the last price), and at the reversal from there where it trails, and the band above that.
    """
    if price is not None or trigger.side is Side.SELL:
        return hold_of(trigger.side, price if price is not None else ZERO, leaves, quote_decimals)
    expected = trigger.stop_price if trigger.stop_price is not None else last
    if expected is None:
        raise Unfit("no_last_price", "no last price is known to say what the order may cost", "trailing_bps")
    if trigger.trailing_bps is not None:
        expected = reversal(trigger.side, expected, trigger.trailing_bps)
    return round_up(expected * STOP_BUY_BAND * leaves, quote_decimals)
