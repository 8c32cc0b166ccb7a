"""One symbol's way from the venue's messages to its market: book in step, prints in order, silence noticed.

A `Follower` decides what is needed (a snapshot, a look at the venue's book, a new subscription) and the feed fetches
it; it knows neither sockets nor threads nor URLs. Owned by the one feed thread; no lock (the market brings its own).

Two rules keep a wrong book from being served as live. A snapshot is loaded only once the stream has proven itself: by
a diff that joins it, or, for a symbol too quiet to send one, by a second look at the venue that finds the same update
id. And a stream that stays mute while the venue's book moves takes the market out of trading before anything else is
tried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from trading_engine.binance.backfill import Missed
from trading_engine.binance.backoff import Backoff
from trading_engine.binance.depth_sync import Action, DepthSync, Gap, LoadBook, NeedSnapshot
from trading_engine.binance.messages import DayTicker, DepthDiff, Message, Print, Quote, Snapshot
from trading_engine.binance.rest import RegionRefused, Throttled
from trading_engine.binance.sequence import PrintSequence
from trading_engine.binance.tally import Tally
from trading_engine.exchange.freshness import MIN_INTERVALS, Freshness
from trading_engine.exchange.market import ChangeKind, FeedState, Market, MarketChange, Trade

PARKED_LIMIT: Final = 5_000
"""Messages of a new connection kept until they join those of the old one: seconds of the busiest symbol."""
MUTE: Final = "the stream is silent while the venue's book moves"


class Ask(StrEnum):
    """What a follower needs from the feed."""

    SNAPSHOT = "snapshot"
    CHECK = "check"
    PRINTS = "prints"
    """Those of `Follower.missed`."""
    RESUBSCRIBE = "resubscribe"
    RECONNECT = "reconnect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a follower waits for things, in seconds; tests use smaller ones."""

    unheard_s: float = 1.5
    """Without a diff while the symbol's rhythm is not known: is it quiet, or the stream mute? The venue is asked."""
    quiet_s: float = 10.0
    """The same once the rhythm is known and slow; a quick one says sooner."""
    longest_check_s: float = 40.0
    """Between looks at a symbol that stays quiet; below the minute after which no book counts as fresh."""
    grace_s: float = 1.0
    """For the stream to catch up with what REST has shown already."""
    refetch_s: float = 10.0
    """Between two renewals of a book whose known depth runs out."""
    snapshot_first_s: float = 0.25
    snapshot_prompt_s: float = 2.0
    """Ceilings of the delay before a failed snapshot is asked for again: the first, and that of the first minute."""
    settled_s: float = 5.0
    """A book that stays in step this long ends the memory of earlier failures."""
    prints_s: float = 3.0
    """For prints that were missed to be fetched; then the later ones go on without them."""
    prints_again_s: float = 0.5
    """The least time between two questions for missed prints."""
    prints_first_s: float = 1.0
    """How long a snapshot waits for missed prints, where orders rest that those should meet first."""


class Follower:
    """Follow one symbol. `owner` and `heir` are numbers of connections; times are monotonic seconds."""

    def __init__(
        self,
        market: Market,
        *,
        name: str,
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
        emit: Callable[[MarketChange | None], None],
        tally: Tally,
        patience: Patience,
        has_orders: Callable[[], bool],
    ) -> None:
        """Follow nothing yet. `has_orders` says whether orders rest at the symbol, which prints may fill."""
        self.market = market
        self.symbol = name
        lower = name.lower()
        self.streams = (f"{lower}@depth@100ms", f"{lower}@trade", f"{lower}@bookTicker", f"{lower}@ticker")
        self.owner: int | None = None
        self.heir: int | None = None
        self.acknowledged = False
        self.live_since: float | None = None
        self.missed: Missed | None = None
        """The prints the last Ask.PRINTS was about, and the ticket of the errand that fetches them."""
        self.prints_ticket: int | None = None
        self._monotonic = monotonic
        self._emit = emit
        self._tally = tally
        self._patience = patience
        self._has_orders = has_orders
        self._prints = PrintSequence(
            market,
            monotonic=monotonic,
            emit=emit,
            tally=tally,
            answer_s=patience.prints_s,
            again_s=patience.prints_again_s,
        )
        self._sync = DepthSync()
        self._rhythm = Freshness()
        self._in_rhythm = 0
        self._backoff = Backoff(
            jitter=jitter,
            first_s=patience.snapshot_first_s,
            prompt_s=patience.snapshot_prompt_s,
            attempts=1_000,  # the weight budget is what limits snapshots
        )
        self._snapshot_due: float | None = None
        self._snapshot_asked = False
        self._loaded_at = float("-inf")
        # A snapshot that no diff has joined yet, and since when it waits.
        self._held: tuple[Snapshot, float] | None = None
        # A snapshot that waits for missed prints, and until when.
        self._delayed: tuple[Snapshot, float] | None = None
        self._quote: Quote | None = None
        self._heard = False
        self._heard_at = 0.0
        self._check_at = 0.0
        self._check_gap_s = patience.unheard_s
        self._checking = False
        # An update id REST has shown, and until when the stream may take to reach it.
        self._behind: tuple[int, float] | None = None
        self._strikes = 0
        self._heir_acknowledged = False
        self._parked: deque[Message] = deque()

    # Connections.

    def attach(self, number: int, reason: str) -> None:
        """Begin anew on a connection that is being subscribed."""
        self.owner, self.heir = number, None
        self.acknowledged = False
        self._parked.clear()
        self._begin(FeedState.SYNCING, reason)

    def detach(self, reason: str) -> None:
        """The connection is gone: nothing is known until there is another."""
        self.owner = self.heir = None
        self.acknowledged = False
        self._parked.clear()
        self._begin(FeedState.DOWN, reason)

    def acknowledge(self, number: int) -> None:
        """The venue has confirmed all our streams on a connection: what changes from now on will be heard there."""
        if number == self.owner:
            self.acknowledged = True
            self._heard_at = self._monotonic()
            self._want_snapshot(0.0)
            self._prints.look_back()
        elif number == self.heir:
            self._heir_acknowledged = True

    def expect_heir(self, number: int) -> None:
        """A second connection is being subscribed; its messages wait until they join those of the first."""
        self.heir = number
        self._heir_acknowledged = False
        self._parked.clear()

    def drop_heir(self) -> None:
        """The second connection is gone; the first goes on."""
        self.heir = None
        self._parked.clear()

    def settle_heir(self) -> bool:
        """Move a quiet symbol, whose streams both connections carry, to the new one; False while that is not proven."""
        if self.heir is None:
            return True
        if not self._heir_acknowledged:
            return False
        self._move()
        return True

    # Messages.

    def receive(self, number: int, message: Message) -> None:
        """Take a message of this symbol. ValueError (OffGrid, Malformed) or worse: the caller resyncs the symbol."""
        if number == self.owner:
            self._take(message)
            if self._parked:
                self._move_if_joined()
        elif number == self.heir:
            if len(self._parked) >= PARKED_LIMIT:
                self._parked.clear()
            self._parked.append(message)
            self._move_if_joined()

    def resync(self, reason: str) -> None:
        """Give the book up and get a new one; a book that breaks again and again is fetched at growing distances."""
        now = self._monotonic()
        broke_soon = now - self._loaded_at < self._patience.settled_s
        self._tally.resyncs += 1
        self._begin(FeedState.SYNCING, reason)
        self._want_snapshot(self._backoff.failed(now) if broke_soon else 0.0)

    # Answers of the venue.

    def on_snapshot(self, snapshot: Snapshot) -> None:
        """Take the snapshot that was asked for."""
        self._snapshot_asked = False
        if self._sync.update_id is None and not self._heard:
            self._held = (snapshot, self._monotonic())
        else:
            self._use(snapshot)

    def on_prints(self, answer: tuple[Trade, ...] | Exception) -> None:
        """Take the missed prints that were asked for, as `backfill.fetch` returns them."""
        self._prints.on_answer(answer)

    def on_snapshot_failure(self, error: Exception) -> None:
        """The snapshot could not be had: say why, and ask again when that makes sense."""
        self._snapshot_asked = False
        self._tally.snapshot_failures += 1
        now = self._monotonic()
        if isinstance(error, Throttled):
            delay_s = error.wait_s
        else:
            delay_s = self._backoff.failed(now, region_refused=isinstance(error, RegionRefused))
        if self.owner is None:
            return
        self._want_snapshot(delay_s)
        if self._sync.update_id is None:
            self._emit(self.market.set_unready(FeedState.SYNCING, f"no snapshot: {error}"))

    def on_check(self, answer: Snapshot | Exception) -> None:
        """Compare a look at the venue's book with what the stream has told."""
        self._checking = False
        now = self._monotonic()
        known = self._held[0].update_id if self._held else self._sync.update_id
        if known is None or isinstance(answer, Exception):
            self._check_at = now + (answer.wait_s if isinstance(answer, Throttled) else self._patience.quiet_s)
            return
        if answer.update_id > known:
            grace_s = self._patience.grace_s if self._strikes < 2 else min(30.0, 5.0 * self._strikes)
            self._behind = (answer.update_id, now + grace_s)
            return
        if self._held is None:
            # The book is the venue's book of this moment, although no diff said so.
            self._emit(self.market.apply_diff(known, (), (), 0))
        elif answer.update_id == known and not self._heard:
            snapshot, self._held = self._held[0], None
            self._use(snapshot)
        else:
            self._check_at = now + self._patience.grace_s
            return
        self._check_at = now + self._check_gap_s
        self._check_gap_s = min(self._patience.longest_check_s, 2 * self._check_gap_s)

    def tick(self, now: float) -> Ask | None:
        """Say what is needed at this moment, if anything. To be called several times a second."""
        self._prints.tick(now)
        if self._delayed is not None and (now >= self._delayed[1] or not self._prints.is_waiting):
            snapshot, self._delayed = self._delayed[0], None
            self._carry_out(self._sync.on_snapshot(snapshot))
        ask = self._tick_book(now)
        if ask is None:
            missed = self._prints.due(now)
            if missed is not None:
                self.missed, self.prints_ticket = missed, None
                return Ask.PRINTS
        return ask

    def _tick_book(self, now: float) -> Ask | None:
        if self.owner is None or not self.acknowledged:
            return None
        if self._sync.update_id is not None:
            self._look_at_market(now)
        if self._snapshot_due is not None and now >= self._snapshot_due and not self._snapshot_asked:
            self._snapshot_due = None
            self._snapshot_asked = True
            return Ask.SNAPSHOT
        if self._behind is not None:
            update_id, deadline = self._behind
            if (self._sync.update_id or 0) >= update_id or self._heard_since_behind():
                self._behind = None
            elif now >= deadline:
                return self._mute()
            return None
        if not self._checking and now >= self._check_at and self._too_quiet(now):
            self._checking = True
            return Ask.CHECK
        return None

    # Below: how.

    def _begin(self, state: FeedState, reason: str) -> None:
        self._sync.restart(reason)
        self._held = self._delayed = None
        self._quote = None
        self._heard = False
        self._behind = None
        self._snapshot_due = None
        self.live_since = None
        self._emit(self.market.set_unready(state, reason))

    def _take(self, message: Message) -> None:
        if isinstance(message, DepthDiff):
            self._take_diff(message)
        elif isinstance(message, Quote):
            self._quote = message
            self._emit(self._apply_quote(message))
        elif isinstance(message, Print):
            self._prints.take(message.trade)
        elif isinstance(message, DayTicker):
            self._emit(self.market.apply_ticker(message.ticker))

    def _take_diff(self, diff: DepthDiff) -> None:
        now = self._monotonic()
        self._tally.diffs += 1
        self._rhythm.depth_seen(int(now * 1e9), in_rhythm=self._heard)
        self._in_rhythm += self._heard
        self._heard, self._heard_at = True, now
        self._check_gap_s, self._check_at = self._patience.unheard_s, 0.0
        was_synced = self._sync.update_id is not None
        actions = self._sync.on_diff(diff)
        if actions:
            self._carry_out(actions)
        elif was_synced:
            self._tally.duplicates += 1
        if self._held is not None:
            snapshot, self._held = self._held[0], None
            self._use(snapshot)

    def _use(self, snapshot: Snapshot) -> None:
        """Load a snapshot with what the stream has told since, once the orders that rest have met the prints missed."""
        if self._sync.update_id is None and self._prints.is_waiting and self._has_orders():
            self._delayed = (snapshot, self._monotonic() + self._patience.prints_first_s)
            self._snapshot_due = None
            return
        self._carry_out(self._sync.on_snapshot(snapshot))

    def _apply_quote(self, quote: Quote) -> MarketChange | None:
        return self.market.apply_quote(quote.update_id, quote.bid, quote.bid_quantity, quote.ask, quote.ask_quantity)

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, DepthDiff):
                self._emit(self.market.apply_diff(action.update_id, action.bids, action.asks, action.event_time_ms))
            elif isinstance(action, LoadBook):
                self._load(action)
            elif isinstance(action, Gap):
                self._tally.gaps += 1
                self.live_since = None
                self._behind = None
                self._emit(self.market.set_unready(FeedState.SYNCING, action.reason))
            elif isinstance(action, NeedSnapshot):
                # After an answer that was too old, or in a book that has just been loaded, asking at once would loop.
                now = self._monotonic()
                again = action.attempt > 0 or now - self._loaded_at < self._patience.settled_s
                self._want_snapshot(self._backoff.failed(now) if again else 0.0)

    def _load(self, action: LoadBook) -> None:
        snapshot = action.snapshot
        diffs = [(diff.update_id, diff.bids, diff.asks, diff.event_time_ms) for diff in action.diffs]
        now = self._monotonic()
        self._loaded_at = now  # even if it fails: a snapshot that cannot be loaded is not asked for again at once
        change: MarketChange | None = self.market.load_snapshot(
            snapshot.update_id, snapshot.bids, snapshot.asks, limit=snapshot.limit, diffs=diffs
        )
        self._tally.snapshots += 1
        self._snapshot_due = None
        if self.live_since is None:
            self.live_since = now
        quote = self._quote
        if quote is not None:
            # Quotes run ahead of the diffs a snapshot is brought forward by: the newest one still holds.
            # Told as one change: whoever hears of it looks at the whole book, so single levels say nothing new.
            newer = self._apply_quote(quote)
            change = change if newer is None else replace(newer, kind=ChangeKind.LOADED, levels=())
        self._emit(change)

    def _want_snapshot(self, delay_s: float) -> None:
        if self._snapshot_due is None and not self._snapshot_asked:
            self._snapshot_due = self._monotonic() + delay_s

    def _look_at_market(self, now: float) -> None:
        """Ask the market itself whether its book is still good, and remember how long it has been."""
        reason = self.market.needs_resync
        if reason is not None:
            self.resync(reason)
            return
        if self.live_since is not None and now - self.live_since >= self._patience.settled_s:
            self._backoff.succeeded()
            self._strikes = 0
        if now - self._loaded_at >= self._patience.refetch_s and self.market.needs_refetch:
            self._carry_out(self._sync.renew("the known depth runs out"))

    def _too_quiet(self, now: float) -> bool:
        if self._held is not None:
            return now - self._held[1] >= self._patience.unheard_s
        if self._sync.update_id is None:
            return False
        limit_s = self._patience.unheard_s
        if self._in_rhythm >= MIN_INTERVALS:
            allowed_s = self._rhythm.depth_limit_ns() / 1e9
            limit_s = min(allowed_s, max(self._patience.quiet_s, allowed_s / 3))
        return now - self._heard_at >= limit_s

    def _heard_since_behind(self) -> bool:
        """True when a diff came while the book was out of step: the stream speaks, whatever the ids say."""
        return self._sync.update_id is None and self._heard

    def _mute(self) -> Ask:
        """The stream is proven mute: out of trading, then a new subscription, then a new connection, then patience."""
        self._tally.mutes += 1
        self._strikes += 1
        self._begin(FeedState.SYNCING, MUTE)
        self.acknowledged = False
        return Ask.RECONNECT if self._strikes == 2 else Ask.RESUBSCRIBE

    def _move_if_joined(self) -> None:
        """Move to the new connection as soon as its first diff and print leave no hole after the old one's last."""
        diff = next((message for message in self._parked if isinstance(message, DepthDiff)), None)
        if diff is None:
            return
        update_id = self._sync.update_id
        if update_id is not None and diff.first_update_id > update_id + 1:
            return
        seen = next((message for message in self._parked if isinstance(message, Print)), None)
        last_id = self._prints.newest_id
        if seen is not None and last_id is not None and seen.trade.id > last_id + 1:
            return
        self._move()

    def _move(self) -> None:
        self.owner, self.heir = self.heir, None
        self.acknowledged = self.acknowledged or self._heir_acknowledged
        parked = list(self._parked)
        self._parked.clear()
        for message in parked:
            self._take(message)
