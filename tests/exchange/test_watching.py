"""Watched levels: what a market says about the prices somebody waits at, and only about those."""

from decimal import Decimal

from tests.exchange.fakes import symbol
from trading_engine.exchange.market import ChangeKind, Market, MarketChange, Trade
from trading_engine.exchange.orders import Side
from trading_engine.exchange.waiting import LevelKey
from trading_engine.exchange.watching import LevelChange

D = Decimal
BIDS = [(100.0, 1.5), (99.99, 2.0), (99.5, 4.0)]
ASKS = [(100.01, 0.5), (100.02, 1.0), (101.0, 3.0)]
BEST, SECOND, THIRD = (LevelKey(Side.BUY, D(price)) for price in ("100.00", "99.99", "99.50"))
ASK = LevelKey(Side.SELL, D("100.02"))


def live_market(*, limit: int = 1000) -> Market:
    market = Market(symbol(), monotonic_ns=lambda: 1_000_000_000_000, wall_ms=lambda: 1_723_118_400_000)
    market.load_snapshot(10, BIDS, ASKS, limit=limit)
    return market


def told(change: MarketChange | None) -> list[tuple[LevelKey, Decimal, Decimal, Decimal]]:
    assert change is not None
    return [tuple(level) for level in change.levels]  # type: ignore[misc]  # a named tuple, as a plain one


def trade(trade_id: int, quantity: str, time_ms: int, price: str = "100.00") -> Trade:
    return Trade(id=trade_id, price=D(price), quantity=D(quantity), buyer_is_maker=True, time_ms=time_ms)


def test_watching_tells_what_is_there_now() -> None:
    market = live_market(limit=3)
    assert market.watch(SECOND).shown == D(2)
    assert market.watch(ASK).shown == D(1)
    assert market.watch(LevelKey(Side.BUY, D("99.98"))).shown == 0, "no level there"
    assert market.watch(LevelKey(Side.BUY, D("99.49"))).shown is None, "beyond the end of the snapshot"


def test_before_the_first_book_nothing_is_known() -> None:
    market = Market(symbol(), monotonic_ns=lambda: 0, wall_ms=lambda: 0)
    assert market.watch(BEST).shown is None


def test_a_diff_tells_of_watched_levels_that_changed_and_of_no_others() -> None:
    market = live_market()
    market.watch(SECOND)
    market.watch(ASK)
    assert told(market.apply_diff(11, [(100.0, 9.0), (99.5, 0.0)], [(101.0, 1.0)], 7)) == []
    change = market.apply_diff(12, [(100.0, 1.0), (99.99, 0.5)], [(100.02, 1.0)], 8)
    assert change is not None
    assert (change.kind, change.time_ms) == (ChangeKind.DIFF, 8)
    assert change.levels == (LevelChange(SECOND, D(2), D("0.5"), D(0)),)
    assert told(market.apply_diff(13, [(99.99, 0.0)], [], 9)) == [(SECOND, D("0.5"), D(0), D(0))]


def test_a_quote_that_runs_ahead_tells_too_and_its_diff_does_not_repeat_it() -> None:
    market = live_market()
    for key in (BEST, SECOND, THIRD):
        market.watch(key)
    assert sorted(told(market.apply_quote(12, 99.5, 3.0, 100.01, 0.5))) == [
        (THIRD, D(4), D(3), D(0)),
        (SECOND, D(2), D(0), D(0)),
        (BEST, D("1.5"), D(0), D(0)),
    ]
    assert told(market.apply_diff(11, [(100.0, 1.0)], [], 5)) == [], "older than the quote"
    assert told(market.apply_diff(12, [(100.0, 0.0), (99.5, 3.0)], [], 6)) == []


def test_a_diff_says_how_much_of_a_fall_was_traded() -> None:
    market = live_market()
    market.watch(BEST)
    assert told(market.apply_trade(trade(1, "0.4", 20))) == []
    assert market.watch(BEST).waiting == D("0.4")
    assert market.view().waiting == {BEST: D("0.4")}
    assert told(market.apply_diff(11, [(100.0, 1.0)], [], 10)) == [(BEST, D("1.5"), D(1), D(0))]
    assert told(market.apply_diff(12, [(100.0, 0.6)], [], 30)) == [(BEST, D(1), D("0.6"), D("0.4"))]
    assert market.view().waiting == {}


def test_a_diff_that_leaves_a_traded_level_as_it_was_says_so() -> None:
    """What was traded came back as new orders."""
    market = live_market()
    market.watch(BEST)
    market.apply_trade(trade(1, "0.4", 20))
    assert told(market.apply_diff(12, [], [(101.0, 1.0)], 30)) == [(BEST, D("1.5"), D("1.5"), D("0.4"))]


def test_a_print_told_after_the_quote_that_shows_it_is_late() -> None:
    market = live_market()
    market.watch(BEST)
    assert told(market.apply_quote(11, 100.0, 1.1, 100.01, 0.5)) == [(BEST, D("1.5"), D("1.1"), D(0))]
    change = market.apply_trade(trade(1, "0.4", 20))
    assert change is not None
    assert change.late
    assert market.view().waiting == {}


def test_a_quote_is_explained_by_the_print_told_before_it() -> None:
    market = live_market()
    market.watch(BEST)
    change = market.apply_trade(trade(1, "0.4", 20))
    assert change is not None
    assert not change.late
    assert told(market.apply_quote(11, 100.0, 1.0, 100.01, 0.5)) == [(BEST, D("1.5"), D(1), D("0.4"))]
    assert market.view().waiting == {}


def test_a_level_no_longer_watched_is_not_told_of() -> None:
    market = live_market()
    market.watch(SECOND)
    market.unwatch(SECOND)
    market.unwatch(ASK)
    assert told(market.apply_diff(11, [(99.99, 0.0)], [], 0)) == []
