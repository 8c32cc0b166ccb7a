"""The real feed against an exchange that loses trades: every one is told once, in order, or given up in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from tests.binance.feeding import Everything, feed_of, market_of, running, wait_until
from tests.binance.simulated import Simulator
from tests.binance.test_candles import kline_row, plain
from trading_engine.binance.candles import CandleHistory
from trading_engine.binance.feed import Feed, Patience
from trading_engine.binance.rest import VenueClient
from trading_engine.exchange.market import ChangeKind, FeedState, Market, MarketChange, Trade

pytestmark = pytest.mark.slow

NAME = "BTCUSDT"
AGGREGATES = "/api/v3/aggTrades"


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with Simulator(NAME) as simulator:
        yield simulator


@pytest.fixture
def simulator(exchange: Simulator) -> Iterator[Simulator]:
    exchange.heal()
    exchange.control("rate", factor=3)
    yield exchange
    exchange.heal()


class Ears:
    """A followed market and every change it told, in order."""

    def __init__(self, simulator: Simulator, **settings: Any) -> None:
        self.simulator = simulator
        self.market: Market = market_of(simulator.rules(NAME))
        self.client = VenueClient(simulator.rest_url, monotonic=time.monotonic)
        self.changes: list[MarketChange] = []
        self.feed: Feed = feed_of(
            (simulator.rest_url, simulator.ws_url),
            self.changes.append,
            watched=Everything(),
            client=self.client,
            **settings,
        )
        self.feed.follow(self.market)

    @property
    def prints(self) -> list[Trade]:
        return [change.trade for change in list(self.changes) if change.trade is not None]

    @property
    def loads(self) -> list[int]:
        """The places of the changes that were a new book."""
        return [place for place, change in enumerate(list(self.changes)) if change.kind is ChangeKind.LOADED]

    @property
    def live(self) -> bool:
        return self.market.view(0).state is FeedState.LIVE

    def hear_more(self, count: int) -> None:
        begun = len(self.prints)
        wait_until(lambda: len(self.prints) >= begun + count)

    def catch_up(self) -> None:
        """Halt the trading and wait until its last trade has been heard."""
        self.simulator.control("pause", symbol=NAME)
        wait_until(lambda: self.market.last_trade_id == self.simulator.last_trade_id(NAME))
        self.simulator.control("resume", symbol=NAME)

    def check(self) -> list[Trade]:
        """Compare all that was told with what the exchange printed, trade by trade; return it."""
        prints = self.prints
        for before, after in pairwise(prints):
            assert after.first_id == before.id + 1, "a hole, or something told twice"
        truth = self.simulator.trades(NAME, prints[0].first_id, prints[-1].id)
        for told in prints:
            parts = [truth[trade_id] for trade_id in range(told.first_id, told.id + 1)]
            assert told.quantity == sum(part.quantity for part in parts)
            assert {part.price for part in parts} == {told.price}
            assert {part.time_ms for part in parts} == {told.time_ms}
            assert {part.buyer_is_maker for part in parts} == {told.buyer_is_maker}
        kept = self.market.trades(limit=1_000)
        assert list(kept) == prints[-len(kept) :]
        return prints


@contextmanager
def listening(simulator: Simulator, **settings: Any) -> Iterator[Ears]:
    ears = Ears(simulator, **settings)
    with running(ears.feed):
        wait_until(lambda: ears.live and len(ears.prints) >= 5)
        yield ears


def test_lost_trades_are_told_in_their_place_while_the_book_goes_on(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        for count in (1, 3, 12):
            before = ears.feed.status.backfilled
            simulator.control("drop_trades", symbol=NAME, count=count)
            wait_until(lambda: ears.feed.status.backfilled >= before + count)  # noqa: B023 - at once
            ears.hear_more(5)
        ears.catch_up()
        ears.check()
        status = ears.feed.status
        assert (status.missed_prints, status.backfilled, status.backfills_failed) == (16, 16, 0)
        assert (status.gaps, status.resyncs, status.reconnects) == (0, 0, 0)
        assert len(ears.loads) == 1, "a hole costs no resync"


def test_a_cut_connection_loses_no_trade(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        for _ in range(3):
            reconnects = ears.feed.status.reconnects
            simulator.control("cut")
            wait_until(lambda: ears.feed.status.reconnects > reconnects)  # noqa: B023 - at once
            wait_until(lambda: ears.live)
            ears.hear_more(10)
        ears.catch_up()
        prints = ears.check()
        status = ears.feed.status
        assert status.backfills_failed == 0
        assert status.missed_prints == status.backfilled
        assert sum(each.count for each in prints) == prints[-1].id - prints[0].first_id + 1


def test_what_was_missed_is_told_before_the_new_book(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        last_id = ears.market.last_trade_id or 0
        simulator.control("refuse", seconds=1.5)
        simulator.control("cut")
        wait_until(lambda: len(ears.loads) == 2)
        missed = [
            change.trade
            for change in ears.changes[: ears.loads[1]]
            if change.trade is not None and change.trade.id > last_id
        ]
        assert sum(each.count for each in missed) >= ears.feed.status.backfilled > 0
        ears.hear_more(5)
        ears.catch_up()
        ears.check()


def test_a_refused_question_gives_up_at_once(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        simulator.control("status", path=AGGREGATES, status=503, count=1)
        simulator.control("drop_trades", symbol=NAME, count=2)
        wait_until(lambda: ears.feed.status.backfills_failed == 1, 2)
        ears.hear_more(10)
        assert ears.feed.status.missed_prints == 2
        assert ears.feed.status.backfilled == 0
        assert ears.live


def test_no_answer_within_three_seconds_gives_up_and_nothing_stands_still(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        release = threading.Event()
        ask = ears.client.agg_trades

        def hang(*arguments: Any, **named: Any) -> Any:
            release.wait(10)
            return ask(*arguments, **named)

        ears.client.agg_trades = hang  # type: ignore[method-assign]  # a venue that does not answer
        simulator.control("drop_trades", symbol=NAME, count=2)
        wait_until(lambda: ears.feed.status.trade_gaps == 1)
        begun, update_id = time.monotonic(), ears.market.view(0).update_id
        last_id = ears.market.last_trade_id
        wait_until(lambda: ears.market.view(0).update_id > update_id + 5, 2)
        assert ears.live
        assert ears.market.last_trade_id == last_id, "prints wait, the book does not"
        wait_until(lambda: ears.feed.status.backfills_failed == 1, 5)
        assert time.monotonic() - begun >= Patience().prints_s - 0.3
        ears.hear_more(5)
        release.set()
        ears.hear_more(5)
        status = ears.feed.status
        assert (status.missed_prints, status.backfilled, status.faults) == (2, 0, 0)
        ids = [each.id for each in ears.prints]
        assert ids == sorted(set(ids)), "the late answer is told no more"


def test_a_throttled_venue_is_left_in_peace(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        asked = simulator.asked(AGGREGATES)
        simulator.control("status", path=AGGREGATES, status=429, retry_after=2)
        for holes in (1, 2, 3):
            simulator.control("drop_trades", symbol=NAME)
            wait_until(lambda: ears.feed.status.backfills_failed == holes)  # noqa: B023 - at once
        assert simulator.asked(AGGREGATES) == asked + 1, "asked again in spite of Retry-After"
        assert ears.live


def test_candles_contain_what_was_missed(simulator: Simulator) -> None:
    with listening(simulator) as ears:
        history = CandleHistory(ears.client, monotonic=time.monotonic, wall_ms=lambda: time.time_ns() // 1_000_000)
        history.candles(ears.market, "1m")
        simulator.control("drop_trades", symbol=NAME, count=20)
        wait_until(lambda: ears.feed.status.backfilled >= 20)
        simulator.control("cut")
        wait_until(lambda: not ears.live)
        wait_until(lambda: ears.live)
        ears.hear_more(10)
        simulator.control("pause", symbol=NAME)
        wait_until(lambda: ears.market.last_trade_id == simulator.last_trade_id(NAME))
        wait_until(lambda: time.time() % 60 < 50, 15)
        asked = simulator.asked("/api/v3/klines")
        ours = [plain(candle) for candle in history.candles(ears.market, "1m", 100)]
        assert simulator.asked("/api/v3/klines") == asked, "the prints alone were enough"
        assert ours == [kline_row(kline) for kline in ears.client.klines(NAME, "1m", limit=100)]
        simulator.control("resume", symbol=NAME)
        ears.check()
