"""The venue's `exchangeInfo`: trading rules of every symbol, in the old spelling of the filters and the new.

Source: the venue's REST documentation, "Exchange information" and "Filters". PERCENT_PRICE (one pair of multipliers)
and PERCENT_PRICE_BY_SIDE, MIN_NOTIONAL (no maximum) and NOTIONAL are read alike; of two of a kind the newer binds.
A filter or a flag that is not there limits nothing: older answers know neither TRAILING_DELTA nor `amendAllowed`, and
self-trade prevention is NONE there. A filter of a kind this reader does not know is named in `unknown_filters`.
A symbol that cannot be read is left out and named in `unreadable`: one odd listing must not close the venue.
Pure: no lock, no clock.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

import msgspec

from trading_engine.binance.decoding import Malformed, Number, Text, TimeMs, decode, not_negative
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.symbols import (
    NO_PREVENTION,
    ExchangeLimits,
    Feature,
    PercentPrice,
    Symbol,
    TrailingDelta,
)

Value = TypeVar("Value", bound=Hashable)

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeInfo:
    """The rules of a venue. `simulated`: it says of itself that nothing there is real."""

    server_time_ms: int
    symbols: tuple[Symbol, ...]
    unreadable: tuple[tuple[str, str], ...]
    """Name and reason of each symbol left out."""
    unknown_filters: tuple[str, ...]
    """Kinds of filters that some symbol has, or the whole exchange, and that are not enforced here."""
    simulated: bool


_SYMBOL_FILTERS: Final = frozenset(
    {
        "PRICE_FILTER",
        "LOT_SIZE",
        "MARKET_LOT_SIZE",
        "MIN_NOTIONAL",
        "NOTIONAL",
        "PERCENT_PRICE",
        "PERCENT_PRICE_BY_SIDE",
        "ICEBERG_PARTS",
        "MAX_POSITION",
        "TRAILING_DELTA",
        "MAX_NUM_ORDERS",
        "MAX_NUM_ALGO_ORDERS",
        "MAX_NUM_ICEBERG_ORDERS",
        "MAX_NUM_ORDER_LISTS",
        "MAX_NUM_ORDER_AMENDS",
    }
)
_EXCHANGE_FILTERS: Final = frozenset(
    {
        "EXCHANGE_MAX_NUM_ORDERS",
        "EXCHANGE_MAX_NUM_ALGO_ORDERS",
        "EXCHANGE_MAX_NUM_ICEBERG_ORDERS",
        "EXCHANGE_MAX_NUM_ORDER_LISTS",
    }
)


class _Kind(msgspec.Struct):
    type: Text = msgspec.field(name="filterType")


class _Filter(msgspec.Struct):
    """Every filter's fields we use, all in one; the type says which of them are there."""

    min_price: Number | None = msgspec.field(name="minPrice", default=None)
    max_price: Number | None = msgspec.field(name="maxPrice", default=None)
    tick_size: Number | None = msgspec.field(name="tickSize", default=None)
    min_quantity: Number | None = msgspec.field(name="minQty", default=None)
    max_quantity: Number | None = msgspec.field(name="maxQty", default=None)
    step_size: Number | None = msgspec.field(name="stepSize", default=None)
    min_notional: Number | None = msgspec.field(name="minNotional", default=None)
    max_notional: Number | None = msgspec.field(name="maxNotional", default=None)
    applies_to_market: bool = msgspec.field(name="applyToMarket", default=False)
    min_applies_to_market: bool = msgspec.field(name="applyMinToMarket", default=False)
    max_applies_to_market: bool = msgspec.field(name="applyMaxToMarket", default=False)
    up: Number | None = msgspec.field(name="multiplierUp", default=None)
    down: Number | None = msgspec.field(name="multiplierDown", default=None)
    bid_up: Number | None = msgspec.field(name="bidMultiplierUp", default=None)
    bid_down: Number | None = msgspec.field(name="bidMultiplierDown", default=None)
    ask_up: Number | None = msgspec.field(name="askMultiplierUp", default=None)
    ask_down: Number | None = msgspec.field(name="askMultiplierDown", default=None)
    average_minutes: int = msgspec.field(name="avgPriceMins", default=0)
    max_orders: _Count | None = msgspec.field(name="maxNumOrders", default=None)
    max_algo_orders: _Count | None = msgspec.field(name="maxNumAlgoOrders", default=None)
    max_iceberg_orders: _Count | None = msgspec.field(name="maxNumIcebergOrders", default=None)
    max_order_lists: _Count | None = msgspec.field(name="maxNumOrderLists", default=None)
    max_amends: _Count | None = msgspec.field(name="maxNumOrderAmends", default=None)
    parts: _Count | None = msgspec.field(name="limit", default=None)
    max_position: Number | None = msgspec.field(name="maxPosition", default=None)
    min_above: _Count = msgspec.field(name="minTrailingAboveDelta", default=0)
    max_above: _Count = msgspec.field(name="maxTrailingAboveDelta", default=0)
    min_below: _Count = msgspec.field(name="minTrailingBelowDelta", default=0)
    max_below: _Count = msgspec.field(name="maxTrailingBelowDelta", default=0)


_ABSENT: Final = _Filter()


class _Symbol(msgspec.Struct):
    name: Text = msgspec.field(name="symbol")
    status: Text
    base_asset: Text = msgspec.field(name="baseAsset")
    quote_asset: Text = msgspec.field(name="quoteAsset")
    base_precision: int = msgspec.field(name="baseAssetPrecision")
    quote_precision: int = msgspec.field(name="quoteAssetPrecision")
    order_types: list[Text] = msgspec.field(name="orderTypes")
    filters: list[msgspec.Raw]
    iceberg: bool = msgspec.field(name="icebergAllowed", default=True)
    oco: bool = msgspec.field(name="ocoAllowed", default=True)
    oto: bool = msgspec.field(name="otoAllowed", default=True)
    quote_quantity: bool = msgspec.field(name="quoteOrderQtyMarketAllowed", default=True)
    trailing_stop: bool = msgspec.field(name="allowTrailingStop", default=True)
    cancel_replace: bool = msgspec.field(name="cancelReplaceAllowed", default=True)
    amend: bool = msgspec.field(name="amendAllowed", default=True)
    stp_mode: Text = msgspec.field(name="defaultSelfTradePreventionMode", default=NO_PREVENTION)
    stp_modes: list[Text] = msgspec.field(name="allowedSelfTradePreventionModes", default_factory=list)


class _Named(msgspec.Struct):
    symbol: Text = "?"


class _Info(msgspec.Struct):
    symbols: list[msgspec.Raw]
    exchange_filters: list[msgspec.Raw] = msgspec.field(name="exchangeFilters", default_factory=list)
    server_time_ms: TimeMs = msgspec.field(name="serverTime", default=0)
    simulated: bool = False


_INFO: Final = msgspec.json.Decoder(_Info)
_SYMBOL: Final = msgspec.json.Decoder(_Symbol)
_NAMED: Final = msgspec.json.Decoder(_Named)
_KIND: Final = msgspec.json.Decoder(_Kind)
_FILTER: Final = msgspec.json.Decoder(_Filter)

_MOST_DECIMALS: Final = 18
_LONGEST_AVERAGE_MINUTES: Final = 24 * 60


def decode_exchange_info(body: bytes) -> ExchangeInfo:
    """Return the answer of `exchangeInfo`.

    Raise Malformed when it is none, when its exchange-wide filters cannot be read, or when no symbol in it can be.
    """
    info = decode(_INFO, body)
    reader = _Reader()
    limits = _exchange_limits(reader.filters(info.exchange_filters, _EXCHANGE_FILTERS))
    symbols: list[Symbol] = []
    unreadable: list[tuple[str, str]] = []
    for raw in info.symbols:
        try:
            symbols.append(_symbol(decode(_SYMBOL, bytes(raw)), limits, reader))
        except Malformed as fault:
            unreadable.append((_name(bytes(raw)), str(fault)))
    if unreadable and not symbols:
        name, fault_text = unreadable[0]
        raise Malformed(f"no symbol can be read; {name}: {fault_text}")
    return ExchangeInfo(
        server_time_ms=info.server_time_ms,
        symbols=tuple(symbols),
        unreadable=tuple(unreadable),
        unknown_filters=tuple(sorted(reader.unknown)),
        simulated=info.simulated,
    )


class _Reader:
    """Filters, numbers and other values of one answer, each made once: thousands of symbols share a few hundred."""

    def __init__(self) -> None:
        self.unknown: set[str] = set()
        self._numbers: dict[str, Decimal] = {}
        self._filters: dict[bytes, tuple[str, _Filter | None]] = {}
        self._shared: dict[Any, Any] = {}

    def filters(self, raws: Iterable[msgspec.Raw], known: frozenset[str]) -> dict[str, _Filter]:
        """Return the filters of these kinds by kind, and note the others; raise Malformed for one that is none."""
        found: dict[str, _Filter] = {}
        for raw in raws:
            kind, fields = self._filter(bytes(raw))
            if fields is not None and kind in known:
                found[kind] = fields
            else:
                self.unknown.add(kind)
        return found

    def number(self, text: str | None, what: str) -> Decimal:
        """Return the number, 0 (switched off) for an absent one; raise Malformed for a negative one or other text."""
        if text is None:
            return ZERO
        value = self._numbers.get(text)
        if value is None:
            value = self._numbers[text] = not_negative(text, what)
        return value

    def shared(self, value: Value) -> Value:
        """Return the first value equal to this one."""
        first: Value = self._shared.setdefault(value, value)
        return first

    def _filter(self, raw: bytes) -> tuple[str, _Filter | None]:
        """Read a filter's fields if its kind is known here: those of another kind may be anything."""
        read = self._filters.get(raw)
        if read is None:
            kind = decode(_KIND, raw).type
            known = kind in _SYMBOL_FILTERS or kind in _EXCHANGE_FILTERS
            read = self._filters[raw] = (kind, decode(_FILTER, raw) if known else None)
        return read


def _symbol(fields: _Symbol, exchange_limits: ExchangeLimits, reader: _Reader) -> Symbol:
    filters = reader.filters(fields.filters, _SYMBOL_FILTERS)
    number = reader.number
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    if price is None or lot is None:
        raise Malformed("no PRICE_FILTER or no LOT_SIZE")
    for decimals in (fields.base_precision, fields.quote_precision):
        if not 0 <= decimals <= _MOST_DECIMALS:
            raise Malformed(f"a precision of {decimals} decimals")
    market_lot = filters.get("MARKET_LOT_SIZE", _ABSENT)
    notional = filters.get("NOTIONAL", filters.get("MIN_NOTIONAL", _ABSENT))
    percent = filters.get("PERCENT_PRICE_BY_SIDE", filters.get("PERCENT_PRICE"))
    trailing = filters.get("TRAILING_DELTA")
    minutes = max(notional.average_minutes, percent.average_minutes if percent else 0)
    if not 0 <= minutes <= _LONGEST_AVERAGE_MINUTES:
        raise Malformed(f"an average price over {minutes} minutes")
    return Symbol(
        name=fields.name,
        status=reader.shared(fields.status),
        base_asset=reader.shared(fields.base_asset),
        quote_asset=reader.shared(fields.quote_asset),
        base_precision=fields.base_precision,
        quote_precision=fields.quote_precision,
        tick_size=number(price.tick_size, "tickSize"),
        min_price=number(price.min_price, "minPrice"),
        max_price=number(price.max_price, "maxPrice"),
        step_size=number(lot.step_size, "stepSize"),
        min_quantity=number(lot.min_quantity, "minQty"),
        max_quantity=number(lot.max_quantity, "maxQty"),
        market_step_size=number(market_lot.step_size, "stepSize"),
        market_min_quantity=number(market_lot.min_quantity, "minQty"),
        market_max_quantity=number(market_lot.max_quantity, "maxQty"),
        min_notional=number(notional.min_notional, "minNotional"),
        max_notional=None if notional.max_notional is None else number(notional.max_notional, "maxNotional"),
        min_notional_applies_to_market=notional.min_applies_to_market or notional.applies_to_market,
        max_notional_applies_to_market=notional.max_applies_to_market,
        percent_price=reader.shared(_percent_price(percent, reader)) if percent else None,
        average_price_minutes=minutes,
        max_open_orders=filters.get("MAX_NUM_ORDERS", _ABSENT).max_orders or None,
        order_types=reader.shared(tuple(fields.order_types)),
        max_algo_orders=filters.get("MAX_NUM_ALGO_ORDERS", _ABSENT).max_algo_orders or None,
        max_iceberg_orders=filters.get("MAX_NUM_ICEBERG_ORDERS", _ABSENT).max_iceberg_orders or None,
        max_order_lists=filters.get("MAX_NUM_ORDER_LISTS", _ABSENT).max_order_lists or None,
        max_amends=filters.get("MAX_NUM_ORDER_AMENDS", _ABSENT).max_amends or None,
        iceberg_parts=filters.get("ICEBERG_PARTS", _ABSENT).parts or None,
        max_position=number(filters.get("MAX_POSITION", _ABSENT).max_position, "maxPosition"),
        trailing_delta=reader.shared(_trailing_delta(trailing)) if trailing else None,
        exchange_limits=exchange_limits,
        features=reader.shared(_features(fields)),
        stp_mode=reader.shared(fields.stp_mode),
        stp_modes=reader.shared(tuple(fields.stp_modes)),
    )


def _exchange_limits(filters: dict[str, _Filter]) -> ExchangeLimits:
    return ExchangeLimits(
        max_open_orders=filters.get("EXCHANGE_MAX_NUM_ORDERS", _ABSENT).max_orders or None,
        max_algo_orders=filters.get("EXCHANGE_MAX_NUM_ALGO_ORDERS", _ABSENT).max_algo_orders or None,
        max_iceberg_orders=filters.get("EXCHANGE_MAX_NUM_ICEBERG_ORDERS", _ABSENT).max_iceberg_orders or None,
        max_order_lists=filters.get("EXCHANGE_MAX_NUM_ORDER_LISTS", _ABSENT).max_order_lists or None,
    )


def _features(fields: _Symbol) -> frozenset[Feature]:
    flags = {
        Feature.ICEBERG: fields.iceberg,
        Feature.OCO: fields.oco,
        Feature.OTO: fields.oto,
        Feature.QUOTE_QUANTITY: fields.quote_quantity,
        Feature.TRAILING_STOP: fields.trailing_stop,
        Feature.CANCEL_REPLACE: fields.cancel_replace,
        Feature.AMEND: fields.amend,
    }
    return frozenset(feature for feature, allowed in flags.items() if allowed)


def _trailing_delta(fields: _Filter) -> TrailingDelta:
    return TrailingDelta(
        min_above=fields.min_above,
        max_above=fields.max_above,
        min_below=fields.min_below,
        max_below=fields.max_below,
    )


def _percent_price(fields: _Filter, reader: _Reader) -> PercentPrice:
    """Read multipliers by side, or one pair for both sides."""
    return PercentPrice(
        bid_up=reader.number(fields.bid_up or fields.up, "bidMultiplierUp"),
        bid_down=reader.number(fields.bid_down or fields.down, "bidMultiplierDown"),
        ask_up=reader.number(fields.ask_up or fields.up, "askMultiplierUp"),
        ask_down=reader.number(fields.ask_down or fields.down, "askMultiplierDown"),
    )


def _name(raw: bytes) -> str:
    try:
        return decode(_NAMED, raw).symbol
    except Malformed:
        return "?"
