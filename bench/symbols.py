"""The symbol the benchmarks trade."""

from decimal import Decimal

from trading_engine.exchange.symbols import Symbol


def btcusdt() -> Symbol:
    """Return the rules of BTCUSDT, less its percent-price filter."""
    return Symbol(
        name="BTCUSDT",
        status="TRADING",
        base_asset="BTC",
        quote_asset="USDT",
        base_precision=8,
        quote_precision=8,
        tick_size=Decimal("0.01"),
        min_price=Decimal("0.01"),
        max_price=Decimal(1_000_000),
        step_size=Decimal("0.00001"),
        min_quantity=Decimal("0.00001"),
        max_quantity=Decimal(9_000),
        market_step_size=Decimal(0),
        market_min_quantity=Decimal(0),
        market_max_quantity=Decimal(100),
        min_notional=Decimal(5),
        max_notional=None,
        min_notional_applies_to_market=True,
        max_notional_applies_to_market=False,
        percent_price=None,
        average_price_minutes=5,
        max_open_orders=200,
        order_types=("LIMIT", "MARKET"),
    )
