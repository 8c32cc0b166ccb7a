"""Which symbols are followed: the configured for good, the needed for as long, the looked-at for a while."""

import threading
from collections.abc import Iterable
from decimal import Decimal

import pytest

from tests.exchange.fakes import symbol
from trading_engine.exchange.accounts import AccountView
from trading_engine.exchange.market import Market
from trading_engine.exchange.messages import Account, Balance, Refused
from trading_engine.exchange.symbols import Symbol
from trading_engine.following import MOST_ON_DEMAND, UNUSED_AFTER_S, Following

D = Decimal
LISTED = (
    symbol("BTCUSDT", "BTC"),
    symbol("ETHUSDT", "ETH"),
    symbol("ETHBTC", "ETH", "BTC"),
    symbol("USDTTRY", "USDT", "TRY"),
    symbol("BNBTRY", "BNB", "TRY"),
    *(symbol(f"A{n}USDT", f"A{n}") for n in range(MOST_ON_DEMAND + 2)),
)


class Feed:
    """Gives every market that it is told to follow a book at once, unless `silent`."""

    def __init__(self) -> None:
        self.followed: list[str] = []
        self.silent = False

    def follow(self, market: Market) -> None:
        self.followed.append(market.view(0).symbol.name)
        if not self.silent:
            market.load_snapshot(1, [(99.0, 1.0)], [(101.0, 1.0)])

    def unfollow(self, symbol: str) -> None:
        self.followed.remove(symbol)


class Floor:
    def __init__(self, *pinned: str) -> None:
        self.now_s = 1000.0
        self.views: list[AccountView] = []
        self.feed = Feed()
        self.following = Following(new_market=self.market, accounts=self.accounts, monotonic=lambda: self.now_s)
        self.following.learn(LISTED, complete=True)
        self.following.attach(self.feed)
        assert self.following.pin(pinned) == ()

    def market(self, rules: Symbol) -> Market:
        return Market(rules, monotonic_ns=lambda: int(self.now_s * 1e9), wall_ms=lambda: int(self.now_s * 1e3))

    def accounts(self) -> Iterable[AccountView]:
        return self.views

    def hold(self, asset: str) -> None:
        account = Account(id=1, name="default", venue="test", epoch=1, created_ms=0, epoch_started_ms=0)
        balance = Balance(account_id=1, asset=asset, free=D(1), held=D(0))
        view = AccountView(
            account=account, balances={asset: balance}, positions={}, open_orders={}, net_deposits=D(0), seq=1
        )
        self.views = [view]


@pytest.fixture
def floor() -> Floor:
    return Floor("BTCUSDT")


def refused(floor: Floor, name: str, timeout_s: float = 0.0) -> Refused:
    with pytest.raises(Refused) as caught:
        floor.following.follow(name, timeout_s)
    return caught.value


def test_configured_symbols_and_what_values_them_are_followed(floor: Floor) -> None:
    assert Floor("ETHBTC").feed.followed == ["ETHBTC", "BTCUSDT"]
    assert Floor("BNBTRY").feed.followed == ["BNBTRY", "USDTTRY"], "lira are valued by USDTTRY"
    assert floor.following.pin(["BTCUSDT", "NOPE"]) == ("NOPE",)


def test_a_listed_symbol_is_followed_on_first_use(floor: Floor) -> None:
    market = floor.following.follow("ETHBTC", 0.0)
    assert market is floor.following.markets["ETHBTC"]
    assert market.view(1).best_bid == D(99)
    assert floor.following.follow("ETHBTC", 0.0) is market
    assert floor.feed.followed == ["BTCUSDT", "ETHBTC"]


def test_an_unlisted_one_is_refused_and_an_incomplete_list_is_waited_for(floor: Floor) -> None:
    assert refused(floor, "NOPE").code == "unknown_symbol"
    assert refused(floor, "btcusdt").code == "unknown_symbol"
    floor.following.complete = False
    assert refused(floor, "NOPE").code == "syncing"


def test_a_book_that_does_not_come_is_a_refusal_in_time_and_a_pinned_symbol_is_shown_as_it_is(floor: Floor) -> None:
    floor.feed.silent = True
    assert refused(floor, "ETHUSDT").code == "syncing"
    assert "ETHUSDT" in floor.following.markets, "it goes on being followed, for the next request"
    quiet = Floor()
    quiet.feed.silent = True
    quiet.following.pin(["BTCUSDT"])
    assert quiet.following.follow("BTCUSDT", 0.0).view(1).bids == ()


def test_a_book_that_comes_while_a_request_waits_answers_it(floor: Floor) -> None:
    floor.feed.silent = True
    answers: list[Market] = []
    thread = threading.Thread(target=lambda: answers.append(floor.following.follow("ETHUSDT", 60.0)), daemon=True)
    thread.start()
    while "ETHUSDT" not in floor.following.markets:
        threading.Event().wait(0.005)
    floor.following.markets["ETHUSDT"].load_snapshot(1, [(99.0, 1.0)], [(101.0, 1.0)])
    thread.join(10)
    assert answers == [floor.following.markets["ETHUSDT"]]


def test_what_nobody_looks_at_is_dropped_but_not_what_is_needed(floor: Floor) -> None:
    following = floor.following
    for name in ("ETHUSDT", "A1USDT", "A2USDT"):
        following.follow(name, 0.0)
    floor.hold("A1")
    floor.now_s += UNUSED_AFTER_S - 1
    following.touch(["ETHUSDT"])
    floor.now_s += 2
    assert following.drop_unused() == ("A2USDT",)
    assert list(following.markets) == ["BTCUSDT", "ETHUSDT", "A1USDT"]
    floor.now_s += UNUSED_AFTER_S
    floor.views = []
    assert set(following.drop_unused()) == {"ETHUSDT", "A1USDT"}
    assert floor.feed.followed == ["BTCUSDT"]


def test_holdings_are_followed_after_a_start(floor: Floor) -> None:
    floor.hold("ETH")
    floor.following.add_needed()
    assert list(floor.following.markets) == ["BTCUSDT", "ETHUSDT"]


def test_at_most_so_many_on_demand_and_the_unused_make_room(floor: Floor) -> None:
    for n in range(MOST_ON_DEMAND):
        floor.following.follow(f"A{n}USDT", 0.0)
    newcomer = f"A{MOST_ON_DEMAND}USDT"
    assert refused(floor, newcomer).code == "syncing"
    floor.now_s += UNUSED_AFTER_S + 1
    floor.following.touch(["A0USDT"])
    floor.following.follow(newcomer, 0.0)
    assert list(floor.following.markets) == ["BTCUSDT", "A0USDT", newcomer]


def test_markets_may_be_walked_while_one_is_added(floor: Floor) -> None:
    walked = floor.following.markets.items()
    floor.following.follow("ETHUSDT", 0.0)
    assert [name for name, _ in walked] == ["BTCUSDT"]
    assert len(floor.following.markets) == 2
