"""Copies of a book's levels as readers get them: exact ones, and raw ones, made exact outside the market's lock."""

from typing import Final, NamedTuple

from trading_engine.exchange.book import SideCopy
from trading_engine.exchange.grid import Grids, Level


class Copy(NamedTuple):
    """Exact levels as of the book change `book_seq`."""

    book_seq: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    complete: bool


class RawCopy(NamedTuple):
    """Both sides copied under the lock, to be made exact outside it."""

    book_seq: int
    bids: SideCopy
    asks: SideCopy
    grids: Grids

    def exact(self, count: int | None) -> Copy:
        """Return the `count` best levels a side; raise OffGrid."""
        bids, asks = self.bids.exact(self.grids), self.asks.exact(self.grids)
        complete = count is None or (len(bids) <= count and len(asks) <= count)
        return Copy(self.book_seq, bids[:count], asks[:count], complete=complete)


NO_LEVELS: Final = Copy(-1, (), (), complete=True)
