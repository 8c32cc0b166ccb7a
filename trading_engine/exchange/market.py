"""Our live view of one symbol: book, prints, day figures, and whether it may be traded on. `view()` is a frozen copy.

One writer (the feed thread that owns the symbol), any number of readers. `Market.lock` guards everything here and is
held for microseconds: a new book is built before it is taken, a long view is made exact after it is let go. May import
the exchange's own modules only. Clocks are handed in; durations are monotonic, ages run from receipt, never from the
venue's times.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Final

from trading_engine.exchange.book import Book, RawLevel
from trading_engine.exchange.candles import Candle
from trading_engine.exchange.copies import NO_LEVELS, Copy, RawCopy
from trading_engine.exchange.freshness import Freshness
from trading_engine.exchange.grid import EXACT_DIGITS, Grids, Level, OffGrid
from trading_engine.exchange.prints import Prints, Trade
from trading_engine.exchange.symbols import Symbol, step_of
from trading_engine.exchange.views import ChangeKind, FeedState, LevelView, MarketChange, MarketView, Ticker
from trading_engine.exchange.waiting import LevelKey, WaitingPrints
from trading_engine.exchange.watching import LevelChange, WatchedLevels, shown_at

__all__ = [
    "ChangeKind",
    "FeedState",
    "Level",
    "LevelView",
    "Market",
    "MarketChange",
    "MarketView",
    "OffGrid",
    "RawDiff",
    "RawLevel",
    "Ticker",
    "Trade",
]

RawDiff = tuple[int, Sequence[RawLevel], Sequence[RawLevel], int]
"""Update id, bids, asks, event time."""

CROSSED_NS: Final = 500_000_000
"""A book crossed or locked for longer than this is wrong, not in passing."""

CHECKED_LEVELS: Final = 16
"""A side of a diff up to this size has every quantity checked; for bigger ones it would cost too much. The book checks
all prices that enter, a view all it shows; and the wire decoder refuses what is negative or infinite, at no cost."""

QUICK_LEVELS: Final = 100
"""Views up to this many levels a side are made exact under the lock (20 levels: 10 us), longer ones outside it."""

COPIES_KEPT: Final = 8
"""Different numbers of levels remembered between two changes; readers mostly ask for 20."""

_QUANTITY_LIMIT: Final = 10.0**EXACT_DIGITS
_MS_NS: Final = 1_000_000


class Market:
    """One symbol. Writer calls return what changed, or None; they raise OffGrid or ValueError for impossible numbers.

    After such an exception the market is SYNCING until the next `load_snapshot`.
    """

    def __init__(self, symbol: Symbol, *, monotonic_ns: Callable[[], int], wall_ms: Callable[[], int]) -> None:
        self.lock = threading.RLock()
        self._monotonic_ns = monotonic_ns
        self._wall_ms = wall_ms
        self._symbol = symbol
        self._grids = Grids.of(symbol)
        self._book: Book | None = None
        self._synced = False
        self._unready = (FeedState.SYNCING, "waiting for the first book")
        self._fault: str | None = None
        self._seq = 0
        self._book_seq = 0
        self._update_id = 0
        self._updated_at_ms: int | None = None
        # The best prices, as the book has them and exactly: they mostly stay from one diff to the next.
        self._raw_bid: float | None = None
        self._raw_ask: float | None = None
        self._best_bid: Decimal | None = None
        self._best_ask: Decimal | None = None
        self._crossed_ns: int | None = None
        self._used_up = False
        self._freshness = Freshness()
        self._prints = Prints()
        # The venue's latest time heard of, and when.
        self._venue_ms = 0
        self._venue_heard_ns = 0
        self._ticker: Ticker | None = None
        self._waiting = WaitingPrints()
        self._watched = WatchedLevels()
        self._copies: dict[int | None, Copy] = {}

    @property
    def symbol(self) -> Symbol:
        """The trading rules in force."""
        return self._symbol

    # Writer side: the feed thread only.

    def load_snapshot(
        self,
        update_id: int,
        bids: Sequence[RawLevel],
        asks: Sequence[RawLevel],
        *,
        limit: int | None = None,
        diffs: Iterable[RawDiff] = (),
    ) -> MarketChange | None:
        """Replace the book by a snapshot of at most `limit` levels a side, brought forward by `diffs`, all at once.

        Without a `limit` both sides are taken to be cut off where they end.
        """
        grids = Grids.of(self._symbol)
        for side in (bids, asks):
            grids.prices.widen(level[0] for level in side)
            grids.quantities.check([level[1] for level in side])
        book = Book(bids, asks, limit=limit, grids=grids)
        newest_id, newest_ms = update_id, 0
        for diff_id, bid_changes, ask_changes, time_ms in diffs:
            _check_quantities(bid_changes)
            _check_quantities(ask_changes)
            book.apply_diff(diff_id, bid_changes, ask_changes)
            newest_id, newest_ms = diff_id, time_ms
        with self.lock:
            self._book = book
            self._grids = grids
            self._raw_bid = self._raw_ask = None
            self._synced = True
            self._fault = None
            self._update_id = newest_id
            self._updated_at_ms = self._wall_ms()
            self._crossed_ns = None
            now_ns = self._monotonic_ns()
            self._freshness.depth_seen(now_ns, in_rhythm=False)
            self._hear_venue_time(newest_ms, now_ns)
            self._waiting.clear()
            self._waiting.show_until(newest_ms)
            return self._book_changed(book, now_ns, ChangeKind.LOADED)

    def apply_diff(
        self, update_id: int, bids: Sequence[RawLevel], asks: Sequence[RawLevel], event_time_ms: int
    ) -> MarketChange | None:
        """Set the levels a diff states, as of `update_id`; None while the book waits for a snapshot."""
        with self.lock:
            book = self._writable_book()
            if book is None:
                return None
            try:
                if len(bids) <= CHECKED_LEVELS:
                    _check_quantities(bids)
                if len(asks) <= CHECKED_LEVELS:
                    _check_quantities(asks)
                touched = self._watched.shown(book, self._watched.named(bids, asks))
                book.apply_diff(update_id, bids, asks)
                self._update_id = max(update_id, self._update_id)
                now_ns = self._monotonic_ns()
                self._updated_at_ms = self._wall_ms()
                self._hear_venue_time(event_time_ms, now_ns)
                self._freshness.depth_seen(now_ns, in_rhythm=True)
                traded = self._waiting.show_until(event_time_ms)
                levels = self._watched.changes(book, touched, traded)
                return self._book_changed(book, now_ns, ChangeKind.DIFF, levels)
            except ValueError as fault:
                self._break(str(fault))
                raise

    def apply_quote(
        self, update_id: int, bid: float, bid_quantity: float, ask: float, ask_quantity: float
    ) -> MarketChange | None:
        """Set both best levels as of `update_id`; levels in front of them are gone. A price of 0: that side is empty.

        None when the book is as new already: a quote runs ahead of the diff that contains it, never behind.
        """
        if (bid and not bid_quantity) or (ask and not ask_quantity):
            raise ValueError(f"quote without quantity: {bid!r} x {bid_quantity!r}, {ask!r} x {ask_quantity!r}")
        with self.lock:
            book = self._writable_book()
            if book is None or update_id <= self._update_id:
                return None
            try:
                self._grids.prices.check([bid, ask])
                self._grids.quantities.check([bid_quantity, ask_quantity])
                touched = self._watched.shown(book, self._watched.quoted(book, self._grids, bid, ask))
                book.apply_quote(update_id, (bid, bid_quantity), (ask, ask_quantity))
                self._update_id = update_id
                after = self._watched.shown(book, touched)
                now_ns = self._monotonic_ns()
                traded = {
                    key: self._waiting.explain(key, before - after[key], now_ns) for key, before in touched.items()
                }
                levels = self._watched.changes(book, touched, traded)
                return self._book_changed(book, now_ns, ChangeKind.QUOTE, levels)
            except ValueError as fault:
                self._break(str(fault))
                raise

    def apply_trade(self, trade: Trade) -> MarketChange | None:
        """Count a print; None when its id, or a later one, has been counted."""
        with self.lock:
            if not self._prints.add(trade, self._symbol.average_price_minutes):
                return None
            now_ns = self._monotonic_ns()
            self._hear_venue_time(trade.time_ms, now_ns)
            self._seq += 1
            late = not self._waiting.add(trade, now_ns)
            return self._change(now_ns, ChangeKind.TRADE, trade=trade, late=late)

    def apply_ticker(self, ticker: Ticker) -> MarketChange | None:
        """Take over the day figures."""
        with self.lock:
            if ticker == self._ticker:
                return None
            self._ticker = ticker
            self._seq += 1
            return self._change(self._monotonic_ns(), ChangeKind.OTHER)

    def set_rules(self, symbol: Symbol) -> MarketChange | None:
        """Take over new trading rules. The book stays, with the decimals it has where the new grid has fewer."""
        if symbol.name != self._symbol.name:
            raise ValueError(f"rules of {symbol.name} for the market {self._symbol.name}")
        if symbol == self._symbol:
            return None
        grids = Grids.of(symbol)
        book = self._book
        if book is not None:
            for side in book.copy():
                grids.prices.widen(side.prices())
        with self.lock:
            self._symbol = symbol
            self._grids = grids
            self._raw_bid = self._raw_ask = None
            if book is None:
                self._seq += 1
                return self._change(self._monotonic_ns(), ChangeKind.OTHER)
            book.use(grids)
            return self._book_changed(book, self._monotonic_ns(), ChangeKind.OTHER)

    def set_unready(self, state: FeedState, reason: str) -> MarketChange | None:
        """Take the market out of trading until the next `load_snapshot`; its last levels stay visible, marked so."""
        if state is FeedState.LIVE:
            raise ValueError("a market becomes live by load_snapshot alone")
        with self.lock:
            if not self._synced and self._unready == (state, reason):
                return None
            self._synced = False
            self._unready = (state, reason)
            self._seq += 1
            return self._change(self._monotonic_ns(), ChangeKind.OTHER)

    def connection_alive(self, at_ns: int) -> MarketChange | None:
        """Note that the symbol's connection brought a message, of any symbol; a change when that ends a silence."""
        with self.lock:
            was_live = self._is_live(at_ns)
            self._freshness.frame_seen(at_ns)
            if was_live or not self._is_live(at_ns):
                return None
            self._seq += 1
            return self._change(at_ns, ChangeKind.OTHER)

    @property
    def needs_resync(self) -> str | None:
        """Why the book must be given up and synced anew: an impossible number, crossed for 0.5 s. None: it need not."""
        with self.lock:
            if not self._synced:
                return None
            if self._fault is not None:
                return self._fault
            if self._crossed_ns is not None and self._monotonic_ns() - self._crossed_ns > CROSSED_NS:
                return "crossed book"
            return None

    @property
    def needs_refetch(self) -> bool:
        """True when the price nears the end of what is known: renew the snapshot; the book is good until it comes."""
        with self.lock:
            return self._synced and self._book is not None and self._book.is_thin

    @property
    def last_trade_id(self) -> int | None:
        """The newest print's id: the next one has the following number, unless prints were missed."""
        last = self._prints.last
        return None if last is None else last.id

    # Reader side: any thread.

    def watch(self, key: LevelKey) -> LevelView:
        """Tell of this level's changes from now on (`MarketChange.levels`); return it as it is."""
        with self.lock:
            self._watched.add(key)
            book = self._writable_book()
            return LevelView(
                seq=self._seq,
                shown=None if book is None else shown_at(book, key),
                waiting=self._waiting.at(key),
                shown_until_ms=self._waiting.shown_until_ms,
                venue_ms=self._venue_now_ms(self._monotonic_ns()),
                lot=step_of(self._symbol),
            )

    def unwatch(self, key: LevelKey) -> None:
        """Tell of this level no more."""
        with self.lock:
            self._watched.remove(key)

    def view(self, levels: int | None = 20) -> MarketView:
        """Return a frozen copy with the `levels` best levels a side (None: all that are known)."""
        with self.lock:
            now_ns = self._monotonic_ns()
            copy = self._copies.get(levels)
            raw = None
            if copy is None or copy.book_seq != self._book_seq:
                copy = None
                if levels is None or levels > QUICK_LEVELS:
                    raw = self._raw_copy()
                else:
                    copy = self._exact_copy(levels)
            state, reason = self._state(now_ns)
            seq, update_id, symbol = self._seq, self._update_id, self._symbol
            last_trade, ticker, updated_at_ms = self._prints.last, self._ticker, self._updated_at_ms
            average = self._prints.average_price(symbol.average_price_minutes, self._venue_now_ms(now_ns))
            age_ns = self._freshness.depth_age_ns(now_ns)
            waiting = self._waiting.levels()
        if copy is None:
            try:
                copy = NO_LEVELS if raw is None else raw.exact(levels)
            except OffGrid as fault:
                self._report_fault(fault)
                copy, state, reason = NO_LEVELS, FeedState.SYNCING, str(fault)
            else:
                self._keep(levels, copy)
        return MarketView(
            symbol=symbol,
            state=state,
            reason=reason,
            seq=seq,
            update_id=update_id,
            bids=copy.bids,
            asks=copy.asks,
            complete=copy.complete,
            waiting=waiting,
            last_trade=last_trade,
            average_price=average,
            ticker=ticker,
            updated_at_ms=updated_at_ms,
            age_ms=None if age_ns is None else age_ns // _MS_NS,
        )

    def trades(self, after_id: int | None = None, limit: int = 500) -> tuple[Trade, ...]:
        """Return the newest `limit` prints (at most 1,000 are kept) with an id above `after_id`, oldest first."""
        with self.lock:
            return self._prints.since(after_id, limit)

    def minute_candles(self) -> tuple[Candle, ...]:
        """Return the minutes in which prints came (at most 1,500), oldest first; the first may lack some prints."""
        with self.lock:
            return self._prints.candles(self._venue_now_ms(self._monotonic_ns()))

    # Below: the lock is held by the caller.

    def _writable_book(self) -> Book | None:
        """Return the book to write to, None while it waits for a snapshot."""
        if not self._synced:
            return None
        if self._fault is not None:
            raise OffGrid(self._fault)
        return self._book

    def _break(self, fault: str) -> None:
        self._fault = fault
        self._seq += 1

    def _book_changed(
        self, book: Book, now_ns: int, kind: ChangeKind, levels: tuple[LevelChange, ...] = ()
    ) -> MarketChange:
        self._seq += 1
        self._book_seq = self._seq
        bid, ask = book.best_bid(), book.best_ask()
        if bid != self._raw_bid:
            self._best_bid = None if bid is None else self._grids.prices.exact(bid)
            self._raw_bid = bid
        if ask != self._raw_ask:
            self._best_ask = None if ask is None else self._grids.prices.exact(ask)
            self._raw_ask = ask
        self._used_up = (bid is None or ask is None) and book.is_used_up
        if bid is None or ask is None or bid < ask:
            self._crossed_ns = None
        elif self._crossed_ns is None:
            self._crossed_ns = now_ns
        return self._change(now_ns, kind, levels=levels)

    def _change(
        self,
        now_ns: int,
        kind: ChangeKind,
        *,
        trade: Trade | None = None,
        late: bool = False,
        levels: tuple[LevelChange, ...] = (),
    ) -> MarketChange:
        return MarketChange(
            symbol=self._symbol.name,
            seq=self._seq,
            live=self._is_live(now_ns),
            kind=kind,
            time_ms=trade.time_ms if trade is not None else self._venue_now_ms(now_ns),
            trade=trade,
            late=late,
            best_bid=self._best_bid,
            best_ask=self._best_ask,
            levels=levels,
        )

    def _is_live(self, now_ns: int) -> bool:
        return self._state(now_ns)[1] is None

    def _state(self, now_ns: int) -> tuple[FeedState, str | None]:
        """Return the state as of now, and why it is not live."""
        if not self._synced:
            return self._unready
        if self._fault is not None:
            return FeedState.SYNCING, self._fault
        if not self._symbol.is_trading:
            return FeedState.STALE, f"status {self._symbol.status}"
        if self._crossed_ns is not None:
            return FeedState.STALE, "crossed book"
        if self._used_up:
            return FeedState.SYNCING, "the price has left the known depth"
        stale = self._freshness.stale_reason(now_ns)
        return _LIVE if stale is None else (FeedState.STALE, stale)

    def _hear_venue_time(self, time_ms: int, now_ns: int) -> None:
        if time_ms >= self._venue_ms:
            self._venue_ms = time_ms
            self._venue_heard_ns = now_ns

    def _venue_now_ms(self, now_ns: int) -> int:
        """Return the venue's clock: its latest time heard of, and what has gone by since on ours."""
        return self._venue_ms + (now_ns - self._venue_heard_ns) // _MS_NS

    def _raw_copy(self) -> RawCopy | None:
        if self._book is None or self._fault is not None:
            return None
        return RawCopy(self._book_seq, *self._book.copy(), self._grids)

    def _exact_copy(self, count: int) -> Copy:
        book = self._book
        if book is None or self._fault is not None:
            return NO_LEVELS
        try:
            # One level more than asked for tells whether there are more.
            bids, asks = book.bids(count + 1), book.asks(count + 1)
        except OffGrid as fault:
            self._break(str(fault))
            return NO_LEVELS
        complete = len(bids) <= count and len(asks) <= count
        copy = Copy(self._book_seq, bids[:count], asks[:count], complete=complete)
        self._keep(count, copy)
        return copy

    # Below: the lock need not be held.

    def _keep(self, count: int | None, copy: Copy) -> None:
        """Remember `copy` for other readers; should an older one be left here, its `book_seq` gives it away."""
        if len(self._copies) >= COPIES_KEPT and count not in self._copies:
            self._copies.clear()
        self._copies[count] = copy

    def _report_fault(self, fault: OffGrid) -> None:
        with self.lock:
            self._break(str(fault))


_LIVE: Final = (FeedState.LIVE, None)


def _check_quantities(levels: Sequence[RawLevel]) -> None:
    """Raise OffGrid for a negative or infinite quantity, or none at all."""
    for price, quantity in levels:
        if not 0.0 <= quantity < _QUANTITY_LIMIT:
            raise OffGrid(f"quantity {quantity!r} at {price!r}")
