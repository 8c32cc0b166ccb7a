"""One symbol put together: book, order flow and chart, pure and driven by a time handed in.

What happens is turned into stream messages, but only into those somebody `wanted`. Not thread-safe: one owner, the
`Exchange`.
"""

from __future__ import annotations

from random import Random

from trading_engine.simulator import wire
from trading_engine.simulator.book import Book, Level, Quote, Side
from trading_engine.simulator.candles import DAY_MS, INTERVALS_MS, SECOND_MS, close_of, open_of
from trading_engine.simulator.chart import Chart
from trading_engine.simulator.flow import OrderFlow
from trading_engine.simulator.grains import on_grid
from trading_engine.simulator.history import Timeline
from trading_engine.simulator.listings import Json, Listing, filters
from trading_engine.simulator.tape import Aggregate, Print

Message = tuple[str, str]  # stream name, JSON text

DIFF_MS = 100  # the fast depth cadence; the others are multiples of it
SLOW_MS = 1_000
KLINE_MS = 2_000
HEARTBEAT_MS = 500  # a frozen book still says that it lives
LONGEST_LAG_MS = 60_000  # a longer stop is not traded through, it becomes history
TRADE_IDS_AHEAD = 100_000  # reserved in the state file, so that ids never go back after a crash
UPDATE_IDS_AHEAD = 2_000_000


class SymbolMarket:
    """One symbol.

    Attributes:
        status: as exchangeInfo prints it; only TRADING trades.
        wanted: names of the streams somebody listens to; only these are written.
        messages: what was written and not fetched yet.
        paused: the book stands still.
        heartbeat: while paused, restate the best bid every `HEARTBEAT_MS`.
        filters: exchangeInfo's filters of this symbol.
        skew_ms: what the exchange's clock is wrong by, in every time it states.
    """

    def __init__(self, listing: Listing, rng: Random, timeline: Timeline, now_ms: int) -> None:
        self.listing = listing
        self.name = listing.name
        self.status = "TRADING"
        self.wanted: frozenset[str] = frozenset()
        self.messages: list[Message] = []
        self.paused = False
        self.heartbeat = True
        self.filters = filters(listing)
        self.skew_ms = 0
        self.now_ms = now_ms
        self.book = Book(listing.first_update_id)
        self.chart = Chart(listing, timeline, now_ms)
        self.flow = OrderFlow(listing, rng, self)
        self._stream = listing.name.lower()
        self._fast_id = self.book.update_id  # last id of the last diff of each cadence
        self._slow_id = self.book.update_id
        self._slow_bids: set[int] = set()
        self._slow_asks: set[int] = set()
        self._last_quote: Quote = (0, 0, 0, 0)
        self._partial_ids: dict[str, int] = {}
        self._shown_ids: dict[str, int] = {}  # next trade id when a kline or ticker stream last spoke

    # -- time ----------------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int, fair: float, excitement: float) -> None:
        """Trade until `now_ms` around the fair price (grains), writing what is wanted into `messages`."""
        if not self.book.bids.keys and not self.book.asks.keys and not self.paused:
            self.flow.plant(fair)
        if now_ms - self.now_ms > LONGEST_LAG_MS:
            self.chart.sleep(now_ms)
            self.now_ms = now_ms
        if not self.wanted:
            self._trade(now_ms, fair, excitement)
            self._forget_windows()
            return
        while self.now_ms < now_ms:
            boundary = self.now_ms - self.now_ms % DIFF_MS + DIFF_MS
            self._trade(min(boundary, now_ms), fair, excitement)
            if self.now_ms == boundary:
                self._publish(boundary)

    def _trade(self, until_ms: int, fair: float, excitement: float) -> None:
        if until_ms > self.now_ms and self.status == "TRADING" and not self.paused:
            self.flow.run(self.now_ms, until_ms, fair, excitement)
        self.now_ms = max(self.now_ms, until_ms)
        self._end_minutes(self.now_ms)

    def _end_minutes(self, now_ms: int) -> None:
        while now_ms >= self.chart.minute.end_ms:
            end_ms = self.chart.minute.end_ms
            for interval in self._kline_intervals():
                if interval != "1s" and close_of(interval, open_of(interval, end_ms - 1)) == end_ms:
                    self._send_kline(interval, end_ms - 1, end_ms, closed=True)
            self.chart.end_minute()

    # -- what the flow does --------------------------------------------------------------------------------------------

    def traded(self, prints: list[Level], makers: Side, time_ms: int) -> None:
        """Write the prints of one taker order that met `makers` down and publish them."""
        self._end_minutes(time_ms)
        rows: list[Print] = []
        for price, quantity in prints:
            if rows and rows[-1].price != price:
                self._publish_taker(rows, time_ms)
                rows = []
            row = Print(
                id=self.chart.next_id,
                price=price,
                quantity=quantity,
                time_ms=time_ms,
                buyer_is_maker=makers is self.book.bids,
                taker=self.chart.next_taker,
            )
            self.chart.add(row)
            rows.append(row)
        self._publish_taker(rows, time_ms)

    def quoted(self) -> None:
        """Publish the best prices if they have changed."""
        if "bookTicker" not in self.wanted:
            return
        quote = self.book.quote()
        if quote != self._last_quote:
            self._last_quote = quote
            self._send("bookTicker", wire.book_ticker(self.name, self.book.update_id, quote))

    def _publish_taker(self, rows: list[Print], time_ms: int) -> None:
        """Publish the prints of one taker at one price, and count them as one aggregate trade."""
        self.chart.next_taker += 1
        if "trade" in self.wanted:
            for row in rows:
                self._send("trade", wire.trade(self.name, row, time_ms, self.skew_ms))
        if "aggTrade" in self.wanted:
            joined = Aggregate(
                id=rows[0].taker,
                price=rows[0].price,
                quantity=sum(row.quantity for row in rows),
                first_id=rows[0].id,
                last_id=rows[-1].id,
                time_ms=time_ms,
                buyer_is_maker=rows[0].buyer_is_maker,
            )
            self._send("aggTrade", wire.agg_trade(self.name, joined, time_ms, self.skew_ms))

    # -- publishing ----------------------------------------------------------------------------------------------------

    def _send(self, kind: str, message: str) -> None:
        self.messages.append((f"{self._stream}@{kind}", message))

    def _publish(self, at_ms: int) -> None:
        """Everything that is due at a multiple of `DIFF_MS`."""
        if self.paused and self.heartbeat and at_ms % HEARTBEAT_MS == 0:
            self.book.restate()
        self._publish_diffs(at_ms)
        self._publish_partials(at_ms)
        if at_ms % SLOW_MS == 0:
            self._publish_tickers(at_ms)
            self._publish_klines(at_ms)

    def _publish_diffs(self, at_ms: int) -> None:
        bids, asks = self.book.bids.close_window(), self.book.asks.close_window()
        update_id, stamp = self.book.update_id, at_ms + self.skew_ms
        if "depth@100ms" in self.wanted and update_id > self._fast_id:
            ids = (self._fast_id + 1, update_id)
            self._send("depth@100ms", wire.depth_update(self.name, stamp, ids, bids, asks))
        self._fast_id = update_id
        if "depth" not in self.wanted:
            self._forget_slow()
            return
        self._slow_bids.update(price for price, _ in bids)
        self._slow_asks.update(price for price, _ in asks)
        if at_ms % SLOW_MS == 0 and update_id > self._slow_id:
            bids = [(price, self.book.bids.total(price)) for price in sorted(self._slow_bids, reverse=True)]
            asks = [(price, self.book.asks.total(price)) for price in sorted(self._slow_asks)]
            ids = (self._slow_id + 1, update_id)
            self._send("depth", wire.depth_update(self.name, stamp, ids, bids, asks))
            self._forget_slow()

    def _publish_partials(self, at_ms: int) -> None:
        update_id = self.book.update_id
        for count in (5, 10, 20):
            for kind, cadence in ((f"depth{count}@100ms", DIFF_MS), (f"depth{count}", SLOW_MS)):
                if kind in self.wanted and at_ms % cadence == 0 and self._partial_ids.get(kind) != update_id:
                    self._partial_ids[kind] = update_id
                    self._send(kind, wire.snapshot(*self.snapshot(count)))

    def _publish_tickers(self, at_ms: int) -> None:
        stamp = at_ms + self.skew_ms
        if "ticker" in self.wanted and self._news("ticker"):
            self._send("ticker", wire.ticker(self.name, self.day(), stamp))
        if "miniTicker" in self.wanted and self._news("miniTicker"):
            self._send("miniTicker", wire.mini_ticker(self.name, self.day(), stamp))
        if "avgPrice" in self.wanted and self._news("avgPrice"):
            last = self.chart.tape.last
            last_ms = stamp if last is None else last.time_ms + self.skew_ms
            self._send("avgPrice", wire.average_price(self.name, self.average_price(), last_ms, stamp))

    def _publish_klines(self, at_ms: int) -> None:
        for interval in self._kline_intervals():
            if interval == "1s":
                self._send_kline("1s", at_ms - SECOND_MS, at_ms, closed=True)
            elif at_ms % KLINE_MS == 0 and self._news(f"kline_{interval}"):
                self._send_kline(interval, at_ms, at_ms, closed=False)

    def _send_kline(self, interval: str, time_ms: int, event_ms: int, *, closed: bool) -> None:
        candle = self.chart.running(interval, time_ms)
        text = wire.kline(self.name, interval, candle, event_ms + self.skew_ms, closed=closed)
        self._send(f"kline_{interval}", text)

    def _kline_intervals(self) -> list[str]:
        """The intervals somebody listens to."""
        kinds = (kind.removeprefix("kline_") for kind in self.wanted if kind.startswith("kline_"))
        return [interval for interval in kinds if interval in INTERVALS_MS]

    def _news(self, kind: str) -> bool:
        """Whether there were trades since `kind` last spoke; from now on it has."""
        news = self._shown_ids.get(kind) != self.chart.next_id
        self._shown_ids[kind] = self.chart.next_id
        return news

    def _forget_windows(self) -> None:
        """Nobody listens: whoever comes next starts with a fresh diff."""
        self.book.bids.touched.clear()
        self.book.asks.touched.clear()
        self._fast_id = self.book.update_id
        self._forget_slow()

    def _forget_slow(self) -> None:
        self._slow_bids.clear()
        self._slow_asks.clear()
        self._slow_id = self.book.update_id

    # -- questions -----------------------------------------------------------------------------------------------------

    def snapshot(self, limit: int) -> tuple[int, list[Level], list[Level]]:
        """Update id and the best `limit` levels of both sides."""
        return self.book.update_id, self.book.bids.levels(limit), self.book.asks.levels(limit)

    def average_price(self) -> int:
        """Mean price of the last five minutes, in grains."""
        return self.chart.average_price(self.now_ms)

    def day(self) -> wire.DayStatistics:
        """The rolling 24 hours."""
        candle, previous = self.chart.day()
        last = self.chart.tape.last
        return wire.DayStatistics(
            candle=candle,
            open_ms=self.now_ms - DAY_MS + self.skew_ms,
            close_ms=self.now_ms + self.skew_ms,
            previous_close=previous,
            last_quantity=0 if last is None else last.quantity,
            quote=self.book.quote(),
        )

    # -- changes from outside ------------------------------------------------------------------------------------------

    def regrid(self, tick: int, step: int) -> None:
        """Put the symbol on another grid (grains): orders off it cannot stay, so the book is planted anew."""
        if (tick, step) == (self.flow.tick, self.flow.step):
            return
        bid, _, ask, _ = self.book.quote()
        self.flow.set_grid(tick, step)
        if bid and ask:
            self.book.replace([], [])
            self.flow.plant((bid + ask) / 2.0)
            self.quoted()

    def begin(self, fair: float) -> None:
        """Begin life at the fair price (grains)."""
        self.chart.begin(on_grid(fair, self.listing.tick))

    def export(self) -> Json:
        """Everything the next run needs, as plain JSON values."""
        return {"update_id": self.book.update_id, **self.chart.export()}

    def restore(self, saved: Json, *, clean: bool) -> None:
        """Go on from what `export` gave; after a crash (not `clean`) from the ids reserved then."""
        self.book.update_id = saved["update_id"] + (0 if clean else UPDATE_IDS_AHEAD)
        self._forget_windows()
        self.chart.restore(saved, self.now_ms, 0 if clean else TRADE_IDS_AHEAD)
