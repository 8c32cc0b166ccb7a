"""What answers about orders and fills look like, as marshmallow schemas; see `shapes`."""

from marshmallow import Schema, fields, validate

from trading_engine.api.answer_fields import amount, amounts, certainty, flag, integer, text, time, unsure
from trading_engine.exchange.orders import Cause, Liquidity, OrderStatus, OrderType, Side, Stage, TimeInForce


class FillAnswer(Schema):
    """One fill, with the book update or the print it was decided on."""

    id = integer()
    order_id = integer()
    symbol = text()
    side = text(validate=validate.OneOf(tuple(Side)))
    price = amount()
    quantity = amount()
    quote_amount = amount()
    fee = amount()
    fee_asset = text()
    liquidity = text(validate=validate.OneOf(tuple(Liquidity)))
    certainty = certainty()
    filled_at = time()
    update_id = integer(unsure=True)
    trade_id = integer(unsure=True)


class OrderAnswer(Schema):
    """An order as it is now."""

    id = integer()
    client_order_id = text()
    symbol = text()
    side = text(validate=validate.OneOf(tuple(Side)))
    type = text(validate=validate.OneOf(tuple(OrderType)))
    time_in_force = text(validate=validate.OneOf(tuple(TimeInForce)))
    post_only = flag()
    quantity = unsure()
    quote_quantity = unsure()
    price = unsure()
    stop_price = unsure()
    trailing_bps = integer(unsure=True)
    stage = text(
        validate=validate.OneOf(tuple(Stage)),
        metadata={"description": "`armed`: a conditional order that waits for its price; `live`: any other."},
    )
    triggered_at = time(unsure=True)
    status = text(validate=validate.OneOf(tuple(OrderStatus)))
    reason = text(allow_none=True)
    filled_quantity = amount()
    filled_quote = amount()
    average_price = unsure()
    held = amount()
    held_asset = text()
    queue_ahead = fields.String(
        required=True, allow_none=True,
        metadata={"format": "decimal", "description": "The real quantity ahead of a resting order at its price now; "
                  "null: unknown, or the order does not rest."},
    )  # fmt: skip
    fills = fields.List(fields.Nested(FillAnswer), required=True)
    venue = text()
    simulated = flag()
    epoch = integer()
    created_at = time()
    updated_at = time()


class OrderList(Schema):
    """Orders, newest first."""

    orders = fields.List(fields.Nested(OrderAnswer), required=True)
    next_cursor = text(allow_none=True)


class CancelledList(Schema):
    """The orders that were cancelled."""

    cancelled = fields.List(fields.Nested(OrderAnswer), required=True)


class FillList(Schema):
    """Fills, newest first."""

    fills = fields.List(fields.Nested(FillAnswer), required=True)
    next_cursor = text(allow_none=True)


class ReceiptAnswer(Schema):
    """Why a fill came about. `complete` is false for fills from before receipts were kept: the rest is then null."""

    fill_id = integer()
    order_id = integer()
    symbol = text()
    side = text(validate=validate.OneOf(tuple(Side)))
    liquidity = text(validate=validate.OneOf(tuple(Liquidity)))
    sentence = text()
    complete = flag()
    cause = text(validate=validate.OneOf(tuple(Cause)))
    certainty = certainty()
    update_id = integer(unsure=True)
    trade_id = integer(unsure=True)
    price = amount()
    quantity = amount()
    trade_quantity = unsure()
    level_price = unsure()
    level_quantity = unsure()
    waiting = unsure()
    taken_before = unsure()
    queue_ahead_before = unsure()
    queue_ahead_after = unsure()
    queued_ms = integer(unsure=True)
    best_bid = unsure()
    best_ask = unsure()
    mid_price = unsure()
    fill_number = integer()
    order_created_at = time()
    filled_at = time()


class PreviewedLevel(Schema):
    """What one level of the book would give; of what it shows, `waiting` is traded away, `taken_before` had before."""

    price = amount()
    quantity = amount()
    quote_amount = amount()
    fee = amount()
    fee_asset = text()
    level_quantity = amount()
    waiting = amount()
    taken_before = amount()


class PreviewAnswer(Schema):
    """What an order would do if it arrived now. Slippage in basis points, above zero where it costs."""

    symbol = text()
    side = text(validate=validate.OneOf(tuple(Side)))
    type = text(validate=validate.OneOf(tuple(OrderType)))
    fills = fields.List(fields.Nested(PreviewedLevel), required=True)
    filled_quantity = amount()
    filled_quote = amount()
    average_price = unsure()
    worst_price = unsure()
    slippage_mid_bps = unsure()
    slippage_best_bps = unsure()
    fees = amounts()
    rests = amount()
    queue_ahead = unsure()
    expires = text(allow_none=True)
    live = flag()
    best_bid = unsure()
    best_ask = unsure()
    mid_price = unsure()
    update_id = integer(unsure=True)
