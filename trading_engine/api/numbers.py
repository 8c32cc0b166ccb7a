"""JSON and numbers on their way in: strict, exact, bounded.

A JSON number keeps its text until it is a `Decimal`; nothing passes through float. The text of a decimal is checked
before `Decimal()` sees it, because huge exponents make later arithmetic and formatting hang.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from trading_engine.api.problems import Problem

MAX_NESTING = 16
"""Arrays and objects inside one another."""

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,18})?", re.ASCII)
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,18})?([eE]([+-]?)([0-9]{1,2}))?", re.ASCII)
_EXPONENTS = range(-18, 16)
DECIMAL_RULE = "must be a decimal number such as 0.001: at most 15 digits before the point and 18 after it, no sign"


class NumberText(str):
    """A JSON number as it was written."""

    __slots__ = ()


class NotADecimal(ValueError):
    """The text is not a decimal number we take; the message is the rule."""


def decimal_of(value: object) -> Decimal:
    """Return the exact value of a decimal given as text or as a JSON number.

    A JSON number may carry an exponent from -18 to 15 (scripts write `1e-05`), a text may not.

    Raises:
        NotADecimal: for anything else, a boolean too.
    """
    if type(value) is str and _DECIMAL.fullmatch(value):
        return Decimal(value)
    if type(value) is NumberText and (match := _NUMBER.fullmatch(value)):
        if match[3] is None:
            return Decimal(value)
        if int(match[4] + match[5]) in _EXPONENTS:
            exact = Decimal(value)
            if exact < 10**15 and _decimals(exact) <= 18:
                return exact
    raise NotADecimal(DECIMAL_RULE)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a request's body: one JSON object, in strict UTF-8, each name once, at most `MAX_NESTING` deep.

    Numbers come back as `NumberText`.

    Raises:
        Problem: `malformed_json`, or `validation_failed` when it is JSON but not an object.
    """
    try:
        text = body.decode("utf-8")
        parsed = _DECODER.decode(text)
    except UnicodeDecodeError:
        raise Problem("malformed_json", "The body is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise Problem("malformed_json", f"{error.msg}: line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        _too_deep()
    if not isinstance(parsed, dict):
        raise Problem("validation_failed", "The body must be a JSON object.")
    _check_depth(parsed, MAX_NESTING)
    if "\\" in text:  # only an escape can spell what strict UTF-8 and strict JSON already exclude
        _check_characters(parsed)
    return parsed


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise Problem("malformed_json", "A name occurs twice in one object.", {_shown(twice): ["occurs twice"]})
    return members


def _no_constant(name: str) -> NoReturn:
    raise Problem("malformed_json", f"{name} is not a number of JSON.")


_DECODER = json.JSONDecoder(
    parse_float=NumberText, parse_int=NumberText, parse_constant=_no_constant, object_pairs_hook=_once_each
)


def _too_deep() -> NoReturn:
    raise Problem("malformed_json", f"Arrays and objects may be nested {MAX_NESTING} deep at most.")


def _check_depth(value: object, allowed: int) -> None:
    if isinstance(value, (dict, list)):
        if not allowed:
            _too_deep()
        for inner in value.values() if isinstance(value, dict) else value:
            _check_depth(inner, allowed - 1)


def _check_characters(value: object) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _check_characters(name)
            _check_characters(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_characters(inner)
    elif isinstance(value, str) and ("\0" in value or _has_surrogate(value)):
        raise Problem("malformed_json", "A text holds a NUL or half of a surrogate pair.")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _shown(text: str) -> str:
    """A name from outside, safe to encode and short enough to repeat."""
    return text.encode("utf-8", "replace").decode()[:64]
