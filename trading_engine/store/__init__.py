"""Everything that knows SQL: the tables, the journal that writes them, the load at start, and the questions to history.

May import `exchange`, and nothing else of ours. Money is exact in both databases (`tables.Exact`). Who uses what: the
runtime's supervisor claims, migrates and loads (`Store`); the journal's thread alone writes (`Journal`); any thread
asks (`Queries`). The one lock here is the journal's, for its queue.
"""

from trading_engine.store.database import Store, reason_of
from trading_engine.store.journal import ClaimLost, CommitTicket, Journal
from trading_engine.store.queries import Epoch, Queries
from trading_engine.store.writer import CommitUnknown, StoreUnavailable, StoreUnusable

__all__ = [
    "ClaimLost",
    "CommitTicket",
    "CommitUnknown",
    "Epoch",
    "Journal",
    "Queries",
    "Store",
    "StoreUnavailable",
    "StoreUnusable",
    "reason_of",
]
