"""The way to the venue: which one it is, its hosts, the simulator if it is ours, its rules, and the feed.

`VenueLink.run` is the body of one thread of the runtime; it asks and waits, so it may be slow, and nobody waits for it.
Its attributes are read by any thread and written by that thread alone, each as a whole value.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from trading_engine.binance import venues
from trading_engine.binance.candles import CandleHistory
from trading_engine.binance.feed import Feed
from trading_engine.binance.listing import Listing
from trading_engine.binance.rest import QuestionRefused, Throttled, VenueClient, VenueError
from trading_engine.binance.rules import ExchangeInfo
from trading_engine.binance.venues import NoVenue, Venue
from trading_engine.config import Config
from trading_engine.exchange.candles import Candle
from trading_engine.exchange.market import Market, MarketChange
from trading_engine.exchange.messages import Refused
from trading_engine.exchange.money import REPORTING_ASSET
from trading_engine.following import Following
from trading_engine.simulator_child import SimulatorChild, SimulatorFailed

LISTING_EVERY_S: Final = 600.0
"""The whole list of symbols is megabytes; the rules of what is followed are the feed's business, each minute."""

LOOK_EVERY_S: Final = 0.5
"""How often the simulator is looked after and unused symbols are dropped."""

SIMULATOR_PAUSE_S: Final = 2.0
"""After a simulator that did not come up again."""

FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 15.0
"""Between two attempts to reach the venue; a refused region is tried no more often than that either."""

Spawn = Callable[[str, Callable[[threading.Event], None]], None]
"""Starts a named daemon thread that ends with the feed's stop event; the runtime's."""

log = structlog.stdlib.get_logger(__name__)


class Stopped(Exception):
    """The stop event was set while something was waited for."""


class VenueLink:
    """One venue for the life of the process; accounts of different venues are kept apart."""

    def __init__(
        self,
        config: Config,
        following: Following,
        *,
        on_change: Callable[[MarketChange], None],
        watched: Callable[[], frozenset[str]],
        spawn: Spawn,
        prober: Executor,
    ) -> None:
        """`prober` runs the probes of all hosts at once."""
        self.venue: Venue | None = None
        """Known by name before its hosts are chosen: then its addresses are empty."""
        self.feed: Feed | None = None
        self.trouble: str | None = None
        """Why there is no feed yet, or what of the settings the venue does not list."""
        self.unvalued: tuple[str, ...] = ()
        """Assets of STARTING_BALANCE that nothing on the venue's whole list values."""
        self._client: VenueClient | None = None
        self._charts: CandleHistory | None = None
        self._listed = False  # whether the venue itself has given its whole list since the start
        self._config = config
        self._following = following
        self._on_change = on_change
        self._watched = watched
        self._spawn = spawn
        self._prober = prober
        self._simulator = SimulatorChild(Path(config.data_dir) / "simulator.json")

    def begin(self) -> None:
        """Start the simulator if it is what the settings ask for: it comes up while the store is being opened."""
        if self._config.market == "simulated" and self._config.market_rest_url is None:
            self._simulator.begin()

    def end(self) -> None:
        """End the simulator and close idle connections."""
        self._simulator.end()
        if self._client is not None:
            self._client.close()

    def name_venue(self, stop: threading.Event) -> Venue:
        """Settle which venue it is, asking around where the settings leave it open; hosts may be chosen later."""
        config = self._config
        if config.market_rest_url is not None and config.market_ws_url is not None:
            self.venue = venues.custom(config.market_rest_url, config.market_ws_url)
        elif config.market == "auto":
            self.venue = self._choose_any()
        elif config.market == "simulated":
            self.venue = _simulated("MARKET=simulated")
        else:
            self.venue = Venue(name=config.market, rest_url="", ws_url="", reason="its hosts are being tried")
        if stop.is_set():
            raise Stopped
        return self.venue

    def run(self, stop: threading.Event) -> None:
        """Reach the venue, start the feed, and keep both up to date until `stop` is set."""
        try:
            venue = self._reach(stop)
            log.info("venue", venue=venue.name, simulated=venue.simulated, reason=venue.reason)
            client = self._client = VenueClient(venue.rest_url, monotonic=time.monotonic)
            listing = self._listing(client)
            self._learn_first(client, listing, stop)
            self._charts = CandleHistory(client, monotonic=time.monotonic, wall_ms=_wall_ms)
            self._start_feed(client)
            self._look_after(listing, stop)
        except Stopped:
            return

    def candles(self, market: Market, interval: str, limit: int, before_ms: int | None) -> tuple[Candle, ...]:
        """Return candles as `CandleHistory.candles`; raise Refused `syncing` when the venue does not answer."""
        if self._charts is None:
            raise Refused("syncing", "the venue has not been reached yet")
        try:
            return self._charts.candles(market, interval, limit, before_ms)
        except VenueError as error:
            raise Refused("syncing", f"the venue does not answer: {error}") from error

    # The hosts.

    def _choose_any(self) -> Venue:
        try:
            return self._choose("auto")
        except NoVenue as none:
            for host, reason in none.reasons:
                log.warning("no exchange there", host=host, reason=reason)
            self._simulator.begin()
            return _simulated(f"no exchange could be reached ({none})")

    def _choose(self, market: str) -> Venue:
        return venues.choose(venues.CANDIDATES[market], executor=self._prober, monotonic=time.monotonic)

    def _reach(self, stop: threading.Event) -> Venue:
        """Return the venue with its addresses, however long it takes."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                venue = self._with_addresses(stop)
            except (NoVenue, SimulatorFailed, OSError) as error:
                if isinstance(error, NoVenue) and not self._following.symbols:
                    # This client only reads what was kept; it has nobody to ask.
                    self._learn_kept(self._listing(VenueClient("http://localhost", monotonic=time.monotonic)))
                self._note(f"{self._name()}: {error}")
            else:
                self.venue, self.trouble = venue, None
                return venue
            _pause(stop, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _with_addresses(self, stop: threading.Event) -> Venue:
        venue = self.venue
        if venue is None:
            raise AssertionError("the venue is named before it is reached")
        if venue.rest_url:
            return venue
        if venue.simulated:
            self._simulator.begin()
            rest_url, ws_url = self._simulator.addresses(stop)
            return replace(venue, rest_url=rest_url, ws_url=ws_url)
        return self._choose(venue.name)

    # The rules.

    def _learn_first(self, client: VenueClient, listing: Listing, stop: threading.Event) -> None:
        """Learn the rules of what must be followed; of a real venue only those at first, the rest takes seconds."""
        whole = self.venue is not None and self.venue.simulated
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                info = listing.fetch() if whole else client.exchange_info(self._first_names())
                self._listed = whole
                self._take_rules(info, complete=whole)
                return
            except VenueError as error:
                if isinstance(error, QuestionRefused) and not whole:
                    whole = True  # a name that does not exist spoils the question; the whole list says which
                    continue
                self._note(f"{self._name()}: no trading rules: {error}")
                if self._learn_kept(listing):
                    return
                _pause(stop, max(pause_s, error.wait_s) if isinstance(error, Throttled) else pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _learn_kept(self, listing: Listing) -> bool:
        """Take the rules the venue gave at an earlier time, if it ever did: orders may rest until it is back."""
        kept = listing.kept()
        if kept is None:
            return False
        log.warning("trading rules of an earlier time", venue=self._name())
        self._take_rules(kept, complete=True)
        return True

    def _first_names(self) -> list[str]:
        """Return the names to ask for first; holdings are guessed to be valued by a pair with USDT."""
        assets = [asset for asset in self._config.starting_balance if asset != REPORTING_ASSET]
        return list(dict.fromkeys([*self._config.symbols, *(f"{asset}{REPORTING_ASSET}" for asset in assets)]))

    def _pinned_names(self) -> list[str]:
        valuations = (self._following.valuation(asset) for asset in self._config.starting_balance)
        return [*self._config.symbols, *(name for name in valuations if name is not None)]

    def _take_rules(self, info: ExchangeInfo, *, complete: bool) -> None:
        """Take over the venue's rules and follow what must be followed."""
        for name, reason in info.unreadable:
            log.warning("symbol left out", symbol=name, reason=reason)
        if info.unknown_filters:
            log.warning("filters that are not enforced here", kinds=info.unknown_filters)
        self._following.learn(info.symbols, complete=complete)
        if self.venue is not None and info.simulated != self.venue.simulated:
            self.venue = replace(self.venue, simulated=info.simulated)
        missing = self._following.pin(self._pinned_names())
        self._following.add_needed()
        if complete:
            self.trouble = f"{self._name()} does not list {', '.join(missing)} (SYMBOLS)" if missing else None
            self.unvalued = tuple(
                asset
                for asset in self._config.starting_balance
                if asset != REPORTING_ASSET and self._following.valuation(asset) is None
            )

    def _listing(self, client: VenueClient) -> Listing:
        return Listing(client, venue=self._name(), folder=self._config.data_dir)

    def _learn_all(self, listing: Listing) -> None:
        try:
            self._take_rules(listing.fetch(), complete=True)
        except VenueError as error:
            self._note(f"{self._name()}: no list of symbols: {error}")
            return
        self._listed = True

    # The feed.

    def _start_feed(self, client: VenueClient) -> None:
        if self.venue is None:
            raise AssertionError("the venue is named before it is followed")
        feed = self.feed = Feed(self.venue, client, self._on_change, watched=self._watched)
        self._spawn("feed", feed.run)
        self._spawn("feed-errands-1", feed.errands.run)
        self._spawn("feed-errands-2", feed.errands.run)
        self._following.attach(feed)

    def _look_after(self, listing: Listing, stop: threading.Event) -> None:
        listing_at = time.monotonic() + LISTING_EVERY_S if self._listed else 0.0
        while True:
            if time.monotonic() >= listing_at:
                self._learn_all(listing)
                listing_at = time.monotonic() + (LISTING_EVERY_S if self._listed else LONGEST_PAUSE_S)
            if self.venue is not None and self.venue.simulated and self._simulator.ended:
                log.error("the simulator ended and is started again")
                self._begin_simulator_again(stop)
            for name in self._following.drop_unused():
                log.info("no longer followed", symbol=name)
            _pause(stop, LOOK_EVERY_S)

    def _begin_simulator_again(self, stop: threading.Event) -> None:
        """Start it on its former port, where the feed looks for it."""
        try:
            self._simulator.begin()
            self._simulator.addresses(stop)
        except (SimulatorFailed, OSError) as error:
            self._note(f"simulator: {error}")
            _pause(stop, SIMULATOR_PAUSE_S)

    def _name(self) -> str:
        return self.venue.name if self.venue is not None else self._config.market

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("venue", trouble=trouble)
        self.trouble = trouble


def _simulated(reason: str) -> Venue:
    return Venue(name="simulated", rest_url="", ws_url="", simulated=True, reason=reason)


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _pause(stop: threading.Event, seconds: float) -> None:
    if stop.wait(seconds):
        raise Stopped
