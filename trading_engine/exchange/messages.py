"""The whole vocabulary of the engine's door: commands in, results and events out, rows kept, refusals.

Frozen values only: no lock, no arithmetic. Amounts are `Decimal` in their own asset unless a name or docstring says
otherwise; values are in the reporting asset (USDT); times are UTC milliseconds and only remarks: `seq` decides order.

Events are the authority: `history.apply` and nothing else turns them into rows, live and when rebuilding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from trading_engine.exchange import refusals
from trading_engine.exchange.orders import Fill, Order, OrderType, SelfTradePrevention, Side, TimeInForce

# Commands


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    """Place an order. A limit order has `quantity` and `price`; a market order `quantity` or `quote_quantity`.

    The conditional types have `quantity`, `stop_price` or `trailing_bps` or both, and a price where they are limits.
    """

    account_id: int
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None
    quote_quantity: Decimal | None
    price: Decimal | None
    time_in_force: TimeInForce
    post_only: bool
    client_order_id: str
    stop_price: Decimal | None = None
    trailing_bps: int | None = None
    self_trade_prevention: SelfTradePrevention | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendOrder:
    """Change an open order's quantity (its whole, what is filled included), its price, or both; None leaves it."""

    account_id: int
    order_id: int
    quantity: Decimal | None
    price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel one open order."""

    account_id: int
    order_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAll:
    """Cancel every open order of the account, or of one symbol of it."""

    account_id: int
    symbol: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAccount:
    """Open an account with these balances. `name` and `venue` together are unique."""

    name: str
    venue: str
    balances: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAccount:
    """Begin a new epoch of the account with these balances; the old epoch stays readable."""

    account_id: int
    balances: Mapping[str, Decimal]


Command = PlaceOrder | AmendOrder | CancelOrder | CancelAll | OpenAccount | ResetAccount


# Rows: what is kept of an account, besides its orders and fills


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account on one venue. An epoch begins at opening (1) and at each reset."""

    id: int
    name: str
    venue: str
    epoch: int
    created_ms: int
    epoch_started_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """What an account has of one asset: free to use, and held by open orders."""

    account_id: int
    asset: str
    free: Decimal
    held: Decimal

    @property
    def total(self) -> Decimal:
        """Return free and held together."""
        return self.free + self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What an account has of an asset other than USDT, and what it cost; in force for one epoch.

    `cost` is in USDT and excludes fees; `realized_pnl` is lowered by every fee when it is paid; `fees_paid` in USDT.
    """

    account_id: int
    epoch: int
    asset: str
    quantity: Decimal
    cost: Decimal
    realized_pnl: Decimal
    fees_paid: Decimal


class LedgerAccount(StrEnum):
    """The ledger's accounts. `free` and `held` belong to one account each; the others are the exchange's own."""

    FREE = "free"
    HELD = "held"
    MARKET = "market"
    FEES = "fees"
    DEPOSITS = "deposits"


class Entry(NamedTuple):
    """Line `n` (from 0) of the posting of event `seq`. The amounts of one posting sum to zero per asset.

    `account_id` is None for the exchange's own ledger accounts, which all accounts share.
    """

    seq: int
    n: int
    ledger_account: LedgerAccount
    account_id: int | None
    asset: str
    amount: Decimal
    balance_before: Decimal
    balance_after: Decimal


# Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """An amount that enters or leaves an account; `rate` is USDT per unit then, None where unknown (leaving only)."""

    asset: str
    amount: Decimal
    rate: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOpened:
    """An account came to be; its id is this event's `seq`."""

    seq: int
    time_ms: int
    account_id: int
    name: str
    venue: str
    deposits: tuple[Deposit, ...]
    net_deposits: Decimal
    """Value of the deposits in USDT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReset:
    """A new epoch began: all balances (`withdrawn`) left, `deposits` came in; open orders were cancelled before."""

    seq: int
    time_ms: int
    account_id: int
    epoch: int
    withdrawn: tuple[Deposit, ...]
    deposits: tuple[Deposit, ...]
    net_deposits: Decimal
    """Value of the new deposits in USDT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAccepted:
    """An order was taken; its id is this event's `seq`. `order.held` is what it sets aside for the part that rests."""

    seq: int
    time_ms: int
    account_id: int
    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRested:
    """An order taken while the book was not live met its first live book, and what that left of it rests."""

    seq: int
    time_ms: int
    account_id: int
    order_id: int
    market_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTriggered:
    """The last price, `price` of print `trade_id`, set an armed order off; it is an order of the book and holds `held`.

    `extreme` is the price it had followed, if it trails.
    """

    seq: int
    time_ms: int
    account_id: int
    order_id: int
    held: Decimal
    extreme: Decimal | None
    trade_id: int
    price: Decimal
    market_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderAmended:
    """An open order was changed, and holds `held`. It keeps its place in the queue, or arrives anew.

    `market_seq` is the state of the market it was judged against, None: it waits for a live book.
    """

    seq: int
    time_ms: int
    account_id: int
    order_id: int
    quantity: Decimal
    price: Decimal | None
    held: Decimal
    market_seq: int | None
    keeps_place: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFilled:
    """An order got a fill; the fill's id is this event's `seq`. `held` is what the order still sets aside after it."""

    seq: int
    time_ms: int
    account_id: int
    fill: Fill
    held: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCancelled:
    """An open order was cancelled. `reason` is None when its owner did it, else `account_reset`."""

    seq: int
    time_ms: int
    account_id: int
    order_id: int
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderExpired:
    """What was left of an order ended, and why.

    `no_liquidity` (the known book ended), `price_band`, `ioc`, `fok` (nothing was filled), or `insufficient_balance`
    (it triggered and costs more than the account has).
    """

    seq: int
    time_ms: int
    account_id: int
    order_id: int
    reason: str


OrderEvent = OrderAccepted | OrderRested | OrderTriggered | OrderAmended | OrderFilled | OrderCancelled | OrderExpired
Event = AccountOpened | AccountReset | OrderEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the engine knows of one symbol's market besides its orders, as of event `seq`.

    `key` says of what: one queue, or what one account took. `body` is JSON; None: there is nothing to know any more.
    """

    symbol: str
    key: str
    seq: int
    body: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one command or market change did: its events in order, and the LAST state of every row they touched.

    Fills and entries are new rows; the others are upserts by account id, order id, (account, asset) and (account,
    epoch, asset). `net_deposits` (USDT by account id) holds the accounts whose deposits changed. `memory` comes in
    batches of its own, without events. Never empty.
    """

    generation: int
    events: tuple[Event, ...] = ()
    accounts: tuple[Account, ...] = ()
    orders: tuple[Order, ...] = ()
    fills: tuple[Fill, ...] = ()
    entries: tuple[Entry, ...] = ()
    balances: tuple[Balance, ...] = ()
    positions: tuple[Position, ...] = ()
    net_deposits: Mapping[int, Decimal] = field(default_factory=dict)
    memory: tuple[Memory, ...] = ()

    @property
    def seq(self) -> int:
        """Return the last event's sequence number: the batch's own, or the one before what is remembered."""
        return self.events[-1].seq if self.events else self.memory[-1].seq


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What the engine's memory is loaded from: everything current, nothing historical.

    `orders` are the open ones and those closed in the last 10 minutes; `positions` those of each account's present
    epoch; `system_balances` by (ledger account, asset); `net_deposits` in USDT by account id, for the present epoch.
    `memory` is what the engine knew of queues and of what accounts took; `recent_fills` are those of the last 10
    minutes, oldest first, for what it does not hold yet.
    """

    next_seq: int
    accounts: tuple[Account, ...]
    orders: tuple[Order, ...]
    balances: tuple[Balance, ...]
    positions: tuple[Position, ...]
    system_balances: Mapping[tuple[LedgerAccount, str], Decimal]
    net_deposits: Mapping[int, Decimal]
    memory: tuple[Memory, ...] = field(default=(), compare=False)
    recent_fills: tuple[Fill, ...] = field(default=(), compare=False)


EMPTY_STATE = EngineState(
    next_seq=1, accounts=(), orders=(), balances=(), positions=(), system_balances={}, net_deposits={}
)
"""The state of an exchange nobody has used yet."""


# Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The order as it is now and the fills it got in this call.

    `created` is False when the client order id was seen before with the same content: then `fills` is empty, since its
    earlier fills are in the store.
    """

    order: Order
    fills: tuple[Fill, ...]
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewedFill:
    """What one level of the book would give an order; quantities in the base asset, `fee` in `fee_asset`."""

    price: Decimal
    quantity: Decimal
    quote_amount: Decimal
    fee: Decimal
    fee_asset: str
    level_quantity: Decimal
    waiting: Decimal
    taken_before: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What an order would do if it arrived now; nothing has changed.

    `live` False: it would wait for a live book. `rests` is the quantity that would stay open, `queue_ahead` what would
    be ahead of it (None: not known, or nothing rests); `expires` why anything else would expire.
    """

    fills: tuple[PreviewedFill, ...]
    filled_quantity: Decimal
    filled_quote: Decimal
    rests: Decimal
    queue_ahead: Decimal | None
    expires: str | None
    live: bool
    best_bid: Decimal | None
    best_ask: Decimal | None
    update_id: int


# Refusals: the table is in `refusals`

REFUSALS = refusals.REFUSALS
Refusal = refusals.Refusal
Refused = refusals.Refused
