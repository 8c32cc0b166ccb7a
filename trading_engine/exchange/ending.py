"""The end of orders that somebody cancels. Writes to the draft it is given, which `Engine.lock` guards."""

from collections.abc import Iterable

from trading_engine.exchange import history
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.messages import OrderCancelled


def emit_cancels(draft: Draft, order_ids: Iterable[int], reason: str | None, time_ms: int) -> None:
    """Cancel open orders; `reason` None: their owner did it."""
    for order_id in order_ids:
        event = OrderCancelled(
            seq=draft.next_seq,
            time_ms=time_ms,
            account_id=draft.order(order_id).account_id,
            order_id=order_id,
            reason=reason,
        )
        history.apply(draft, event)
