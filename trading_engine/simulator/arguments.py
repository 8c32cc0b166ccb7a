"""The fields of one control command, read strictly: missing, mistyped and unknown ones are named and refused."""

from __future__ import annotations

import json
import math
from typing import Any

from trading_engine.simulator.book import Level
from trading_engine.simulator.grains import parse, text

_MISSING: Any = object()


class BadCommand(Exception):
    """A command that cannot be done; the text names the field and the rule. Nothing was changed."""


class Arguments:
    """The fields of one command; remembers which were read."""

    def __init__(self, body: bytes) -> None:
        try:
            document = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise BadCommand("the body is not JSON") from None
        if not isinstance(document, dict):
            raise BadCommand("the body must be an object")
        self._document: dict[str, Any] = document
        self._read: set[str] = set()

    def get(self, name: str, kinds: tuple[type, ...], default: Any = _MISSING) -> Any:
        """The field, of one of these types; `default` when it is not there."""
        self._read.add(name)
        if name not in self._document:
            if default is _MISSING:
                raise BadCommand(f"{name} is missing")
            return default
        value = self._document[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise BadCommand(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadCommand(f"{name} must be finite")
        return value

    def words(self, name: str) -> str:
        """Text that must be there."""
        return str(self.get(name, (str,)))

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        return bool(self.get(name, (bool,), default))

    def count(self, name: str = "count", *, default: int = 1, least: int = 1) -> int:
        """A whole number of at least `least`."""
        value = self.maybe_count(name, least=least)
        return default if value is None else value

    def maybe_count(self, name: str = "count", *, least: int = 1) -> int | None:
        """A whole number of at least `least`, None when it is not there."""
        value = self.get(name, (int,), None)
        if value is None:
            return None
        if value < least:
            raise BadCommand(f"{name} must be at least {least}")
        return int(value)

    def seconds(self, name: str = "seconds") -> float:
        """A positive number that must be there."""
        value = self.maybe_seconds(name)
        if value is None:
            raise BadCommand(f"{name} is missing")
        return value

    def maybe_seconds(self, name: str = "seconds") -> float | None:
        """A positive number, None when it is not there."""
        value = self.get(name, (int, float), None)
        if value is None:
            return None
        if value <= 0:
            raise BadCommand(f"{name} must be above zero")
        return float(value)

    def grains(self, name: str, step: int) -> int:
        """Decimal text above zero, a multiple of `step`."""
        return on_step(self.get(name, (str,)), name, step)

    def levels(self, name: str, tick: int, step: int) -> list[Level]:
        """`[["price","quantity"],…]` on a grid."""
        rows = self.get(name, (list,))
        if not all(isinstance(row, list) and len(row) == 2 for row in rows):
            raise BadCommand(f"{name} must be a list of [price, quantity]")
        return [
            (on_step(price, f"{name} price", tick), on_step(quantity, f"{name} quantity", step))
            for price, quantity in rows
        ]

    def finish(self) -> None:
        """Refuse fields nobody read."""
        unknown = sorted(set(self._document) - self._read)
        if unknown:
            raise BadCommand(f"unknown fields: {', '.join(unknown)}")


def on_step(value: object, name: str, step: int) -> int:
    """Grains of decimal text that is above zero and a multiple of `step`.

    Raises:
        BadCommand: when it is not.
    """
    try:
        grains = parse(value)
    except ValueError as error:
        raise BadCommand(f"{name}: {error}") from None
    if grains <= 0 or grains % step:
        raise BadCommand(f"{name} must be above zero and a multiple of {text(step)}")
    return grains
