"""One symbol's way to its market, on a virtual clock: what it asks for, when, and what it never shows as live."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from tests.binance.feeding import rules
from trading_engine.binance.follower import MUTE, PARKED_LIMIT, Ask, Follower, Patience
from trading_engine.binance.messages import DayTicker, DepthDiff, Message, Print, Quote, Snapshot
from trading_engine.binance.rest import RegionRefused, Throttled, VenueUnavailable
from trading_engine.binance.tally import Tally
from trading_engine.exchange.market import ChangeKind, FeedState, Market, MarketChange, Ticker, Trade
from trading_engine.exchange.money import ZERO

STEP_S = 0.1


def diff(first: int, last: int, *bids: tuple[float, float]) -> DepthDiff:
    return DepthDiff(symbol="BTCUSDT", event_time_ms=0, first_update_id=first, update_id=last, bids=list(bids), asks=[])


def snapshot(update_id: int, bid: float = 10.0) -> Snapshot:
    return Snapshot(update_id=update_id, bids=[(bid, 1.0)], asks=[(20.0, 1.0)], limit=1000)


def quote(update_id: int, bid: float, ask: float = 20.0) -> Quote:
    return Quote(symbol="BTCUSDT", update_id=update_id, bid=bid, bid_quantity=1.0, ask=ask, ask_quantity=1.0)


def print_of(trade_id: int) -> Print:
    trade = Trade(
        id=trade_id, price=rules("X").tick_size, quantity=rules("X").step_size, buyer_is_maker=True, time_ms=1
    )
    return Print(symbol="BTCUSDT", event_time_ms=1, trade=trade)


class Desk:
    """A follower with its market and clock; `asks` are those of the ticks so far, with their times."""

    def __init__(self, **patience: float) -> None:
        self.now = 100.0
        self.has_orders = False
        self.tally = Tally()
        self.heard: list[MarketChange] = []
        self.market = Market(rules("BTCUSDT"), monotonic_ns=lambda: int(self.now * 1e9), wall_ms=lambda: 0)
        self.follower = Follower(
            self.market,
            name="BTCUSDT",
            monotonic=lambda: self.now,
            jitter=lambda: 1.0,
            emit=lambda change: None if change is None else self.heard.append(change),
            tally=self.tally,
            patience=Patience(**patience),
            has_orders=lambda: self.has_orders,
        )
        self.asks: list[tuple[float, Ask]] = []

    def state(self) -> FeedState:
        return self.market.view(0).state

    @property
    def best_bid(self) -> float:
        return float(self.market.view(1).bids[0][0])

    def subscribe(self, number: int = 1) -> None:
        self.follower.attach(number, "subscribing")
        self.follower.acknowledge(number)

    def run(self, seconds: float, *, alive: bool = True) -> list[Ask]:
        """Let time pass, ticking; the connection brings something all the while. Return what was asked for."""
        begun = len(self.asks)
        for _ in range(round(seconds / STEP_S)):
            self.now += STEP_S
            if alive:
                self.market.connection_alive(int(self.now * 1e9))
            ask = self.follower.tick(self.now)
            if ask is not None:
                self.asks.append((self.now, ask))
        return [ask for _, ask in self.asks[begun:]]

    def hear(self, *messages: Message, number: int = 1) -> None:
        for message in messages:
            self.follower.receive(number, message)

    def go_live(self, update_id: int = 100, *, rhythm: int = 5) -> int:
        """Subscribe, sync, and hear a few diffs 0.1 s apart; return the last update id."""
        self.subscribe()
        assert self.run(STEP_S) == [Ask.SNAPSHOT]
        self.hear(diff(update_id, update_id))
        self.follower.on_snapshot(snapshot(update_id))
        assert self.state() is FeedState.LIVE
        for _ in range(rhythm):
            self.run(STEP_S)
            update_id += 1
            self.hear(diff(update_id, update_id))
        return update_id


# --- in step ---


def test_a_snapshot_is_asked_for_when_the_subscription_is_confirmed_and_loaded_when_a_diff_joins_it() -> None:
    desk = Desk()
    assert desk.run(1) == []
    desk.follower.attach(1, "subscribing")
    assert desk.run(1) == []
    desk.follower.acknowledge(1)
    assert desk.run(0.5) == [Ask.SNAPSHOT]
    desk.follower.on_snapshot(snapshot(10))
    assert desk.state() is FeedState.SYNCING
    desk.hear(diff(8, 12, (11.0, 2.0)))
    assert desk.state() is FeedState.LIVE
    assert desk.best_bid == 11
    assert desk.market.view(0).update_id == 12
    assert desk.run(1) == []


def test_a_gap_takes_the_market_out_at_once_and_one_snapshot_brings_it_back() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.run(6)
    desk.heard.clear()
    desk.hear(diff(last + 2, last + 3))
    assert [change.live for change in desk.heard] == [False]
    assert "is missing" in str(desk.market.view(0).reason)
    assert desk.tally.gaps == 1
    assert desk.run(1) == [Ask.SNAPSHOT]
    desk.follower.on_snapshot(snapshot(last + 3))
    assert desk.state() is FeedState.LIVE


def test_gap_after_gap_is_fetched_at_growing_distances() -> None:
    desk = Desk()
    last = desk.go_live()
    delays: list[float] = []
    for _ in range(5):
        last += 10
        fell_out = desk.now
        desk.hear(diff(last, last))
        assert desk.run(3) == [Ask.SNAPSHOT]
        delays.append(desk.asks[-1][0] - fell_out)
        desk.follower.on_snapshot(snapshot(last))
    assert delays == pytest.approx([0.25, 0.5, 1, 2, 2], abs=STEP_S + 0.01)


def test_a_snapshot_too_old_is_asked_for_again_with_patience() -> None:
    desk = Desk()
    desk.subscribe()
    desk.hear(diff(50, 51))
    for _ in range(6):
        desk.run(2.5)
        desk.follower.on_snapshot(snapshot(40))
        assert desk.state() is FeedState.SYNCING
    times = [at for at, _ in desk.asks]
    assert len(times) == 6
    desk.run(2.5)
    desk.follower.on_snapshot(snapshot(51))
    assert desk.state() is FeedState.LIVE


def test_duplicates_and_old_prints_are_counted_and_dropped() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(print_of(5), print_of(6), print_of(6), print_of(4), diff(last, last))
    assert desk.tally.duplicates == 3
    assert desk.market.last_trade_id == 6
    assert (desk.tally.prints, desk.tally.trade_gaps) == (2, 0)
    desk.hear(print_of(10))
    assert (desk.tally.trade_gaps, desk.tally.missed_prints) == (1, 3)
    assert desk.state() is FeedState.LIVE, "a hole in the prints is none in the book"


def test_day_figures_and_prints_are_heard_before_there_is_a_book() -> None:
    desk = Desk()
    desk.subscribe()
    figures = Ticker(
        price_change_percent=ZERO,
        open_price=ZERO,
        high_price=ZERO,
        low_price=ZERO,
        volume=ZERO,
        quote_volume=ZERO,
        time_ms=1,
    )
    desk.hear(DayTicker(symbol="BTCUSDT", event_time_ms=1, ticker=figures), print_of(1), quote(5, 11.0))
    view = desk.market.view(1)
    assert (view.ticker, view.state, view.bids) == (figures, FeedState.SYNCING, ())
    assert view.last_trade is not None


def test_a_snapshot_does_not_set_the_market_back_behind_a_quote() -> None:
    """A renewed book ends with the last diff, the newest quote is ahead of it: readers must not see the older price."""
    desk = Desk()
    last = desk.go_live()
    desk.hear(quote(last + 5, 12.0))
    assert desk.best_bid == 12
    desk.heard.clear()
    desk.follower._carry_out(desk.follower._sync.renew("for this test"))
    assert desk.run(1) == [Ask.SNAPSHOT]
    desk.follower.on_snapshot(snapshot(last))
    assert desk.best_bid == 12
    assert {float(change.best_bid) for change in desk.heard if change.best_bid} == {12.0}


# --- failures of REST ---


@pytest.mark.parametrize("error", (VenueUnavailable("HTTP 503"), RegionRefused("451 region refused")))
def test_failed_snapshots_are_asked_for_promptly_for_a_minute_then_at_leisure(error: Exception) -> None:
    desk = Desk()
    desk.subscribe()
    while desk.now < 1_100:
        if Ask.SNAPSHOT in desk.run(STEP_S):
            desk.follower.on_snapshot_failure(error)
            assert desk.market.view(0).reason == f"no snapshot: {error}"
    times = [at for at, _ in desk.asks]
    early = [b - a for a, b in pairwise(times) if a < 150]
    late = [b - a for a, b in pairwise(times) if a > 200]
    assert max(early) < 2.2
    assert min(late) > 29 if isinstance(error, VenueUnavailable) else min(late) > 299
    assert desk.tally.snapshot_failures == len(times)


def test_what_the_venue_asks_us_to_wait_is_waited_and_then_asked_at_once() -> None:
    desk = Desk()
    desk.subscribe()
    desk.run(STEP_S)
    told = desk.now
    desk.follower.on_snapshot_failure(Throttled("HTTP 429", 17.0))
    desk.run(30)
    (_, _), (again, _) = desk.asks
    assert 17.0 <= again - told <= 17.0 + 2 * STEP_S


def test_an_answer_that_comes_after_the_connection_is_gone_asks_for_nothing() -> None:
    desk = Desk()
    desk.subscribe()
    desk.run(STEP_S)
    desk.follower.detach("connection lost")
    desk.follower.on_snapshot_failure(VenueUnavailable("timeout"))
    desk.follower.on_snapshot(snapshot(5))
    assert desk.run(30) == []
    assert desk.market.view(0).reason == "connection lost"
    assert desk.state() is FeedState.DOWN


def test_a_snapshot_of_an_earlier_connection_is_not_loaded_without_proof() -> None:
    desk = Desk()
    desk.subscribe(1)
    desk.run(STEP_S)
    desk.follower.detach("connection lost")
    desk.subscribe(2)
    desk.follower.on_snapshot(snapshot(5))
    assert desk.state() is FeedState.SYNCING
    desk.hear(diff(9, 9), number=2)
    assert desk.state() is FeedState.SYNCING
    assert Ask.SNAPSHOT in desk.run(3)
    desk.follower.on_snapshot(snapshot(9))
    assert desk.state() is FeedState.LIVE


# --- silence ---


def test_a_quiet_symbol_is_loaded_once_the_venue_confirms_that_nothing_moved() -> None:
    desk = Desk()
    desk.subscribe()
    desk.run(STEP_S)
    desk.follower.on_snapshot(snapshot(10))
    assert desk.run(1.3) == []
    assert desk.run(0.5) == [Ask.CHECK]
    assert desk.state() is FeedState.SYNCING
    desk.follower.on_check(snapshot(10))
    assert desk.state() is FeedState.LIVE
    desk.hear(diff(11, 11, (11.0, 1.0)))
    assert desk.state() is FeedState.LIVE
    assert desk.best_bid == 11


def test_an_old_answer_confirms_nothing() -> None:
    desk = Desk()
    desk.subscribe()
    desk.run(STEP_S)
    desk.follower.on_snapshot(snapshot(10))
    assert desk.run(2) == [Ask.CHECK]
    desk.follower.on_check(snapshot(9))
    assert desk.state() is FeedState.SYNCING
    assert desk.run(2) == [Ask.CHECK]


def test_a_quiet_symbol_in_step_is_looked_at_less_and_less_and_stays_live() -> None:
    desk = Desk()
    desk.subscribe()
    desk.run(STEP_S)
    desk.follower.on_snapshot(snapshot(10))
    for _ in range(3_000):
        if Ask.CHECK in desk.run(STEP_S):
            desk.follower.on_check(snapshot(10))
        assert desk.now < 103 or desk.state() is FeedState.LIVE
    checks = [at for at, ask in desk.asks if ask is Ask.CHECK]
    gaps = [b - a for a, b in pairwise(checks)]
    assert gaps == sorted(gaps) or max(gaps) < 40.5
    assert max(gaps) == pytest.approx(40, abs=0.5)
    assert len(checks) < 16


def test_a_busy_symbol_gone_silent_is_looked_at_after_its_own_rhythm() -> None:
    desk = Desk()
    desk.go_live()
    fell_silent = desk.now
    assert desk.run(1.9) == []
    assert desk.run(0.3) == [Ask.CHECK]
    assert desk.asks[-1][0] - fell_silent == pytest.approx(2.0, abs=0.15)


def test_a_mute_stream_is_subscribed_again_then_connected_again_then_borne() -> None:
    desk = Desk()
    last = desk.go_live()
    remedies: list[Ask] = []
    while desk.now < 300:
        for ask in desk.run(STEP_S):
            if ask is Ask.CHECK:
                last += 1
                desk.follower.on_check(snapshot(last))  # the venue's book goes on
            elif ask is Ask.SNAPSHOT:
                desk.follower.on_snapshot(snapshot(last))
            else:
                remedies.append(ask)
                desk.follower.acknowledge(1)
        assert desk.now < 104 or desk.state() is not FeedState.LIVE
    assert remedies[:4] == [Ask.RESUBSCRIBE, Ask.RECONNECT, Ask.RESUBSCRIBE, Ask.RESUBSCRIBE]
    assert remedies.count(Ask.RECONNECT) == 1
    assert len(remedies) < 20
    assert desk.tally.mutes == len(remedies)
    assert desk.market.view(0).reason == MUTE
    desk.hear(diff(last + 5, last + 5))
    assert Ask.SNAPSHOT in desk.run(3)
    desk.follower.on_snapshot(snapshot(last + 5))
    assert desk.state() is FeedState.LIVE


def test_a_stream_that_is_merely_late_is_not_taken_for_mute() -> None:
    desk = Desk()
    last = desk.go_live()
    assert desk.run(2.2) == [Ask.CHECK]
    desk.follower.on_check(snapshot(last + 3))
    desk.run(0.5)
    desk.hear(diff(last + 1, last + 3))
    assert desk.run(1.5) == []
    assert desk.tally.mutes == 0


def test_a_check_that_fails_proves_nothing() -> None:
    desk = Desk()
    desk.go_live()
    for _ in range(200):
        if Ask.CHECK in desk.run(STEP_S):
            desk.follower.on_check(VenueUnavailable("timeout"))
    assert desk.tally.mutes == 0
    assert desk.state() is FeedState.STALE
    assert len([ask for _, ask in desk.asks if ask is Ask.CHECK]) <= 3


# --- two connections ---


def test_a_new_connection_takes_over_when_its_messages_join_and_nothing_is_lost_or_doubled() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(print_of(1))
    desk.follower.expect_heir(2)
    # The new connection is ahead: its first diff does not join yet.
    desk.hear(diff(last + 3, last + 4, (13.0, 1.0)), print_of(3), number=2)
    assert desk.follower.owner == 1
    assert desk.best_bid == 10
    desk.hear(diff(last + 1, last + 1, (11.0, 1.0)), print_of(2))
    assert desk.follower.owner == 1
    desk.hear(diff(last + 2, last + 2, (12.0, 1.0)))
    assert desk.follower.owner == 2
    assert desk.best_bid == 13
    desk.hear(diff(last + 3, last + 4), print_of(3), number=1)  # what the old one still says is of no interest
    assert (desk.tally.gaps, desk.tally.trade_gaps, desk.tally.duplicates) == (0, 0, 0)
    assert desk.market.last_trade_id == 3
    desk.hear(diff(last + 5, last + 5, (14.0, 1.0)), number=2)
    assert desk.best_bid == 14
    assert desk.state() is FeedState.LIVE


def test_diffs_cut_at_other_places_join_all_the_same() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.follower.expect_heir(2)
    desk.hear(diff(last + 1, last + 4, (11.0, 4.0)))
    desk.hear(diff(last + 3, last + 6, (11.0, 6.0)), number=2)
    assert desk.follower.owner == 2
    assert desk.market.view(1).bids[0][1] == 6
    assert desk.tally.gaps == 0


def test_prints_must_join_as_well() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(print_of(1))
    desk.follower.expect_heir(2)
    desk.hear(print_of(3), diff(last + 1, last + 1), number=2)
    assert desk.follower.owner == 1
    desk.hear(diff(last + 1, last + 1), print_of(2))
    assert desk.follower.owner == 2
    assert desk.tally.trade_gaps == 0


def test_a_quiet_symbol_moves_when_its_subscription_is_confirmed_and_time_is_up() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.follower.expect_heir(2)
    assert not desk.follower.settle_heir()
    desk.follower.acknowledge(2)
    assert desk.follower.settle_heir()
    assert desk.follower.owner == 2
    assert desk.state() is FeedState.LIVE
    desk.hear(diff(last + 1, last + 1), number=2)
    assert desk.tally.gaps == 0


def test_a_heir_that_is_lost_leaves_the_old_connection_in_charge() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.follower.expect_heir(2)
    desk.hear(diff(last + 5, last + 5), number=2)
    desk.follower.drop_heir()
    desk.hear(diff(last + 1, last + 1, (11.0, 1.0)))
    assert desk.follower.owner == 1
    assert desk.best_bid == 11
    assert desk.tally.gaps == 0


def test_what_is_parked_is_bounded() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.follower.expect_heir(2)
    ahead: Sequence[DepthDiff] = [diff(last + 10 + n, last + 10 + n) for n in range(PARKED_LIMIT + 10)]
    desk.hear(*ahead, number=2)
    assert len(desk.follower._parked) <= PARKED_LIMIT
    for n in range(1, 6_000):
        desk.hear(diff(last + n, last + n))
        if desk.follower.owner == 2:
            break
    assert desk.follower.owner == 2
    assert desk.tally.gaps == 0
    assert desk.market.view(0).update_id == ahead[-1].update_id


def test_a_new_book_is_told_as_one_even_where_a_quote_runs_ahead_of_it() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(diff(last + 5, last + 5), quote(last + 9, 15.0))
    desk.run(6)
    desk.heard.clear()
    desk.follower.on_snapshot(snapshot(last + 7))
    assert [(change.kind, change.live) for change in desk.heard] == [(ChangeKind.LOADED, True)]
    assert desk.heard[0].best_bid == 15


# --- missed prints ---


def fetched(first: int, last: int) -> tuple[Trade, ...]:
    return tuple(print_of(trade_id).trade for trade_id in range(first, last + 1))


def reconnect(desk: Desk, update_id: int) -> list[Ask]:
    """Lose the connection, subscribe on the next, hear a diff there. Return what is asked for."""
    desk.follower.detach("cut")
    desk.follower.attach(2, "subscribing")
    desk.follower.acknowledge(2)
    asks = desk.run(3 * STEP_S)
    desk.hear(diff(update_id, update_id), number=2)
    return asks


def test_prints_after_a_hole_wait_and_the_book_goes_on() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(print_of(1), print_of(4))
    desk.hear(diff(last + 1, last + 1, (12.0, 1.0)))
    assert desk.run(STEP_S) == [Ask.PRINTS]
    assert desk.best_bid == 12
    assert desk.state() is FeedState.LIVE
    assert desk.market.last_trade_id == 1
    desk.follower.on_prints(fetched(1, 4))
    assert [each.id for each in desk.market.trades()] == [1, 2, 3, 4]
    assert (desk.tally.trade_gaps, desk.tally.missed_prints, desk.tally.backfilled) == (1, 2, 2)


def test_prints_go_on_without_the_missed_ones_after_three_seconds() -> None:
    desk = Desk()
    desk.go_live()
    desk.hear(print_of(1), print_of(4))
    desk.run(2.8)
    assert desk.market.last_trade_id == 1
    desk.run(0.3)
    assert desk.market.last_trade_id == 4
    assert desk.tally.backfills_failed == 1


def test_after_a_reconnect_resting_orders_meet_the_missed_prints_before_the_new_book() -> None:
    desk = Desk()
    desk.has_orders = True
    desk.go_live()
    desk.hear(print_of(1))
    assert reconnect(desk, 200) == [Ask.SNAPSHOT, Ask.PRINTS]
    desk.follower.on_snapshot(snapshot(200))
    desk.hear(diff(201, 201, (12.0, 1.0)), number=2)
    desk.run(0.5)
    assert desk.state() is FeedState.SYNCING
    desk.heard.clear()
    desk.follower.on_prints(fetched(1, 3))
    desk.run(STEP_S)
    assert desk.state() is FeedState.LIVE
    assert desk.best_bid == 12, "diffs that came while the book waited are in it"
    assert [change.kind for change in desk.heard][:3] == [ChangeKind.TRADE, ChangeKind.TRADE, ChangeKind.LOADED]
    assert desk.run(1) == []
    assert desk.tally.snapshots == 2


def test_a_book_waits_a_second_at_most() -> None:
    desk = Desk()
    desk.has_orders = True
    desk.go_live()
    desk.hear(print_of(1))
    reconnect(desk, 200)
    desk.follower.on_snapshot(snapshot(200))
    desk.run(0.9)
    assert desk.state() is FeedState.SYNCING
    desk.run(0.2)
    assert desk.state() is FeedState.LIVE
    desk.follower.on_prints(fetched(1, 3))
    assert desk.market.last_trade_id == 3


def test_a_book_waits_for_nobody_where_no_orders_rest() -> None:
    desk = Desk()
    desk.go_live()
    desk.hear(print_of(1))
    reconnect(desk, 200)
    desk.follower.on_snapshot(snapshot(200))
    assert desk.state() is FeedState.LIVE


def test_a_snapshot_that_waited_for_its_first_diff_waits_for_the_prints_as_well() -> None:
    desk = Desk()
    desk.has_orders = True
    desk.go_live()
    desk.hear(print_of(1))
    desk.follower.detach("cut")
    desk.follower.attach(2, "subscribing")
    desk.follower.acknowledge(2)
    assert desk.run(2 * STEP_S) == [Ask.SNAPSHOT, Ask.PRINTS]
    desk.follower.on_snapshot(snapshot(200))
    desk.hear(diff(200, 201), number=2)
    assert desk.run(6 * STEP_S) == [], "one snapshot is enough"
    assert desk.state() is FeedState.SYNCING
    desk.follower.on_prints(fetched(1, 1))
    desk.run(STEP_S)
    assert desk.state() is FeedState.LIVE


def test_a_book_that_waits_is_forgotten_when_the_connection_is_lost_again() -> None:
    desk = Desk()
    desk.has_orders = True
    desk.go_live()
    desk.hear(print_of(1))
    reconnect(desk, 200)
    desk.follower.on_snapshot(snapshot(200))
    desk.follower.detach("cut")
    desk.run(5)
    assert desk.state() is FeedState.DOWN


def test_a_new_connection_joins_the_prints_that_wait() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(print_of(1), print_of(4))
    desk.follower.expect_heir(2)
    desk.hear(print_of(5), diff(last + 1, last + 1), number=2)
    assert desk.follower.owner == 2
    desk.run(STEP_S)
    desk.follower.on_prints(fetched(1, 4))
    assert [each.id for each in desk.market.trades()] == [1, 2, 3, 4, 5]


# --- what is wrong with the book itself ---


def test_a_crossed_book_is_synced_anew() -> None:
    desk = Desk()
    last = desk.go_live()
    desk.hear(diff(last + 1, last + 1, (25.0, 1.0)))
    assert desk.state() is FeedState.STALE
    assert desk.run(0.4) == []
    desk.run(1)
    assert desk.tally.resyncs == 1
    assert Ask.SNAPSHOT in [ask for _, ask in desk.asks[1:]]
