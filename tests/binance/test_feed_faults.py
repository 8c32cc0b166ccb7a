"""The real feed against an exchange that breaks: the right book comes back in time, a wrong one is never live.

Recovery is 3 s after a fault ends (after Retry-After where the exchange names one), 15 s for silence. Limits of
patience are scaled down here, except in the tests of the true defaults at the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from tests.binance.feeding import Everything, feed_of, running, wait_until
from tests.binance.simulated import Simulator, Truth, WitnessedMarket, recovers
from trading_engine.binance.feed import Feed, Limits, Patience
from trading_engine.binance.rest import VenueClient
from trading_engine.binance.weight import WeightBudget
from trading_engine.exchange.market import FeedState, MarketChange

pytestmark = pytest.mark.slow

PROMPT_S = 3.0
QUICK = Limits(handshake_s=1.5, ping_every_s=2.0, ping_when_silent_s=0.5, silence_s=2.0, cut_frame_s=1.5, answer_s=4.0)
EASY: dict[str, Any] = {"limits": QUICK, "snapshot_levels": 100, "patience": Patience(refetch_s=1.0)}
ROOMY: dict[str, Any] = {"snapshot_levels": 1_000, "patience": Patience(refetch_s=60.0)}
"""Books so deep that none has to be renewed while a test lasts."""
NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(exchange: Simulator) -> Iterator[Simulator]:
    exchange.heal()
    yield exchange
    exchange.heal()


class Scene:
    """A feed that follows three symbols of the simulator, all live, with a witness."""

    def __init__(self, simulator: Simulator, feed: Feed, markets: list[WitnessedMarket], truth: Truth) -> None:
        self.simulator = simulator
        self.feed = feed
        self.markets = markets
        self.btc, self.eth, self.sol = markets
        self.truth = truth

    def all_recover(self, within_s: float = PROMPT_S) -> None:
        recovers(self.simulator, self.markets, within_s)


def followed_by(simulator: Simulator, **settings: Any) -> Feed:
    """Return a quick feed of the simulator that is easy on weight: all tests of this module are one address to it."""
    budget = WeightBudget(time.monotonic, 10_000_000)
    client = VenueClient(simulator.rest_url, monotonic=time.monotonic, budget=budget)
    return feed_of((simulator.rest_url, simulator.ws_url), client=client, **{**EASY, **settings})


@contextmanager
def scene(simulator: Simulator, **settings: Any) -> Iterator[Scene]:
    markets = [WitnessedMarket(simulator.rules(name)) for name in NAMES]
    feed = followed_by(simulator, **settings)
    for market in markets:
        feed.follow(market)
    with ExitStack() as stack:
        stack.enter_context(running(feed))
        wait_until(lambda: all(market.live for market in markets), PROMPT_S)
        truth = stack.enter_context(Truth(simulator, *markets))
        yield Scene(simulator, feed, markets, truth)
    truth.check()


def test_three_symbols_are_live_and_true_within_three_seconds(simulator: Simulator) -> None:
    with scene(simulator) as now:
        now.all_recover()
        wait_until(lambda: now.truth.check() > 20, 20)
        assert now.feed.status.gaps == 0
        assert now.feed.status.connected
        for market in now.markets:
            assert market.loads == 1
            wait_until(lambda: market.view(0).last_trade and market.view(0).ticker, PROMPT_S)  # noqa: B023 - at once


# --- diffs ---


@pytest.mark.parametrize("walk", (0.0, 0.3))
def test_a_lost_diff_is_noticed_with_the_next_one(simulator: Simulator, walk: float) -> None:
    with scene(simulator) as now:
        simulator.control("drop", symbol="BTCUSDT")
        if walk:
            simulator.control("walk", symbol="BTCUSDT", percent=walk)
        wait_until(lambda: now.feed.status.gaps == 1, PROMPT_S)
        assert recovers(simulator, [now.btc], PROMPT_S) < PROMPT_S
        assert "is missing" in now.btc.unready[-1][1]
        assert now.feed.status.reconnects == 0
        assert [market.loads for market in now.markets] == [2, 1, 1]


def test_a_doubled_diff_changes_nothing(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("duplicate", symbol="BTCUSDT", count=5)
        wait_until(lambda: now.feed.status.duplicates >= 5, PROMPT_S)
        now.all_recover()
        assert now.feed.status.gaps == 0
        assert now.btc.loads == 1


def test_swapped_diffs_cost_one_resync(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("swap", symbol="BTCUSDT")
        wait_until(lambda: now.feed.status.gaps >= 1, PROMPT_S)
        recovers(simulator, [now.btc], PROMPT_S)
        assert now.btc.loads == 2


def test_an_old_snapshot_is_not_loaded_and_asked_for_again_without_haste(simulator: Simulator) -> None:
    with scene(simulator, **ROOMY) as now:
        stale_id = simulator.control("stale_snapshot", symbol="BTCUSDT", count=3)["lastUpdateId"]
        wait_until(lambda: now.btc.view(0).update_id > stale_id, PROMPT_S)
        failures = now.feed.status.snapshot_failures
        asked = depth_questions(simulator, "BTCUSDT")
        simulator.control("drop", symbol="BTCUSDT")
        wait_until(lambda: now.feed.status.gaps == 1, PROMPT_S)
        wait_until(lambda: now.btc.live, 6)
        assert 4 <= depth_questions(simulator, "BTCUSDT") - asked <= 6
        assert now.feed.status.snapshot_failures == failures, "an old snapshot is no failure to get one"
        recovers(simulator, [now.btc], PROMPT_S)


def test_a_book_whose_known_end_comes_near_is_renewed_without_leaving_trade(simulator: Simulator) -> None:
    with scene(simulator, patience=Patience(refetch_s=0.5)) as now, Dark(now.btc) as dark:

        def walks_on() -> bool:
            if not now.btc.needs_refetch:
                simulator.control("walk", symbol="BTCUSDT", percent=0.005)
            return now.btc.renewals > 0

        wait_until(walks_on, 10, step_s=0.1)
        assert now.btc.loads == 1
        wait_until(lambda: min(len(now.btc.view(None).bids), len(now.btc.view(None).asks)) > 50, PROMPT_S)
        assert now.feed.status.gaps == 0
        recovers(simulator, [now.btc], PROMPT_S)
    assert dark.longest_s == 0


# --- sockets ---


@pytest.mark.parametrize("code", (None, 1001, 1008, 1012))
def test_a_cut_connection_is_opened_again(simulator: Simulator, code: int | None) -> None:
    with scene(simulator) as now:
        simulator.control("cut", **({} if code is None else {"code": code, "reason": "because"}))
        wait_until(lambda: now.feed.status.reconnects == 1, PROMPT_S)
        now.all_recover()
        states = [state for state, _ in now.btc.unready]
        assert FeedState.DOWN in states
        if code is not None:
            assert now.feed.status.last_error == f"closed by the venue: {code} because"


@pytest.mark.parametrize(
    ("fault", "reason"),
    (("freeze", "silent for 2 s"), ("cut_frame", "a message is unfinished after 1.5 s")),
)
def test_a_connection_gone_silent_is_dropped(simulator: Simulator, fault: str, reason: str) -> None:
    with scene(simulator) as now:
        simulator.control(fault)
        wait_until(lambda: now.feed.status.reconnects == 1, 5)
        now.all_recover()
        assert now.feed.status.last_error == reason


def test_fifteen_cuts_in_a_row_leave_the_same_threads_and_files(simulator: Simulator) -> None:
    with scene(simulator, jitter=lambda: 0.0) as now:
        recovers(simulator, [now.btc], PROMPT_S)
        threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        for number in range(1, 16):
            simulator.control("cut")
            wait_until(lambda: now.feed.status.reconnects == number, PROMPT_S)  # noqa: B023 - used at once
            wait_until(lambda: now.btc.live, 10)
        recovers(simulator, [now.btc], PROMPT_S)
        assert threading.active_count() == threads
        assert len(list(Path("/proc/self/fd").iterdir())) <= files + 2  # REST keeps a connection or two


def test_a_handshake_that_is_never_answered_is_given_up(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("hang_handshake")
        simulator.control("cut")
        wait_until(lambda: now.feed.status.reason == "timeout", 4)
        assert not now.btc.live
        simulator.heal()
        wait_until(lambda: now.btc.live, 8)
        now.all_recover()


def test_a_venue_that_refuses_connections_is_tried_again_at_growing_distances(simulator: Simulator) -> None:
    with scene(simulator, jitter=lambda: 1.0) as now:
        simulator.control("refuse", seconds=2.5)
        simulator.control("cut")
        wait_until(lambda: now.feed.status.reason == "connection refused", PROMPT_S)
        assert now.btc.view(0).state is FeedState.DOWN
        assert now.btc.view(0).reason == "connection refused"
        wait_until(lambda: now.btc.live, 8)  # 0.5 + 1 + 2 s after the cut, and the time to sync
        now.all_recover()


def test_pings_are_answered_under_load(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("ping", every_s=0.3, timeout_s=1)
        simulator.control("rate", factor=3)  # more is too much for the witnesses that look at every message
        pongs = simulator.asked("pongs")
        wait_until(lambda: simulator.asked("pongs") >= pongs + 6, 10)
        assert now.feed.status.reconnects == 0
        simulator.control("rate", factor=1)
        now.all_recover()


def test_an_announced_shutdown_moves_to_a_new_connection_without_a_gap(simulator: Simulator) -> None:
    with scene(simulator, settle_s=0.5, **ROOMY) as now:
        worst_s = Dark(now.btc)
        with worst_s:
            simulator.control("shutdown", after_s=2)
            wait_until(lambda: now.feed.status.renewals == 1, 3)
            wait_until(lambda: simulator.requests()["open_websockets"] == 1, PROMPT_S)
            seen = [market.view(0).update_id for market in now.markets]
            wait_until(
                lambda: all(market.view(0).update_id > id_ for market, id_ in zip(now.markets, seen, strict=True)), 1
            )
        assert worst_s.longest_s == 0
        status = now.feed.status
        assert (status.reconnects, status.gaps, status.resyncs, status.trade_gaps) == (0, 0, 0, 0)
        now.all_recover()
        assert [market.loads for market in now.markets] == [1, 1, 1]
        assert simulator.requests()["open_websockets"] == 1


def test_an_old_connection_is_renewed_before_the_venue_ends_it(simulator: Simulator) -> None:
    with scene(simulator, settle_s=0.5, renew_after_s=2.0) as now:
        wait_until(lambda: now.feed.status.renewals >= 2, 8)
        status = now.feed.status
        assert (status.reconnects, status.gaps, status.resyncs, status.trade_gaps) == (0, 0, 0, 0)
        now.all_recover()


def test_a_connection_lost_during_its_renewal_costs_a_resync_and_no_more(simulator: Simulator) -> None:
    with scene(simulator, settle_s=60.0) as now:
        simulator.control("pause", symbol="SOLUSDT", heartbeat=False)  # a quiet symbol moves last
        wait_until(lambda: simulator.book("SOLUSDT")["update_id"] in now.sol.whole, PROMPT_S)  # its last diff is here
        simulator.control("shutdown", after_s=60)
        wait_until(lambda: str(simulator.requests()["subscriptions"]).count("solusdt@trade") == 2, PROMPT_S)
        simulator.control("cut")
        simulator.control("resume", symbol="SOLUSDT")
        wait_until(lambda: now.feed.status.reconnects >= 1, PROMPT_S)
        now.all_recover()
        assert now.feed.status.renewals == 0


class Dark:
    """Looks at a market every 5 ms and remembers the longest time it was not live."""

    def __init__(self, market: WitnessedMarket) -> None:
        self.longest_s = 0.0
        self._market = market
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _look(self) -> None:
        since: float | None = None
        while not self._stop.wait(0.005):
            if self._market.live:
                since = None
            else:
                since = since or time.monotonic()
                self.longest_s = max(self.longest_s, time.monotonic() - since)


# --- silence of streams ---


def stays_out_of_trade(market: WitnessedMarket, until: Callable[[], bool]) -> None:
    def is_over() -> bool:
        assert not market.live
        return until()

    wait_until(is_over, 15)


def test_one_mute_symbol_goes_stale_alone_and_comes_back(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("mute", symbol="BTCUSDT")
        wait_until(lambda: now.feed.status.mutes >= 1, 10)
        assert not now.btc.live
        assert now.eth.live
        assert now.feed.status.connected
        stays_out_of_trade(now.btc, lambda: now.feed.status.mutes >= 2)  # a new subscription does not help
        simulator.control("unmute")
        assert recovers(simulator, [now.btc], PROMPT_S) < PROMPT_S
        now.all_recover()


def test_pongs_without_any_data_are_not_taken_for_life(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("mute")
        wait_until(lambda: not any(market.live for market in now.markets), 10)
        wait_until(lambda: now.feed.status.mutes >= 1, 10)
        simulator.control("unmute")
        now.all_recover()


def test_a_quiet_symbol_is_live_although_it_sends_nothing(simulator: Simulator) -> None:
    simulator.control("pause", symbol="ADAUSDT", heartbeat=False)
    market = WitnessedMarket(simulator.rules("ADAUSDT"))
    feed = followed_by(simulator, patience=Patience(unheard_s=0.5, quiet_s=0.5))
    feed.follow(market)
    with running(feed):
        wait_until(lambda: market.live, PROMPT_S)
        assert market.view(1).update_id == simulator.book("ADAUSDT")["update_id"]
        asked = simulator.asked("/api/v3/depth")
        wait_until(lambda: simulator.asked("/api/v3/depth") >= asked + 2, 5)
        assert feed.status.mutes == 0
        assert market.live
        assert market.loads == 1
        simulator.control("resume", symbol="ADAUSDT")
        recovers(simulator, [market], PROMPT_S)


def test_a_stream_mute_from_the_start_never_becomes_live(simulator: Simulator) -> None:
    simulator.control("mute", symbol="ADAUSDT")
    market = WitnessedMarket(simulator.rules("ADAUSDT"))
    feed = followed_by(simulator, patience=Patience(unheard_s=0.3, quiet_s=0.5, grace_s=0.2))
    feed.follow(market)
    with running(feed):
        stays_out_of_trade(market, lambda: feed.status.mutes >= 2)
        simulator.control("unmute")
        recovers(simulator, [market], PROMPT_S + 1)


# --- REST ---


def depth_questions(simulator: Simulator, symbol: str) -> int:
    """Return how many snapshots of a symbol were asked for lately."""
    return len(depth_answers(simulator, symbol))


def depth_answers(simulator: Simulator, *symbols: str) -> list[tuple[int, int]]:
    """Return time in ms and status of the latest answers to requests for these symbols' books, oldest first."""
    return [
        (request["time_ms"], request["status"])
        for request in simulator.requests(latest=1_000)["latest"]
        if request["path"] == "/api/v3/depth" and request["parameters"]["symbol"] in symbols
    ]


def test_retry_after_is_waited_out_by_all(simulator: Simulator) -> None:
    with scene(simulator, **ROOMY) as now:
        simulator.control("status", path="/api/v3/depth", status=429, retry_after=2, count=1)
        simulator.control("drop", symbol="BTCUSDT")
        wait_until(lambda: now.feed.status.snapshot_failures == 1, PROMPT_S)
        assert "429" in str(now.btc.view(0).reason)
        simulator.control("drop", symbol="ETHUSDT")
        wait_until(lambda: now.feed.status.gaps == 2, PROMPT_S)
        now.all_recover()
        answers = depth_answers(simulator, *NAMES)
        refused_at = next(place for place, (_, status) in enumerate(answers) if status == 429)
        assert answers[refused_at + 1][0] - answers[refused_at][0] >= 2_000


@pytest.mark.parametrize(
    ("status", "said"), ((451, "451 region refused"), (403, "403 region refused"), (503, "HTTP 503"))
)
def test_refused_snapshots_are_asked_for_again(simulator: Simulator, status: int, said: str) -> None:
    with scene(simulator) as now:
        simulator.control("status", path="/api/v3/depth", status=status)
        simulator.control("drop", symbol="BTCUSDT")
        wait_until(lambda: now.feed.status.snapshot_failures >= 3, 2 * PROMPT_S)
        assert said in str(now.btc.view(0).reason)
        assert now.btc.view(0).state is FeedState.SYNCING
        simulator.heal()
        assert recovers(simulator, [now.btc], PROMPT_S) < PROMPT_S
        assert now.feed.status.snapshot_failures <= 12


# --- content ---

GARBAGE = (
    "null",
    "[]",
    "{",
    '{"e":"depthUpdate"}',
    '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":"BTCUSDT","E":1,"U":1,"u":1,"b":[["NaN","1"]],"a":[]}}',
    '{"stream":"btcusdt@bookTicker","data":{"u":9,"s":"BTCUSDT","b":"-1","B":"1","a":"1E+999999999","A":"1"}}',
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"0","q":"1","T":1,"m":true}}',
    "[" * 5_000,
    '{"e":"somethingNew","s":"BTCUSDT"}',
)


def test_garbage_costs_at_most_a_resync(simulator: Simulator) -> None:
    with scene(simulator) as now:
        for text in GARBAGE:
            simulator.control("garbage", text=text)
        simulator.control("garbage", hex="80ff00", binary=True)
        simulator.control("garbage", hex="80ff00")
        wait_until(lambda: now.feed.status.malformed >= len(GARBAGE) + 2, PROMPT_S)
        now.all_recover(6)
        assert now.feed.status.reconnects == 0
        assert now.feed.status.faults == 0


def test_a_message_over_a_megabyte_drops_the_connection(simulator: Simulator) -> None:
    with scene(simulator) as now:
        simulator.control("cut_frame", bytes=20, size=3_000_000)
        wait_until(lambda: now.feed.status.reconnects == 1, PROMPT_S)
        assert "over the limit" in str(now.feed.status.last_error)
        now.all_recover()


def test_a_level_off_the_grid_costs_a_resync(simulator: Simulator) -> None:
    with scene(simulator) as now:
        update_id = simulator.book("BTCUSDT")["update_id"] + 1_000_000
        simulator.control(
            "garbage",
            text=f'{{"stream":"btcusdt@bookTicker","data":{{"u":{update_id},"s":"BTCUSDT","b":"9.123","B":"1","a":"9.5","A":"1"}}}}',
        )
        wait_until(lambda: now.feed.status.resyncs == 1, PROMPT_S)
        recovers(simulator, [now.btc], PROMPT_S)
        assert now.feed.status.reconnects == 0


def test_a_listener_that_fails_costs_a_resync_and_not_the_thread(simulator: Simulator) -> None:
    heard: list[MarketChange] = []

    def listen(change: MarketChange) -> None:
        heard.append(change)
        if len(heard) == 50:
            raise RuntimeError("the listener broke")

    with scene(simulator, on_change=listen, watched=Everything()) as now:
        wait_until(lambda: now.feed.status.resyncs == 1, 5)
        assert now.feed.status.faults == 1
        assert now.feed.status.last_error == "RuntimeError: the listener broke"
        now.all_recover()
        assert len(heard) > 50
        assert any(change.trade is not None for change in heard)


# --- rules ---


def test_a_halt_is_heard_of_by_the_rules(simulator: Simulator) -> None:
    with scene(simulator, rules_every_s=0.3) as now:
        simulator.control("symbol", symbol="ETHUSDT", status="BREAK")
        wait_until(lambda: now.eth.view(0).symbol.status == "BREAK", PROMPT_S)
        assert not now.eth.live
        assert now.btc.live
        simulator.control("symbol", symbol="ETHUSDT", status="TRADING")
        recovers(simulator, [now.eth], PROMPT_S + 2)


# --- following ---


def test_symbols_are_followed_and_given_up_while_it_runs(simulator: Simulator) -> None:
    with scene(simulator) as now:
        ada = WitnessedMarket(simulator.rules("ADAUSDT"))
        now.feed.follow(ada)
        now.feed.follow(ada)
        recovers(simulator, [ada], PROMPT_S)
        assert now.feed.status.symbols == 4
        now.feed.unfollow("ADAUSDT")
        now.feed.unfollow("ADAUSDT")
        wait_until(lambda: ada.view(0).state is FeedState.DOWN, 1)
        wait_until(lambda: "adausdt@trade" not in str(simulator.requests()["subscriptions"]), 1)
        assert now.btc.live


def test_a_feed_with_nothing_to_follow_has_no_connection(simulator: Simulator) -> None:
    feed = followed_by(simulator)
    ada = WitnessedMarket(simulator.rules("ADAUSDT"))
    with running(feed):
        assert simulator.requests()["open_websockets"] == 0
        feed.follow(ada)
        recovers(simulator, [ada], PROMPT_S)
        feed.unfollow("ADAUSDT")
        wait_until(lambda: simulator.requests()["open_websockets"] == 0, PROMPT_S)
        assert feed.status.reason == "nothing to follow"
        feed.follow(ada)
        recovers(simulator, [ada], PROMPT_S)
    assert ada.view(0).state is FeedState.DOWN
    assert feed.status.reason == "stopped"


# --- the true defaults ---


@pytest.mark.parametrize("fault", ("freeze", "cut_frame"))
def test_silence_is_over_within_fifteen_seconds_by_default(simulator: Simulator, fault: str) -> None:
    with scene(simulator, limits=Limits()) as now:
        begun = time.monotonic()
        simulator.control(fault)
        wait_until(lambda: now.feed.status.reconnects == 1, 15)
        recovers(simulator, [now.btc], 15 - (time.monotonic() - begun))
