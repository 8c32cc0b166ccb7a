"""One symbol's prints, told to its market in the order of their ids; what the stream left out is fetched first.

The ids of a symbol's trades are contiguous, so a print that does not follow on the last one proves a hole, and it waits
here with all later ones while the missing ones are asked for (`backfill`). After a reconnect the question is put at
once, because a quiet symbol's next print, which would show the hole, may come long after its book. Whatever stays
unanswered is given up after a few seconds and counted: prints are late at most, never held for ever. The book does not
wait for any of this. Owned by the feed thread like its follower; no lock, and neither socket nor thread is known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from trading_engine.binance.backfill import GAP_LIMIT_MS, TOO_LONG, Missed, TooEarly, Unjoined, join
from trading_engine.binance.tally import Tally
from trading_engine.exchange.market import Market, MarketChange, Trade
from trading_engine.exchange.prints import PRINTS_KEPT

HELD_LIMIT: Final = 5_000
"""Prints that wait behind a hole: seconds of the busiest symbol. Beyond, the hole is given up."""
TOLD_AT_ONCE: Final = 500
"""Prints told in one go, some milliseconds; the rest waits until the thread has looked at its sockets again."""


class PrintSequence:
    """Prints in, prints in order out. Times are monotonic seconds."""

    def __init__(
        self,
        market: Market,
        *,
        monotonic: Callable[[], float],
        emit: Callable[[MarketChange | None], None],
        tally: Tally,
        answer_s: float,
        again_s: float,
    ) -> None:
        """`answer_s`: how long a hole may keep prints waiting; `again_s`: the least time between two questions."""
        self._market = market
        self._monotonic = monotonic
        self._emit = emit
        self._tally = tally
        self._answer_s = answer_s
        self._again_s = again_s
        # What is asked for, and when to ask; no time: the answer is awaited.
        self._missed: Missed | None = None
        self._ask_at: float | None = None
        self._asked_at = float("-inf")
        # An answer that ends inside an aggregate whose last prints have yet to come.
        self._answer: tuple[Trade, ...] | None = None
        self._found: deque[Trade] = deque()
        self._held: deque[Trade] = deque()

    @property
    def newest_id(self) -> int | None:
        """The newest print heard of, told already or waiting."""
        for waiting in (self._held, self._found):
            if waiting:
                return waiting[-1].id
        return self._market.last_trade_id

    @property
    def is_waiting(self) -> bool:
        """True while prints are missing, or may be, or wait to be told."""
        return self._missed is not None or bool(self._found or self._held)

    def take(self, trade: Trade) -> None:
        """Take a print from the stream."""
        newest_id = self.newest_id
        if newest_id is not None and trade.id <= newest_id:
            self._tally.duplicates += 1
            return
        self._tally.prints += 1
        if not (self._found or self._held) and (newest_id is None or trade.id == newest_id + 1):
            self._missed = None  # a look back that was under way: nothing was missed
            self._emit(self._market.apply_trade(trade))
            return
        if len(self._held) >= HELD_LIMIT:
            if self._missed is not None:
                self._give_up("too many prints wait")
            self._tell()
        self._held.append(trade)
        if self._answer is not None:
            self._join(self._answer)
        elif self._missed is None and not self._found:
            self._tell_held(1)

    def look_back(self) -> None:
        """Ask for what may have been missed while nobody listened; nothing when no print is known to join it to."""
        if self._market.last_trade_id is not None and not self.is_waiting:
            self._want(None)

    def tick(self, now: float) -> None:
        """Tell what is ready, and give up what took too long."""
        if self._missed is not None and now >= self._missed.deadline_s:
            self._give_up(f"no answer within {self._answer_s:g} s")
        self._tell()

    def due(self, now: float) -> Missed | None:
        """Return the question that is due, if there is one; it is to be answered once."""
        if self._missed is None or self._ask_at is None or now < self._ask_at:
            return None
        self._ask_at = None
        self._asked_at = now
        return self._missed

    def on_answer(self, answer: tuple[Trade, ...] | Exception) -> None:
        """Take the answer to the question that was due last."""
        if self._missed is None or self._ask_at is not None:
            return  # given up, or no longer needed
        if isinstance(answer, Exception):
            self._give_up(str(answer))
        else:
            self._join(answer)

    def _want(self, before: Trade | None) -> None:
        now = self._monotonic()
        (after,) = self._market.trades(limit=1)
        self._missed = Missed(after=after, before=before, deadline_s=now + self._answer_s)
        self._ask_at = max(now, self._asked_at + self._again_s)

    def _join(self, answer: tuple[Trade, ...]) -> None:
        """Make prints of an answer, wait for its seam, or ask again where it was given too early."""
        missed = self._missed
        assert missed is not None
        self._answer = None
        try:
            found = join(answer, self._market.trades(limit=PRINTS_KEPT), self._held)
        except TooEarly:
            self._answer = answer
            return
        except Unjoined as fault:
            self._give_up(str(fault))
            return
        if missed.before is not None and (not found or found[-1].id < missed.before.id - 1):
            # The stream was ahead of REST.
            self._ask_at = self._asked_at + self._again_s
            return
        self._missed = None
        count = sum(trade.count for trade in found)
        self._tally.backfilled += count
        if missed.before is None and found:
            self._count_hole(count)
        self._found.extend(found)
        self._tell()

    def _give_up(self, reason: str) -> None:
        """Leave the hole and go on behind it. A look back that nothing has proven necessary is no failure."""
        missed, self._missed = self._missed, None
        self._answer = None
        if not self._held:
            return
        if missed is not None and missed.before is None:
            self._count_hole(self._held[0].id - missed.after.id - 1)
        self._tally.backfills_failed += 1
        self._tally.last_error = f"missed trades of {self._market.symbol.name}: {reason}"
        self._found.append(self._held.popleft())

    def _tell(self) -> None:
        """Tell the market what is ready, some of it where it is much."""
        left = TOLD_AT_ONCE
        while self._found and left:
            self._emit(self._market.apply_trade(self._found.popleft()))
            left -= 1
        if self._missed is None:
            self._tell_held(left)

    def _tell_held(self, most: int) -> None:
        """Tell up to `most` prints that waited, as far as they follow on each other; a hole is asked about."""
        while self._held and most and not self._found:
            first, last_id = self._held[0], self._market.last_trade_id
            if last_id is not None and first.id > last_id + 1:
                self._count_hole(first.id - last_id - 1)
                self._want(first)
                assert self._missed is not None
                if first.time_ms - self._missed.after.time_ms > GAP_LIMIT_MS:
                    self._give_up(TOO_LONG)
                return
            self._emit(self._market.apply_trade(self._held.popleft()))
            most -= 1

    def _count_hole(self, width: int) -> None:
        self._tally.trade_gaps += 1
        self._tally.missed_prints += width
