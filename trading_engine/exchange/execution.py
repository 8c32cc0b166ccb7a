"""One execution made into an event: what it costs, its fee, what it is worth in USDT, what the order still holds.

Everything that needs a symbol's rules or a market's price is settled here and written into the event, so that applying
it (`history`) needs the books alone. Writes to the draft it is given, which `Engine.lock` guards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange import history
from trading_engine.exchange.fills import Execution
from trading_engine.exchange.ledger import BrokenBooksError, Draft
from trading_engine.exchange.messages import OrderFilled, Refused
from trading_engine.exchange.money import ONE, REPORTING_ASSET, VALUE_DECIMALS, ZERO, divide, round_half_up, unit
from trading_engine.exchange.orders import Fill, Liquidity, Order, Side, hold_of
from trading_engine.exchange.portfolio import RATE_DECIMALS, MarketSource, asset_rate
from trading_engine.exchange.symbols import Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeRates:
    """Fees as a share of what is received: 0.001 is 10 basis points."""

    maker: Decimal
    taker: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a symbol's fills are made now. `quote_rate` is USDT per unit of the quote asset.

    It is None only where USDT is the base asset: there each fill's own price gives the rate.
    """

    symbol: Symbol
    quote_rate: Decimal | None
    fees: FeeRates
    time_ms: int


def terms_of(symbol: Symbol, markets: Mapping[str, MarketSource], fees: FeeRates, time_ms: int) -> Terms | None:
    """Return the terms, None while the quote asset cannot be valued."""
    rate = None
    if symbol.base_asset != REPORTING_ASSET:
        rate = asset_rate(symbol.quote_asset, markets)
        if rate is None:
            return None
    return Terms(symbol=symbol, quote_rate=rate, fees=fees, time_ms=time_ms)


def terms_or_refuse(symbol: Symbol, markets: Mapping[str, MarketSource], fees: FeeRates, time_ms: int) -> Terms:
    """Return the terms; raise Refused `no_valuation` while the quote asset cannot be valued."""
    terms = terms_of(symbol, markets, fees, time_ms)
    if terms is None:
        raise Refused("no_valuation", f"no price is known to value {symbol.quote_asset} in USDT", "symbol")
    return terms


def execute(draft: Draft, order_id: int, execution: Execution, terms: Terms) -> None:
    """Emit the fill of an order.

    The quote amount of a buy is cut to what the account has left of hold and free: the order's cost was checked as a
    whole, rounded up, so only the rounding of its parts can exceed it. Raises BrokenBooksError if it exceeds by more.
    """
    order = draft.order(order_id)
    symbol, price, quantity = terms.symbol, execution.price, execution.quantity
    buys = order.side is Side.BUY
    quote_amount = round_half_up(price * quantity, symbol.quote_precision)
    held = _held_after(order, quantity, quote_amount, symbol)
    if buys:
        spendable = draft.balance(order.account_id, order.quote_asset).free + order.held - held
        if quote_amount > spendable:
            if quote_amount - spendable > unit(symbol.quote_precision) * (len(draft.fills) + 1):
                raise BrokenBooksError(
                    f"order {order.id} costs {quote_amount}, {spendable} {order.quote_asset} is left"
                )
            quote_amount = spendable
    rate = terms.quote_rate if terms.quote_rate is not None else divide(ONE, price, RATE_DECIMALS)
    fee, fee_asset = fee_of(order.side, quantity, quote_amount, execution.liquidity, terms)
    value = history.value_of_fill(order.base_asset, order.quote_asset, quantity, quote_amount, rate)
    fee_value = fee
    if fee_asset != REPORTING_ASSET:
        worth = fee * price * rate if buys else fee * rate
        # Rounded apart, a whole fill taken as fee could be worth a trifle more than the fill.
        fee_value = min(round_half_up(worth, VALUE_DECIMALS), value)
    seq = draft.next_seq
    fill = Fill(
        id=seq,
        order_id=order.id,
        account_id=order.account_id,
        epoch=order.epoch,
        symbol=order.symbol,
        side=order.side,
        price=price,
        quantity=quantity,
        quote_amount=quote_amount,
        fee=fee,
        fee_asset=fee_asset,
        fee_value=fee_value,
        liquidity=execution.liquidity,
        time_ms=terms.time_ms,
        update_id=execution.update_id,
        trade_id=execution.trade_id,
        level_quantity=execution.level_quantity,
        quote_rate=rate,
        certainty=execution.certainty,
        receipt=execution.receipt,
    )
    event = OrderFilled(seq=seq, time_ms=terms.time_ms, account_id=order.account_id, fill=fill, held=held)
    history.apply(draft, event)


def fee_of(
    side: Side, quantity: Decimal, quote_amount: Decimal, liquidity: Liquidity, terms: Terms
) -> tuple[Decimal, str]:
    """Return the fee of a fill and its asset: a share of what is received, rounded half-up."""
    rate = terms.fees.maker if liquidity is Liquidity.MAKER else terms.fees.taker
    symbol = terms.symbol
    if side is Side.BUY:
        return round_half_up(quantity * rate, symbol.base_precision), symbol.base_asset
    return round_half_up(quote_amount * rate, symbol.quote_precision), symbol.quote_asset


def _held_after(order: Order, quantity: Decimal, quote_amount: Decimal, symbol: Symbol) -> Decimal:
    """Return what the order holds once `quantity` more, for `quote_amount`, is filled: never more than before.

    A market order that triggered spends its hold; what is over goes back with its last fill, or when it expires.
    """
    if not order.held or order.leaves == quantity:
        return ZERO
    if order.price is None:
        return max(ZERO, order.held - (quote_amount if order.side is Side.BUY else quantity))
    return min(order.held, hold_of(order.side, order.price, order.leaves - quantity, symbol.quote_precision))
