"""Candles joined from REST and prints: always what the venue itself would answer, and mostly without asking it."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.binance.feeding import feed_of, market_of, rules, running, wait_until
from tests.binance.simulated import Simulator
from trading_engine.binance.candles import CANDLES_LIMIT, REFETCH_S, CandleHistory
from trading_engine.binance.messages import AggTrade, Kline
from trading_engine.binance.rest import VenueClient, VenueUnavailable
from trading_engine.exchange.candles import INTERVALS_MS, Candle, close_time_ms, open_time_ms
from trading_engine.exchange.market import FeedState, Market, Trade

NOON_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
NAME = "BTCUSDT"


class Venue:
    """A venue that makes its candles of all its trades, the slow and obvious way; it is its own client."""

    def __init__(self) -> None:
        self.now_ms = NOON_MS
        self.trades: list[Trade] = []
        self.down = False
        self.forgotten = 0
        self.asked: list[str] = []

    def trade(self, price: str, quantity: str = "1", *, time_ms: int | None = None) -> Trade:
        trade = Trade(
            id=1_000 + len(self.trades),
            price=Decimal(price),
            quantity=Decimal(quantity),
            buyer_is_maker=False,
            time_ms=self.now_ms if time_ms is None else time_ms,
        )
        self.trades.append(trade)
        return trade

    def klines(
        self, symbol: str, interval: str, *, start_ms: int | None = None, end_ms: int | None = None, limit: int = 500
    ) -> tuple[Kline, ...]:
        self._ask("klines")
        rows: list[Kline] = []
        for trade in self.trades:
            opened_ms = open_time_ms(trade.time_ms, interval)
            if not rows:
                rows.append(flat(opened_ms, interval, trade.price))
            while rows[-1].open_time_ms < opened_ms:
                rows.append(flat(rows[-1].close_time_ms + 1, interval, rows[-1].close))
            place = next(place for place, row in enumerate(rows) if row.open_time_ms == opened_ms)
            rows[place] = with_trade(rows[place], trade)
        while rows and rows[-1].close_time_ms < self.now_ms:
            rows.append(flat(rows[-1].close_time_ms + 1, interval, rows[-1].close))
        return tuple(row for row in rows if end_ms is None or row.open_time_ms <= end_ms)[-limit:]

    def agg_trades(
        self, symbol: str, *, start_ms: int | None = None, from_id: int | None = None, limit: int = 500
    ) -> tuple[AggTrade, ...]:
        self._ask("aggTrades")
        known = self.trades[self.forgotten :]
        if start_ms is not None:
            found = [trade for trade in known if trade.time_ms >= start_ms]
        else:
            assert from_id is not None
            found = [trade for trade in known if trade.id - 1_000 >= from_id]
        return tuple(
            AggTrade(
                symbol="",
                id=trade.id - 1_000,
                price=trade.price,
                quantity=trade.quantity,
                first_trade_id=trade.id,
                last_trade_id=trade.id,
                time_ms=trade.time_ms,
                buyer_is_maker=False,
            )
            for trade in found[:limit]
        )

    def _ask(self, what: str) -> None:
        if self.down:
            raise VenueUnavailable("down")
        self.asked.append(what)


def flat(opened_ms: int, interval: str, price: Decimal) -> Kline:
    nothing = Decimal(0)
    return Kline(
        open_time_ms=opened_ms,
        close_time_ms=close_time_ms(opened_ms, interval) - 1,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=nothing,
        quote_volume=nothing,
        trades=0,
    )


def with_trade(row: Kline, trade: Trade) -> Kline:
    price = trade.price
    return replace(
        row,
        open=row.open if row.trades else price,
        high=max(row.high, price) if row.trades else price,
        low=min(row.low, price) if row.trades else price,
        close=price,
        volume=row.volume + trade.quantity,
        quote_volume=row.quote_volume + price * trade.quantity,
        trades=row.trades + 1,
    )


class Desk:
    """A venue, our market of it, and the chart; `hear` is what the stream does."""

    def __init__(self) -> None:
        self.venue = Venue()
        self.monotonic_s = 0.0
        self.market = Market(
            rules(NAME), monotonic_ns=lambda: int(self.monotonic_s * 1e9), wall_ms=lambda: self.venue.now_ms
        )
        self.history = CandleHistory(
            self.venue,  # type: ignore[arg-type]  # a fake of the two questions that are asked
            monotonic=lambda: self.monotonic_s,
            wall_ms=lambda: self.venue.now_ms,
        )
        self.come_alive()

    def come_alive(self) -> None:
        self.market.load_snapshot(1, [(1.0, 1.0)], [(2.0, 1.0)])

    def hear(self, *trades: Trade) -> None:
        for trade in trades:
            self.market.apply_trade(trade)

    def check(self, interval: str = "1m", limit: int = 500) -> None:
        """Compare the chart with what the venue would answer now; asking for the comparison does not count."""
        candles = self.history.candles(self.market, interval, limit)
        asked = list(self.venue.asked)
        truth = self.venue.klines(NAME, interval, limit=limit)
        self.venue.asked = asked
        assert [plain(candle) for candle in candles] == [kline_row(kline) for kline in truth]
        assert all(candle.closed for candle in candles[:-1])
        assert not candles[-1].closed


def plain(candle: Candle) -> tuple[object, ...]:
    return (
        candle.open_time_ms,
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.volume,
        candle.quote_volume,
        candle.trades,
    )


def kline_row(kline: Kline) -> tuple[object, ...]:
    return plain(kline.candle(closed=False))


def test_the_running_candle_is_carried_on_from_prints_without_asking() -> None:
    desk = Desk()
    desk.venue.trade("99", time_ms=NOON_MS - 1)
    desk.venue.trade("100")
    desk.venue.now_ms += 1_000
    desk.hear(desk.venue.trade("101"))
    desk.check()
    assert desk.venue.asked == ["klines", "aggTrades", "aggTrades"]
    for price in ("103", "99.5", "100.25"):
        desk.venue.now_ms += 5_000
        desk.hear(desk.venue.trade(price, "0.12345"))
        desk.check()
    assert desk.venue.asked == ["klines", "aggTrades", "aggTrades"]


def test_a_venue_that_has_forgotten_the_first_trades_is_asked_again_and_never_misread() -> None:
    desk = Desk()
    desk.hear(*(desk.venue.trade(str(price)) for price in range(100, 110)))
    desk.venue.forgotten = 4  # its oldest trade looks like the first of the running candle, and is not
    desk.check()
    desk.hear(*(desk.venue.trade(str(price)) for price in range(110, 120)))
    assert desk.history.candles(desk.market, "1m")[-1].trades == 10
    desk.monotonic_s += REFETCH_S
    desk.come_alive()
    desk.check()
    assert desk.history.candles(desk.market, "1m")[-1].trades == 20


def test_prints_that_rest_counted_already_are_not_counted_twice() -> None:
    desk = Desk()
    desk.hear(*(desk.venue.trade(str(price)) for price in range(100, 140)))
    desk.check()
    assert desk.history.candles(desk.market, "1m")[-1].trades == 40


def test_a_new_interval_begins_with_its_first_print_and_silent_ones_are_flat() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    desk.check()
    desk.venue.now_ms += 3 * 60_000 + 10
    desk.check()  # three minutes without a trade
    desk.hear(desk.venue.trade("107"))
    desk.check()
    desk.hear(desk.venue.trade("106"))
    desk.check()
    assert [candle.trades for candle in desk.history.candles(desk.market, "1m")] == [1, 0, 0, 2]
    assert desk.venue.asked == ["klines", "aggTrades"]


def test_a_print_that_comes_late_belongs_to_its_own_interval() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    desk.check()
    stamp_ms = desk.venue.now_ms
    desk.venue.now_ms += 60_000
    desk.hear(desk.venue.trade("105"))
    desk.hear(desk.venue.trade("99", time_ms=stamp_ms + 1))
    candles = desk.history.candles(desk.market, "1m")
    assert [(str(candle.low), candle.trades) for candle in candles] == [("99", 2), ("105", 1)]


def test_a_hole_in_the_prints_is_filled_by_asking_again_but_not_more_often_than_allowed() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    desk.check()
    desk.venue.trade("150")  # not heard
    desk.hear(desk.venue.trade("101"))
    for _ in range(5):
        assert desk.history.candles(desk.market, "1m")[-1].trades == 1  # as old as allowed, never wrong
    assert desk.venue.asked == ["klines", "aggTrades"]
    desk.monotonic_s += REFETCH_S
    desk.come_alive()
    desk.check()
    assert desk.venue.asked == ["klines", "aggTrades"] * 2
    desk.hear(desk.venue.trade("102"))
    desk.check()
    assert desk.venue.asked == ["klines", "aggTrades"] * 2


def test_more_prints_than_are_kept_are_a_hole() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    desk.check()
    desk.hear(*(desk.venue.trade(str(100 + n % 7)) for n in range(1_500)))
    desk.monotonic_s += REFETCH_S
    desk.come_alive()
    desk.check()
    assert desk.venue.asked == ["klines", "aggTrades"] * 2


def test_a_market_that_is_not_live_is_not_trusted_for_what_it_did_not_hear() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    desk.check()
    desk.market.set_unready(FeedState.DOWN, "connection lost")
    desk.venue.trade("120")
    desk.monotonic_s += REFETCH_S
    desk.check()
    assert desk.history.candles(desk.market, "1m")[-1].high == 120


def test_a_market_that_has_heard_nothing_yet_is_asked_about() -> None:
    desk = Desk()
    desk.venue.trade("100")
    desk.check()
    desk.monotonic_s += REFETCH_S
    desk.come_alive()
    desk.venue.trade("101")
    desk.check()


def test_a_symbol_without_trades_has_the_venues_candles() -> None:
    desk = Desk()
    assert desk.history.candles(desk.market, "1m") == ()
    desk.monotonic_s += REFETCH_S
    desk.come_alive()
    desk.hear(desk.venue.trade("100"))
    desk.check()


def test_known_candles_are_returned_while_the_venue_is_down_and_unknown_ones_are_an_error() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    desk.check()
    desk.venue.down = True
    desk.market.set_unready(FeedState.DOWN, "connection lost")
    desk.monotonic_s += REFETCH_S
    assert desk.history.candles(desk.market, "1m")[-1].close == 100
    with pytest.raises(VenueUnavailable):
        desk.history.candles(desk.market, "5m")
    with pytest.raises(VenueUnavailable):
        desk.history.candles(desk.market, "1m", 10, before_ms=NOON_MS - 60_000)


def test_pages_of_history_are_asked_for_once() -> None:
    desk = Desk()
    for minute in range(30):
        desk.venue.now_ms = NOON_MS + minute * 60_000
        desk.hear(desk.venue.trade(str(100 + minute)))
    before_ms = NOON_MS + 20 * 60_000
    page = desk.history.candles(desk.market, "1m", 5, before_ms)
    assert [candle.close for candle in page] == [115, 116, 117, 118, 119]
    assert all(candle.closed for candle in page)
    assert desk.history.candles(desk.market, "1m", 5, before_ms) == page
    assert desk.history.candles(desk.market, "1m", 5, before_ms - 1) == page  # no candle opens in between
    assert desk.venue.asked == ["klines"]
    older = desk.history.candles(desk.market, "1m", 5, page[0].open_time_ms)
    assert [candle.close for candle in older] == [110, 111, 112, 113, 114]


def test_before_the_future_means_now() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("100"))
    assert desk.history.candles(desk.market, "1m", 5, NOON_MS + 10**9)[-1].close == 100


@pytest.mark.parametrize(
    ("interval", "limit", "named"), (("7m", 500, "interval"), ("1m", 0, "limit"), ("1m", CANDLES_LIMIT + 1, "limit"))
)
def test_wrong_questions_are_refused_by_name(interval: str, limit: int, named: str) -> None:
    desk = Desk()
    with pytest.raises(ValueError, match=named):
        desk.history.candles(desk.market, interval, limit)


@pytest.mark.parametrize("seed", range(12))
def test_any_life_of_a_market_shows_the_venues_candles(seed: int) -> None:
    """Trades, silence, lost prints, broken connections: whenever the venue has been asked anew, nothing differs."""
    chance = random.Random(seed)
    desk = Desk()
    intervals: Sequence[str] = [chance.choice(list(INTERVALS_MS)), "1m", "1s"]
    desk.hear(desk.venue.trade("100"))
    for _ in range(60):
        desk.venue.now_ms += chance.choice((0, 7, 900, 20_000, 65_000))
        trade = desk.venue.trade(str(100 + chance.randint(-20, 20)), f"0.{chance.randint(1, 99_999):05d}")
        if chance.random() < 0.05:
            desk.monotonic_s += REFETCH_S  # lost; by the time anybody looks the chart may be fetched anew
            desk.come_alive()
        else:
            desk.hear(trade)
        if chance.random() < 0.5 and desk.market.last_trade_id == desk.venue.trades[-1].id:
            desk.monotonic_s += REFETCH_S
            desk.come_alive()
            desk.check(chance.choice(intervals))


# --- prints that stand for several trades ---


def told_as_one(trades: Sequence[Trade]) -> Trade:
    return replace(trades[-1], quantity=sum((each.quantity for each in trades), Decimal(0)), count=len(trades))


def test_trades_told_as_one_print_are_carried_on_and_counted_one_by_one() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("1.5"))
    desk.check()
    asked = list(desk.venue.asked)
    missed = [desk.venue.trade("1.7", "2") for _ in range(3)]
    desk.hear(told_as_one(missed), desk.venue.trade("1.6"))
    desk.check()
    assert desk.venue.asked == asked, "nothing is missing, so nothing is asked"
    assert sum(candle.trades for candle in desk.market.minute_candles()) == 5


def test_trades_told_as_one_of_which_the_candles_know_some_are_not_added_twice() -> None:
    desk = Desk()
    desk.hear(desk.venue.trade("1.5"))
    missed = [desk.venue.trade("1.7", "2") for _ in range(2)]
    desk.check()  # by REST the candles contain two of three
    missed.append(desk.venue.trade("1.7", "2"))
    desk.hear(told_as_one(missed))
    desk.monotonic_s += REFETCH_S
    desk.come_alive()
    desk.check()


# --- against the simulated exchange ---


@pytest.mark.slow
def test_the_simulated_exchange_agrees_to_the_last_trade() -> None:
    """Its candles are its own arithmetic: with the book paused, REST and our joined candles must be the same."""
    with Simulator("BTCUSDT,ETHUSDT") as simulator:
        market = market_of(simulator.rules("BTCUSDT"))
        client = VenueClient(simulator.rest_url, monotonic=time.monotonic)
        history = CandleHistory(client, monotonic=time.monotonic, wall_ms=lambda: time.time_ns() // 1_000_000)
        feed = feed_of((simulator.rest_url, simulator.ws_url), client=client)
        feed.follow(market)
        with running(feed):
            wait_until(lambda: market.view(0).state is FeedState.LIVE and market.last_trade_id)
            simulator.control("rate", factor=5)
            history.candles(market, "1m")
            heard = market.last_trade_id or 0
            wait_until(lambda: (market.last_trade_id or 0) > heard + 20)
            simulator.control("pause", symbol="BTCUSDT")
            wait_until(lambda: market.last_trade_id == simulator.last_trade_id("BTCUSDT"))
            wait_until(lambda: time.time() % 60 < 50, 15)  # no new minute between the looks that are compared
            asked = simulator.asked("/api/v3/aggTrades")
            ours = [plain(candle) for candle in history.candles(market, "1m", 100)]
            assert simulator.asked("/api/v3/aggTrades") == asked, "a seam that needed another question"
            assert ours == [kline_row(kline) for kline in client.klines("BTCUSDT", "1m", limit=100)]
            for interval in ("15m", "1h", "1d", "1w", "1M"):
                ours = [plain(candle) for candle in history.candles(market, interval, 10)]
                assert ours == [kline_row(kline) for kline in client.klines("BTCUSDT", interval, limit=10)], interval
            page = history.candles(market, "1m", 50, before_ms=int(str(ours[-1][0])))
            assert len(page) == 50
            assert page[-1].open_time_ms < int(str(ours[-1][0]))
