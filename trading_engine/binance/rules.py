"""The venue's `exchangeInfo`: trading rules of every symbol, in the old spelling of the filters and the new.

Source: the venue's REST documentation, "Exchange information" and "Filters". PERCENT_PRICE (one pair of multipliers)
and PERCENT_PRICE_BY_SIDE, MIN_NOTIONAL (no maximum) and NOTIONAL are read alike; of two of a kind the newer binds.
A symbol that cannot be read is left out and named in `unreadable`: one odd listing must not close the venue.
Pure: no lock, no clock.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec

from trading_engine.binance.decoding import Malformed, Number, Text, TimeMs, decode, not_negative
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.symbols import PercentPrice, Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeInfo:
    """The rules of a venue. `simulated`: it says of itself that nothing there is real."""

    server_time_ms: int
    symbols: tuple[Symbol, ...]
    unreadable: tuple[tuple[str, str], ...]
    """Name and reason of each symbol left out."""
    simulated: bool


class _Filter(msgspec.Struct):
    """Every filter's fields we use, all in one; the type says which of them are there."""

    type: Text = msgspec.field(name="filterType")
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
    max_orders: int | None = msgspec.field(name="maxNumOrders", default=None)


class _Symbol(msgspec.Struct):
    name: Text = msgspec.field(name="symbol")
    status: Text
    base_asset: Text = msgspec.field(name="baseAsset")
    quote_asset: Text = msgspec.field(name="quoteAsset")
    base_precision: int = msgspec.field(name="baseAssetPrecision")
    quote_precision: int = msgspec.field(name="quoteAssetPrecision")
    order_types: list[Text] = msgspec.field(name="orderTypes")
    filters: list[_Filter]


class _Named(msgspec.Struct):
    symbol: Text = "?"


class _Info(msgspec.Struct):
    symbols: list[msgspec.Raw]
    server_time_ms: TimeMs = msgspec.field(name="serverTime", default=0)
    simulated: bool = False


_INFO: Final = msgspec.json.Decoder(_Info)
_SYMBOL: Final = msgspec.json.Decoder(_Symbol)
_NAMED: Final = msgspec.json.Decoder(_Named)

_MOST_DECIMALS: Final = 18
_LONGEST_AVERAGE_MINUTES: Final = 24 * 60


def decode_exchange_info(body: bytes) -> ExchangeInfo:
    """Return the answer of `exchangeInfo`; raise Malformed when it is none, or when no symbol in it can be read."""
    info = decode(_INFO, body)
    numbers = _Numbers()
    symbols: list[Symbol] = []
    unreadable: list[tuple[str, str]] = []
    for raw in info.symbols:
        try:
            symbols.append(_symbol(decode(_SYMBOL, bytes(raw)), numbers))
        except Malformed as fault:
            unreadable.append((_name(bytes(raw)), str(fault)))
    if unreadable and not symbols:
        name, fault_text = unreadable[0]
        raise Malformed(f"no symbol can be read; {name}: {fault_text}")
    return ExchangeInfo(
        server_time_ms=info.server_time_ms,
        symbols=tuple(symbols),
        unreadable=tuple(unreadable),
        simulated=info.simulated,
    )


class _Numbers:
    """Decimals by their text, each made once: 2,000 symbols share a few hundred numbers."""

    def __init__(self) -> None:
        self._known: dict[str, Decimal] = {}

    def of(self, text: str | None, what: str) -> Decimal:
        """Return the number, 0 (switched off) for an absent one; raise Malformed for a negative one or other text."""
        if text is None:
            return ZERO
        value = self._known.get(text)
        if value is None:
            value = self._known[text] = not_negative(text, what)
        return value


def _symbol(fields: _Symbol, numbers: _Numbers) -> Symbol:
    filters = {each.type: each for each in fields.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    if price is None or lot is None:
        raise Malformed("no PRICE_FILTER or no LOT_SIZE")
    for decimals in (fields.base_precision, fields.quote_precision):
        if not 0 <= decimals <= _MOST_DECIMALS:
            raise Malformed(f"a precision of {decimals} decimals")
    market_lot = filters.get("MARKET_LOT_SIZE", _Filter(type="MARKET_LOT_SIZE"))
    notional = filters.get("NOTIONAL", filters.get("MIN_NOTIONAL", _Filter(type="NOTIONAL")))
    percent = filters.get("PERCENT_PRICE_BY_SIDE", filters.get("PERCENT_PRICE"))
    most = filters.get("MAX_NUM_ORDERS")
    minutes = max(notional.average_minutes, percent.average_minutes if percent else 0)
    if not 0 <= minutes <= _LONGEST_AVERAGE_MINUTES:
        raise Malformed(f"an average price over {minutes} minutes")
    return Symbol(
        name=fields.name,
        status=fields.status,
        base_asset=fields.base_asset,
        quote_asset=fields.quote_asset,
        base_precision=fields.base_precision,
        quote_precision=fields.quote_precision,
        tick_size=numbers.of(price.tick_size, "tickSize"),
        min_price=numbers.of(price.min_price, "minPrice"),
        max_price=numbers.of(price.max_price, "maxPrice"),
        step_size=numbers.of(lot.step_size, "stepSize"),
        min_quantity=numbers.of(lot.min_quantity, "minQty"),
        max_quantity=numbers.of(lot.max_quantity, "maxQty"),
        market_step_size=numbers.of(market_lot.step_size, "stepSize"),
        market_min_quantity=numbers.of(market_lot.min_quantity, "minQty"),
        market_max_quantity=numbers.of(market_lot.max_quantity, "maxQty"),
        min_notional=numbers.of(notional.min_notional, "minNotional"),
        max_notional=None if notional.max_notional is None else numbers.of(notional.max_notional, "maxNotional"),
        min_notional_applies_to_market=notional.min_applies_to_market or notional.applies_to_market,
        max_notional_applies_to_market=notional.max_applies_to_market,
        percent_price=_percent_price(percent, numbers) if percent else None,
        average_price_minutes=minutes,
        max_open_orders=most.max_orders if most else None,
        order_types=tuple(fields.order_types),
    )


def _percent_price(fields: _Filter, numbers: _Numbers) -> PercentPrice:
    """Read multipliers by side, or one pair for both sides."""
    return PercentPrice(
        bid_up=numbers.of(fields.bid_up or fields.up, "bidMultiplierUp"),
        bid_down=numbers.of(fields.bid_down or fields.down, "bidMultiplierDown"),
        ask_up=numbers.of(fields.ask_up or fields.up, "askMultiplierUp"),
        ask_down=numbers.of(fields.ask_down or fields.down, "askMultiplierDown"),
    )


def _name(raw: bytes) -> str:
    try:
        return decode(_NAMED, raw).symbol
    except Malformed:
        return "?"
