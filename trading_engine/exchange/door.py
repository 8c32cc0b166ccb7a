"""What stands around the engine's door: the journal behind it, its promise of a commit, and how the engine stands.

Protocols and frozen values; no lock.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trading_engine.exchange.messages import Batch, Refused
from trading_engine.exchange.orders import Order

KnownOrder = Callable[[int, int, str], Order | None]
"""Looks an order up in the store by account id, epoch and client order id."""


class Ticket(Protocol):
    """The promise of a commit."""

    def wait(self) -> None:
        """Return once the batch is committed; raise Refused `not_committed` or `outcome_unknown` if it is not."""
        ...

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        """Have `tell` called with the outcome, None for committed: at once where it is known, else by the journal."""
        ...


class Journal(Protocol):
    """What the engine needs of its journal."""

    def append(self, batch: Batch) -> Ticket:
        """Take the batch, in order, without I/O; raise Refused `not_committed` while nothing can be stored."""
        ...


class EngineRole(StrEnum):
    """Whether the engine takes commands."""

    STARTING = "starting"
    RUNNING = "running"
    HALTED = "halted"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """How the engine stands. `unstored_changes`: market changes whose fills the journal refused since the start."""

    role: EngineRole
    reason: str | None
    generation: int
    seq: int
    accounts: int
    open_orders: int
    unstored_changes: int
