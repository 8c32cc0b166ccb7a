"""The coins and symbols of the simulated venue, with the tick sizes, lot sizes and filters Binance Spot uses for them.

Every symbol has the kinds of filters, the counts and the flags Binance Spot had in September 2026; its band around the
average price is the wider one of the years before (0.2 to 5 times it), so that orders far from the market can be tried.
Start prices are round figures of November 2026, only used when there is no earlier state to go on from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trading_engine.simulator.grains import GRAIN, parse, text

Json = dict[str, Any]

ORDER_TYPES = [
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
]
STP_MODES = ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH", "DECREMENT", "TRANSFER"]
RATE_LIMITS: list[Json] = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200000},
    {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300000},
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """One asset priced in USDT.

    Attributes:
        price: start price in USDT (float: it only seeds a random path).
        volatility: annual, as a ratio (0.45 = 45 %).
        correlation: with the common factor of all coins.
    """

    name: str
    price: float
    volatility: float
    correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One symbol: its grid (grains), its limits as the venue prints them, and how busy it is.

    Attributes:
        gap_ticks: mean distance between neighbouring price levels near the touch.
        events_per_s: adds, cancels and market orders a second in a calm market.
        taker_share: share of those events that are market orders.
        order_size: median notional, in USDT, of a serious resting order.
        daily_trades: prints a day, of the generated history.
        daily_volume: quantity a day (whole units), of the generated history.
    """

    name: str
    base: str
    quote: str
    tick: int
    step: int
    max_price: str
    max_quantity: str
    market_max_quantity: str
    min_notional: str
    gap_ticks: float
    events_per_s: float
    taker_share: float
    order_size: float
    daily_trades: int
    daily_volume: float
    first_trade_id: int
    first_update_id: int


COINS: dict[str, Coin] = {
    coin.name: coin
    for coin in (
        Coin(name="BTC", price=97_000.0, volatility=0.45, correlation=0.92),
        Coin(name="ETH", price=3_400.0, volatility=0.62, correlation=0.88),
        Coin(name="SOL", price=187.0, volatility=0.75, correlation=0.82),
        Coin(name="BNB", price=912.0, volatility=0.50, correlation=0.75),
        Coin(name="XRP", price=2.2480, volatility=0.80, correlation=0.70),
        Coin(name="DOGE", price=0.16250, volatility=0.90, correlation=0.75),
        Coin(name="ADA", price=0.5210, volatility=0.82, correlation=0.75),
        Coin(name="LTC", price=84.20, volatility=0.65, correlation=0.70),
    )
}


def _listing(base: str, quote: str, *, tick: str, step: str, **rest: Any) -> Listing:
    return Listing(name=base + quote, base=base, quote=quote, tick=parse(tick), step=parse(step), **rest)


LISTINGS: dict[str, Listing] = {
    listing.name: listing
    for listing in (
        _listing(
            "BTC", "USDT", tick="0.01", step="0.00001", max_price="1000000", max_quantity="9000",
            market_max_quantity="129.84957276", min_notional="5", gap_ticks=18.0, events_per_s=230.0, taker_share=0.05,
            order_size=3_800.0, daily_trades=1_400_000, daily_volume=22_000.0, first_trade_id=5_712_043_118,
            first_update_id=79_214_655_301,
        ),
        _listing(
            "ETH", "USDT", tick="0.01", step="0.0001", max_price="1000000", max_quantity="9000",
            market_max_quantity="3125.75267907", min_notional="5", gap_ticks=2.3, events_per_s=160.0, taker_share=0.05,
            order_size=3_200.0, daily_trades=1_080_000, daily_volume=380_000.0, first_trade_id=3_287_690_402,
            first_update_id=59_480_117_212,
        ),
        _listing(
            "SOL", "USDT", tick="0.01", step="0.001", max_price="10000", max_quantity="90000",
            market_max_quantity="64306.31937238", min_notional="5", gap_ticks=1.0, events_per_s=110.0, taker_share=0.05,
            order_size=2_500.0, daily_trades=790_000, daily_volume=3_900_000.0, first_trade_id=1_764_822_590,
            first_update_id=28_090_344_871,
        ),
        _listing(
            "BNB", "USDT", tick="0.01", step="0.001", max_price="100000", max_quantity="900000",
            market_max_quantity="4883.5223682", min_notional="5", gap_ticks=2.0, events_per_s=50.0, taker_share=0.05,
            order_size=1_300.0, daily_trades=400_000, daily_volume=225_000.0, first_trade_id=1_402_775_013,
            first_update_id=21_377_250_640,
        ),
        _listing(
            "XRP", "USDT", tick="0.0001", step="0.1", max_price="10000", max_quantity="9222449",
            market_max_quantity="4886361.72803347", min_notional="5", gap_ticks=1.0, events_per_s=55.0,
            taker_share=0.05, order_size=1_500.0, daily_trades=420_000, daily_volume=108_000_000.0,
            first_trade_id=1_533_018_226, first_update_id=17_550_381_994,
        ),
        _listing(
            "DOGE", "USDT", tick="0.00001", step="1", max_price="1000", max_quantity="9000000",
            market_max_quantity="19499637.40167364", min_notional="1", gap_ticks=1.0, events_per_s=50.0,
            taker_share=0.05, order_size=1_200.0, daily_trades=390_000, daily_volume=1_080_000_000.0,
            first_trade_id=1_288_406_751, first_update_id=14_208_662_385,
        ),
        _listing(
            "ADA", "USDT", tick="0.0001", step="0.1", max_price="1000", max_quantity="900000",
            market_max_quantity="1922825.07447698", min_notional="5", gap_ticks=1.0, events_per_s=28.0,
            taker_share=0.05, order_size=1_100.0, daily_trades=216_000, daily_volume=175_000_000.0,
            first_trade_id=672_190_384, first_update_id=11_902_334_507,
        ),
        _listing(
            "LTC", "USDT", tick="0.01", step="0.001", max_price="100000", max_quantity="90000",
            market_max_quantity="10291.5540875", min_notional="5", gap_ticks=1.0, events_per_s=22.0, taker_share=0.05,
            order_size=800.0, daily_trades=190_000, daily_volume=660_000.0, first_trade_id=498_731_206,
            first_update_id=9_677_120_845,
        ),
        _listing(
            "ETH", "BTC", tick="0.00001", step="0.0001", max_price="922327", max_quantity="100000",
            market_max_quantity="985.33449583", min_notional="0.0001", gap_ticks=1.0, events_per_s=28.0,
            taker_share=0.05, order_size=1_500.0, daily_trades=190_000, daily_volume=30_000.0,
            first_trade_id=541_268_870, first_update_id=8_820_641_373,
        ),
        _listing(
            "SOL", "BTC", tick="0.0000001", step="0.001", max_price="1000", max_quantity="90000000",
            market_max_quantity="16055.366682", min_notional="0.0001", gap_ticks=1.5, events_per_s=15.0,
            taker_share=0.05, order_size=400.0, daily_trades=150_000, daily_volume=128_000.0,
            first_trade_id=294_330_615, first_update_id=5_120_778_096,
        ),
    )
}  # fmt: skip


def filters(listing: Listing) -> list[Json]:
    """The symbol's filters in the newest shape (PERCENT_PRICE_BY_SIDE, NOTIONAL, order list and amend limits)."""
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": text(listing.tick),
            "maxPrice": text(parse(listing.max_price)),
            "tickSize": text(listing.tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": text(listing.step),
            "maxQty": text(parse(listing.max_quantity)),
            "stepSize": text(listing.step),
        },
        {"filterType": "ICEBERG_PARTS", "limit": 100},
        {
            "filterType": "MARKET_LOT_SIZE",
            "minQty": text(0),
            "maxQty": text(parse(listing.market_max_quantity)),
            "stepSize": text(0),
        },
        {
            "filterType": "TRAILING_DELTA",
            "minTrailingAboveDelta": 10,
            "maxTrailingAboveDelta": 2000,
            "minTrailingBelowDelta": 10,
            "maxTrailingBelowDelta": 2000,
        },
        {
            "filterType": "PERCENT_PRICE_BY_SIDE",
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
            "avgPriceMins": 5,
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": text(parse(listing.min_notional)),
            "applyMinToMarket": True,
            "maxNotional": text(9_000_000 * GRAIN),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
        {"filterType": "MAX_NUM_ORDER_LISTS", "maxNumOrderLists": 20},
        {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        {"filterType": "MAX_NUM_ORDER_AMENDS", "maxNumOrderAmends": 10},
    ]


def symbol_row(listing: Listing, status: str, symbol_filters: list[Json], *, permission_sets: bool = True) -> Json:
    """One entry of exchangeInfo's `symbols`."""
    return {
        "symbol": listing.name,
        "status": status,
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": True,
        "cancelReplaceAllowed": True,
        "amendAllowed": True,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": symbol_filters,
        "permissions": [],
        "permissionSets": [["SPOT"]] if permission_sets else [],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": STP_MODES,
    }
