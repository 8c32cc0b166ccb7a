"""All symbols of the venue and the fair prices behind them, moved to a time handed in. Pure; not thread-safe."""

from __future__ import annotations

from trading_engine.simulator import wire
from trading_engine.simulator.candles import open_of
from trading_engine.simulator.fair import FairPrices
from trading_engine.simulator.grains import GRAIN, seeded
from trading_engine.simulator.history import CoinPasts, Timeline
from trading_engine.simulator.listings import COINS, LISTINGS, Json
from trading_engine.simulator.market import (
    LONGEST_LAG_MS,
    SLOW_MS,
    TRADE_IDS_AHEAD,
    UPDATE_IDS_AHEAD,
    Message,
    SymbolMarket,
)

COARSE_MS = 1_000  # step of symbols nobody listens to


class Exchange:
    """All symbols and the fair prices behind them, moved to a given time.

    Args:
        seed: decides everything that is drawn.
        now_ms: the time it begins at.
        symbols: names of `LISTINGS`, in the order exchangeInfo shows.
        state: what `export` gave in an earlier run; its seed and past are kept.

    Raises:
        ValueError: for an unknown symbol or a state that does not fit.
    """

    def __init__(self, *, seed: str, now_ms: int, symbols: tuple[str, ...], state: Json | None = None) -> None:
        unknown = [name for name in symbols if name not in LISTINGS]
        if unknown or not symbols:
            raise ValueError(f"unknown symbols {unknown}; there are {', '.join(LISTINGS)}")
        saved: Json = state or {
            "seed": seed,
            "genesis_ms": open_of("1m", now_ms),
            "genesis_prices": {name: coin.price for name, coin in COINS.items()},
            "prices": {name: coin.price for name, coin in COINS.items()},
            "run": 0,
            "clean": True,
            "time_ms": now_ms,
            "symbols": {},
        }
        self.seed: str = saved["seed"]
        self.run: int = saved["run"] + 1
        self.now_ms = max(now_ms, saved["time_ms"])
        self.fair = FairPrices(seeded(self.seed, "fair", self.run), saved["prices"])
        self._genesis_ms: int = saved["genesis_ms"]
        self._genesis_prices: dict[str, float] = saved["genesis_prices"]
        self._kept: Json = {name: row for name, row in saved["symbols"].items() if name not in symbols}
        self._array_ids: dict[str, int] = {}
        self.array_wanted = False
        coins = CoinPasts(self.seed, self._genesis_ms, self._genesis_prices)
        self.markets: dict[str, SymbolMarket] = {}
        for name in symbols:
            listing = LISTINGS[name]
            rng = seeded(self.seed, "flow", name, self.run)
            market = SymbolMarket(listing, rng, Timeline(listing, coins), self.now_ms)
            if name in saved["symbols"]:
                market.restore(saved["symbols"][name], clean=saved["clean"])
            else:
                market.begin(self._fair_of(market))
            self.markets[name] = market
        self._reserved = dict.fromkeys(symbols, (0, 0))

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> list[Message]:
        """Move to `now_ms` (never back) and return what was published on the way, in order for each symbol.

        Symbols nobody listens to move in steps of `COARSE_MS`; `touch` moves one of them on at once.
        """
        previous_ms = self.now_ms
        self._move_fair(now_ms)
        for market in self.markets.values():
            if market.wanted or self.now_ms - market.now_ms >= COARSE_MS:
                self._move(market)
        messages: list[Message] = []
        for market in self.markets.values():
            if market.messages:
                messages += market.messages
                market.messages = []
        if self.array_wanted and self.now_ms // SLOW_MS > previous_ms // SLOW_MS:
            messages += self._mini_ticker_array()
        return messages

    def touch(self, name: str, now_ms: int) -> SymbolMarket:
        """The market of `name`, moved to `now_ms`; what it publishes comes with the next `advance`."""
        market = self.markets[name]
        self._move_fair(now_ms)
        if market.now_ms < self.now_ms:
            self._move(market)
        return market

    def _move_fair(self, now_ms: int) -> None:
        elapsed_ms = now_ms - self.now_ms
        if elapsed_ms > 0:
            self.now_ms = now_ms
            if elapsed_ms <= LONGEST_LAG_MS:
                self.fair.advance(elapsed_ms / 1000.0)

    def _move(self, market: SymbolMarket) -> None:
        excitement = self.fair.excitement(market.listing.base)
        market.advance(self.now_ms, self._fair_of(market), excitement)

    def _fair_of(self, market: SymbolMarket) -> float:
        return self.fair.rate(market.listing.base, market.listing.quote) * GRAIN

    def _mini_ticker_array(self) -> list[Message]:
        """`!miniTicker@arr`: the symbols that traded since the last one."""
        rows = []
        for name, market in self.markets.items():
            if self._array_ids.get(name) != market.chart.next_id:
                self._array_ids[name] = market.chart.next_id
                rows.append(wire.mini_ticker(name, market.day(), self.now_ms + market.skew_ms))
        return [("!miniTicker@arr", f"[{','.join(rows)}]")] if rows else []

    # -- hands on the market (for the control endpoint) ----------------------------------------------------------------

    def walk(self, name: str, percent: float, now_ms: int) -> None:
        """Move the price of `name` by `percent` at once: its base coin's fair price jumps and the market follows."""
        market = self.touch(name, now_ms)
        asset = market.listing.base
        self.fair.set_price(asset, self.fair.price(asset) * (1.0 + percent / 100.0))
        market.flow.jump(self._fair_of(market), self.now_ms)

    def anchor(self, market: SymbolMarket) -> None:
        """Take the middle of the present book as the fair price, so that a scripted book is not traded away."""
        bid, _, ask, _ = market.book.quote()
        if bid and ask:
            quote = self.fair.price(market.listing.quote)
            self.fair.set_price(market.listing.base, (bid + ask) / 2.0 / GRAIN * quote)

    # -- state ---------------------------------------------------------------------------------------------------------

    @property
    def must_save(self) -> bool:
        """Whether some ids come near the end of what the last `export` reserved."""
        return any(
            market.chart.next_id - self._reserved[name][0] > TRADE_IDS_AHEAD // 2
            or market.book.update_id - self._reserved[name][1] > UPDATE_IDS_AHEAD // 2
            for name, market in self.markets.items()
        )

    def export(self, *, clean: bool) -> Json:
        """The state for the next run; `clean` when nothing happens after it."""
        self._reserved = {name: (market.chart.next_id, market.book.update_id) for name, market in self.markets.items()}
        return {
            "format": 1,
            "seed": self.seed,
            "genesis_ms": self._genesis_ms,
            "genesis_prices": self._genesis_prices,
            "prices": self.fair.prices(),
            "run": self.run,
            "clean": clean,
            "time_ms": self.now_ms,
            "symbols": {**self._kept, **{name: market.export() for name, market in self.markets.items()}},
        }
