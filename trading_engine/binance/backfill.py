"""Prints that the stream did not bring: asked for by time as aggregate trades, and joined without a seam. No state.

An aggregate trade states the ids of its first and last trade, so what is missing can be told from what is known: the
aggregate in which the hole begins (or ends) contains prints that were heard, and only the rest of its quantity was not.
Each aggregate becomes one print that stands for several ids (`Trade.count`); the venue gives their sum only. Aggregates
that do not follow on each other by id, or whose figures contradict the prints heard, are refused: a hole that stays is
counted, a print that never was would fill orders. No lock; `fetch` runs on an errand's thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from trading_engine.binance.messages import AggTrade
from trading_engine.binance.rest import VenueUnavailable
from trading_engine.exchange.market import Trade

ROWS_AT_ONCE: Final = 1_000
"""The most the venue answers at once."""
PAGES_LIMIT: Final = 10
"""Questions for one hole, 40 of the request weight: minutes of the busiest symbol."""
GAP_LIMIT_MS: Final = 15 * 60_000
"""From the last print known to the newest missing one: what lies further back says nothing of orders that rest now."""


TOO_LONG: Final = f"more than {GAP_LIMIT_MS // 60_000} minutes are missing"


class Unjoined(Exception):
    """The answer does not lead from the prints known to those held; the text says where it breaks."""


class TooEarly(Exception):
    """The newest aggregate reaches beyond the prints heard so far: its seam is known once they have come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """The prints after `after`, up to the one before `before` (None: up to now); wanted by `deadline_s`, monotonic."""

    after: Trade
    before: Trade | None
    deadline_s: float


class Aggregates(Protocol):
    """The question of `rest.VenueClient` that is needed here."""

    def agg_trades(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        from_id: int | None = None,
        limit: int = 500,
        within_s: float | None = None,
    ) -> tuple[AggTrade, ...]:
        """See `rest.VenueClient.agg_trades`."""


def fetch(client: Aggregates, symbol: str, missed: Missed, *, monotonic: Callable[[], float]) -> tuple[Trade, ...]:
    """Return what was missed as `prints_of` makes it of the venue's answer.

    Raises VenueError, and Unjoined as `prints_of` does or for a gap of more than GAP_LIMIT_MS or PAGES_LIMIT pages.
    """
    after, before = missed.after, missed.before
    rows: list[AggTrade] = []
    for _ in range(PAGES_LIMIT):
        page = client.agg_trades(
            symbol,
            # The two ways of asking exclude each other; pages are turned by id, which no two rows share.
            start_ms=None if rows else after.time_ms,
            end_ms=None if rows or before is None else max(before.time_ms, after.time_ms),
            from_id=rows[-1].id + 1 if rows else None,
            limit=ROWS_AT_ONCE,
            within_s=_time_left_s(missed, monotonic),
        )
        rows += page
        if before is None and rows and rows[-1].time_ms - after.time_ms > GAP_LIMIT_MS:
            raise Unjoined(TOO_LONG)
        if len(page) < ROWS_AT_ONCE or (before is not None and rows[-1].last_trade_id >= before.id - 1):
            return prints_of(rows, missed)
    raise Unjoined(f"more than {len(rows)} aggregate trades are missing")


def prints_of(rows: Iterable[AggTrade], missed: Missed) -> tuple[Trade, ...]:
    """Return a print for each aggregate trade that contains something of what was missed, whole, oldest first.

    Raises Unjoined when one of them does not follow on the one before by the ids of their trades.
    """
    after_id = missed.after.id
    before_id = None if missed.before is None else missed.before.id
    found: list[Trade] = []
    for row in rows:
        if row.last_trade_id <= after_id or (before_id is not None and row.first_trade_id >= before_id):
            continue
        if found and row.first_trade_id != found[-1].id + 1:
            raise Unjoined(f"trade {found[-1].id + 1} is missing: the next aggregate begins with {row.first_trade_id}")
        found.append(
            Trade(
                id=row.last_trade_id,
                price=row.price,
                quantity=row.quantity,
                buyer_is_maker=row.buyer_is_maker,
                time_ms=row.time_ms,
                count=row.last_trade_id - row.first_trade_id + 1,
            )
        )
    return tuple(found)


def join(prints: Sequence[Trade], known: Sequence[Trade], held: Sequence[Trade]) -> Sequence[Trade]:
    """Return what of `prints` follows on the last of `known`, up to the first of `held` (none: all there is).

    `prints` are those of `prints_of`; `known` the newest prints counted, at least one; `held` those that came after the
    hole: all oldest first, and quick however many, since only the two at the ends are cut. The result may end before
    the hole does. Raises Unjoined, and TooEarly where `held` has yet to reach the end of an aggregate trade.
    """
    next_id = known[-1].id + 1
    begin = bisect_left(prints, next_id, key=lambda each: each.id)
    end = len(prints) if not held else bisect_left(prints, held[0].id, key=lambda each: each.first_id)
    found = list(prints[begin:end])
    if not found:
        return found
    if found[0].first_id > next_id:
        raise Unjoined(f"trade {next_id} is missing: the first aggregate begins with {found[0].first_id}")
    if held and found[-1].id >= held[0].id:
        if held[-1].id < found[-1].id:
            raise TooEarly
        found[-1] = _without(found[-1], held, held[0].id, found[-1].id)
    if found[0].first_id < next_id:
        found[0] = _without(found[0], known, found[0].first_id, next_id - 1)
    return found


def _without(whole: Trade, heard: Iterable[Trade], first_id: int, last_id: int) -> Trade:
    """Return `whole` less those of the prints `heard` with the ids `first_id` to `last_id`, at one of its ends."""
    quantity, count = whole.quantity, whole.count
    for trade in heard:
        if trade.first_id >= first_id and trade.id <= last_id:
            if trade.price != whole.price or trade.buyer_is_maker != whole.buyer_is_maker:
                raise Unjoined(f"trade {trade.id} is not like the aggregate trade that contains it")
            quantity -= trade.quantity
            count -= trade.count
    if whole.count - count != last_id - first_id + 1:
        raise Unjoined(f"some of the trades {first_id} to {last_id} of an aggregate trade are unknown")
    if quantity <= 0:
        raise Unjoined(f"the prints heard exceed the aggregate trade that ends with {whole.id}")
    return replace(whole, id=whole.id if first_id == whole.first_id else first_id - 1, quantity=quantity, count=count)


def _time_left_s(missed: Missed, monotonic: Callable[[], float]) -> float:
    left_s = missed.deadline_s - monotonic()
    if left_s <= 0:
        raise VenueUnavailable("no answer in time")
    return left_s
