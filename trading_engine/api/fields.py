"""The fields requests are made of: strict about JSON's types, exact about decimals, their errors naming the rule."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validate

from trading_engine.api.numbers import NotADecimal, decimal_of

MAX_BALANCES = 50
"""Assets a new epoch may begin with."""

_ASSET = re.compile(r"[A-Z0-9]{1,20}", re.ASCII)
_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Text(fields.Field[str]):
    """A JSON string (a number is none) that `pattern` matches as a whole; `upper` reads it in capitals."""

    def __init__(self, pattern: re.Pattern[str], rule: str, *, upper: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.pattern = pattern
        self.rule = rule
        self.upper = upper

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> str:
        if type(value) is not str:
            raise ValidationError(self.rule)
        text = value.upper() if self.upper else value
        if not self.pattern.fullmatch(text):
            raise ValidationError(self.rule)
        return text


class Word(fields.Field[str]):
    """One of a few words, in any case."""

    def __init__(self, words: tuple[str, ...], **options: Any) -> None:
        super().__init__(validate=validate.OneOf(words), **options)
        self.words = {word.lower(): word for word in words}
        self.rule = f"must be one of {', '.join(words)}"

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> str:
        word = self.words.get(value.lower()) if type(value) is str else None
        if word is None:
            raise ValidationError(self.rule)
        return word


class Amount(fields.Field[Decimal]):
    """A decimal above zero, as a string or a JSON number, read exactly from its text."""

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> Decimal:
        try:
            amount = decimal_of(value)
        except NotADecimal as error:
            raise ValidationError(str(error)) from None
        if not amount:
            raise ValidationError("must be above zero")
        return amount


class Switch(fields.Field[bool]):
    """JSON's true or false."""

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("must be true or false")
        return value


class Whole(fields.Field[int]):
    """An integer of a query string, from `low` to `high`."""

    def __init__(self, low: int, high: int, **options: Any) -> None:
        super().__init__(validate=validate.Range(low, high), **options)
        self.allowed = range(low, high + 1)

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> int:
        if isinstance(value, str) and _INTEGER.fullmatch(value) and int(value) in self.allowed:
            return int(value)
        raise ValidationError(f"must be a whole number from {self.allowed.start} to {self.allowed.stop - 1}")


class Bips(fields.Field[int]):
    """A whole number of basis points, as a JSON number or a string."""

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(validate=validate.Range(1, most), **options)
        self.most = most

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> int:
        try:
            number = decimal_of(value)
        except NotADecimal as error:
            raise ValidationError(str(error)) from None
        if number % 1 or not 1 <= number <= self.most:
            raise ValidationError(f"must be a whole number from 1 to {self.most}")
        return int(number)


class Balances(fields.Field[Mapping[str, Decimal]]):
    """Assets and the amounts to begin with."""

    def _deserialize(self, value: object, *_where: Any, **_options: Any) -> Mapping[str, Decimal]:
        if not isinstance(value, dict) or not 1 <= len(value) <= MAX_BALANCES:
            raise ValidationError(f'must be an object of 1 to {MAX_BALANCES} assets, such as {{"USDT": "100000"}}')
        balances: dict[str, Decimal] = {}
        for asset, text in value.items():
            if not _ASSET.fullmatch(asset):
                raise ValidationError("an asset is named by up to 20 capital letters and digits, such as USDT")
            try:
                balances[asset] = decimal_of(text)
            except NotADecimal as error:
                raise ValidationError(f"{asset} {error}") from None
            if not balances[asset]:
                raise ValidationError(f"{asset} must be above zero")
        return balances
