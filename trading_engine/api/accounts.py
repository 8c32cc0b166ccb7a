"""The account: what it has, what it is worth, and starting over."""

import time
from typing import Any

from flask import Blueprint

from trading_engine.api import current_runtime
from trading_engine.api.answers import Json, iso, iso_or_none, portfolio_json, trimmed
from trading_engine.api.operations import invalid, operation
from trading_engine.api.schemas import ResetRequest
from trading_engine.api.shapes import AccountAnswer, PortfolioAnswer
from trading_engine.exchange.accounts import AccountView
from trading_engine.exchange.messages import Account, Refused, ResetAccount
from trading_engine.exchange.money import REPORTING_ASSET
from trading_engine.exchange.portfolio import asset_rate, value
from trading_engine.runtime import Runtime

blueprint = Blueprint("accounts", __name__)


@operation(blueprint, "GET /api/v1/portfolio", answers=PortfolioAnswer)
def get_portfolio() -> Json:
    """Value the account in USDT, each position at the middle of its book."""
    runtime = current_runtime()
    return portfolio_answer(runtime, account_view(runtime))


@operation(blueprint, "GET /api/v1/account", answers=AccountAnswer)
def get_account() -> Json:
    """Return the account, its epochs, and the accounts of that name on other venues."""
    runtime = current_runtime()
    return _account_answer(runtime, account_view(runtime).account)


@operation(
    blueprint,
    "POST /api/v1/account/reset",
    body=ResetRequest,
    answers=AccountAnswer,
    refusals=("invalid_balance", "no_valuation", "not_committed", "outcome_unknown"),
)
def reset_account(body: dict[str, Any]) -> Json:
    """Begin a new epoch with the balances given.

    Open orders are cancelled and all balances leave; orders and fills of the old epoch stay readable with `?epoch=`.
    """
    runtime = current_runtime()
    balances = body["balances"] or runtime.config.starting_balance
    for asset in balances:
        _follow_valuation(runtime, asset)
    account = runtime.submit(ResetAccount(account_id=account_id(runtime), balances=balances))
    return _account_answer(runtime, account)


def account_id(runtime: Runtime) -> int:
    """Return the account requests act for.

    Raises:
        Refused: there is none yet, or another process has the engine.
    """
    if runtime.account_id is not None:
        return runtime.account_id
    if runtime.role == "standby":
        raise Refused("standby", "another process runs the engine; this one takes over when that one ends")
    if runtime.role == "halted":
        raise Refused("halted", "the engine is halted; /health says why")
    raise Refused("starting", "the engine is starting; /ready says when it is done")


def account_view(runtime: Runtime) -> AccountView:
    """Return the account as it is committed."""
    view = runtime.accounts.get(account_id(runtime))
    if view is None:
        raise Refused("starting", "the account is being loaded")
    return view


def portfolio_answer(runtime: Runtime, view: AccountView) -> Json:
    """Return a portfolio's JSON, valued now."""
    portfolio = value(view, lambda asset: asset_rate(asset, runtime.markets))
    return portfolio_json(view, portfolio, runtime.markets, time.time_ns() // 1_000_000)


def _follow_valuation(runtime: Runtime, asset: str) -> None:
    """See to it that an asset has a price, as far as the venue has one.

    Raises:
        Problem: the venue does not trade it against USDT.
        Refused: `syncing`.
    """
    if asset == REPORTING_ASSET or not runtime.symbols:
        return
    pairs = (asset + REPORTING_ASSET, REPORTING_ASSET + asset)
    listed = next((pair for pair in pairs if pair in runtime.symbols), None)
    if listed is None:
        raise invalid(
            {"balances": [f"{asset} cannot be valued: the venue does not trade it against {REPORTING_ASSET}"]}
        )
    runtime.follow(listed)


def _account_answer(runtime: Runtime, account: Account) -> Json:
    venue = runtime.venue
    return {
        "id": account.id,
        "name": account.name,
        "venue": account.venue,
        "simulated": venue is not None and venue.simulated,
        "epoch": account.epoch,
        "created_at": iso(account.created_ms),
        "epoch_started_at": iso(account.epoch_started_ms),
        "maker_fee_rate": trimmed(runtime.config.maker_fee_rate),
        "taker_fee_rate": trimmed(runtime.config.taker_fee_rate),
        "latency": {
            "in_ms": trimmed(runtime.config.latency_ms.in_ms),
            "out_ms": trimmed(runtime.config.latency_ms.out_ms),
            "sigma": trimmed(runtime.config.latency_ms.sigma),
        },
        "starting_balance": {asset: trimmed(amount) for asset, amount in runtime.config.starting_balance.items()},
        "fill_certainty": {
            certainty.value: count
            for certainty, count in runtime.queries.certainties(account.id, account.epoch).items()
        },
        "epochs": [
            {
                "epoch": epoch.epoch,
                "started_at": iso(epoch.started_ms),
                "ended_at": iso_or_none(epoch.ended_ms),
                "net_deposits": trimmed(epoch.net_deposits),
                "final_balances": {asset: trimmed(amount) for asset, amount in epoch.final_balances.items()}
                if epoch.final_balances is not None
                else None,
            }
            for epoch in runtime.queries.epochs(account.id)
        ],
        "other_venues": [
            {"id": other.id, "venue": other.venue, "epoch": other.epoch}
            for other in runtime.queries.other_venues(account.name, account.venue)
        ],
    }
