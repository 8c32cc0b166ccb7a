"""Every reason for which a command may be refused, in one table. Frozen values only: no lock."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What a refusal code means: its HTTP status and a title."""

    status: int
    title: str


REFUSALS: Mapping[str, Refusal] = MappingProxyType(
    {
        "invalid_order": Refusal(status=422, title="The order's fields do not fit together"),
        "not_supported": Refusal(status=422, title="Not supported"),
        "unknown_symbol": Refusal(status=422, title="Unknown symbol"),
        "symbol_not_trading": Refusal(status=422, title="The symbol is not trading"),
        "price_filter": Refusal(status=422, title="Price outside the symbol's rules"),
        "lot_size": Refusal(status=422, title="Quantity outside the symbol's rules"),
        "market_lot_size": Refusal(status=422, title="Quantity outside the symbol's rules for market orders"),
        "notional": Refusal(status=422, title="Order value outside the symbol's rules"),
        "percent_price": Refusal(status=422, title="Price too far from the average price"),
        "trailing_delta": Refusal(status=422, title="Trailing delta outside the symbol's rules"),
        "iceberg_parts": Refusal(status=422, title="The iceberg order has too many parts"),
        "max_position": Refusal(status=422, title="The position would grow too large"),
        "max_open_orders": Refusal(status=422, title="Too many open orders"),
        "max_algo_orders": Refusal(status=422, title="Too many open stop-loss and take-profit orders"),
        "max_iceberg_orders": Refusal(status=422, title="Too many open iceberg orders"),
        "max_order_lists": Refusal(status=422, title="Too many open order lists"),
        "max_amends": Refusal(status=422, title="The order was amended too often"),
        "exchange_max_open_orders": Refusal(status=422, title="Too many open orders on the exchange"),
        "exchange_max_algo_orders": Refusal(
            status=422, title="Too many open stop-loss and take-profit orders on the exchange"
        ),
        "exchange_max_iceberg_orders": Refusal(status=422, title="Too many open iceberg orders on the exchange"),
        "exchange_max_order_lists": Refusal(status=422, title="Too many open order lists on the exchange"),
        "would_trigger": Refusal(status=422, title="The stop price is met already"),
        "no_last_price": Refusal(status=503, title="No last price to judge the order by"),
        "invalid_order_list": Refusal(status=422, title="The orders do not make such a list"),
        "list_prices": Refusal(status=422, title="The prices of the list's orders do not fit the market"),
        "order_list_not_found": Refusal(status=404, title="Order list not found"),
        "order_list_closed": Refusal(status=409, title="The order list is closed"),
        "would_take": Refusal(status=422, title="A post-only order would trade at once"),
        "insufficient_balance": Refusal(status=422, title="Insufficient balance"),
        "no_valuation": Refusal(status=503, title="No price to value the asset with"),
        "duplicate_client_order_id": Refusal(status=409, title="The client order id belongs to another order"),
        "order_not_found": Refusal(status=404, title="Order not found"),
        "order_closed": Refusal(status=409, title="The order is closed"),
        "account_not_found": Refusal(status=404, title="Account not found"),
        "account_exists": Refusal(status=409, title="The account exists"),
        "invalid_balance": Refusal(status=422, title="Balance cannot be taken"),
        "book_stale": Refusal(status=503, title="The order book is not live"),
        "syncing": Refusal(status=503, title="The market is being synchronised"),
        "not_committed": Refusal(status=503, title="Not done: it could not be stored"),
        "outcome_unknown": Refusal(status=503, title="Outcome unknown: repeat with the same client order id"),
        "standby": Refusal(status=503, title="Another process runs the engine"),
        "starting": Refusal(status=503, title="The engine is starting"),
        "halted": Refusal(status=503, title="The engine is halted"),
    }
)
"""Every refusal code, in one table."""


class Refused(Exception):
    """A command was refused and nothing changed. `code` is one of `REFUSALS`; `field` names the input it is about."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.field = field
        self.status = REFUSALS[code].status
        self.title = REFUSALS[code].title
