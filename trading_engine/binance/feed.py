"""Follow symbols of one venue over one connection: receive, decode, hand on, and ask for what the streams leave out.

`Feed.run` is the loop of one daemon thread, the only writer of the markets it follows. It blocks nowhere but in its
selector: whatever may take time (opening a connection, asking by REST) is done by `Feed.errands`, which two more
threads run, and comes back through the inbox, as do `follow` and `unfollow`. `line.py` keeps the connection,
`follower.py` each symbol. Locks: `_names_lock` guards the set of followed names (a leaf); a market's lock is free
again before `on_change`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Container, Iterator
from dataclasses import asdict, replace
from typing import Final

import structlog

from trading_engine.binance import wire
from trading_engine.binance.backfill import fetch
from trading_engine.binance.connection import STREAMS_PER_CONNECTION, Connection, ConnectionLost, Limits
from trading_engine.binance.errands import Errands, Outcome
from trading_engine.binance.follower import Ask, Follower, Patience
from trading_engine.binance.frames import TEXT
from trading_engine.binance.line import DIAL, RENEW_AFTER_S, SETTLE_S, Line
from trading_engine.binance.rest import QuestionRefused, Throttled, VenueClient
from trading_engine.binance.tally import FeedStatus, Tally
from trading_engine.binance.venues import Venue
from trading_engine.exchange.market import Market, MarketChange

__all__ = ["SYMBOLS_LIMIT", "Feed", "FeedFull", "FeedStatus", "Limits", "Patience"]

TICK_S: Final = 0.1
"""Clocks are looked at, and a stop is noticed, at least this often."""
RULES_EVERY_S: Final = 60.0
STREAMS_PER_SYMBOL: Final = 4
SYMBOLS_LIMIT: Final = STREAMS_PER_CONNECTION // STREAMS_PER_SYMBOL
SNAPSHOT_LEVELS: Final = 1000
CHECK_LEVELS: Final = 5
CHECK_LATER_S: Final = 5.0
LOG_EVERY_S: Final = 60.0
TRACEBACK_LINES: Final = 8

_BOOK_STREAM: Final = re.compile(rb'"stream":"([a-z0-9]{1,40})@(?:depth|bookTicker)')
_DEPTH, _CHECK, _PRINTS, _RULES = "depth", "check", "prints", "rules"

log = structlog.stdlib.get_logger(__name__)


class FeedFull(Exception):
    """The connection carries as many symbols as it may (SYMBOLS_LIMIT): another feed is needed."""


class Feed:
    """One connection's symbols. `follow`, `unfollow`, `wake` and `status` are for any thread, the rest for `run`."""

    def __init__(
        self,
        venue: Venue,
        client: VenueClient,
        on_change: Callable[[MarketChange], None],
        *,
        watched: Callable[[], Container[str]],
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        limits: Limits | None = None,
        patience: Patience | None = None,
        renew_after_s: float = RENEW_AFTER_S,
        settle_s: float = SETTLE_S,
        rules_every_s: float = RULES_EVERY_S,
        snapshot_levels: int = SNAPSHOT_LEVELS,
    ) -> None:
        """Connect to nothing yet. `on_change` is told of changes to symbols in `watched()`, on the feed's thread.

        `monotonic` must be the clock of the markets, in seconds.
        """
        self.venue = venue
        self.errands = Errands(monotonic=monotonic, deliver=self._post)
        self._client = client
        self._on_change = on_change
        self._watched = watched
        self._monotonic = monotonic
        self._jitter = jitter
        self._patience = patience or Patience()
        self._snapshot_levels = snapshot_levels
        self._rules_every_s = rules_every_s
        self._rules_at = monotonic() + rules_every_s
        self._tally = Tally()
        self._followers: dict[str, Follower] = {}
        self._unheard: dict[str, str] = {}  # symbols whose listener failed, and of what
        self._logged_at: dict[str, float] = {}
        self._line = Line(
            f"{venue.ws_url}/stream",
            followers=self._followers,
            errands=self.errands,
            tally=self._tally,
            monotonic=monotonic,
            jitter=jitter,
            limits=limits or Limits(),
            renew_after_s=renew_after_s,
            settle_s=settle_s,
        )
        self._inbox: queue.SimpleQueue[Market | str | Outcome] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)
        self._wake_out.settimeout(0)
        self._line.listen_to(self._wake_out)
        self._names_lock = threading.Lock()
        self._names: set[str] = set()
        self._status = self._look(monotonic())

    # For any thread.

    def follow(self, market: Market) -> None:
        """Follow a market from now on; following it twice changes nothing. Raises FeedFull."""
        name = market.view(0).symbol.name
        with self._names_lock:
            if name in self._names:
                return
            if len(self._names) >= SYMBOLS_LIMIT:
                raise FeedFull(f"a connection carries at most {SYMBOLS_LIMIT} symbols")
            self._names.add(name)
        self._post(market)

    def unfollow(self, symbol: str) -> None:
        """Give a symbol up; its market goes DOWN. Unknown names are ignored."""
        with self._names_lock:
            if symbol not in self._names:
                return
            self._names.discard(symbol)
        self._post(symbol)

    def wake(self) -> None:
        """Have the loop and the errands look round at once, for instance at a stop event just set."""
        self.errands.wake()
        self._nudge()

    @property
    def status(self) -> FeedStatus:
        """The feed as of the last tick (TICK_S)."""
        return self._status

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop` is set, then close the connections, every market DOWN. Runs once, never raises."""
        try:
            while not stop.is_set():
                try:
                    self._turn()
                except Exception as error:  # noqa: BLE001 - a fault of ours costs a reconnect, never the thread
                    reason = self._note_fault(error)
                    for connection in (self._line.heir, self._line.current):
                        if connection is not None:
                            self._line.lose(connection, reason)
        finally:
            self._line.shut()
            self._status = self._look(self._monotonic())
            self._wake_out.close()
            self._wake_in.close()

    # The loop.

    def _post(self, item: Market | str | Outcome) -> None:
        self._inbox.put(item)
        self._nudge()

    def _nudge(self) -> None:
        # A full pipe means that the loop is about to wake; a closed one, that it has stopped.
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _turn(self) -> None:
        self._empty_inbox()
        self._tick(self._monotonic())
        for connection in self._line.ready(TICK_S):
            for opcode, payload in self._line.receive(connection):
                self._take_message(connection, opcode, payload)
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(4096)

    def _empty_inbox(self) -> None:
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, Market):
                self._begin_following(item)
            elif isinstance(item, str):
                self._end_following(item)
            else:
                self._take_outcome(item)

    def _tick(self, now: float) -> None:
        """Do what the clock asks for."""
        self._line.tick(now)
        for follower in tuple(self._followers.values()):
            with self._gap_on_error(follower):
                self._tick_follower(follower, now)
        if now >= self._rules_at and self._followers:
            self._rules_at = now + self._rules_every_s
            names = sorted(self._followers)
            self.errands.put(_RULES, lambda: self._client.exchange_info(names))
        self._status = self._look(now)

    def _tick_follower(self, follower: Follower, now: float) -> None:
        unheard = self._unheard.pop(follower.symbol, None)
        if unheard is not None:
            follower.resync(unheard)
        carrier = self._line.carrier_of(follower)
        if carrier is not None:
            self._emit(follower.market.connection_alive(int(carrier.received_at * 1e9)))
        ask = follower.tick(now)
        if ask is not None:
            self._serve(follower, ask)

    # Following.

    def _begin_following(self, market: Market) -> None:
        name = market.view(0).symbol.name
        follower = Follower(
            market,
            name=name,
            monotonic=self._monotonic,
            jitter=self._jitter,
            emit=self._emit,
            tally=self._tally,
            patience=self._patience,
            has_orders=lambda: name in self._watched(),
        )
        self._followers[name] = follower
        self._line.carry(follower)

    def _end_following(self, symbol: str) -> None:
        follower = self._followers.pop(symbol, None)
        if follower is None:
            return
        self.errands.cancel(f"{_DEPTH} {symbol}")
        self.errands.cancel(f"{_CHECK} {symbol}")
        self.errands.cancel(f"{_PRINTS} {symbol}")
        self._line.release(follower)
        follower.detach("not followed any more")

    def _serve(self, follower: Follower, ask: Ask) -> None:
        symbol, client, levels = follower.symbol, self._client, self._snapshot_levels
        if ask is Ask.SNAPSHOT:
            urgent = symbol in self._watched()
            self.errands.put(f"{_DEPTH} {symbol}", lambda: client.depth(symbol, levels), urgent=urgent)
        elif ask is Ask.CHECK and client.budget.crowded:
            follower.on_check(Throttled("weight is kept for snapshots", CHECK_LATER_S))
        elif ask is Ask.CHECK:
            self.errands.put(f"{_CHECK} {symbol}", lambda: client.depth(symbol, CHECK_LEVELS))
        elif ask is Ask.PRINTS:
            self._fetch_prints(follower)
        else:
            log.warning("stream is mute", symbol=symbol, remedy=str(ask))
            # The venue may have halted the symbol: its rules say so.
            self._rules_at = min(self._rules_at, self._monotonic())
            connection = self._line.carrier_of(follower)
            if ask is Ask.RECONNECT and connection is not None:
                self._line.lose(connection, f"{symbol} stays mute")
            else:
                self._line.subscribe_again(follower)

    def _fetch_prints(self, follower: Follower) -> None:
        symbol, client, missed, monotonic = follower.symbol, self._client, follower.missed, self._monotonic
        assert missed is not None
        urgent = symbol in self._watched()
        if client.budget.crowded and not urgent:
            follower.on_prints(Throttled("weight is kept for snapshots", CHECK_LATER_S))
            return
        follower.prints_ticket = self.errands.put(
            f"{_PRINTS} {symbol}", lambda: fetch(client, symbol, missed, monotonic=monotonic), urgent=urgent
        )

    # What errands bring.

    def _take_outcome(self, outcome: Outcome) -> None:
        kind, _, symbol = outcome.key.partition(" ")
        if kind == DIAL:
            self._line.dialled(outcome)
        elif kind == _RULES:
            self._take_rules(outcome)
        elif (follower := self._followers.get(symbol)) is not None:
            if kind == _PRINTS:
                self._take_prints(follower, outcome)
                return
            answer = outcome.value if outcome.error is None else outcome.error
            assert isinstance(answer, Exception | wire.Snapshot)
            with self._gap_on_error(follower):
                if kind == _CHECK:
                    follower.on_check(answer)
                elif isinstance(answer, wire.Snapshot):
                    follower.on_snapshot(answer)
                else:
                    self._tally.last_error = f"{symbol}: {answer}"
                    level = logging.DEBUG if isinstance(answer, Throttled) else logging.WARNING
                    log.log(level, "no snapshot", symbol=symbol, reason=str(answer))
                    follower.on_snapshot_failure(answer)

    def _take_prints(self, follower: Follower, outcome: Outcome) -> None:
        if outcome.ticket != follower.prints_ticket:
            return  # given up long ago, or asked on behalf of a follower that is gone
        follower.prints_ticket = None
        with self._gap_on_error(follower):
            if outcome.error is not None:
                level = logging.DEBUG if isinstance(outcome.error, Throttled) else logging.WARNING
                log.log(level, "missed trades not fetched", symbol=follower.symbol, reason=str(outcome.error))
                follower.on_prints(outcome.error)
            else:
                assert isinstance(outcome.value, tuple)
                follower.on_prints(outcome.value)

    def _take_rules(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, QuestionRefused):
            # One of the names exists no more, and the venue refuses to answer for the others: ask for all there are.
            self.errands.put(_RULES, self._client.exchange_info)
            return
        if outcome.error is not None:
            self._tally.last_error = f"rules: {outcome.error}"
            return
        assert isinstance(outcome.value, wire.ExchangeInfo)
        unreadable = {name for name, _ in outcome.value.unreadable}
        known = {symbol.name: symbol for symbol in outcome.value.symbols}
        for name, follower in self._followers.items():
            if name in unreadable:
                continue
            old = follower.market.view(0).symbol
            rules = known.get(name) or replace(old, status="DELISTED")
            if rules != old:
                log.info("rules changed", symbol=name, status=rules.status)
                self._emit(follower.market.set_rules(rules))

    # Messages.

    def _take_message(self, connection: Connection, opcode: int, payload: bytes) -> None:
        self._tally.frames += 1
        if opcode != TEXT:
            self._take_malformed(connection, b"", wire.Malformed("a binary message"))
            return
        try:
            message = wire.decode_frame(payload)
        except wire.Malformed as fault:
            self._take_malformed(connection, payload, fault)
            return
        if isinstance(message, wire.Reply):
            self._take_reply(connection, message)
        elif isinstance(message, wire.ServerShutdown):
            self._line.renew("the venue announced its shutdown")
        else:
            follower = self._followers.get(message.symbol)
            if follower is not None:
                try:
                    follower.receive(connection.number, message)
                except Exception as error:  # noqa: BLE001 - as in _gap_on_error, without its microsecond
                    follower.resync(self._note_fault(error))

    def _take_reply(self, connection: Connection, reply: wire.Reply) -> None:
        try:
            connection.answer(reply.id if isinstance(reply.id, int) else -1, reply.error)
        except ConnectionLost as lost:
            self._line.lose(connection, str(lost))
            return
        for follower in self._line.acknowledged(connection):
            with self._gap_on_error(follower):
                follower.acknowledge(connection.number)

    def _take_malformed(self, connection: Connection, payload: bytes, fault: wire.Malformed) -> None:
        """Count it; where it was to change a book, that book is out of step."""
        self._tally.malformed += 1
        self._tally.last_error = f"malformed message: {fault}"
        if self._may_log("malformed"):
            log.warning("malformed message", fault=str(fault), head=payload[:120], counted=self._tally.malformed)
        named = _BOOK_STREAM.search(payload[:100])
        follower = self._followers.get(named[1].decode().upper()) if named else None
        if follower is not None and follower.owner == connection.number:
            follower.resync(f"malformed message: {fault}")

    # Out of the feed.

    def _emit(self, change: MarketChange | None) -> None:
        """Tell of a change. Where that fails the listener has missed something: the symbol starts over, next tick."""
        if change is None or change.symbol not in self._watched():
            return
        try:
            self._on_change(change)
        except Exception as error:  # noqa: BLE001 - the thread outlives whoever listens to it
            self._unheard[change.symbol] = self._note_fault(error)

    @contextlib.contextmanager
    def _gap_on_error(self, follower: Follower) -> Iterator[None]:
        """Whatever goes wrong with one symbol costs that symbol a resync, and no other anything."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            follower.resync(self._note_fault(error))

    def _note_fault(self, error: Exception) -> str:
        """Count it, log it, and put it into words."""
        self._tally.faults += 1
        reason = f"{type(error).__name__}: {error}"
        self._tally.last_error = reason
        if self._may_log("fault"):
            # Only lines of code: a renderer that prints local variables would print whole books, and take seconds.
            where = "".join(traceback.format_tb(error.__traceback__, limit=-TRACEBACK_LINES))
            log.error("feed fault", reason=reason, counted=self._tally.faults, where=where)
        return reason

    def _may_log(self, kind: str) -> bool:
        """Allow one line a minute of a kind that can come with every message."""
        now = self._monotonic()
        if now - self._logged_at.get(kind, float("-inf")) < LOG_EVERY_S:
            return False
        self._logged_at[kind] = now
        return True

    def _look(self, now: float) -> FeedStatus:
        current = self._line.current
        return FeedStatus(
            connected=current is not None,
            reason=self._line.reason if current is None else None,
            symbols=len(self._followers),
            in_step=sum(1 for follower in self._followers.values() if follower.live_since is not None),
            connected_s=None if current is None else now - current.opened_at,
            silent_s=None if current is None else now - current.received_at,
            used_weight=self._client.budget.used,
            **asdict(self._tally),
        )
