"""Candles of any interval: the venue's history by REST, and the newest ones carried on from the prints we hear.

Trade ids of a symbol are contiguous, so REST and stream are joined without a seam: of the newest candle REST states
the number of trades `n`, two questions give and prove the id `f` of its first trade, so it contains the trades up to
`f + n - 1`, and every print after that one is added to it, once. From then on no question is needed as long as the
prints follow on each other. Where they do not (more than a thousand since the last look, a hole after a reconnect, a
market that is not live), or where the venue does not know the trade before `f` any more, the newest candles are
fetched again when they are asked for, at most every REFETCH_S; in between they are as old as that, and never wrong.

Locks: `_lock` guards the tables, each series' own lock its candles; the latter is held while the venue is asked, so
that many readers of one chart ask once. Never called by a feed or under the engine's or a market's lock.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from trading_engine.binance.messages import Kline
from trading_engine.binance.rest import VenueClient, VenueError
from trading_engine.exchange.candles import INTERVALS_MS, Candle, close_time_ms, open_time_ms
from trading_engine.exchange.market import FeedState, Market, Trade
from trading_engine.exchange.money import round_half_up

CANDLES_LIMIT: Final = 1_000
"""What the venue answers at once, and what is kept of a series."""
SERIES_LIMIT: Final = 16
PAGES_LIMIT: Final = 16
"""Charts and pages of history remembered, least recently used first out: 1 MB each at most."""
PRINTS_LIMIT: Final = 1_000
REFETCH_S: Final = 5.0

_QUOTE_DECIMALS: Final = 8
_NOTHING: Final = Decimal(0)


class CandleHistory:
    """Charts of one venue. Thread-safe."""

    def __init__(self, client: VenueClient, *, monotonic: Callable[[], float], wall_ms: Callable[[], int]) -> None:
        self._client = client
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._lock = threading.Lock()
        self._series: OrderedDict[tuple[str, str], _Series] = OrderedDict()
        self._pages: OrderedDict[tuple[str, str, int, int], tuple[Candle, ...]] = OrderedDict()

    def candles(
        self, market: Market, interval: str, limit: int = 500, before_ms: int | None = None
    ) -> tuple[Candle, ...]:
        """Return up to `limit` candles that open before `before_ms` (None: now), oldest first, the running one last.

        An interval without a trade has a flat candle of no volume, as at the venue. Raises ValueError for an interval
        the venue has not or a limit outside 1...1,000, and VenueError when the venue has to be asked and does not
        answer; what is known of the newest candles is returned all the same.
        """
        if interval not in INTERVALS_MS:
            raise ValueError(f"interval must be one of {', '.join(INTERVALS_MS)}, not {interval!r}")
        if not 1 <= limit <= CANDLES_LIMIT:
            raise ValueError(f"limit must be between 1 and {CANDLES_LIMIT}, not {limit}")
        symbol = market.view(0).symbol.name
        if before_ms is not None:
            running_ms = open_time_ms(self._wall_ms(), interval)
            if before_ms <= running_ms:
                return self._page(symbol, interval, limit, before_ms)
        newest = self._newest(symbol, interval).read(market)
        return newest[-limit:]

    def _newest(self, symbol: str, interval: str) -> _Series:
        with self._lock:
            series = self._series.get((symbol, interval))
            if series is None:
                series = _Series(self._client, symbol, interval, monotonic=self._monotonic, wall_ms=self._wall_ms)
                self._series[symbol, interval] = series
                if len(self._series) > SERIES_LIMIT:
                    self._series.popitem(last=False)
            self._series.move_to_end((symbol, interval))
            return series

    def _page(self, symbol: str, interval: str, limit: int, before_ms: int) -> tuple[Candle, ...]:
        """Return closed candles, which never change again."""
        key = (symbol, interval, limit, open_time_ms(before_ms - 1, interval))
        with self._lock:
            page = self._pages.get(key)
            if page is not None:
                self._pages.move_to_end(key)
                return page
        klines = self._client.klines(symbol, interval, end_ms=before_ms - 1, limit=limit)
        now_ms = self._wall_ms()
        page = tuple(kline.candle(closed=kline.close_time_ms < now_ms) for kline in klines)
        if all(candle.closed for candle in page):
            with self._lock:
                self._pages[key] = page
                if len(self._pages) > PAGES_LIMIT:
                    self._pages.popitem(last=False)
        return page


class _Series:
    """The newest candles of one symbol and interval; `closed` and the rounding are settled when they are read."""

    def __init__(
        self,
        client: VenueClient,
        symbol: str,
        interval: str,
        *,
        monotonic: Callable[[], float],
        wall_ms: Callable[[], int],
    ) -> None:
        self._client = client
        self._symbol = symbol
        self._interval = interval
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._lock = threading.Lock()
        self._candles: list[Candle] = []
        # The newest trade they contain; None while that is not known, so that prints cannot be added.
        self._last_id: int | None = None
        self._asked_at = float("-inf")

    def read(self, market: Market) -> tuple[Candle, ...]:
        with self._lock:
            carried_on = market.view(0).state is FeedState.LIVE and self._add_prints(market)
            if not carried_on and self._monotonic() - self._asked_at >= REFETCH_S:
                try:
                    self._fetch()
                except VenueError:
                    if not self._candles:
                        raise
                self._add_prints(market)
            return self._up_to_now()

    def _fetch(self) -> None:
        """Ask the venue for the newest candles and for the id of the last trade in them."""
        klines = self._client.klines(self._symbol, self._interval, limit=CANDLES_LIMIT)
        self._asked_at = self._monotonic()
        self._candles = [kline.candle(closed=False) for kline in klines]
        self._last_id = None
        self._last_id = self._last_trade_of(klines)

    def _last_trade_of(self, klines: Sequence[Kline]) -> int | None:
        """Return the id of the last trade in the newest candle that has any; None where it cannot be known."""
        traded = next((kline for kline in reversed(klines) if kline.trades), None)
        if traded is None:
            return None
        found = self._client.agg_trades(self._symbol, start_ms=traded.open_time_ms, limit=1)
        if not found or found[0].time_ms > traded.close_time_ms:
            return None
        first = found[0]
        if first.id > 0:
            # A venue that keeps trades for a limited time answers with the oldest it has: prove that none came before.
            before = self._client.agg_trades(self._symbol, from_id=first.id - 1, limit=1)
            if not before or before[0].id != first.id - 1 or before[0].time_ms >= traded.open_time_ms:
                return None
        return first.first_trade_id + traded.trades - 1

    def _add_prints(self, market: Market) -> bool:
        """Add the prints since the last look; False, and nothing added, when some of them are missing."""
        if self._last_id is None:
            return False
        prints = market.trades(self._last_id, PRINTS_LIMIT)
        if not prints:
            # Nothing new, provided that we have heard the last trade ourselves.
            return market.last_trade_id is not None and market.last_trade_id >= self._last_id
        last_ids = (self._last_id, *(trade.id for trade in prints))
        if any(trade.first_id != last_id + 1 for trade, last_id in zip(prints, last_ids, strict=False)):
            return False
        gap_ms = prints[-1].time_ms - self._candles[-1].open_time_ms
        if gap_ms // INTERVALS_MS[self._interval] > CANDLES_LIMIT:
            return False
        for trade in prints:
            self._add(trade)
        self._last_id = prints[-1].id
        return True

    def _add(self, trade: Trade) -> None:
        opened_ms = open_time_ms(trade.time_ms, self._interval)
        candles = self._candles
        while candles[-1].open_time_ms < opened_ms:
            candles.append(self._flat_after(candles[-1]))
        del candles[:-CANDLES_LIMIT]
        # A print stamped before the newest interval belongs to its own, as long as that is kept.
        for place in range(len(candles) - 1, -1, -1):
            if candles[place].open_time_ms == opened_ms:
                candles[place] = _with_trade(candles[place], trade)
                return

    def _up_to_now(self) -> tuple[Candle, ...]:
        """Return the candles, flat ones added up to the running interval, each marked closed when its time is over."""
        now_ms = self._wall_ms()
        candles = list(self._candles)
        running_ms = open_time_ms(now_ms, self._interval)
        missing = (running_ms - candles[-1].open_time_ms) // INTERVALS_MS[self._interval] if candles else 0
        while 0 < missing <= CANDLES_LIMIT and candles[-1].open_time_ms < running_ms:
            candles.append(self._flat_after(candles[-1]))
        last = len(candles) - 1
        return tuple(
            replace(
                candle,
                quote_volume=round_half_up(candle.quote_volume, _QUOTE_DECIMALS),
                closed=place < last or close_time_ms(candle.open_time_ms, self._interval) <= now_ms,
            )
            for place, candle in enumerate(candles)
        )[-CANDLES_LIMIT:]

    def _flat_after(self, candle: Candle) -> Candle:
        return Candle(
            open_time_ms=close_time_ms(candle.open_time_ms, self._interval),
            open=candle.close,
            high=candle.close,
            low=candle.close,
            close=candle.close,
            volume=_NOTHING,
            quote_volume=_NOTHING,
            trades=0,
            closed=False,
        )


def _with_trade(candle: Candle, trade: Trade) -> Candle:
    first = candle.trades == 0
    return replace(
        candle,
        open=trade.price if first else candle.open,
        high=trade.price if first else max(candle.high, trade.price),
        low=trade.price if first else min(candle.low, trade.price),
        close=trade.price,
        volume=candle.volume + trade.quantity,
        quote_volume=candle.quote_volume + trade.price * trade.quantity,
        trades=candle.trades + trade.count,
    )
