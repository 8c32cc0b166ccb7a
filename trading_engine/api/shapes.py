"""What answers look like, as marshmallow schemas: for the document, and for the tests to hold every answer against.

The answers themselves are made by `answers`, which is quicker than dumping through these. Those about orders and fills
are in `order_shapes`.
"""

from typing import Any

from marshmallow import INCLUDE, Schema, fields, validate

from trading_engine.api.answer_fields import amount, amounts, flag, integer, state, text, time, unsure
from trading_engine.exchange.orders import Side


class ProblemAnswer(Schema):
    """What went wrong (RFC 9457, `application/problem+json`)."""

    type = text()
    title = text()
    status = integer()
    detail = text()
    code = text()
    errors = fields.Dict(keys=fields.String(), values=fields.List(fields.String()))


class Price(Schema):
    """What a symbol trades at. `price` is the last print's (before the first: the middle of the book)."""

    price = unsure()
    change_percent_24h = unsure()
    open_24h = unsure()
    high_24h = unsure()
    low_24h = unsure()
    volume_24h = unsure()
    quote_volume_24h = unsure()
    updated_at = time(unsure=True)
    state = state()


class Top(Schema):
    """The best prices of a symbol's book and what lies between them."""

    bid_price = unsure()
    ask_price = unsure()
    bid_quantity = unsure()
    ask_quantity = unsure()
    spread = unsure()
    spread_bps = unsure()
    mid_price = unsure()
    update_id = integer(unsure=True)
    updated_at = time(unsure=True)
    state = state()


def _levels() -> fields.List[Any]:
    level: fields.List[Any] = fields.List(
        amount(), validate=validate.Length(equal=2), metadata={"description": "Price, quantity."}
    )
    return fields.List(level, required=True, metadata={"description": "Best first."})


class Book(Schema):
    """A symbol's order book."""

    symbol = text()
    bids = _levels()
    asks = _levels()
    update_id = integer(unsure=True)
    updated_at = time(unsure=True)
    state = state()


class Band(Schema):
    """How far a price may lie from the average price, as factors of it."""

    bid_up = amount()
    bid_down = amount()
    ask_up = amount()
    ask_down = amount()


class TrailingBounds(Schema):
    """How far a trailing stop may follow, in basis points: above the market (buy stops, take-profit sells), below."""

    min_above = integer(unsure=True)
    max_above = integer(unsure=True)
    min_below = integer(unsure=True)
    max_below = integer(unsure=True)


class AccountLimits(Schema):
    """How many an account may have open on the whole exchange; null: no limit."""

    max_open_orders = integer(unsure=True)
    max_algo_orders = integer(unsure=True)
    max_iceberg_orders = integer(unsure=True)
    max_order_lists = integer(unsure=True)


class SymbolRules(Schema):
    """A symbol and its trading rules; null: no such rule."""

    symbol = text()
    status = text()
    followed = flag()
    base_asset = text()
    quote_asset = text()
    price_decimals = integer()
    quantity_decimals = integer()
    tick_size = unsure()
    min_price = unsure()
    max_price = unsure()
    step_size = unsure()
    min_quantity = unsure()
    max_quantity = unsure()
    market_step_size = unsure()
    market_min_quantity = unsure()
    market_max_quantity = unsure()
    min_notional = unsure()
    max_notional = unsure()
    min_notional_applies_to_market = flag()
    max_notional_applies_to_market = flag()
    percent_price = fields.Nested(Band, required=True, allow_none=True)
    max_open_orders = integer(unsure=True)
    max_algo_orders = integer(unsure=True)
    max_iceberg_orders = integer(unsure=True)
    max_order_lists = integer(unsure=True)
    max_amends = integer(unsure=True)
    iceberg_parts = integer(unsure=True)
    max_position = unsure()
    trailing_delta = fields.Nested(TrailingBounds, required=True, allow_none=True)
    exchange_limits = fields.Nested(AccountLimits, required=True)
    order_types = fields.List(fields.String(), required=True)
    features = fields.List(fields.String(), required=True)
    stp_mode = text()
    stp_modes = fields.List(fields.String(), required=True)


class SymbolList(Schema):
    """Every symbol of the venue."""

    symbols = fields.List(fields.Nested(SymbolRules), required=True)


class Print(Schema):
    """One public trade; `side` is what the taker did."""

    id = integer()
    price = amount()
    quantity = amount()
    side = text(validate=validate.OneOf(tuple(Side)))
    time_ms = integer()


class PrintList(Schema):
    """Recent public trades, newest first."""

    symbol = text()
    trades = fields.List(fields.Nested(Print), required=True)


class CandleAnswer(Schema):
    """One candle; `closed` is false for the running one."""

    open_time_ms = integer()
    open = amount()
    high = amount()
    low = amount()
    close = amount()
    volume = amount()
    quote_volume = amount()
    trades = integer()
    closed = flag()


class CandleList(Schema):
    """Candles, oldest first, the running one last."""

    symbol = text()
    interval = text()
    candles = fields.List(fields.Nested(CandleAnswer), required=True)


class BalanceAnswer(Schema):
    """What the account has of one asset; `locked` is held by open orders."""

    asset = text()
    free = amount()
    locked = amount()
    total = amount()


class PositionAnswer(Schema):
    """One position in USDT, marked at the middle of the book; `average_price` excludes fees."""

    symbol = text()
    asset = text()
    quantity = amount()
    cost = amount()
    average_price = unsure()
    market_price = unsure()
    market_value = unsure()
    unrealized_pnl = unsure()
    realized_pnl = amount()
    fees_paid = amount()
    market_state = text(allow_none=True)


class PortfolioAnswer(Schema):
    """What the account has and what became of it, in USDT. Unknown marks make values null, never zero."""

    cash_balance = amount()
    total_value = unsure()
    total_pnl = unsure()
    realized_pnl = amount()
    unrealized_pnl = unsure()
    fees_paid = amount()
    net_deposits = amount()
    balances = fields.List(fields.Nested(BalanceAnswer), required=True)
    positions = fields.Dict(keys=fields.String(), values=fields.Nested(PositionAnswer), required=True)
    as_of = time()


class EpochAnswer(Schema):
    """A stretch of the account's life between two resets; the present one has no end."""

    epoch = integer()
    started_at = time()
    ended_at = time(unsure=True)
    net_deposits = amount()
    final_balances = amounts(allow_none=True)


class OtherVenue(Schema):
    """The account of the same name on another venue."""

    id = integer()
    venue = text()
    epoch = integer()


class LatencyAnswer(Schema):
    """The modelled latency: the median each way, and how far its logarithm scatters. All zero: none."""

    in_ms = amount()
    out_ms = amount()
    sigma = amount()


class CertaintyCounts(Schema):
    """How many of the present epoch's fills are how sure."""

    certain = integer()
    likely = integer()
    modelled = integer()


class AccountAnswer(Schema):
    """The account. Fee rates are fractions: 0.001 is 0.1 %."""

    id = integer()
    name = text()
    venue = text()
    simulated = flag()
    epoch = integer()
    created_at = time()
    epoch_started_at = time()
    maker_fee_rate = amount()
    taker_fee_rate = amount()
    latency = fields.Nested(LatencyAnswer, required=True)
    starting_balance = amounts()
    fill_certainty = fields.Nested(CertaintyCounts, required=True)
    epochs = fields.List(fields.Nested(EpochAnswer), required=True)
    other_venues = fields.List(fields.Nested(OtherVenue), required=True)


class SymbolFeed(Schema):
    """How fresh one symbol is; `age_ms` since its book last changed."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    state = state()
    age_ms = integer(unsure=True)
    reason = fields.String(allow_none=True)


class Feed(Schema):
    """The venue's feed; `state` is the worst of the configured symbols."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    state = state()
    reason = fields.String(allow_none=True)
    symbols = fields.Dict(keys=fields.String(), values=fields.Nested(SymbolFeed), required=True)


class EngineHealth(Schema):
    """The engine; `role` is starting, active, standby or halted."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    role = text()


class Health(Schema):
    """How the process is. 200 while it can store orders or stand by, else 503."""

    class Meta:
        """More may be said."""

        unknown = INCLUDE

    status = text()
    venue = text(allow_none=True)
    simulated = flag()
    feed = fields.Nested(Feed, required=True)
    engine = fields.Nested(EngineHealth, required=True)
    version = text()
    uptime_s = fields.Float(required=True)
