"""What answers look like, as marshmallow schemas: for the document, and for the tests to hold every answer against.

The answers themselves are made by `answers`, which is quicker than dumping through these.
"""

from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from trading_engine.exchange.orders import OrderStatus, OrderType, Side, TimeInForce


def _text(**options: Any) -> fields.String:
    return fields.String(required=True, **options)


def _amount() -> fields.String:
    return fields.String(required=True, metadata={"format": "decimal"})


def _unsure() -> fields.String:
    return fields.String(required=True, allow_none=True, metadata={"format": "decimal", "description": "null: unknown"})


def _time(*, unsure: bool = False) -> fields.String:
    return fields.String(required=True, allow_none=unsure, metadata={"format": "date-time"})


def _integer(*, unsure: bool = False) -> fields.Integer:
    return fields.Integer(required=True, strict=True, allow_none=unsure)


def _flag() -> fields.Boolean:
    return fields.Boolean(required=True, truthy={True}, falsy={False})


def _state() -> fields.String:
    return fields.String(
        required=True, validate=validate.OneOf(("live", "syncing", "stale", "down")),
        metadata={"description": "Only a `live` book is traded on."},
    )  # fmt: skip


class ProblemAnswer(Schema):
    """What went wrong (RFC 9457, `application/problem+json`)."""

    type = _text()
    title = _text()
    status = _integer()
    detail = _text()
    code = _text()
    errors = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


class Price(Schema):
    """What a symbol trades at. `price` is the last print's (before the first: the middle of the book)."""

    price = _unsure()
    change_percent_24h = _unsure()
    open_24h = _unsure()
    high_24h = _unsure()
    low_24h = _unsure()
    volume_24h = _unsure()
    quote_volume_24h = _unsure()
    updated_at = _time(unsure=True)
    state = _state()


class Top(Schema):
    """The best prices of a symbol's book and what lies between them."""

    bid_price = _unsure()
    ask_price = _unsure()
    bid_quantity = _unsure()
    ask_quantity = _unsure()
    spread = _unsure()
    spread_bps = _unsure()
    mid_price = _unsure()
    update_id = _integer(unsure=True)
    updated_at = _time(unsure=True)
    state = _state()


def _levels() -> fields.List[Any]:
    level: fields.List[Any] = fields.List(
        _amount(), validate=validate.Length(equal=2), metadata={"description": "Price, quantity."}
    )
    return fields.List(level, required=True, metadata={"description": "Best first."})


class Book(Schema):
    """A symbol's order book."""

    symbol = _text()
    bids = _levels()
    asks = _levels()
    update_id = _integer(unsure=True)
    updated_at = _time(unsure=True)
    state = _state()


class Band(Schema):
    """How far a price may lie from the average price, as factors of it."""

    bid_up = _amount()
    bid_down = _amount()
    ask_up = _amount()
    ask_down = _amount()


class SymbolRules(Schema):
    """A symbol and its trading rules; null: no such rule."""

    symbol = _text()
    status = _text()
    followed = _flag()
    base_asset = _text()
    quote_asset = _text()
    price_decimals = _integer()
    quantity_decimals = _integer()
    tick_size = _unsure()
    min_price = _unsure()
    max_price = _unsure()
    step_size = _unsure()
    min_quantity = _unsure()
    max_quantity = _unsure()
    market_step_size = _unsure()
    market_min_quantity = _unsure()
    market_max_quantity = _unsure()
    min_notional = _unsure()
    max_notional = _unsure()
    min_notional_applies_to_market = _flag()
    max_notional_applies_to_market = _flag()
    percent_price = fields.Nested(Band, required=True, allow_none=True)
    max_open_orders = _integer(unsure=True)


class SymbolList(Schema):
    """Every symbol of the venue."""

    symbols = fields.List(fields.Nested(SymbolRules), required=True)


class Print(Schema):
    """One public trade; `side` is what the taker did."""

    id = _integer()
    price = _amount()
    quantity = _amount()
    side = _text(validate=validate.OneOf(tuple(Side)))
    time_ms = _integer()


class PrintList(Schema):
    """Recent public trades, newest first."""

    symbol = _text()
    trades = fields.List(fields.Nested(Print), required=True)


class CandleAnswer(Schema):
    """One candle; `closed` is false for the running one."""

    open_time_ms = _integer()
    open = _amount()
    high = _amount()
    low = _amount()
    close = _amount()
    volume = _amount()
    quote_volume = _amount()
    trades = _integer()
    closed = _flag()


class CandleList(Schema):
    """Candles, oldest first, the running one last."""

    symbol = _text()
    interval = _text()
    candles = fields.List(fields.Nested(CandleAnswer), required=True)


class FillAnswer(Schema):
    """One fill, with the book update or the print it was decided on."""

    id = _integer()
    order_id = _integer()
    symbol = _text()
    side = _text(validate=validate.OneOf(tuple(Side)))
    price = _amount()
    quantity = _amount()
    quote_amount = _amount()
    fee = _amount()
    fee_asset = _text()
    liquidity = _text(validate=validate.OneOf(("maker", "taker")))
    filled_at = _time()
    update_id = _integer(unsure=True)
    trade_id = _integer(unsure=True)


class OrderAnswer(Schema):
    """An order as it is now."""

    id = _integer()
    client_order_id = _text()
    symbol = _text()
    side = _text(validate=validate.OneOf(tuple(Side)))
    type = _text(validate=validate.OneOf(tuple(OrderType)))
    time_in_force = _text(validate=validate.OneOf(tuple(TimeInForce)))
    post_only = _flag()
    quantity = _unsure()
    quote_quantity = _unsure()
    price = _unsure()
    status = _text(validate=validate.OneOf(tuple(OrderStatus)))
    reason = _text(allow_none=True)
    filled_quantity = _amount()
    filled_quote = _amount()
    average_price = _unsure()
    held = _amount()
    held_asset = _text()
    fills = fields.List(fields.Nested(FillAnswer), required=True)
    venue = _text()
    simulated = _flag()
    epoch = _integer()
    created_at = _time()
    updated_at = _time()


class OrderList(Schema):
    """Orders, newest first."""

    orders = fields.List(fields.Nested(OrderAnswer), required=True)
    next_cursor = _text(allow_none=True)


class CancelledList(Schema):
    """The orders that were cancelled."""

    cancelled = fields.List(fields.Nested(OrderAnswer), required=True)


class FillList(Schema):
    """Fills, newest first."""

    fills = fields.List(fields.Nested(FillAnswer), required=True)
    next_cursor = _text(allow_none=True)


class BalanceAnswer(Schema):
    """What the account has of one asset; `locked` is held by open orders."""

    asset = _text()
    free = _amount()
    locked = _amount()
    total = _amount()


class PositionAnswer(Schema):
    """One position in USDT, marked at the middle of the book; `average_price` excludes fees."""

    symbol = _text()
    asset = _text()
    quantity = _amount()
    cost = _amount()
    average_price = _unsure()
    market_price = _unsure()
    market_value = _unsure()
    unrealized_pnl = _unsure()
    realized_pnl = _amount()
    fees_paid = _amount()
    market_state = _text(allow_none=True)


class PortfolioAnswer(Schema):
    """What the account has and what became of it, in USDT. Unknown marks make values null, never zero."""

    cash_balance = _amount()
    total_value = _unsure()
    total_pnl = _unsure()
    realized_pnl = _amount()
    unrealized_pnl = _unsure()
    fees_paid = _amount()
    net_deposits = _amount()
    balances = fields.List(fields.Nested(BalanceAnswer), required=True)
    positions = fields.Dict(keys=fields.String(), values=fields.Nested(PositionAnswer), required=True)
    as_of = _time()


def _amounts(**options: Any) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(), values=fields.String(metadata={"format": "decimal"}), required=True, **options
    )


class EpochAnswer(Schema):
    """A stretch of the account's life between two resets; the present one has no end."""

    epoch = _integer()
    started_at = _time()
    ended_at = _time(unsure=True)
    net_deposits = _amount()
    final_balances = _amounts(allow_none=True)


class OtherVenue(Schema):
    """The account of the same name on another venue."""

    id = _integer()
    venue = _text()
    epoch = _integer()


class AccountAnswer(Schema):
    """The account. Fee rates are fractions: 0.001 is 0.1 %."""

    id = _integer()
    name = _text()
    venue = _text()
    simulated = _flag()
    epoch = _integer()
    created_at = _time()
    epoch_started_at = _time()
    maker_fee_rate = _amount()
    taker_fee_rate = _amount()
    starting_balance = _amounts()
    epochs = fields.List(fields.Nested(EpochAnswer), required=True)
    other_venues = fields.List(fields.Nested(OtherVenue), required=True)


class SymbolFeed(Schema):
    """How fresh one symbol is; `age_ms` since its book last changed."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    state = _state()
    age_ms = _integer(unsure=True)
    reason = fields.String(allow_none=True)


class Feed(Schema):
    """The venue's feed; `state` is the worst of the configured symbols."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    state = _state()
    reason = fields.String(allow_none=True)
    symbols = fields.Dict(keys=fields.String(), values=fields.Nested(SymbolFeed), required=True)


class EngineHealth(Schema):
    """The engine; `role` is starting, active, standby or halted."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    role = _text()


class Health(Schema):
    """How the process is. 200 while it can store orders or stand by, else 503."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    status = _text()
    venue = _text(allow_none=True)
    simulated = _flag()
    feed = fields.Nested(Feed, required=True)
    engine = fields.Nested(EngineHealth, required=True)
    version = _text()
    uptime_s = fields.Float(required=True)
