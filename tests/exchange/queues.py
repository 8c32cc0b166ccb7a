"""The plain truth the queue model is held to: a real queue order by order, and own orders in line lot by lot."""

from dataclasses import dataclass

REAL = 0


@dataclass
class RealOrder:
    """One order of the real queue, in lots."""

    number: int
    lots: int


class RealQueue:
    """First come, first served, at one price; own orders only mark how many real ones were there when they joined."""

    def __init__(self) -> None:
        self.orders: list[RealOrder] = []
        self._marks: dict[int, int] = {}
        self._count = 0

    @property
    def shown(self) -> int:
        return sum(order.lots for order in self.orders)

    def add(self, lots: int) -> None:
        self._count += 1
        self.orders.append(RealOrder(self._count, lots))

    def join(self, own: int) -> None:
        self._marks[own] = self._count

    def ahead(self, own: int) -> int:
        return sum(order.lots for order in self.orders if order.number <= self._marks[own])

    def cancel(self, index: int) -> None:
        if self.orders:
            del self.orders[index % len(self.orders)]

    def trade(self, lots: int) -> None:
        for order in self.orders:
            part = min(lots, order.lots)
            order.lots -= part
            lots -= part
        self.orders = [order for order in self.orders if order.lots]


class InLine:
    """One account's orders in line with the real quantity, lot by lot: `strict`, done the slow way.

    A lot is `REAL` or the number of an own order. Cancellations come off the back.
    """

    def __init__(self) -> None:
        self.lots: list[int] = []

    def size(self, shown: int) -> None:
        """The market shows that many real lots: those too many go from the back, those missing join there."""
        while self.lots.count(REAL) > shown:
            del self.lots[len(self.lots) - 1 - self.lots[::-1].index(REAL)]
        self.lots += [REAL] * (shown - self.lots.count(REAL))

    def join(self, own: int, lots: int) -> None:
        self.lots += [own] * lots

    def leave(self, own: int) -> None:
        self.lots = [lot for lot in self.lots if lot != own]

    def trade(self, lots: int) -> dict[int, int]:
        """Return what each own order gets."""
        taken, self.lots = self.lots[:lots], self.lots[lots:]
        return {own: taken.count(own) for own in dict.fromkeys(taken) if own != REAL}

    def ahead(self, own: int) -> int:
        return self.lots[: self.lots.index(own)].count(REAL)
