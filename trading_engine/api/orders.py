"""Orders and fills: placing, looking up, cancelling."""

import base64
import binascii
import re
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from flask import Blueprint
from werkzeug.routing import IntegerConverter

from trading_engine.api import current_runtime
from trading_engine.api.accounts import account_id, account_view
from trading_engine.api.answers import Json, fill_json, order_json
from trading_engine.api.operations import Answer, Created, invalid, operation
from trading_engine.api.order_shapes import CancelledList, FillList, OrderAnswer, OrderList
from trading_engine.api.problems import Problem
from trading_engine.api.schemas import (
    LARGEST_ID,
    MAX_ROWS,
    AmendRequest,
    FillsQuery,
    OrderRequest,
    OrdersQuery,
    SymbolQuery,
)
from trading_engine.exchange.messages import AmendOrder, CancelAll, CancelOrder, PlaceOrder, Refused
from trading_engine.exchange.orders import Fill, Order, OrderType, Side, TimeInForce
from trading_engine.runtime import Runtime

blueprint = Blueprint("orders", __name__)


class IdConverter(IntegerConverter):
    """An id in an address: digits of ASCII only, where Flask's own takes those of every script."""

    regex = r"[0-9]{1,40}"


CLIENT_ORDER_ID_BYTES = 8
"""Random bytes of an id we make up, behind the time: ids that come in order are stored side by side."""

Row = TypeVar("Row", Order, Fill)

ORDER_REFUSALS = (
    "invalid_order", "not_supported", "unknown_symbol", "symbol_not_trading", "price_filter", "lot_size",
    "market_lot_size", "notional", "percent_price", "trailing_delta", "max_position", "max_open_orders",
    "max_algo_orders", "exchange_max_open_orders", "exchange_max_algo_orders", "would_take", "would_trigger",
    "no_last_price", "insufficient_balance", "no_valuation", "book_stale", "syncing",
)  # fmt: skip
"""Why an order may be refused for what it says."""

_CURSOR = re.compile(rb"(orders|fills):([1-9][0-9]{0,18})", re.ASCII)


@operation(
    blueprint,
    "POST /api/v1/orders",
    body=OrderRequest,
    answers={201: [Answer(schema=OrderAnswer)], 200: [Answer(schema=OrderAnswer)]},
    refusals=(*ORDER_REFUSALS, "duplicate_client_order_id", "not_committed", "outcome_unknown"),
)
def place_order(body: dict[str, Any]) -> Json | Created:
    """Place an order.

    Answers 201 once the order is stored for good. The same `client_order_id` with the same content again answers 200
    and the order as it is now, so a request whose answer was lost can be repeated. After a refusal nothing has changed.
    """
    runtime = current_runtime()
    command = command_of(body, account_id(runtime))
    placed, commit = runtime.place(command, new_id=body["client_order_id"] is None)
    order = placed.order
    if placed.created:
        ahead = queues_ahead(runtime, [order]).get(order.id)
        return Created(order_answer(runtime, order, placed.fills, ahead), commit)
    if commit is not None:
        commit.wait()
    return stored_answers(runtime, [order])[0]


@operation(blueprint, "GET /api/v1/orders", query=OrdersQuery, answers=OrderList)
def list_orders(query: dict[str, Any]) -> Json:
    """List orders, newest first."""
    runtime = current_runtime()
    view = account_view(runtime)
    epoch = query["epoch"] or view.account.epoch
    if query["client_order_id"] is not None:
        found = runtime.queries.order_by_client_id(view.account.id, epoch, query["client_order_id"])
        return {"orders": stored_answers(runtime, [found] if found is not None else []), "next_cursor": None}
    rows = runtime.queries.orders(
        view.account.id,
        epoch=epoch,
        status=query["status"],
        symbol=query["symbol"],
        limit=query["limit"] + 1,
        before_id=_position("orders", query["cursor"]),
    )
    page, cursor = _page("orders", rows, query["limit"])
    return {"orders": stored_answers(runtime, page), "next_cursor": cursor}


@operation(blueprint, "DELETE /api/v1/orders", query=SymbolQuery, answers=CancelledList, refusals=("not_committed",))
def cancel_orders(query: dict[str, Any]) -> Json:
    """Cancel every open order, or those of one symbol."""
    runtime = current_runtime()
    cancelled = runtime.submit(CancelAll(account_id=account_id(runtime), symbol=query["symbol"]))
    return {"cancelled": stored_answers(runtime, cancelled)}


@operation(blueprint, "GET /api/v1/orders/<id:order_id>", answers=OrderAnswer, refusals=("order_not_found",))
def get_order(order_id: int) -> Json:
    """Return one order as it is now."""
    runtime = current_runtime()
    order = runtime.queries.order(account_id(runtime), _known(order_id))
    if order is None:
        raise _not_found(order_id)
    return stored_answers(runtime, [order])[0]


@operation(
    blueprint,
    "PATCH /api/v1/orders/<id:order_id>",
    body=AmendRequest,
    answers=OrderAnswer,
    refusals=("order_not_found", "order_closed", "max_amends", *ORDER_REFUSALS, "not_committed", "outcome_unknown"),
)
def amend_order(order_id: int, body: dict[str, Any]) -> Json:
    """Change an open order's quantity or price.

    A smaller quantity keeps the place in the queue. Another price, or more, lets the order arrive anew, at the back;
    its id stays.
    """
    if body["quantity"] is None and body["price"] is None:
        raise invalid({"quantity": ["give quantity, price or both"]})
    runtime = current_runtime()
    command = AmendOrder(
        account_id=account_id(runtime), order_id=_known(order_id), quantity=body["quantity"], price=body["price"]
    )
    amended = runtime.submit(command)
    return stored_answers(runtime, [amended.order])[0]


@operation(
    blueprint,
    "DELETE /api/v1/orders/<id:order_id>",
    answers=OrderAnswer,
    refusals=("order_not_found", "order_closed", "not_committed"),
)
def cancel_order(order_id: int) -> Json:
    """Cancel one open order. Always possible, also while the market is not live."""
    runtime = current_runtime()
    command = CancelOrder(account_id=account_id(runtime), order_id=_known(order_id))
    try:
        cancelled = runtime.submit(command)
    except Refused as refused:
        stored = runtime.queries.order(command.account_id, order_id) if refused.code == "order_not_found" else None
        if stored is None:
            raise
        # Closed so long ago that only the store remembers it.
        raise Refused("order_closed", f"order {order_id} is {stored.status}") from None
    return stored_answers(runtime, cancelled)[0]


@operation(blueprint, "GET /api/v1/fills", query=FillsQuery, answers=FillList)
def list_fills(query: dict[str, Any]) -> Json:
    """List fills, newest first."""
    runtime = current_runtime()
    view = account_view(runtime)
    rows = runtime.queries.fills(
        view.account.id,
        epoch=query["epoch"] or view.account.epoch,
        symbol=query["symbol"],
        order_id=query["order_id"],
        limit=query["limit"] + 1,
        before_id=_position("fills", query["cursor"]),
    )
    page, cursor = _page("fills", rows, query["limit"])
    return {"fills": [fill_json(fill, runtime.symbols.get(fill.symbol)) for fill in page], "next_cursor": cursor}


def command_of(body: dict[str, Any], account: int) -> PlaceOrder:
    """Return the command a checked body means.

    Raises:
        Problem: its fields do not fit together.
    """
    name = body["type"] or _type_of(body)
    errors = _misfits(name, body)
    if errors:
        raise invalid(errors)
    return PlaceOrder(
        account_id=account,
        symbol=body["symbol"],
        side=Side(body["side"]),
        type=OrderType(name),
        quantity=body["quantity"],
        quote_quantity=body["quote_quantity"],
        price=body["price"],
        time_in_force=TimeInForce(body["time_in_force"] or "GTC"),
        post_only=body["post_only"],
        client_order_id=body["client_order_id"] or _made_up_id(),
        stop_price=body["stop_price"],
        trailing_bps=body["trailing_bps"],
    )


def _type_of(body: dict[str, Any]) -> str:
    """Return the type an order has that does not name it."""
    if body["trailing_bps"] is not None:
        return "trailing_stop"
    if body["stop_price"] is not None:
        return "stop" if body["price"] is None else "stop_limit"
    return "market" if body["price"] is None else "limit"


def _made_up_id() -> str:
    """Return a client order id nobody else has: 32 hexadecimal digits, the later the greater."""
    return f"{time.time_ns():016x}{secrets.token_hex(CLIENT_ORDER_ID_BYTES)}"


def _misfits(name: str, body: dict[str, Any]) -> dict[str, list[str]]:
    """Say which fields do not fit the order's type."""
    errors: dict[str, list[str]] = {}
    if name not in {"market", "limit"}:
        return errors  # the engine names what is wrong with a conditional order
    if name == "market":
        if body["price"] is not None:
            errors["price"] = ["a market order has none; leave it out or send a limit order"]
        if body["post_only"]:
            errors["post_only"] = ["a market order always takes"]
        if (body["quantity"] is None) == (body["quote_quantity"] is None):
            errors["quantity"] = ["a market order needs either quantity or quote_quantity"]
        return errors
    if body["price"] is None:
        errors["price"] = ["a limit order needs one"]
    if body["quote_quantity"] is not None:
        errors["quote_quantity"] = ["is for market orders"]
    if body["quantity"] is None:
        errors["quantity"] = ["a limit order needs one"]
    if body["post_only"] and body["time_in_force"] in {"IOC", "FOK"}:
        errors["post_only"] = ["an order that must trade at once cannot be post-only"]
    return errors


def queues_ahead(runtime: Runtime, orders: Iterable[Order]) -> Mapping[int, Decimal | None]:
    """Return what is ahead of those of one account's orders that rest, by order id; closed ones cost nothing."""
    resting = {order.id: order.account_id for order in orders if order.is_open and order.market_seq is not None}
    return runtime.engine.queue_ahead(next(iter(resting.values())), resting) if resting else {}


def order_answer(runtime: Runtime, order: Order, fills: Iterable[Fill], queue_ahead: Decimal | None) -> Json:
    """Return an order's JSON."""
    venue = runtime.venue
    simulated = venue.simulated if venue is not None and venue.name == order.venue else order.venue == "simulated"
    return order_json(order, fills, runtime.symbols.get(order.symbol), queue_ahead=queue_ahead, simulated=simulated)


def stored_answers(runtime: Runtime, orders: Sequence[Order]) -> list[Json]:
    """Return the JSON of stored orders with all their fills."""
    fills = runtime.queries.fills_of([order.id for order in orders if order.filled_quantity])
    ahead = queues_ahead(runtime, orders)
    return [order_answer(runtime, order, fills.get(order.id, ()), ahead.get(order.id)) for order in orders]


def _known(order_id: int) -> int:
    if not 1 <= order_id <= LARGEST_ID:
        raise _not_found(order_id)
    return order_id


def _not_found(order_id: int) -> Refused:
    return Refused("order_not_found", f"there is no order {str(order_id)[:20]}")


def _page(kind: str, rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], str | None]:
    """Return one page and the cursor of the next; where the store had room, `rows` has one more than the page."""
    if len(rows) < limit or len(rows) == limit < MAX_ROWS:
        return rows, None
    position = f"{kind}:{rows[limit - 1].id}".encode()
    return rows[:limit], base64.urlsafe_b64encode(position).decode().rstrip("=")


def _position(kind: str, cursor: str | None) -> int | None:
    """Return the id a cursor of that list stands for."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        text = b""
    match = _CURSOR.fullmatch(text)
    if match is None or match[1] != kind.encode() or int(match[2]) > LARGEST_ID:
        raise Problem("validation_failed", "cursor: is not one of this list.", {"cursor": ["is not one of this list"]})
    return int(match[2])
