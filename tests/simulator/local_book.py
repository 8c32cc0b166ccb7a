"""A local book kept by the venue's own recipe ("How to manage a local order book correctly"), slow and obvious."""

from decimal import Decimal
from typing import Any


class Gap(Exception):
    """A diff is missing."""


class LocalBook:
    """Levels by price, and the id of the last diff."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.update_id: int = snapshot["lastUpdateId"]
        self.bids = {Decimal(price): Decimal(quantity) for price, quantity in snapshot["bids"]}
        self.asks = {Decimal(price): Decimal(quantity) for price, quantity in snapshot["asks"]}
        self.synced = False

    def apply(self, diff: dict[str, Any]) -> bool:
        """Apply one diff; False when it is older than the book."""
        if diff["u"] <= self.update_id:
            return False
        if diff["U"] > self.update_id + 1 or (self.synced and diff["U"] != self.update_id + 1):
            raise Gap(f"have {self.update_id}, got {diff['U']}..{diff['u']}")
        self.synced = True
        for side, rows in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, quantity in rows:
                side[Decimal(price)] = Decimal(quantity)
                if not Decimal(quantity):
                    del side[Decimal(price)]
        self.update_id = diff["u"]
        assert max(self.bids) < min(self.asks), "crossed"
        return True

    def levels(self) -> tuple[list[list[Decimal]], list[list[Decimal]]]:
        """All levels, best first."""
        return (
            [[price, self.bids[price]] for price in sorted(self.bids, reverse=True)],
            [[price, self.asks[price]] for price in sorted(self.asks)],
        )


def exact(rows: list[list[str]]) -> list[list[Decimal]]:
    """Levels of an answer as numbers."""
    return [[Decimal(price), Decimal(quantity)] for price, quantity in rows]
