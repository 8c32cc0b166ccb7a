"""What requests may say, as marshmallow schemas: checked on the way in, and documented.

Unknown fields are refused. What needs a look at the market, or at other fields of an order, is not decided here.
"""

import re
from typing import Any

from marshmallow import Schema, fields, validate

from trading_engine.api.fields import Amount, Balances, Bips, Switch, Text, Whole, Word
from trading_engine.exchange.candles import INTERVALS_MS
from trading_engine.exchange.orders import OrderStatus, Side, TimeInForce

MAX_ROWS = 1000
DEFAULT_ROWS = 100
LARGEST_ID = 2**63 - 1
"""Ids are the database's integers."""

ORDER_TYPES = ("market", "limit", "stop", "stop_limit", "take_profit", "take_profit_limit", "trailing_stop")
"""Every type an order may name; those that are not an `OrderType` are refused as `not_supported` for now."""

ORDER_STATUSES = ("open", *(status.value for status in OrderStatus))

_CLIENT_ORDER_ID = re.compile(r"[A-Za-z0-9._:/-]{1,36}", re.ASCII)
_CLIENT_ORDER_ID_RULE = "must be 1 to 36 letters, digits and . _ : / -"


def _symbol(**options: Any) -> Text:
    return Text(
        re.compile(r"[^\W_]{2,40}"), "must be a symbol such as BTCUSDT", upper=True,
        metadata={"description": "A symbol of the venue, such as `BTCUSDT`; `/api/v1/symbols` lists them."}, **options,
    )  # fmt: skip


def _rows(default: int = DEFAULT_ROWS) -> Whole:
    return Whole(1, MAX_ROWS, load_default=default, metadata={"description": "How many, at most."})


def _cursor() -> Text:
    return Text(
        re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII), "must be a next_cursor of an earlier answer", load_default=None,
        metadata={"description": "The `next_cursor` of the answer before: the next, older ones."},
    )  # fmt: skip


def _epoch() -> Whole:
    return Whole(
        1, LARGEST_ID, load_default=None,
        metadata={"description": "An epoch of the account (each reset begins one); default: the present one."},
    )  # fmt: skip


MOST_BPS = 9_999
"""One hundred percent, but for a hundredth of one."""


class AmendRequest(Schema):
    """What to change of an open order; what is left out stays."""

    quantity = Amount(
        load_default=None, allow_none=True,
        metadata={"description": "The whole quantity, what is filled included. Smaller keeps the place in the queue."},
    )  # fmt: skip
    price = Amount(load_default=None, allow_none=True, metadata={"description": "Another one goes to the back."})


class OrderRequest(Schema):
    """A new order. `price` absent or null: a market order."""

    symbol = _symbol(required=True)
    side = Word(tuple(Side), required=True, metadata={"description": "`buy` or `sell`, in any case."})
    type = Word(
        ORDER_TYPES, load_default=None, allow_none=True,
        metadata={"description": "Default: by what is given: `trailing_bps`, `stop_price`, `price`, or none."},
    )  # fmt: skip
    quantity = Amount(load_default=None, allow_none=True, metadata={"description": "In the base asset."})
    quote_quantity = Amount(
        load_default=None, allow_none=True,
        metadata={"description": "Market orders, instead of `quantity`: how much of the quote asset to spend or get."},
    )  # fmt: skip
    price = Amount(load_default=None, allow_none=True, metadata={"description": "Limit price in the quote asset."})
    stop_price = Amount(
        load_default=None, allow_none=True,
        metadata={"description": "Conditional orders: the last price that sets them off; of a trailing stop, the one "
                  "that lets it begin to follow."},
    )  # fmt: skip
    trailing_bps = Bips(
        MOST_BPS, load_default=None, allow_none=True,
        metadata={"description": "Trailing stops: how far the last price must come back from its best since the order "
                  "follows it, in basis points."},
    )  # fmt: skip
    time_in_force = Word(
        tuple(TimeInForce), load_default=None, allow_none=True,
        metadata={"description": "`GTC` (default): rests until cancelled; `IOC`: what does not fill at once expires; "
                  "`FOK`: fills as a whole at once or not at all. A market order never rests, whatever is said here."},
    )  # fmt: skip
    post_only = Switch(
        load_default=False, metadata={"description": "Refuse a limit order that would trade at once.", "default": False}
    )
    client_order_id = Text(
        _CLIENT_ORDER_ID, _CLIENT_ORDER_ID_RULE, load_default=None, allow_none=True,
        metadata={"description": "Your name for the order. The same name and content again answers 200 and the order "
                  "as it is now; with other content 409. Default: one made up from the time."},
    )  # fmt: skip


class ResetRequest(Schema):
    """What the account begins its new epoch with."""

    balances = Balances(
        load_default=None,
        metadata={
            "description": "Asset to amount; default: the configured starting balance.",
            "example": {"USDT": "100000"},
        },
    )


class NoQuery(Schema):
    """No parameters."""


class SymbolQuery(Schema):
    """Parameters that choose a symbol."""

    symbol = _symbol(load_default=None)


class DepthQuery(Schema):
    """Parameters of the order book."""

    symbol = _symbol(load_default=None)
    limit = Whole(
        1, MAX_ROWS, load_default=None, metadata={"description": "Levels a side; default 20. Only with `symbol`."}
    )


class TradesQuery(Schema):
    """Parameters of the recent prints."""

    symbol = _symbol(required=True)
    limit = _rows()


class CandlesQuery(Schema):
    """Parameters of the candles."""

    symbol = _symbol(required=True)
    interval = fields.String(
        load_default="1m", validate=validate.OneOf(tuple(INTERVALS_MS), error="must be one of {choices}")
    )
    limit = _rows(500)
    before = Whole(
        1, 10**14, load_default=None, metadata={"description": "Only candles that opened before this time, in ms."}
    )


class OrdersQuery(Schema):
    """Parameters of the list of orders."""

    symbol = _symbol(load_default=None)
    status = Word(ORDER_STATUSES, load_default=None, metadata={"description": "`open`, or one status."})
    client_order_id = Text(_CLIENT_ORDER_ID, _CLIENT_ORDER_ID_RULE, load_default=None)
    epoch = _epoch()
    limit = _rows()
    cursor = _cursor()


class FillsQuery(Schema):
    """Parameters of the list of fills."""

    symbol = _symbol(load_default=None)
    order_id = Whole(1, LARGEST_ID, load_default=None)
    epoch = _epoch()
    limit = _rows()
    cursor = _cursor()


class StreamQuery(Schema):
    """Parameters of the stream."""

    symbols = Text(
        re.compile(r"[^\W_]{2,40}(,[^\W_]{2,40}){0,49}"), "must be 1 to 50 symbols with commas between them",
        upper=True, load_default=None,
        metadata={"description": "Whose books and prints to send; default: the configured symbols."},
    )  # fmt: skip
