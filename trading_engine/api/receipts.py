"""Why a fill came about: the evidence kept with it, and the same in a sentence."""

from decimal import Decimal

from flask import Blueprint

from trading_engine.api import current_runtime
from trading_engine.api.accounts import account_id
from trading_engine.api.answers import Json, fixed, fixed_or_none, iso, symbol_decimals, trimmed
from trading_engine.api.operations import operation
from trading_engine.api.order_shapes import ReceiptAnswer
from trading_engine.api.problems import Problem
from trading_engine.api.schemas import LARGEST_ID
from trading_engine.exchange.orders import Cause, Fill, Order, Side
from trading_engine.exchange.symbols import Symbol

blueprint = Blueprint("receipts", __name__)

_HALF = Decimal("0.5")


@operation(blueprint, "GET /api/v1/fills/<id:fill_id>/receipt", answers=ReceiptAnswer, refusals=("fill_not_found",))
def get_receipt(fill_id: int) -> Json:
    """Say why a fill came about.

    `cause`: `arrival` (the order took from the book), `print` (a public trade at its price served the queue it stood
    in), `print_through` (one beyond its price), `book` (an opposite quote came to its price). Of a level taken from it
    says what that showed, of a queue what was ahead before and after.
    """
    runtime = current_runtime()
    account = account_id(runtime)
    fill = runtime.queries.fill(account, fill_id) if 1 <= fill_id <= LARGEST_ID else None
    order = runtime.queries.order(account, fill.order_id) if fill is not None else None
    if fill is None or order is None:
        raise Problem("fill_not_found", f"there is no fill {str(fill_id)[:20]}")
    number = 1 + sum(each.id < fill.id for each in runtime.queries.fills_of([order.id])[order.id])
    return receipt_json(fill, order, number, runtime.symbols.get(fill.symbol))


def receipt_json(fill: Fill, order: Order, number: int, symbol: Symbol | None) -> Json:
    """Return a receipt's JSON; the fill is the order's `number`th."""
    price_decimals, quantity_decimals = symbol_decimals(symbol)
    receipt = fill.receipt
    by_print = fill.trade_id is not None
    middle = None
    if receipt is not None and receipt.best_bid is not None and receipt.best_ask is not None:
        middle = (receipt.best_bid + receipt.best_ask) * _HALF
    return {
        "fill_id": fill.id,
        "order_id": order.id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "liquidity": fill.liquidity.value,
        "sentence": sentence(fill, order, symbol),
        "complete": receipt is not None,
        "cause": cause_of(fill).value,
        "certainty": fill.certainty.value,
        "update_id": fill.update_id,
        "trade_id": fill.trade_id,
        "price": fixed(fill.price, price_decimals),
        "quantity": fixed(fill.quantity, quantity_decimals),
        "trade_quantity": fixed_or_none(fill.level_quantity if by_print else None, quantity_decimals),
        "level_price": fixed_or_none(receipt.level_price if receipt else None, price_decimals),
        "level_quantity": fixed_or_none(None if by_print else fill.level_quantity, quantity_decimals),
        "waiting": fixed_or_none(receipt.waiting if receipt and not by_print else None, quantity_decimals),
        "taken_before": fixed_or_none(receipt.taken_before if receipt and not by_print else None, quantity_decimals),
        "queue_ahead_before": fixed_or_none(receipt.ahead_before if receipt else None, quantity_decimals),
        "queue_ahead_after": fixed_or_none(receipt.ahead_after if receipt else None, quantity_decimals),
        "queued_ms": receipt.queued_ms if receipt else None,
        "best_bid": fixed_or_none(receipt.best_bid if receipt else None, price_decimals),
        "best_ask": fixed_or_none(receipt.best_ask if receipt else None, price_decimals),
        "mid_price": fixed_or_none(middle, price_decimals),
        "fill_number": number,
        "order_created_at": iso(order.created_ms),
        "filled_at": iso(fill.time_ms),
    }


def cause_of(fill: Fill) -> Cause:
    """Return what made a fill. Before receipts were kept, prints and quotes filled only through an order's price."""
    if fill.receipt is not None:
        return fill.receipt.cause
    if fill.trade_id is not None:
        return Cause.PRINT_THROUGH
    return Cause.ARRIVAL if fill.liquidity == "taker" else Cause.BOOK


def sentence(fill: Fill, order: Order, symbol: Symbol | None) -> str:
    """Return a receipt in plain words."""
    price_decimals, _ = symbol_decimals(symbol)
    base, price = order.base_asset, fixed(fill.price, price_decimals)
    buys = fill.side is Side.BUY
    what = f"Your {'bid' if buys else 'offer'} at {price}"
    match cause_of(fill):
        case Cause.ARRIVAL:
            verb, side = ("bought", "asks") if buys else ("sold", "bids")
            shown = f"Your order {verb} {trimmed(fill.quantity)} {base} at {price} as it arrived"
            return f"{shown}: {_level_words(fill, base, f'the {side} showed')}."
        case Cause.BOOK:
            level = fill.receipt.level_price if fill.receipt else None
            quote, where = "an ask" if buys else "a bid", "its price" if level is None else fixed(level, price_decimals)
            return f"{what} {_waited(fill)}until {quote} came to {where}: {_level_words(fill, base, 'it showed')}."
        case Cause.PRINT_THROUGH:
            size = f" of {trimmed(fill.level_quantity)} {base}" if fill.level_quantity is not None else ""
            went = f"Trade {fill.trade_id}{size} went through that price, so whatever was ahead was gone"
            return f"{what} {_waited(fill)}in the book. {went}; you got {trimmed(fill.quantity)}."
        case Cause.PRINT:
            return f"{what} {_waited(fill)}{_queue_words(fill, base, price)}"


def _waited(fill: Fill) -> str:
    if fill.receipt is None or fill.receipt.queued_ms is None:
        return "waited "
    waited = fill.receipt.queued_ms
    if waited < 10_000:
        return f"waited {waited // 1000}.{waited % 1000 // 100} s "
    seconds = waited // 1000
    if seconds < 120:
        return f"waited {seconds} s "
    return f"waited {seconds // 60} min " if seconds < 7200 else f"waited {seconds // 3600} h "


def _level_words(fill: Fill, base: str, showed: str) -> str:
    """Say what a level showed, what of that was not to be had, and what was got."""
    if fill.level_quantity is None:
        return f"you got {trimmed(fill.quantity)} {base}"
    words = f"{showed} {trimmed(fill.level_quantity)} {base} there"
    gone = []
    if fill.receipt is not None and fill.receipt.waiting:
        gone.append(f"{trimmed(fill.receipt.waiting)} were already traded away")
    if fill.receipt is not None and fill.receipt.taken_before:
        gone.append(f"you had taken {trimmed(fill.receipt.taken_before)} before")
    return ", ".join([words, *gone, f"you got {trimmed(fill.quantity)}"])


def _queue_words(fill: Fill, base: str, price: str) -> str:
    """Say how a trade at the order's price served the queue."""
    assert fill.receipt is not None, "only a receipt tells a trade at the price from one through it"
    before, after = fill.receipt.ahead_before or Decimal(0), fill.receipt.ahead_after or Decimal(0)
    size = trimmed(fill.level_quantity) if fill.level_quantity is not None else "?"
    verb = "sold" if fill.side is Side.BUY else "bought"
    traded = f"Trade {fill.trade_id} {verb} {size} {base} at {price}"
    if not before:
        return f"and was at the front. {traded}: {trimmed(fill.quantity)} went to you."
    served = f"{trimmed(before - after)} went to those ahead, {trimmed(fill.quantity)} to you"
    return f"and had {trimmed(before)} {base} ahead of it. {traded}: {served}."
