"""What an order would do now, computed by the plan that would be carried out; nothing changes."""

from decimal import Decimal
from typing import Any

from flask import Blueprint

from trading_engine.api import current_runtime
from trading_engine.api.accounts import account_id
from trading_engine.api.answers import BPS_DECIMALS, Json, fixed, fixed_or_none, symbol_decimals, trimmed
from trading_engine.api.operations import operation
from trading_engine.api.order_shapes import PreviewAnswer
from trading_engine.api.orders import ORDER_REFUSALS, command_of
from trading_engine.api.schemas import OrderRequest
from trading_engine.exchange.messages import PlaceOrder, Preview
from trading_engine.exchange.money import ZERO, average, divide
from trading_engine.exchange.orders import Side
from trading_engine.exchange.symbols import Symbol

blueprint = Blueprint("previews", __name__)

_HALF = Decimal("0.5")
_ONE_IN_BPS = 10_000


@operation(blueprint, "POST /api/v1/orders/preview", body=OrderRequest, answers=PreviewAnswer, refusals=ORDER_REFUSALS)
def preview_order(body: dict[str, Any]) -> Json:
    """Say what an order would do if it arrived now.

    The body is that of `POST /api/v1/orders` and refused for the same reasons; a `client_order_id` means nothing here.
    Fills level by level with their fees, what would rest and behind how much, what would expire. Nothing changes, and
    nothing is promised: by the time the order comes the book is another.
    """
    runtime = current_runtime()
    command = command_of(body, account_id(runtime))
    return preview_json(command, runtime.preview(command), runtime.symbols.get(command.symbol))


def preview_json(command: PlaceOrder, preview: Preview, symbol: Symbol | None) -> Json:
    """Return a preview's JSON."""
    price_decimals, quantity_decimals = symbol_decimals(symbol)
    bid, ask = preview.best_bid, preview.best_ask
    middle = (bid + ask) * _HALF if bid is not None and ask is not None else None
    filled = preview.filled_quantity
    fees: dict[str, Decimal] = {}
    for part in preview.fills:
        fees[part.fee_asset] = fees.get(part.fee_asset, ZERO) + part.fee
    return {
        "symbol": command.symbol,
        "side": command.side.value,
        "type": command.type.value,
        "fills": [
            {
                "price": fixed(part.price, price_decimals),
                "quantity": fixed(part.quantity, quantity_decimals),
                "quote_amount": trimmed(part.quote_amount),
                "fee": trimmed(part.fee),
                "fee_asset": part.fee_asset,
                "level_quantity": fixed(part.level_quantity, quantity_decimals),
                "waiting": fixed(part.waiting, quantity_decimals),
                "taken_before": fixed(part.taken_before, quantity_decimals),
            }
            for part in preview.fills
        ],
        "filled_quantity": fixed(filled, quantity_decimals),
        "filled_quote": trimmed(preview.filled_quote),
        "average_price": fixed_or_none(average(preview.filled_quote, filled) if filled else None, price_decimals),
        "worst_price": fixed_or_none(preview.fills[-1].price if preview.fills else None, price_decimals),
        "slippage_mid_bps": _slippage(preview, command.side, middle),
        "slippage_best_bps": _slippage(preview, command.side, ask if command.side is Side.BUY else bid),
        "fees": {asset: trimmed(fee) for asset, fee in fees.items()},
        "rests": fixed(preview.rests, quantity_decimals),
        "queue_ahead": fixed_or_none(preview.queue_ahead, quantity_decimals),
        "expires": preview.expires,
        "live": preview.live,
        "best_bid": fixed_or_none(bid, price_decimals),
        "best_ask": fixed_or_none(ask, price_decimals),
        "mid_price": fixed_or_none(middle, price_decimals),
        "update_id": preview.update_id or None,
    }


def _slippage(preview: Preview, side: Side, reference: Decimal | None) -> str | None:
    """Return how much worse than `reference` the average is, in basis points."""
    if reference is None or not reference or not preview.filled_quantity:
        return None
    at_reference = reference * preview.filled_quantity
    worse = preview.filled_quote - at_reference
    bps = divide((worse if side is Side.BUY else -worse) * _ONE_IN_BPS, at_reference, BPS_DECIMALS)
    return fixed(bps, BPS_DECIMALS)
