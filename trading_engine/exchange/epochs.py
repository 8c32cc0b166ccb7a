"""The beginning and end of an account's epochs: what comes in, what goes out, and at what rates.

Writes events into the draft it is given; guarded by `Engine.lock`.
"""

from collections.abc import Mapping
from decimal import Decimal

from trading_engine.exchange import history, risk
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.messages import Account, AccountOpened, AccountReset, Deposit, OpenAccount, Refused
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.portfolio import MarketSource, asset_rate


def valued(balances: Mapping[str, Decimal], markets: Mapping[str, MarketSource]) -> tuple[Deposit, ...]:
    """Return the balances as deposits at today's rates, in order of asset; raise Refused if one cannot enter."""
    if not balances:
        raise Refused("invalid_balance", "an account begins with at least one balance", "balances")
    deposits = []
    for asset, amount in sorted(balances.items()):
        risk.check_deposit(asset, amount)
        rate = asset_rate(asset, markets)
        if rate is None:
            raise Refused("book_stale", f"no price is known to value {asset} in USDT", "balances")
        deposits.append(Deposit(asset=asset, amount=amount, rate=rate))
    return tuple(deposits)


def emit_opening(draft: Draft, command: OpenAccount, deposits: tuple[Deposit, ...], time_ms: int) -> int:
    """Open an account; return its id."""
    seq = draft.next_seq
    event = AccountOpened(
        seq=seq,
        time_ms=time_ms,
        account_id=seq,
        name=command.name,
        venue=command.venue,
        deposits=deposits,
        net_deposits=_worth(deposits),
    )
    history.apply(draft, event)
    return seq


def emit_reset(
    draft: Draft,
    account: Account,
    deposits: tuple[Deposit, ...],
    markets: Mapping[str, MarketSource],
    time_ms: int,
) -> None:
    """Begin a new epoch: everything the account has goes out, the deposits come in. Its orders are closed already."""
    withdrawn = tuple(
        Deposit(asset=balance.asset, amount=balance.free, rate=asset_rate(balance.asset, markets))
        for balance in draft.balances_of(account.id)
        if balance.free
    )
    event = AccountReset(
        seq=draft.next_seq,
        time_ms=time_ms,
        account_id=account.id,
        epoch=account.epoch + 1,
        withdrawn=withdrawn,
        deposits=deposits,
        net_deposits=_worth(deposits),
    )
    history.apply(draft, event)


def _worth(deposits: tuple[Deposit, ...]) -> Decimal:
    return sum((history.value_of_deposit(deposit) for deposit in deposits), ZERO)
