"""The fields answers are made of: all of them required, amounts as exact texts."""

from typing import Any

from marshmallow import fields, validate

from trading_engine.exchange.orders import Certainty


def text(**options: Any) -> fields.String:
    """Return a text."""
    return fields.String(required=True, **options)


def amount() -> fields.String:
    """Return a decimal as a text."""
    return fields.String(required=True, metadata={"format": "decimal"})


def unsure() -> fields.String:
    """Return a decimal as a text, or null where nothing is known."""
    return fields.String(required=True, allow_none=True, metadata={"format": "decimal", "description": "null: unknown"})


def amounts(**options: Any) -> fields.Dict:
    """Return an object of asset to amount."""
    return fields.Dict(
        keys=fields.String(), values=fields.String(metadata={"format": "decimal"}), required=True, **options
    )


def time(*, unsure: bool = False) -> fields.String:
    """Return a time in ISO 8601; `unsure`: or null."""
    return fields.String(required=True, allow_none=unsure, metadata={"format": "date-time"})


def integer(*, unsure: bool = False) -> fields.Integer:
    """Return an integer; `unsure`: or null."""
    return fields.Integer(required=True, strict=True, allow_none=unsure)


def flag() -> fields.Boolean:
    """Return true or false."""
    return fields.Boolean(required=True, truthy={True}, falsy={False})


def state() -> fields.String:
    """Return the state of a book."""
    return fields.String(
        required=True, validate=validate.OneOf(("live", "syncing", "stale", "down")),
        metadata={"description": "Only a `live` book is traded on."},
    )  # fmt: skip


def certainty() -> fields.String:
    """Return how sure a fill is."""
    return fields.String(
        required=True, validate=validate.OneOf(tuple(Certainty)),
        metadata={"description": "`certain`: taken from the book, or the market went through the price; `likely`: "
                  "would have filled even with every cancellation behind it; `modelled`: the queue model says so."},
    )  # fmt: skip
