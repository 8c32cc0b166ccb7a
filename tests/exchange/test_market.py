"""A market over its life: book, quotes, prints, age, and what readers get."""

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.exchange.fakes import symbol
from trading_engine.exchange.freshness import MIN_INTERVALS, NO_CONNECTION, NO_DEPTH
from trading_engine.exchange.market import (
    ChangeKind,
    FeedState,
    Market,
    MarketChange,
    MarketView,
    OffGrid,
    RawLevel,
    Ticker,
    Trade,
)
from trading_engine.exchange.prints import PRINTS_KEPT

D = Decimal
RULES = symbol()
BIDS = [(100.0, 1.5), (99.99, 2.0), (99.5, 4.0)]
ASKS = [(100.01, 0.5), (100.02, 1.0), (101.0, 3.0)]


class Stage:
    """A market and the two clocks it reads."""

    def __init__(self, **rules: Any) -> None:
        self.now_ns = 1_000_000_000_000
        self.wall = 1_723_118_400_000
        self.market = Market(
            symbol(**rules) if rules else RULES, monotonic_ns=lambda: self.now_ns, wall_ms=lambda: self.wall
        )

    def live(self) -> "Stage":
        self.market.load_snapshot(10, BIDS, ASKS, limit=1000)
        return self

    def wait(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)
        self.wall += int(seconds * 1000)

    def wait_connected(self, seconds: float) -> None:
        self.wait(seconds)
        self.market.connection_alive(self.now_ns)

    def diff(
        self, update_id: int, *, bids: Sequence[RawLevel] = (), asks: Sequence[RawLevel] = (), time_ms: int = 0
    ) -> MarketChange:
        change = self.market.apply_diff(update_id, bids, asks, time_ms)
        assert change is not None
        return change

    def resync(self) -> str | None:
        return self.market.needs_resync

    def state(self) -> tuple[FeedState, str | None]:
        view = self.market.view()
        return view.state, view.reason


def trade(trade_id: int, price: str = "100", quantity: str = "1", *, time_ms: int = 1_723_118_400_000) -> Trade:
    return Trade(id=trade_id, price=D(price), quantity=D(quantity), buyer_is_maker=False, time_ms=time_ms)


# --- what a view shows ---


def test_before_its_first_book_a_market_shows_nothing_and_says_why() -> None:
    view = Stage().market.view()
    assert (view.state, view.reason) == (FeedState.SYNCING, "waiting for the first book")
    assert (view.bids, view.asks, view.mid, view.best_bid, view.best_ask) == ((), (), None, None, None)
    assert (view.updated_at_ms, view.age_ms, view.last_trade, view.average_price) == (None, None, None, None)
    assert view.complete


def test_a_view_shows_exact_levels_with_the_decimals_of_tick_and_step() -> None:
    view = Stage().live().market.view(2)
    assert [(str(price), str(quantity)) for price, quantity in view.bids] == [
        ("100.00", "1.50000"),
        ("99.99", "2.00000"),
    ]
    assert str(view.mid) == "100.005"
    assert (view.update_id, view.state, view.symbol) == (10, FeedState.LIVE, RULES)
    assert not view.complete
    assert view.age_ms == 0


@pytest.mark.parametrize(
    ("levels", "complete"), [(0, False), (2, False), (3, True), (4, True), (500, True), (None, True)]
)
def test_a_view_is_complete_when_nothing_known_lies_beyond_it(levels: int | None, complete: bool) -> None:
    view = Stage().live().market.view(levels)
    assert view.complete is complete
    assert len(view.bids) == len(view.asks) == (3 if levels is None else min(levels, 3))


def test_short_and_long_views_agree() -> None:
    stage = Stage().live()
    stage.diff(11, bids=[(99.98, 1.0), (99.99, 0.0)], asks=[(100.01, 0.25)])
    views = [stage.market.view(levels) for levels in (50, 200, None)]
    assert (
        views[0].bids
        == views[1].bids
        == views[2].bids
        == ((D("100.00"), D("1.5")), (D("99.98"), D(1)), (D("99.5"), D(4)))
    )
    assert views[0].asks == views[1].asks == views[2].asks


def test_levels_are_made_once_between_two_changes_of_the_book() -> None:
    stage = Stage().live()
    first = stage.market.view()
    stage.market.apply_trade(trade(1))
    second = stage.market.view()
    assert second.bids is first.bids
    assert second.seq == first.seq + 1
    stage.diff(11, bids=[(100.0, 9.0)])
    third = stage.market.view()
    assert third.bids[0] == (D(100), D(9))
    assert third.bids[1] is first.bids[1], "only what changed is made again"


def test_the_wall_clock_of_the_last_depth_change_and_its_age_on_the_monotonic_clock() -> None:
    stage = Stage().live()
    stage.wait(0.4)
    stage.diff(11)
    stage.now_ns += 250_000_000
    stage.wall -= 3_600_000
    view = stage.market.view()
    assert view.age_ms == 250
    assert view.updated_at_ms == 1_723_118_400_400


# --- what the engine is told ---


def test_every_change_has_the_next_number_and_the_best_prices_after_it() -> None:
    stage = Stage()
    first = stage.market.load_snapshot(10, BIDS, ASKS, limit=1000)
    assert first == MarketChange(
        symbol="BTCUSDT",
        seq=1,
        live=True,
        kind=ChangeKind.LOADED,
        time_ms=first.time_ms if first else 0,
        trade=None,
        late=False,
        best_bid=D("100.00"),
        best_ask=D("100.01"),
        levels=(),
    )
    second = stage.diff(11, bids=[(100.0, 0.0)], asks=[(100.01, 0.0)])
    assert (second.seq, second.best_bid, second.best_ask) == (2, D("99.99"), D("100.02"))
    third = stage.market.apply_trade(trade(1))
    assert third is not None
    assert (third.seq, third.trade, third.best_bid) == (3, trade(1), D("99.99"))


def test_a_diff_before_the_first_book_changes_nothing() -> None:
    assert Stage().market.apply_diff(11, BIDS, [], 0) is None


def test_buffered_diffs_come_with_the_snapshot_all_at_once() -> None:
    stage = Stage()
    change = stage.market.load_snapshot(
        10, BIDS, ASKS, limit=1000, diffs=[(11, [(100.0, 0.0)], [], 100), (12, [], [(100.01, 0.0)], 200)]
    )
    assert change is not None
    assert (change.seq, change.best_bid, change.best_ask) == (1, D("99.99"), D("100.02"))
    assert stage.market.view().update_id == 12


# --- quotes ---


def test_a_quote_runs_ahead_of_its_diff() -> None:
    stage = Stage().live()
    assert stage.market.apply_quote(13, 99.99, 7.0, 100.02, 1.0) is not None
    view = stage.market.view()
    assert (view.update_id, view.bids[0], view.asks[0]) == (13, (D("99.99"), D(7)), (D("100.02"), D(1)))
    stage.diff(12, bids=[(100.0, 3.0), (99.99, 2.0)])
    view = stage.market.view()
    assert (view.update_id, view.bids[0]) == (13, (D("99.99"), D(7)))
    stage.diff(14, bids=[(100.0, 3.0)])
    assert stage.market.view().bids[0] == (D(100), D(3))


def test_a_quote_the_book_already_contains_is_ignored() -> None:
    stage = Stage().live()
    assert stage.market.apply_quote(10, 1.0, 1.0, 2.0, 1.0) is None
    assert stage.market.view().best_bid == D(100)


def test_quotes_do_not_make_an_old_depth_young() -> None:
    stage = Stage().live()
    for update_id in range(11, 11 + 2 * MIN_INTERVALS):
        stage.wait_connected(0.1)
        stage.diff(update_id)
    stage.wait_connected(2.5)
    stage.market.apply_quote(99, 100.0, 1.0, 100.01, 1.0)
    assert stage.state() == (FeedState.STALE, NO_DEPTH)


@pytest.mark.parametrize(
    "quote",
    [
        (100.0, 0.0, 100.01, 1.0),
        (100.0, 1.0, 100.01, -1.0),
        (100.001, 1.0, 100.01, 1.0),
        (float("nan"), 1.0, 100.01, 1.0),
    ],
)
def test_an_impossible_quote_is_refused(quote: tuple[float, float, float, float]) -> None:
    stage = Stage().live()
    with pytest.raises(ValueError, match=r"quantity|price"):
        stage.market.apply_quote(11, *quote)
    assert stage.market.view().best_bid in {D(100), None}


# --- when it is live ---


def test_a_connection_that_is_silent_for_5_s_makes_it_stale_and_any_message_live_again() -> None:
    stage = Stage().live()
    stage.wait(4.9)
    assert stage.state() == (FeedState.LIVE, None)
    stage.wait(0.1)
    assert stage.state() == (FeedState.STALE, NO_CONNECTION)
    change = stage.market.connection_alive(stage.now_ns)
    assert change is not None
    assert change.live
    assert stage.market.connection_alive(stage.now_ns) is None, "nothing new"


def test_a_busy_symbol_is_stale_after_2_s_and_a_quiet_one_is_not() -> None:
    busy, quiet = Stage().live(), Stage().live()
    for update_id in range(11, 21):
        busy.wait_connected(0.1)
        busy.diff(update_id)
        for _ in range(3):
            quiet.wait_connected(1.0)
        quiet.diff(update_id)
    busy.wait_connected(1.9)
    assert busy.state() == (FeedState.LIVE, None)
    busy.wait_connected(0.1)
    assert busy.state() == (FeedState.STALE, NO_DEPTH)
    for _ in range(59):
        quiet.wait_connected(1.0)
        assert quiet.state() == (FeedState.LIVE, None)
    quiet.wait_connected(1.0)
    assert quiet.state() == (FeedState.STALE, NO_DEPTH), "60 s are too long for any symbol"


def test_no_symbol_needs_to_be_quicker_than_one_and_a_half_seconds() -> None:
    stage = Stage().live()
    for update_id in range(11, 31):
        stage.wait_connected(0.01)
        stage.diff(update_id)
    stage.wait_connected(1.49)
    assert stage.state() == (FeedState.LIVE, None)
    stage.wait_connected(0.01)
    assert stage.state() == (FeedState.STALE, NO_DEPTH)


def test_a_crossed_book_is_not_traded_on_at_all_and_given_up_after_half_a_second() -> None:
    stage = Stage().live()
    change = stage.diff(11, bids=[(100.01, 1.0)])
    assert not change.live
    assert stage.state() == (FeedState.STALE, "crossed book")
    assert stage.resync() is None
    stage.wait(0.4)
    stage.diff(12, bids=[(100.01, 2.0)])
    stage.wait(0.2)
    assert stage.resync() == "crossed book"
    stage.diff(13, asks=[(100.01, 0.0)])
    assert stage.resync() is None
    assert stage.state() == (FeedState.LIVE, None)


def test_a_symbol_that_does_not_trade_is_not_live() -> None:
    stage = Stage(status="BREAK").live()
    assert stage.state() == (FeedState.STALE, "status BREAK")
    change = stage.market.set_rules(RULES)
    assert change is not None
    assert change.live


def test_taken_out_of_trading_it_shows_its_last_levels_until_the_next_book() -> None:
    stage = Stage().live()
    change = stage.market.set_unready(FeedState.DOWN, "no connection")
    assert change is not None
    assert not change.live
    assert stage.market.set_unready(FeedState.DOWN, "no connection") is None, "nothing new"
    assert stage.state() == (FeedState.DOWN, "no connection")
    assert stage.market.view().best_bid == D(100)
    assert stage.market.apply_diff(11, BIDS, [], 0) is None
    assert stage.market.apply_quote(12, 99.0, 1.0, 101.0, 1.0) is None
    assert stage.resync() is None
    assert stage.live().state() == (FeedState.LIVE, None)


def test_only_a_book_makes_it_live() -> None:
    with pytest.raises(ValueError, match="load_snapshot"):
        Stage().market.set_unready(FeedState.LIVE, "")


# --- impossible numbers ---


@pytest.mark.parametrize(
    "level",
    [
        (100.001, 1.0),
        (float("nan"), 1.0),
        (float("inf"), 1.0),
        (100.0, float("nan")),
        (100.0, -1.0),
        (100.0, float("inf")),
    ],
)
def test_an_impossible_level_takes_the_market_out_until_the_next_book(level: tuple[float, float]) -> None:
    stage = Stage().live()
    with pytest.raises(OffGrid):
        stage.diff(11, bids=[level])
    assert stage.state()[0] is FeedState.SYNCING
    assert stage.resync() is not None
    with pytest.raises(OffGrid):
        stage.diff(12)
    assert stage.market.view().bids == ()
    assert stage.live().state() == (FeedState.LIVE, None)


@pytest.mark.parametrize("quantity", [float("nan"), 1e-9, 1e300])
def test_what_a_large_diff_hides_is_found_by_whoever_looks(quantity: float) -> None:
    stage = Stage().live()
    stage.diff(11, bids=[(99.5, quantity), *((90.0 - place, 1.0) for place in range(20))])
    assert stage.market.view(1).state is FeedState.LIVE
    view = stage.market.view(20)
    assert (view.state, view.bids) == (FeedState.SYNCING, ())
    assert stage.resync() is not None
    with pytest.raises(OffGrid):
        stage.diff(12)


def test_what_a_large_diff_hides_is_found_by_a_long_look_too() -> None:
    stage = Stage().live()
    stage.diff(11, bids=[(99.99, float("inf")), *((90.0 - place, 1.0) for place in range(20))])
    assert stage.market.view(None).state is FeedState.SYNCING
    assert stage.state()[0] is FeedState.SYNCING


@pytest.mark.parametrize("level", [(100.000000001, 1.0), (float("nan"), 1.0), (99.0, -2.0)])
def test_an_impossible_snapshot_changes_nothing(level: tuple[float, float]) -> None:
    stage = Stage().live()
    before = stage.market.view()
    with pytest.raises(OffGrid):
        stage.market.load_snapshot(20, [*BIDS, level], ASKS)
    assert stage.market.view() == before


def test_prices_between_the_ticks_are_believed_when_the_snapshot_shows_them() -> None:
    stage = Stage()
    stage.market.load_snapshot(10, [(99.995, 1.0), *BIDS[1:]], ASKS, limit=1000)
    stage.diff(11, bids=[(99.985, 2.0)])
    assert stage.market.view(2).bids == ((D("99.995"), D(1)), (D("99.990"), D(2)))


# --- rules ---


def test_coarser_rules_leave_the_book_as_it_is() -> None:
    stage = Stage().live()
    change = stage.market.set_rules(symbol(tick_size=D("0.1"), step_size=D("0.1")))
    assert change is not None
    assert change.live
    view = stage.market.view()
    assert [str(price) for price, _ in view.bids] == ["100.0", "99.99", "99.5"]
    assert str(view.bids[0][1]) == "1.5"
    with pytest.raises(OffGrid):
        stage.diff(11, bids=[(99.123, 1.0)])


def test_finer_rules_give_more_decimals() -> None:
    stage = Stage().live()
    stage.market.view()
    stage.market.set_rules(symbol(tick_size=D("0.001")))
    stage.diff(11, bids=[(100.005, 1.0)])
    assert str(stage.market.view().best_bid) == "100.005"
    assert str(stage.market.view().bids[1][0]) == "100.000"


def test_rules_of_another_symbol_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="ETHUSDT"):
        Stage().market.set_rules(symbol("ETHUSDT", "ETH"))


def test_the_same_rules_again_are_no_change() -> None:
    assert Stage().market.set_rules(symbol()) is None


# --- prints and the day ---


def test_prints_are_counted_once_and_in_order() -> None:
    stage = Stage()
    for trade_id in (5, 6, 6, 4, 9):
        stage.market.apply_trade(trade(trade_id))
    assert [each.id for each in stage.market.trades()] == [5, 6, 9]
    assert stage.market.last_trade_id == 9
    assert [each.id for each in stage.market.trades(after_id=5)] == [6, 9]
    assert [each.id for each in stage.market.trades(limit=1)] == [9]
    assert stage.market.trades(limit=0) == ()


def test_only_the_last_thousand_prints_are_kept() -> None:
    stage = Stage()
    for trade_id in range(PRINTS_KEPT + 5):
        stage.market.apply_trade(trade(trade_id))
    kept = stage.market.trades(limit=5000)
    assert (len(kept), kept[0].id) == (PRINTS_KEPT, 5)


def test_the_average_price_is_the_volume_weighted_one_of_the_last_minutes() -> None:
    stage = Stage()
    start = 1_723_118_400_000
    stage.market.apply_trade(trade(1, "100", "1", time_ms=start))
    stage.market.apply_trade(trade(2, "103", "2", time_ms=start + 60_000))
    assert stage.market.view().average_price == D("102.00000000")
    stage.wait(240)
    assert stage.market.view().average_price == D("103.00000000"), "the first is 5 minutes old"
    stage.wait(60)
    assert stage.market.view().average_price == D(103), "no print left: the last price"


def test_an_average_over_no_minutes_is_the_last_price() -> None:
    stage = Stage(average_price_minutes=0)
    stage.market.apply_trade(trade(1, "100"))
    stage.market.apply_trade(trade(2, "103"))
    assert stage.market.view().average_price == D(103)


def test_the_average_rounds_half_up_at_8_decimals() -> None:
    stage = Stage()
    stage.market.apply_trade(trade(1, "100", "1"))
    stage.market.apply_trade(trade(2, "101", "2"))
    assert str(stage.market.view().average_price) == "100.66666667"


def test_minute_candles_come_from_prints_and_are_closed_by_the_venues_clock() -> None:
    stage = Stage().live()
    start = 1_723_118_400_000
    stage.market.apply_trade(trade(1, "100", "1", time_ms=start + 59_000))
    assert not stage.market.minute_candles()[0].closed
    stage.diff(11, time_ms=start + 60_000)
    assert stage.market.minute_candles()[0].closed


def test_day_figures_are_passed_on() -> None:
    stage = Stage()
    day = Ticker(
        price_change_percent=D("-0.019"),
        open_price=D(1),
        high_price=D(2),
        low_price=D(1),
        volume=D(3),
        quote_volume=D(4),
        time_ms=5,
    )
    assert stage.market.apply_ticker(day) is not None
    assert stage.market.apply_ticker(day) is None
    assert stage.market.view().ticker == day


# --- threads ---


def test_readers_never_see_half_a_change() -> None:
    """One writer flips the book between two states; every view must be wholly one of them."""
    stage = Stage().live()
    states = {
        D(100): ((D(100), D(1)), (D("99.99"), D(2)), (D("99.5"), D(4))),
        D("99.99"): ((D("99.99"), D(7)), (D("99.5"), D(4)), (D("99.4"), D(8))),
    }
    stage.diff(11, bids=[(100.0, 1.0)])
    stop = threading.Event()
    seen: list[MarketView] = []
    wrong: list[Any] = []

    def read(levels: int | None) -> None:
        last_seq = 0
        while not stop.is_set():
            view = stage.market.view(levels)
            if view.bids[:3] != states[view.bids[0][0]] or view.seq < last_seq:
                wrong.append((last_seq, view))
                return
            last_seq = view.seq
        seen.append(view)

    readers = [threading.Thread(target=read, args=(levels,), daemon=True) for levels in (3, 20, None)]
    for reader in readers:
        reader.start()
    for update_id in range(12, 3_000, 2):
        stage.diff(update_id, bids=[(100.0, 0.0), (99.99, 7.0), (99.4, 8.0)])
        stage.diff(update_id + 1, bids=[(100.0, 1.0), (99.99, 2.0), (99.4, 0.0)])
    stop.set()
    for reader in readers:
        reader.join(10)
    assert not wrong
    assert len(seen) == len(readers)
