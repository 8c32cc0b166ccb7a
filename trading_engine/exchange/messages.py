"""The whole vocabulary of the engine's door: commands in, results and events out, rows kept, refusals.

Frozen values only: no lock, no arithmetic. Amounts are `Decimal` in their own asset unless a name or docstring says
otherwise; values are in the reporting asset (USDT); times are UTC milliseconds and only remarks: `seq` decides order.

Events are the authority: `history.apply` and nothing else turns them into rows, live and when rebuilding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from trading_engine.exchange.orders import Fill, Order, OrderType, Side, TimeInForce

# Commands


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    """Place an order. A limit order has `quantity` and `price`; a market order `quantity` or `quote_quantity`."""

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


Command = PlaceOrder | CancelOrder | CancelAll | OpenAccount | ResetAccount


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
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
    """What was left of an order ended: `no_liquidity` (the known book ended), `ioc`, or `fok` (nothing was filled)."""

    seq: int
    time_ms: int
    account_id: int
    order_id: int
    reason: str


Event = AccountOpened | AccountReset | OrderAccepted | OrderRested | OrderFilled | OrderCancelled | OrderExpired


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one command or market change did: its events in order, and the LAST state of every row they touched.

    Fills and entries are new rows; the others are upserts by account id, order id, (account, asset) and (account,
    epoch, asset). `net_deposits` (USDT by account id) holds the accounts whose deposits changed. Never empty.
    """

    generation: int
    events: tuple[Event, ...]
    accounts: tuple[Account, ...]
    orders: tuple[Order, ...]
    fills: tuple[Fill, ...]
    entries: tuple[Entry, ...]
    balances: tuple[Balance, ...]
    positions: tuple[Position, ...]
    net_deposits: Mapping[int, Decimal] = field(default_factory=dict)

    @property
    def seq(self) -> int:
        """Return the last event's sequence number."""
        return self.events[-1].seq


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """What the engine's memory is loaded from: everything current, nothing historical.

    `orders` are the open ones and those closed in the last 10 minutes; `positions` those of each account's present
    epoch; `system_balances` by (ledger account, asset); `net_deposits` in USDT by account id, for the present epoch.
    """

    next_seq: int
    accounts: tuple[Account, ...]
    orders: tuple[Order, ...]
    balances: tuple[Balance, ...]
    positions: tuple[Position, ...]
    system_balances: Mapping[tuple[LedgerAccount, str], Decimal]
    net_deposits: Mapping[int, Decimal]


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


# Refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a refusal code means: its HTTP status and a title."""

    status: int
    title: str


REFUSALS: Mapping[str, Refusal] = MappingProxyType(
    {
        "invalid_order": Refusal(status=422, title="The order's fields do not fit together"),
        "not_supported": Refusal(status=422, title="Not supported"),
        "unknown_symbol": Refusal(status=422, title="Unknown symbol"),
        "symbol_not_trading": Refusal(status=422, title="The symbol is not trading"),
        "price_filter": Refusal(status=422, title="Price outside the symbol's rules"),
        "lot_size": Refusal(status=422, title="Quantity outside the symbol's rules"),
        "market_lot_size": Refusal(status=422, title="Quantity outside the symbol's rules for market orders"),
        "notional": Refusal(status=422, title="Order value outside the symbol's rules"),
        "percent_price": Refusal(status=422, title="Price too far from the average price"),
        "trailing_delta": Refusal(status=422, title="Trailing delta outside the symbol's rules"),
        "iceberg_parts": Refusal(status=422, title="The iceberg order has too many parts"),
        "max_position": Refusal(status=422, title="The position would grow too large"),
        "max_open_orders": Refusal(status=422, title="Too many open orders"),
        "max_algo_orders": Refusal(status=422, title="Too many open stop-loss and take-profit orders"),
        "max_iceberg_orders": Refusal(status=422, title="Too many open iceberg orders"),
        "max_order_lists": Refusal(status=422, title="Too many open order lists"),
        "max_amends": Refusal(status=422, title="The order was amended too often"),
        "exchange_max_open_orders": Refusal(status=422, title="Too many open orders on the exchange"),
        "exchange_max_algo_orders": Refusal(
            status=422, title="Too many open stop-loss and take-profit orders on the exchange"
        ),
        "exchange_max_iceberg_orders": Refusal(status=422, title="Too many open iceberg orders on the exchange"),
        "exchange_max_order_lists": Refusal(status=422, title="Too many open order lists on the exchange"),
        "would_take": Refusal(status=422, title="A post-only order would trade at once"),
        "insufficient_balance": Refusal(status=422, title="Insufficient balance"),
        "no_valuation": Refusal(status=503, title="No price to value the asset with"),
        "duplicate_client_order_id": Refusal(status=409, title="The client order id belongs to another order"),
        "order_not_found": Refusal(status=404, title="Order not found"),
        "order_closed": Refusal(status=409, title="The order is closed"),
        "account_not_found": Refusal(status=404, title="Account not found"),
        "account_exists": Refusal(status=409, title="The account exists"),
        "invalid_balance": Refusal(status=422, title="Balance cannot be taken"),
        "book_stale": Refusal(status=503, title="The order book is not live"),
        "syncing": Refusal(status=503, title="The market is being synchronised"),
        "not_committed": Refusal(status=503, title="Not done: it could not be stored"),
        "outcome_unknown": Refusal(status=503, title="Outcome unknown: repeat with the same client order id"),
        "standby": Refusal(status=503, title="Another process runs the engine"),
        "starting": Refusal(status=503, title="The engine is starting"),
        "halted": Refusal(status=503, title="The engine is halted"),
    }
)
"""Every refusal code, in one table."""


class Refused(Exception):
    """A command was refused and nothing changed. `code` is one of `REFUSALS`; `field` names the input it is about."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.field = field
        self.status = REFUSALS[code].status
        self.title = REFUSALS[code].title
