"""Which symbols are followed: the configured ones, those that orders and holdings need, those somebody looks at.

`Markets` is the mapping everybody reads; it is replaced whole, so a reader may walk it while a symbol is added.
`Following` is used by any thread; its lock guards the lists only and is never held while a market, the feed or the
venue is asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Final, Protocol

from trading_engine.exchange.accounts import AccountView
from trading_engine.exchange.market import Market
from trading_engine.exchange.messages import Refused
from trading_engine.exchange.money import REPORTING_ASSET
from trading_engine.exchange.symbols import Symbol

MOST_ON_DEMAND: Final = 50
"""Symbols followed because somebody asked."""

UNUSED_AFTER_S: Final = 60.0
"""A symbol followed on demand is dropped when nobody has looked at it for this long."""

LOOK_EVERY_S: Final = 0.02
"""How often a request that waits for a book looks whether it is there."""


class Feed(Protocol):
    """What following needs of the feed."""

    def follow(self, market: Market) -> None:
        """Follow a market from now on; twice changes nothing."""

    def unfollow(self, symbol: str) -> None:
        """Give a symbol up."""


class Markets(Mapping[str, Market]):
    """The followed markets by symbol. Each method works on one unchanging dictionary."""

    def __init__(self) -> None:
        self._markets: dict[str, Market] = {}

    def __getitem__(self, symbol: str) -> Market:
        return self._markets[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._markets)

    def __len__(self) -> int:
        return len(self._markets)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._markets

    def items(self) -> ItemsView[str, Market]:
        """Return the pairs as they are now; the inherited view would look each one up later."""
        return self._markets.items()

    def values(self) -> ValuesView[Market]:
        """Return the markets as they are now."""
        return self._markets.values()

    def replace(self, markets: dict[str, Market]) -> None:
        """Put another dictionary in place of this one; nobody changes it afterwards."""
        self._markets = markets


class Following:
    """Adds and drops markets, and tells the feed."""

    def __init__(
        self,
        *,
        new_market: Callable[[Symbol], Market],
        accounts: Callable[[], Iterable[AccountView]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`accounts` returns the committed views of those whose orders and holdings must stay followed."""
        self.markets = Markets()
        self.symbols: Mapping[str, Symbol] = {}
        """Every symbol of the venue by name, replaced whole; empty until the venue has been asked."""
        self.complete = False
        """Whether `symbols` holds the whole venue, or only those asked for first."""
        self._new_market = new_market
        self._accounts = accounts
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._pinned: frozenset[str] = frozenset()
        self._used_at: dict[str, float] = {}
        self._feed: Feed | None = None

    def learn(self, symbols: Iterable[Symbol], *, complete: bool) -> None:
        """Take over the venue's rules: of everything it lists, or some of it to begin with.

        The rules of a market that is followed already are the feed's business, which asks for them more often.
        """
        known = {symbol.name: symbol for symbol in symbols}
        with self._lock:
            self.symbols = known if complete else {**self.symbols, **known}
            self.complete = complete or self.complete

    def attach(self, feed: Feed) -> None:
        """Have this feed follow what is followed, now and later."""
        with self._lock:
            self._feed = feed
            markets = list(self.markets.values())
        for market in markets:
            feed.follow(market)

    def pin(self, names: Iterable[str]) -> tuple[str, ...]:
        """Follow these, and what values them, for good; return the names that the venue does not list."""
        wanted = list(dict.fromkeys(names))
        missing = tuple(name for name in wanted if name not in self.symbols)
        listed = self._with_valuations(name for name in wanted if name in self.symbols)
        with self._lock:
            self._pinned = frozenset(listed)
        for name in listed:
            self._add(name)
        return missing

    def follow(self, name: str, timeout_s: float) -> Market:
        """Return the market of a listed symbol, following it if it was not, and wait for its first book.

        A pinned symbol is returned at once, whatever its state. Raise Refused `unknown_symbol`, or `syncing` when
        there is no book after `timeout_s`, or `MOST_ON_DEMAND` symbols are all in use.
        """
        deadline = self._monotonic() + timeout_s
        while name not in self.symbols and not self.complete:
            self._wait(deadline, "the venue's list of symbols is still being fetched")
        if name not in self.symbols:
            raise Refused("unknown_symbol", f"the venue does not list {name}", "symbol")
        self.touch([name])
        market = self.markets.get(name)
        if market is None:
            self._make_room(name)
            for needed in self._with_valuations([name]):
                self._add(needed)
            market = self.markets[name]
        if name in self._pinned:
            return market
        while (view := market.view(0)).updated_at_ms is None:
            self._wait(deadline, f"{name} is being synchronised: {view.reason}")
        return market

    def add_needed(self) -> None:
        """Follow what accounts need, as far as the list is known: after a start, and when more of it is."""
        for name in self._with_valuations(self.needed(self._accounts())):
            self._add(name)

    def touch(self, names: Iterable[str]) -> None:
        """Note that somebody looks at these symbols now."""
        now = self._monotonic()
        with self._lock:
            for name in names:
                self._used_at[name] = now

    def drop_unused(self) -> tuple[str, ...]:
        """Stop following what nobody has looked at for `UNUSED_AFTER_S` and no account needs; return the names."""
        kept = self._kept()
        dropped = tuple(name for name in self.markets if name not in kept)
        for name in dropped:
            self._remove(name)
        return dropped

    def _kept(self) -> set[str]:
        now = self._monotonic()
        with self._lock:
            recent = [name for name, used in self._used_at.items() if now - used < UNUSED_AFTER_S]
        return {*self._pinned, *self._with_valuations([*recent, *self.needed(self._accounts())])}

    def needed(self, views: Iterable[AccountView]) -> list[str]:
        """Return the symbols that accounts need: of their open orders, and of what values their holdings."""
        names: dict[str, None] = {}
        for view in views:
            names.update((order.symbol, None) for order in view.open_orders.values())
            for asset, balance in view.balances.items():
                if balance.total and (valuation := self.valuation(asset)) is not None:
                    names[valuation] = None
        return list(names)

    def valuation(self, asset: str) -> str | None:
        """Return the symbol that values an asset in USDT; None for USDT itself, and where the venue lists none."""
        if asset == REPORTING_ASSET:
            return None
        pairs = (f"{asset}{REPORTING_ASSET}", f"{REPORTING_ASSET}{asset}")
        return next((pair for pair in pairs if pair in self.symbols), None)

    def _with_valuations(self, names: Iterable[str]) -> list[str]:
        """Return the listed ones of these names, each followed by the symbol that values its quote asset."""
        found: dict[str, None] = {}
        for name in names:
            symbol = self.symbols.get(name)
            if symbol is not None:
                found[name] = None
                valuation = self.valuation(symbol.quote_asset)
                if valuation is not None:
                    found[valuation] = None
        return list(found)

    def _wait(self, deadline: float, reason: str) -> None:
        if self._monotonic() >= deadline:
            raise Refused("syncing", reason, "symbol")
        time.sleep(LOOK_EVERY_S)

    def _make_room(self, newcomer: str) -> None:
        """See to it that a further symbol fits; raise Refused when all that are followed on demand are in use."""
        if self._on_demand() >= MOST_ON_DEMAND:
            self.drop_unused()
        if self._on_demand() >= MOST_ON_DEMAND:
            raise Refused("syncing", f"{MOST_ON_DEMAND} symbols are in use; {newcomer} must wait for one", "symbol")

    def _on_demand(self) -> int:
        return sum(name not in self._pinned for name in self.markets)

    def _add(self, name: str) -> None:
        with self._lock:
            if name in self.markets:
                return
            market = self._new_market(self.symbols[name])
            self.markets.replace({**dict(self.markets.items()), name: market})
            self._used_at.setdefault(name, self._monotonic())
            feed = self._feed
        if feed is not None:
            feed.follow(market)

    def _remove(self, name: str) -> None:
        with self._lock:
            self.markets.replace({other: market for other, market in self.markets.items() if other != name})
            self._used_at.pop(name, None)
            feed = self._feed
        if feed is not None:
            feed.unfollow(name)
