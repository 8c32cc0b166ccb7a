"""What tests of the feed share: a feed running in threads of the test's own, rules of invented symbols, waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from trading_engine.binance.feed import Feed
from trading_engine.binance.rest import VenueClient
from trading_engine.binance.venues import Venue, custom
from trading_engine.exchange.market import Market, MarketChange
from trading_engine.exchange.symbols import Symbol


def rules(name: str, *, tick: str = "0.01", step: str = "0.00001", status: str = "TRADING") -> Symbol:
    """Return a symbol without limits but its grid."""
    nothing = Decimal(0)
    return Symbol(
        name=name,
        status=status,
        base_asset=name[:-4],
        quote_asset=name[-4:],
        base_precision=8,
        quote_precision=8,
        tick_size=Decimal(tick),
        min_price=nothing,
        max_price=nothing,
        step_size=Decimal(step),
        min_quantity=nothing,
        max_quantity=nothing,
        market_step_size=nothing,
        market_min_quantity=nothing,
        market_max_quantity=nothing,
        min_notional=nothing,
        max_notional=None,
        min_notional_applies_to_market=False,
        max_notional_applies_to_market=False,
        percent_price=None,
        average_price_minutes=5,
        max_open_orders=None,
        order_types=("LIMIT", "MARKET"),
    )


def market_of(symbol: Symbol) -> Market:
    """Return a market on the real clocks."""
    return Market(symbol, monotonic_ns=time.monotonic_ns, wall_ms=lambda: time.time_ns() // 1_000_000)


class Everything:
    """Contains every name: all symbols are watched."""

    def __contains__(self, name: object) -> bool:
        return True


def feed_of(
    venue: Venue | tuple[str, str],
    on_change: Callable[[MarketChange], None] = lambda change: None,
    *,
    watched: Container[str] = frozenset(),
    client: VenueClient | None = None,
    **settings: Any,
) -> Feed:
    """Return a feed of a venue, or of a pair of REST and stream URL; it is not running yet."""
    if isinstance(venue, tuple):
        venue = custom(*venue)
    client = client or VenueClient(venue.rest_url, monotonic=time.monotonic)
    return Feed(venue, client, on_change, watched=lambda: watched, **settings)


@contextmanager
def running(feed: Feed, *, workers: int = 2) -> Iterator[Feed]:
    """Run a feed and its errands; on leaving, every thread must end promptly."""
    stop = threading.Event()
    threads = [threading.Thread(target=feed.run, args=(stop,), name="feed", daemon=True)]
    threads += [
        threading.Thread(target=feed.errands.run, args=(stop,), name=f"errands-{n}", daemon=True)
        for n in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield feed
    finally:
        stop.set()
        feed.wake()
        for thread in threads:
            thread.join(15)
        assert not any(thread.is_alive() for thread in threads)


def wait_until(condition: Callable[[], Any], within_s: float = 10.0, *, step_s: float = 0.01) -> float:
    """Wait for a condition and return the seconds it took; fail after `within_s`.

    Seconds in which the machine let nobody run do not count: a look that comes late counts as three steps at most, so
    that a promise in seconds can be tested on a machine shared with others.
    """
    spent_s, looked_at = 0.0, time.monotonic()
    while not condition():
        if spent_s > within_s:
            raise AssertionError(f"not within {within_s:g} s")
        time.sleep(step_s)
        now = time.monotonic()
        spent_s += min(now - looked_at, 3 * step_s)
        looked_at = now
    return spent_s
