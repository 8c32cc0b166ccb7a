"""Which client order ids the orders in memory have, and when closed orders leave memory. Guarded by `Engine.lock`."""

from collections import deque
from collections.abc import Iterator

from trading_engine.exchange.orders import Order

CLOSED_KEPT_MS = 600_000
"""How long a closed order stays in memory, for repeats of its client order id; older ones are in the store."""

ClientKey = tuple[int, int, str]
"""Account id, epoch, client order id."""


class ClientIds:
    """The client order ids of open orders and of those closed lately."""

    def __init__(self) -> None:
        self._order_ids: dict[ClientKey, int] = {}
        self._closed: deque[tuple[int, int, ClientKey]] = deque()

    def __contains__(self, key: ClientKey) -> bool:
        return key in self._order_ids

    def find(self, account_id: int, epoch: int, client_order_id: str) -> int | None:
        """Return the id of the order that has a client order id, None where memory knows none."""
        return self._order_ids.get((account_id, epoch, client_order_id))

    def note(self, order: Order) -> None:
        """Remember an order as it now is; one that has closed for so long."""
        key = (order.account_id, order.epoch, order.client_order_id)
        self._order_ids[key] = order.id
        if not order.is_open:
            self._closed.append((order.updated_ms, order.id, key))

    def forget(self, now_ms: int) -> Iterator[int]:
        """Forget, and give, the orders that closed too long ago."""
        while self._closed and self._closed[0][0] < now_ms - CLOSED_KEPT_MS:
            _, order_id, key = self._closed.popleft()
            del self._order_ids[key]
            yield order_id
