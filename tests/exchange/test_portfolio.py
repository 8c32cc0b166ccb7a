"""Values: positions at average cost, marks, and what is said when a mark is unknown."""

import pytest

from tests.exchange.fakes import ZERO, D, Exchange, FakeMarket, symbol
from trading_engine.exchange.accounts import Accounts, AccountView
from trading_engine.exchange.messages import Account, CancelOrder, Position, ResetAccount
from trading_engine.exchange.portfolio import asset_rate, entered, left, value


def position(quantity: str, cost: str, realized: str = "0") -> Position:
    return Position(
        account_id=1, epoch=1, asset="BTC", quantity=D(quantity), cost=D(cost), realized_pnl=D(realized), fees_paid=ZERO
    )


def test_what_leaves_goes_at_average_cost_and_the_last_takes_all_of_it() -> None:
    third = left(position("3", "100"), D(1), D(50))
    assert (third.quantity, third.cost, third.realized_pnl) == (D(2), D("66.666666666667"), D("16.666666666667"))
    closed = left(left(third, D(1), D(0)), D(1), D(0))
    assert (closed.quantity, closed.cost) == (ZERO, ZERO)
    assert closed.realized_pnl == D(50) - D(100)


def test_nothing_can_leave_a_position_of_nothing() -> None:
    """An amount that rounded to nothing was given for something: all of what came is a gain."""
    same = left(position("0", "0"), ZERO, D("0.0001"))
    assert (same.quantity, same.cost, same.realized_pnl) == (ZERO, ZERO, D("0.0001"))


def test_what_enters_brings_its_value() -> None:
    more = entered(position("1", "100", "7"), D("0.5"), D(80))
    assert (more.quantity, more.cost, more.realized_pnl) == (D("1.5"), D(180), D(7))


def test_value_that_rounds_to_nothing_on_its_way_in_is_lost_at_once() -> None:
    same = entered(position("0", "0"), ZERO, D("0.0001"))
    assert (same.quantity, same.cost, same.realized_pnl) == (ZERO, ZERO, D("-0.0001"))


def market(name: str, bids: str, asks: str) -> FakeMarket:
    return FakeMarket(symbol(name, name[:3], name[3:]), bids, asks)


def test_an_assets_rate_is_its_mid_or_the_inverse_of_the_dollars() -> None:
    markets = {"BTCUSDT": market("BTCUSDT", "99x1", "100x1"), "USDTTRY": market("USDTTRY", "40x1", "41x1")}
    assert asset_rate("USDT", markets) == D(1)
    assert asset_rate("BTC", markets) == D("99.5")
    assert asset_rate("TRY", markets) == D("0.0246913580246914")
    assert asset_rate("ETH", markets) is None
    assert asset_rate("BTC", {"BTCUSDT": market("BTCUSDT", "", "100x1")}) is None
    empty, inverse = market("BTCUSDT", "", ""), market("USDTBTC", "0.1x1", "0.3x1")
    assert asset_rate("BTC", {"BTCUSDT": empty, "USDTBTC": inverse}) == 5


@pytest.fixture
def exchange() -> Exchange:
    return Exchange(FakeMarket(symbol(), "59999.00x2", "60000.00x2"))


def views(exchange: Exchange) -> Accounts:
    accounts = Accounts()
    accounts.load(exchange.engine.state())
    return accounts


def view_of(accounts: Accounts, account: Account) -> AccountView:
    view = accounts.get(account.id)
    assert view is not None
    return view


def test_a_portfolio_after_w14(exchange: Exchange) -> None:
    exchange.buy("0.5")
    exchange.buy("0.1", "50000")
    portfolio = value(view_of(views(exchange), exchange.account), {"BTC": D(61_000)}.get)
    (bitcoin,) = portfolio.positions
    assert (bitcoin.average_price, bitcoin.market_price, bitcoin.market_value) == (D(60_000), D(61_000), D("30469.5"))
    assert bitcoin.unrealized_pnl == D("499.5")
    assert (portfolio.cash_balance, portfolio.total_value) == (D(70_000), D("100469.5"))
    assert (portfolio.realized_pnl, portfolio.fees_paid) == (D(-30), D(30))
    assert (portfolio.unrealized_pnl, portfolio.total_pnl) == (D("499.5"), D("469.5"))


def test_an_unknown_mark_is_unknown_not_zero(exchange: Exchange) -> None:
    exchange.buy("0.5")
    portfolio = value(view_of(views(exchange), exchange.account), lambda asset: None)
    assert (portfolio.total_value, portfolio.total_pnl, portfolio.unrealized_pnl) == (None, None, None)
    (bitcoin,) = portfolio.positions
    assert (bitcoin.market_price, bitcoin.market_value, bitcoin.unrealized_pnl) == (None, None, None)
    assert (portfolio.cash_balance, portfolio.realized_pnl) == (D(70_000), D(-30))


def test_a_closed_position_needs_no_mark_and_keeps_its_result(exchange: Exchange) -> None:
    exchange.buy("0.5")
    exchange.sell("0.49950")
    portfolio = value(view_of(views(exchange), exchange.account), lambda asset: None)
    (bitcoin,) = portfolio.positions
    assert (bitcoin.quantity, bitcoin.average_price, bitcoin.market_value) == (ZERO, None, ZERO)
    assert portfolio.total_value == portfolio.cash_balance
    assert portfolio.total_pnl == portfolio.realized_pnl


def test_committed_views_follow_each_batch(exchange: Exchange) -> None:
    accounts = views(exchange)
    empty = view_of(accounts, exchange.account)
    order = exchange.buy("0.1", "50000").order
    exchange.buy("0.5")
    first, second = exchange.journal.batches
    accounts.apply(first)
    assert view_of(accounts, exchange.account).open_orders == {order.id: order}
    assert view_of(accounts, exchange.account).balances["USDT"].held == D(5000)
    accounts.apply(second)
    view = view_of(accounts, exchange.account)
    assert (view.seq, view.positions["BTC"].quantity) == (second.seq, D("0.4995"))
    assert empty.open_orders == {}, "a view never changes"
    exchange.engine.submit(CancelOrder(account_id=exchange.account.id, order_id=order.id))
    accounts.apply(exchange.journal.batches[-1])
    assert view_of(accounts, exchange.account).open_orders == {}


def test_committed_views_begin_anew_with_an_epoch(exchange: Exchange) -> None:
    accounts = views(exchange)
    exchange.buy("0.5")
    exchange.engine.submit(ResetAccount(account_id=exchange.account.id, balances={"USDT": D(7)}))
    for batch in exchange.journal.batches:
        accounts.apply(batch)
    view = view_of(accounts, exchange.account)
    assert (view.account.epoch, dict(view.positions), view.net_deposits) == (2, {}, D(7))
    assert view.balances["BTC"].total == ZERO


def test_accounts_are_found_by_name_and_venue(exchange: Exchange) -> None:
    accounts = views(exchange)
    there = exchange.open("default", "USDT=1", venue="elsewhere")
    accounts.apply(exchange.journal.batches[-1])
    assert accounts.find("default", "test") == view_of(accounts, exchange.account)
    assert accounts.find("default", "elsewhere") == view_of(accounts, there)
    assert [view.account.id for view in accounts.all()] == [exchange.account.id, there.id]
    assert accounts.find("nobody", "test") is None
    assert accounts.get(999) is None


def test_a_batch_about_an_account_that_was_never_opened_is_our_fault(exchange: Exchange) -> None:
    exchange.buy("0.5")
    with pytest.raises(KeyError, match="never opened"):
        Accounts().apply(exchange.journal.batches[-1])
