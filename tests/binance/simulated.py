"""The simulated exchange as a process of its own, and witnesses that compare our books with its true ones."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any, Self

import urllib3

from tests.binance.feeding import wait_until
from trading_engine.binance.wire import decode_exchange_info, decode_trades
from trading_engine.exchange.market import FeedState, Level, Market, MarketChange, RawDiff, Trade
from trading_engine.exchange.symbols import Symbol

TOP = 20


class Simulator:
    """`python -m trading_engine.simulator`, started on entering, ended on leaving."""

    def __init__(self, symbols: str = "BTCUSDT,ETHUSDT,SOLUSDT,ADAUSDT", *options: str) -> None:
        self._command = [
            sys.executable,
            "-m",
            "trading_engine.simulator",
            "--symbols",
            symbols,
            "--seed",
            "7",
            *options,
        ]
        self._http = urllib3.PoolManager(maxsize=4, retries=False)
        self._process: subprocess.Popen[str] | None = None
        self._rules: dict[str, Symbol] = {}
        self.rest_url = ""
        self.ws_url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        addresses = json.loads(self._process.stdout.readline())
        self.rest_url, self.ws_url = addresses["rest_url"], addresses["ws_url"]
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            assert self._process.stdout is not None
            self._process.stdout.close()

    def control(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Perform a control command."""
        answer = self._http.request("POST", f"{self.rest_url}/control/{command}", json=arguments)
        assert answer.status == 200, answer.data
        result: dict[str, Any] = answer.json()
        return result

    def book(self, symbol: str) -> dict[str, Any]:
        """Return the true book."""
        book: dict[str, Any] = self._http.request("GET", f"{self.rest_url}/control/book?symbol={symbol}").json()
        return book

    def requests(self, latest: int = 0) -> dict[str, Any]:
        """Return what was asked of the exchange, with so many of the latest requests one by one."""
        seen: dict[str, Any] = self._http.request("GET", f"{self.rest_url}/control/requests?latest={latest}").json()
        return seen

    def asked(self, path: str) -> int:
        """Return how often a path was asked for since the start; how many pongs came for "pongs"."""
        count: int = self.requests()["counts"].get(path, 0)
        return count

    def last_trade_id(self, symbol: str) -> int:
        """Return the id of a symbol's newest trade."""
        (trade,) = self._http.request("GET", f"{self.rest_url}/api/v3/trades?symbol={symbol}&limit=1").json()
        trade_id: int = trade["id"]
        return trade_id

    def trades(self, symbol: str, first_id: int, last_id: int) -> dict[int, Trade]:
        """Return a symbol's trades from one id to another, each by its id, as they truly happened."""
        found: dict[int, Trade] = {}
        while first_id <= last_id:
            address = f"{self.rest_url}/api/v3/historicalTrades?symbol={symbol}&fromId={first_id}&limit=1000"
            found.update({trade.id: trade for trade in decode_trades(self._http.request("GET", address).data)})
            first_id = max(found) + 1
        return found

    def heal(self) -> None:
        """Switch every fault off."""
        answer = self._http.request("DELETE", f"{self.rest_url}/control/faults")
        assert answer.status == 200, answer.data

    def rules(self, symbol: str) -> Symbol:
        """Return the rules a symbol had at the start."""
        if not self._rules:
            body = self._http.request("GET", f"{self.rest_url}/api/v3/exchangeInfo").data
            self._rules = {symbol.name: symbol for symbol in decode_exchange_info(body).symbols}
        return self._rules[symbol]


class WitnessedMarket(Market):
    """A market that remembers what it showed while live, to be compared with the exchange's true book later.

    After a diff or a snapshot all levels speak of the update id shown; after a quote, which runs ahead, the best do.
    """

    def __init__(self, symbol: Symbol) -> None:
        super().__init__(symbol, monotonic_ns=time.monotonic_ns, wall_ms=lambda: time.time_ns() // 1_000_000)
        self.name = symbol.name
        self.whole: dict[int, tuple[tuple[Level, ...], tuple[Level, ...]]] = {}
        self.best: dict[int, tuple[Level, Level]] = {}
        self.unready: list[tuple[FeedState, str]] = []
        self.loads = 0
        """Books loaded because there was none in step."""
        self.renewals = 0
        """Books loaded in the place of one in step, because the price had neared its edge: that is up to the price."""
        self._in_step = False

    def load_snapshot(
        self,
        update_id: int,
        bids: Sequence[Any],
        asks: Sequence[Any],
        *,
        limit: int | None = None,
        diffs: Sequence[RawDiff] = (),  # type: ignore[override]  # what the feed hands in
    ) -> MarketChange | None:
        change = super().load_snapshot(update_id, bids, asks, limit=limit, diffs=diffs)
        self.loads += not self._in_step
        self.renewals += self._in_step
        self._in_step = True
        self._remember(change, diffs[-1][0] if diffs else update_id)
        return change

    def apply_diff(self, update_id: int, bids: Any, asks: Any, event_time_ms: int) -> MarketChange | None:
        change = super().apply_diff(update_id, bids, asks, event_time_ms)
        self._remember(change, update_id)
        return change

    def apply_quote(
        self, update_id: int, bid: float, bid_quantity: float, ask: float, ask_quantity: float
    ) -> MarketChange | None:
        change = super().apply_quote(update_id, bid, bid_quantity, ask, ask_quantity)
        self._remember(change, None)
        return change

    def set_unready(self, state: FeedState, reason: str) -> MarketChange | None:
        self.unready.append((state, reason))
        self._in_step = False
        return super().set_unready(state, reason)

    def _remember(self, change: MarketChange | None, whole_as_of: int | None) -> None:
        if change is None or not change.live:
            return
        view = self.view(TOP)
        if view.bids and view.asks:
            self.best[view.update_id] = (view.bids[0], view.asks[0])
        if view.update_id == whole_as_of:
            self.whole[view.update_id] = (view.bids, view.asks)

    @property
    def live(self) -> bool:
        """True when it may be traded on at this moment."""
        return self.view(0).state is FeedState.LIVE


class Truth:
    """Takes the true books of the exchange again and again, in a thread, while a test goes on."""

    def __init__(self, simulator: Simulator, *markets: WitnessedMarket) -> None:
        self._simulator = simulator
        self._markets = markets
        self._books: dict[str, dict[int, dict[str, Any]]] = {market.name: {} for market in markets}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="truth", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(5)

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            for market in self._markets:
                with suppress(urllib3.exceptions.HTTPError, OSError):
                    book = self._simulator.book(market.name)
                    self._books[market.name][book["update_id"]] = book

    def check(self) -> int:
        """Compare every book shown as live under an update id that was witnessed with the true book of that id.

        Return how many there were: the exchange's book is rarely caught at the very end of a diff, so they may be few.
        """
        compared = 0
        for market in self._markets:
            for update_id, book in list(self._books[market.name].items()):
                bids, asks = true_levels(book, "bids"), true_levels(book, "asks")
                if update_id in market.whole:
                    # A side may know fewer levels than the exchange has, where the price has come near its end.
                    our_bids, our_asks = market.whole[update_id]
                    assert list(our_bids) == bids[: len(our_bids)], f"{market.name} at {update_id}"
                    assert list(our_asks) == asks[: len(our_asks)], f"{market.name} at {update_id}"
                    compared += 1
                if update_id in market.best:
                    assert market.best[update_id] == (bids[0], asks[0]), f"{market.name} at {update_id}"
                    compared += 1
        return compared


def true_levels(book: dict[str, Any], side: str) -> list[Level]:
    """Return a side of a true book as exact levels."""
    return [(Decimal(price), Decimal(quantity)) for price, quantity in book[side]]


def recovers(simulator: Simulator, markets: Sequence[WitnessedMarket], within_s: float) -> float:
    """Wait until markets are live and return the seconds it took; then halt the exchange and compare whole books."""
    took_s = wait_until(lambda: all(market.live for market in markets), within_s)
    for market in markets:
        simulator.control("pause", symbol=market.name)

    def same_moment(market: WitnessedMarket) -> bool:
        book = simulator.book(market.name)
        if book["update_id"] not in market.whole:
            return False  # a quote ran ahead; the diff that says the same of all levels is still to come
        view = market.view(None)
        if view.update_id != book["update_id"] or view.state is not FeedState.LIVE:
            return False
        for side, shown in (("bids", view.bids), ("asks", view.asks)):
            true = true_levels(book, side)
            assert list(shown) == true[: len(shown)], f"{market.name} {side}"
            if len(shown) < min(len(true), 5):
                return False  # the price has come near the end of what is known; a new snapshot is due
        return True

    for market in markets:
        wait_until(partial(same_moment, market), 3)
        simulator.control("resume", symbol=market.name)
    return took_s
