"""What our values look like in JSON: every answer and every stream message is made of these.

Amounts are strings without exponents: prices with the tick's decimals, quantities with the step's, balances and values
without trailing zeros; `None` where nothing is known. `…_at` is ISO 8601 in UTC with milliseconds, `…_ms` an integer.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from trading_engine.exchange.accounts import AccountView
from trading_engine.exchange.candles import Candle
from trading_engine.exchange.market import MarketView, Trade
from trading_engine.exchange.money import REPORTING_ASSET, divide, plain
from trading_engine.exchange.orders import Fill, Order
from trading_engine.exchange.portfolio import MarketSource, Portfolio, PositionValue
from trading_engine.exchange.symbols import Symbol

Json = dict[str, Any]

BPS_DECIMALS = 4
"""A spread of one tick on BTCUSDT is 0.001 basis points."""


def iso(time_ms: int) -> str:
    """Return `2026-11-23T20:24:01.123Z`."""
    return f"{_second(time_ms // 1000)}.{time_ms % 1000:03d}Z"


@lru_cache(maxsize=256)
def _second(time_s: int) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso_or_none(time_ms: int | None) -> str | None:
    """Return `iso`, None for an unknown time."""
    return None if time_ms is None else iso(time_ms)


def fixed(value: Decimal, decimals: int) -> str:
    """Return the value with at least `decimals` decimals, and more only where they are not zero."""
    text = plain(value)
    point = text.find(".")
    if point < 0:
        return f"{text}.{'0' * decimals}" if decimals else text
    have = len(text) - point - 1
    if have <= decimals:
        return text + "0" * (decimals - have)
    text = text[: point + decimals + 1] + text[point + decimals + 1 :].rstrip("0")
    return text.removesuffix(".")


def trimmed(value: Decimal) -> str:
    """Return the value without trailing zeros."""
    return fixed(value, 0)


def trimmed_or_none(value: Decimal | None) -> str | None:
    """Return `trimmed`, None for an unknown value."""
    return None if value is None else trimmed(value)


def fixed_or_none(value: Decimal | None, decimals: int) -> str | None:
    """Return `fixed`, None for an unknown value."""
    return None if value is None else fixed(value, decimals)


def price_json(view: MarketView) -> Json:
    """One symbol of `GET /prices`. `price` is that of the last print, before the first one the middle of the book."""
    decimals = view.symbol.price_decimals
    price = view.last_trade.price if view.last_trade is not None else view.mid
    day = view.ticker
    return {
        "price": fixed_or_none(price, decimals),
        "change_percent_24h": trimmed(day.price_change_percent) if day else None,
        "open_24h": fixed(day.open_price, decimals) if day else None,
        "high_24h": fixed(day.high_price, decimals) if day else None,
        "low_24h": fixed(day.low_price, decimals) if day else None,
        "volume_24h": fixed(day.volume, view.symbol.quantity_decimals) if day else None,
        "quote_volume_24h": trimmed(day.quote_volume) if day else None,
        "updated_at": iso_or_none(view.updated_at_ms),
        "state": view.state.value,
    }


def top_json(view: MarketView) -> Json:
    """One symbol of `GET /depth` for all: the best prices and what lies between them."""
    symbol, mid = view.symbol, view.mid
    bid = view.bids[0] if view.bids else None
    ask = view.asks[0] if view.asks else None
    spread = ask[0] - bid[0] if bid and ask else None
    bps = divide(spread * 10_000, mid, BPS_DECIMALS) if spread is not None and mid else None
    return {
        "bid_price": fixed(bid[0], symbol.price_decimals) if bid else None,
        "ask_price": fixed(ask[0], symbol.price_decimals) if ask else None,
        "bid_quantity": fixed(bid[1], symbol.quantity_decimals) if bid else None,
        "ask_quantity": fixed(ask[1], symbol.quantity_decimals) if ask else None,
        "spread": fixed_or_none(spread, symbol.price_decimals),
        "spread_bps": fixed_or_none(bps, BPS_DECIMALS),
        "mid_price": fixed_or_none(mid, symbol.price_decimals),
        "update_id": view.update_id or None,
        "updated_at": iso_or_none(view.updated_at_ms),
        "state": view.state.value,
    }


def book_json(view: MarketView) -> Json:
    """`GET /depth?symbol=`: the levels of the view, best first."""
    price_decimals, quantity_decimals = view.symbol.price_decimals, view.symbol.quantity_decimals
    return {
        "symbol": view.symbol.name,
        "bids": [[fixed(price, price_decimals), fixed(size, quantity_decimals)] for price, size in view.bids],
        "asks": [[fixed(price, price_decimals), fixed(size, quantity_decimals)] for price, size in view.asks],
        "update_id": view.update_id or None,
        "updated_at": iso_or_none(view.updated_at_ms),
        "state": view.state.value,
    }


def trade_json(trade: Trade, symbol: Symbol) -> Json:
    """One print; `side` is what the taker did."""
    return {
        "id": trade.id,
        "price": fixed(trade.price, symbol.price_decimals),
        "quantity": fixed(trade.quantity, symbol.quantity_decimals),
        "side": "sell" if trade.buyer_is_maker else "buy",
        "time_ms": trade.time_ms,
    }


def candle_json(candle: Candle, symbol: Symbol) -> Json:
    """One candle."""
    decimals = symbol.price_decimals
    return {
        "open_time_ms": candle.open_time_ms,
        "open": fixed(candle.open, decimals),
        "high": fixed(candle.high, decimals),
        "low": fixed(candle.low, decimals),
        "close": fixed(candle.close, decimals),
        "volume": fixed(candle.volume, symbol.quantity_decimals),
        "quote_volume": trimmed(candle.quote_volume),
        "trades": candle.trades,
        "closed": candle.closed,
    }


def symbol_json(symbol: Symbol, *, followed: bool) -> Json:
    """One symbol's trading rules; a rule that is switched off is null."""
    price, quantity = symbol.price_decimals, symbol.quantity_decimals
    band, delta = symbol.percent_price, symbol.trailing_delta
    return {
        "symbol": symbol.name,
        "status": symbol.status,
        "followed": followed,
        "base_asset": symbol.base_asset,
        "quote_asset": symbol.quote_asset,
        "price_decimals": price,
        "quantity_decimals": quantity,
        "tick_size": _rule(symbol.tick_size, price),
        "min_price": _rule(symbol.min_price, price),
        "max_price": _rule(symbol.max_price, price),
        "step_size": _rule(symbol.step_size, quantity),
        "min_quantity": _rule(symbol.min_quantity, quantity),
        "max_quantity": _rule(symbol.max_quantity, quantity),
        "market_step_size": _rule(symbol.market_step_size, quantity),
        "market_min_quantity": _rule(symbol.market_min_quantity, quantity),
        "market_max_quantity": _rule(symbol.market_max_quantity, quantity),
        "min_notional": _rule(symbol.min_notional, 0),
        "max_notional": trimmed_or_none(symbol.max_notional),
        "min_notional_applies_to_market": symbol.min_notional_applies_to_market,
        "max_notional_applies_to_market": symbol.max_notional_applies_to_market,
        "percent_price": {
            "bid_up": trimmed(band.bid_up),
            "bid_down": trimmed(band.bid_down),
            "ask_up": trimmed(band.ask_up),
            "ask_down": trimmed(band.ask_down),
        }
        if band
        else None,
        "max_open_orders": symbol.max_open_orders,
        "max_algo_orders": symbol.max_algo_orders,
        "max_iceberg_orders": symbol.max_iceberg_orders,
        "max_order_lists": symbol.max_order_lists,
        "max_amends": symbol.max_amends,
        "iceberg_parts": symbol.iceberg_parts,
        "max_position": _rule(symbol.max_position, quantity),
        "trailing_delta": {
            "min_above": delta.min_above or None,
            "max_above": delta.max_above or None,
            "min_below": delta.min_below or None,
            "max_below": delta.max_below or None,
        }
        if delta
        else None,
        "exchange_limits": {
            "max_open_orders": symbol.exchange_limits.max_open_orders,
            "max_algo_orders": symbol.exchange_limits.max_algo_orders,
            "max_iceberg_orders": symbol.exchange_limits.max_iceberg_orders,
            "max_order_lists": symbol.exchange_limits.max_order_lists,
        },
        "order_types": list(symbol.order_types),
        "features": sorted(feature.value for feature in symbol.features),
        "stp_mode": symbol.stp_mode,
        "stp_modes": list(symbol.stp_modes),
    }


def _rule(value: Decimal, decimals: int) -> str | None:
    return fixed(value, decimals) if value else None


def fill_json(fill: Fill, symbol: Symbol | None) -> Json:
    """One fill, with what it was decided on: the book's update or the print."""
    price_decimals, quantity_decimals = symbol_decimals(symbol)
    return {
        "id": fill.id,
        "order_id": fill.order_id,
        "symbol": fill.symbol,
        "side": fill.side.value,
        "price": fixed(fill.price, price_decimals),
        "quantity": fixed(fill.quantity, quantity_decimals),
        "quote_amount": trimmed(fill.quote_amount),
        "fee": trimmed(fill.fee),
        "fee_asset": fill.fee_asset,
        "liquidity": fill.liquidity.value,
        "certainty": fill.certainty.value,
        "filled_at": iso(fill.time_ms),
        "update_id": fill.update_id,
        "trade_id": fill.trade_id,
    }


def order_json(
    order: Order, fills: Iterable[Fill], symbol: Symbol | None, *, queue_ahead: Decimal | None, simulated: bool
) -> Json:
    """One order with its fills, oldest first. `queue_ahead`: the real quantity ahead of one that rests."""
    price_decimals, quantity_decimals = symbol_decimals(symbol)
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "time_in_force": order.time_in_force.value,
        "post_only": order.post_only,
        "quantity": fixed_or_none(order.quantity, quantity_decimals),
        "quote_quantity": trimmed_or_none(order.quote_quantity),
        "price": fixed_or_none(order.price, price_decimals),
        "stop_price": fixed_or_none(order.stop_price, price_decimals),
        "trailing_bps": order.trailing_bps,
        "stage": order.stage.value,
        "triggered_at": iso_or_none(order.triggered_ms),
        "status": order.status.value,
        "reason": order.reason,
        "filled_quantity": fixed(order.filled_quantity, quantity_decimals),
        "filled_quote": trimmed(order.filled_quote),
        "average_price": fixed_or_none(order.average_price, price_decimals),
        "held": trimmed(order.held),
        "held_asset": order.quote_asset if order.side == "buy" else order.base_asset,
        "queue_ahead": fixed_or_none(queue_ahead, quantity_decimals),
        "fills": [fill_json(fill, symbol) for fill in fills],
        "venue": order.venue,
        "simulated": simulated,
        "epoch": order.epoch,
        "created_at": iso(order.created_ms),
        "updated_at": iso(order.updated_ms),
    }


def symbol_decimals(symbol: Symbol | None) -> tuple[int, int]:
    """Return the decimals of price and quantity; a symbol the venue no longer lists shows what was stored."""
    return (symbol.price_decimals, symbol.quantity_decimals) if symbol else (0, 0)


def portfolio_json(view: AccountView, portfolio: Portfolio, markets: Mapping[str, MarketSource], as_of_ms: int) -> Json:
    """`GET /portfolio`: everything in USDT but balances and quantities."""
    return {
        "cash_balance": trimmed(portfolio.cash_balance),
        "total_value": trimmed_or_none(portfolio.total_value),
        "total_pnl": trimmed_or_none(portfolio.total_pnl),
        "realized_pnl": trimmed(portfolio.realized_pnl),
        "unrealized_pnl": trimmed_or_none(portfolio.unrealized_pnl),
        "fees_paid": trimmed(portfolio.fees_paid),
        "net_deposits": trimmed(portfolio.net_deposits),
        "balances": [
            {
                "asset": balance.asset,
                "free": trimmed(balance.free),
                "locked": trimmed(balance.held),
                "total": trimmed(balance.total),
            }
            for balance in sorted(view.balances.values(), key=lambda balance: balance.asset)
        ],
        "positions": {
            position.asset + REPORTING_ASSET: _position_json(position, markets) for position in portfolio.positions
        },
        "as_of": iso(as_of_ms),
    }


def _position_json(position: PositionValue, markets: Mapping[str, MarketSource]) -> Json:
    name = position.asset + REPORTING_ASSET
    market = markets.get(name)
    return {
        "symbol": name,
        "asset": position.asset,
        "quantity": trimmed(position.quantity),
        "cost": trimmed(position.cost),
        "average_price": trimmed_or_none(position.average_price),
        "market_price": trimmed_or_none(position.market_price),
        "market_value": trimmed_or_none(position.market_value),
        "unrealized_pnl": trimmed_or_none(position.unrealized_pnl),
        "realized_pnl": trimmed(position.realized_pnl),
        "fees_paid": trimmed(position.fees_paid),
        "market_state": market.view(1).state.value if market is not None else None,
    }
