"""Orders and fills, and the life of an order as one transition table. Frozen values; replaced, never changed.

An order is born `new`, grows through fills, and ends exactly once: filled, cancelled or expired. `rejected` is part of
the vocabulary for clients of other exchanges; here an order that cannot be taken is refused and never comes to be.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from trading_engine.exchange.money import ZERO, average, round_up


class Side(StrEnum):
    """Which way an order trades the base asset."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order is priced."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT = "take_profit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"
    TRAILING_STOP = "trailing_stop"


class Condition(StrEnum):
    """What a conditional order is for: it decides on which side of the last price its stop price lies."""

    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"


class Stage(StrEnum):
    """Where an order is on its way: not entered, waiting for its trigger, an order of the book; a list's leg also over.

    An order that has ended keeps the stage it ended in.
    """

    PENDING = "pending"
    ARMED = "armed"
    LIVE = "live"
    ENDED = "ended"


class SelfTradePrevention(StrEnum):
    """What happens when an order would meet one of its own account; named as the venue names it."""

    NONE = "NONE"
    EXPIRE_TAKER = "EXPIRE_TAKER"
    EXPIRE_MAKER = "EXPIRE_MAKER"
    EXPIRE_BOTH = "EXPIRE_BOTH"
    DECREMENT = "DECREMENT"
    TRANSFER = "TRANSFER"


class TimeInForce(StrEnum):
    """How long an order waits: until cancelled, not at all, or only as a whole. A market order never waits."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """Where an order is in its life."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Liquidity(StrEnum):
    """Whether a fill took what the book showed or was met while resting."""

    MAKER = "maker"
    TAKER = "taker"


class Cause(StrEnum):
    """What made a fill: the order's own arrival, a print at its price, one through it, or an opposite quote."""

    ARRIVAL = "arrival"
    PRINT = "print"
    PRINT_THROUGH = "print_through"
    BOOK = "book"


class Certainty(StrEnum):
    """How sure a fill is: see `fills`."""

    CERTAIN = "certain"
    LIKELY = "likely"
    MODELLED = "modelled"


_ENDS = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.EXPIRED})
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.NEW: frozenset({OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED}) | _ENDS,
    OrderStatus.PARTIALLY_FILLED: frozenset({OrderStatus.PARTIALLY_FILLED}) | _ENDS,
    OrderStatus.FILLED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
    OrderStatus.EXPIRED: frozenset(),
    OrderStatus.REJECTED: frozenset(),
}
"""From each status, the statuses an event may lead to. A terminal status leads nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order as it stands. Quantities in the base asset; `quote_quantity`, `filled_quote` in the quote asset.

    `quantity` of a market order by `quote_quantity` is what that amount came to on the lot grid; None when the known
    book ended before the amount did. `held` is what the order has set aside now: quote asset for a buy, base asset for
    a sell. `market_seq` is the state of the market the order was judged against; None: it waits for a live book.
    `reason` says why an order expired or was cancelled by something other than its owner.

    A conditional order has a `condition`, and `stop_price` or `trailing_bps` or both: it is armed until the last price
    sets it off at `triggered_ms`; `trailing_extreme` is then the price it had followed. `list_id`: the list it is part
    of. `self_trade_prevention`: the mode it named, None for the symbol's; `prevented_quantity`: what that took off it.
    """

    id: int
    account_id: int
    epoch: int
    client_order_id: str
    symbol: str
    base_asset: str
    quote_asset: str
    side: Side
    type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    quantity: Decimal | None
    quote_quantity: Decimal | None
    price: Decimal | None
    status: OrderStatus
    reason: str | None
    filled_quantity: Decimal
    filled_quote: Decimal
    held: Decimal
    market_seq: int | None
    venue: str
    created_ms: int
    updated_ms: int
    stop_price: Decimal | None = None
    trailing_bps: int | None = None
    condition: Condition | None = None
    stage: Stage = Stage.LIVE
    trailing_extreme: Decimal | None = None
    triggered_ms: int | None = None
    list_id: int | None = None
    self_trade_prevention: SelfTradePrevention | None = None
    prevented_quantity: Decimal = ZERO
    amendments: int = 0
    """How often it was amended and kept its place."""

    @property
    def is_open(self) -> bool:
        """Say whether the order can still fill or be cancelled."""
        return bool(TRANSITIONS[self.status])

    @property
    def asset_given(self) -> str:
        """Return the asset the order pays with, and holds while it rests."""
        return self.quote_asset if self.side is Side.BUY else self.base_asset

    @property
    def leaves(self) -> Decimal:
        """Return the quantity still to fill while the order is open; 0 where no quantity is fixed."""
        return self.quantity - self.filled_quantity if self.quantity is not None else ZERO

    @property
    def average_price(self) -> Decimal | None:
        """Return filled quote / filled quantity, with 8 decimals or more (`money.average`); None before any fill."""
        return average(self.filled_quote, self.filled_quantity) if self.filled_quantity else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Why a fill came about, so that anybody can follow it. Quantities in the base asset.

    `best_bid`, `best_ask`: as the order met them. Of a level taken from, at `level_price`: `waiting` is what prints had
    taken of it that it still showed, `taken_before` what the account had had of it. Of a queue: the real quantity ahead
    before and after, and how long the order had been in it.
    """

    cause: Cause
    best_bid: Decimal | None
    best_ask: Decimal | None
    level_price: Decimal | None
    waiting: Decimal
    taken_before: Decimal
    ahead_before: Decimal | None
    ahead_after: Decimal | None
    queued_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution of an order, with its evidence.

    `quote_amount` is price x quantity rounded half-up to the quote asset's precision; `fee` is in `fee_asset`, the
    asset received; `fee_value` in the reporting asset. `quote_rate` is USDT per unit of the quote asset at the fill.
    Evidence: `update_id` of the book and the quantity its level showed, or `trade_id` of the print and its quantity.
    The `receipt` says the rest; it is kept with the fill's event and is None where only the fill's row was read.
    Events from before there were receipts have neither it nor a certainty: then all fills were certain.
    """

    id: int
    order_id: int
    account_id: int
    epoch: int
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    quote_amount: Decimal
    fee: Decimal
    fee_asset: str
    fee_value: Decimal
    liquidity: Liquidity
    time_ms: int
    update_id: int | None
    trade_id: int | None
    level_quantity: Decimal | None
    quote_rate: Decimal
    certainty: Certainty = Certainty.CERTAIN
    receipt: Receipt | None = field(default=None, compare=False)


def hold_of(side: Side, price: Decimal, leaves: Decimal, quote_decimals: int) -> Decimal:
    """Return what an order sets aside for `leaves`: price x leaves of quote, rounded up, or the leaves of base."""
    return round_up(price * leaves, quote_decimals) if side is Side.BUY else leaves


class IllegalTransitionError(AssertionError):
    """Our own fault: an event led an order where its table does not allow."""


def filled(order: Order, fill: Fill, held: Decimal) -> Order:
    """Return the order after a fill that leaves it holding `held`."""
    if order.stage is not Stage.LIVE:
        raise IllegalTransitionError(f"order {order.id} is {order.stage} and cannot be filled")
    quantity = order.filled_quantity + fill.quantity
    if order.quantity is not None and quantity > order.quantity:
        raise IllegalTransitionError(f"order {order.id} would be filled {quantity} of {order.quantity}")
    status = OrderStatus.FILLED if quantity == order.quantity else OrderStatus.PARTIALLY_FILLED
    _must_allow(order, status)
    return replace(
        order,
        status=status,
        filled_quantity=quantity,
        filled_quote=order.filled_quote + fill.quote_amount,
        held=held,
        updated_ms=fill.time_ms,
    )


def ended(order: Order, status: OrderStatus, reason: str | None, time_ms: int) -> Order:
    """Return the order cancelled or expired; whatever it held is released."""
    _must_allow(order, status)
    return replace(order, status=status, reason=reason, held=ZERO, updated_ms=time_ms)


def rested(order: Order, market_seq: int) -> Order:
    """Return the order that waited, now judged against its first live book."""
    _must_allow(order, order.status)
    return replace(order, market_seq=market_seq)


def triggered(order: Order, *, held: Decimal, extreme: Decimal | None, market_seq: int, time_ms: int) -> Order:
    """Return the armed order that the last price has set off: an order of the book, holding `held`."""
    _must_allow(order, order.status)
    if order.stage is not Stage.ARMED:
        raise IllegalTransitionError(f"order {order.id} is {order.stage} and cannot trigger")
    return replace(
        order,
        stage=Stage.LIVE,
        held=held,
        trailing_extreme=extreme,
        triggered_ms=time_ms,
        market_seq=market_seq,
        updated_ms=time_ms,
    )


def amended(
    order: Order,
    *,
    quantity: Decimal,
    price: Decimal | None,
    held: Decimal,
    market_seq: int | None,
    keeps_place: bool,
    time_ms: int,
) -> Order:
    """Return the open order as it was changed."""
    _must_allow(order, order.status)
    return replace(
        order,
        quantity=quantity,
        price=price,
        held=held,
        market_seq=market_seq,
        amendments=order.amendments + (1 if keeps_place else 0),
        updated_ms=time_ms,
    )


def _must_allow(order: Order, status: OrderStatus) -> None:
    if status not in TRANSITIONS[order.status]:
        raise IllegalTransitionError(f"order {order.id} is {order.status} and cannot become {status}")
