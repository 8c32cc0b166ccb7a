"""How numbers and JSON of the venue become values: the typed pieces `wire` and `rules` are made of.

Everything that is not what the venue's documentation promises is `Malformed`, whatever the bytes; no other exception
leaves this package's decoders. Pure: no lock, no clock.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_EXACT_LIMIT: Final = 10.0**15
"""Floats hold 15 decimal digits of any text; whatever is not below this cannot be exact."""

RawPrice = Annotated[float, msgspec.Meta(gt=0, lt=_EXACT_LIMIT)]
RawQuantity = Annotated[float, msgspec.Meta(ge=0, lt=_EXACT_LIMIT)]
RawLevels = list[tuple[RawPrice, RawQuantity]]
"""Levels of a book. The bounds are checked in C while decoding; NaN and infinities do not pass them."""

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
"""UTC milliseconds up to the end of the year 9999."""

Text = Annotated[str, msgspec.Meta(max_length=64)]
Number = Annotated[str, msgspec.Meta(max_length=40)]
"""Decimal text, to go through `decimal`."""

_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?")


class Malformed(ValueError):
    """A frame or an answer is not what the venue's documentation promises."""


DECODE_ERRORS: Final = (msgspec.MsgspecError, RecursionError, UnicodeError, TypeError)
"""All that a decoder raises, whatever the bytes; TypeError where they are no bytes at all."""


def decode(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Return what `decoder` makes of `body`; raise Malformed where it refuses it."""
    try:
        return decoder.decode(body)
    except DECODE_ERRORS as fault:
        raise Malformed(str(fault)) from fault


def decimal(text: str, what: str) -> Decimal:
    """Return plain decimal text as a number; raise Malformed for anything else (`Decimal` itself accepts much more)."""
    if _DECIMAL.fullmatch(text) is None:
        raise Malformed(f"{what} is not a decimal: {text[:40]!r}")
    return Decimal(text)


def not_negative(text: str, what: str) -> Decimal:
    """Return decimal text as a number of 0 or more; raise Malformed otherwise."""
    value = decimal(text, what)
    if value < 0:
        raise Malformed(f"{what} is negative: {text}")
    return value


def positive(text: str, what: str) -> Decimal:
    """Return decimal text as a number above 0; raise Malformed otherwise."""
    value = decimal(text, what)
    if value <= 0:
        raise Malformed(f"{what} is not above 0: {text}")
    return value


def lax(expected: Any) -> "msgspec.json.Decoder[Any]":
    """Make a decoder that also reads numbers out of text, as the venue writes them."""
    return msgspec.json.Decoder(expected, strict=False)
