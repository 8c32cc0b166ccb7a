"""What a market change does to the open orders of its symbol: those waiting, then a print, then both sides' quotes.

The rules are in `fills`; here they meet the shelf. Events go into a draft, and what the shelf has to remember of them
is returned as a `Meeting`, for the engine to set once the draft is appended. Guarded by `Engine.lock`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange.execution import FeeRates, execute, terms_of
from trading_engine.exchange.fills import Levels, Part, is_through, meet_print, meet_quotes, opposite
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.market import FeedState, MarketChange, MarketView
from trading_engine.exchange.orders import Order, Side
from trading_engine.exchange.placing import DEEPER, emit_waiting
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.resting import Ladder, Shelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What to remember: what each side's levels have given (None: not looked at), what arrivals took."""

    given: Mapping[Side, dict[int, dict[Decimal, Decimal]]]
    took: tuple[tuple[Order, tuple[Part, ...]], ...]


def touches(shelf: Shelf, change: MarketChange) -> bool:
    """Say, in O(1), whether a change can do anything to the orders of its symbol."""
    if shelf.waiting or shelf.buys.touched_by(change.best_ask) or shelf.sells.touched_by(change.best_bid):
        return True
    trade = change.trade
    return trade is not None and _met_by(shelf, buyer_is_maker=trade.buyer_is_maker).touched_by(trade.price)


def meet(
    draft: Draft,
    shelf: Shelf,
    change: MarketChange,
    *,
    markets: Mapping[str, MarketSource],
    fees: FeeRates,
    time_ms: int,
) -> Meeting:
    """Emit every fill that the change brings. Nothing fills on a book that is no longer live, or without valuation."""
    market = markets[change.symbol]
    view = market.view()
    terms = terms_of(view.symbol, markets, fees, time_ms)
    if view.state is not FeedState.LIVE or terms is None:
        return Meeting(given={}, took=())
    took = []
    for order_id in sorted(shelf.waiting):
        order = draft.order(order_id)
        took.append((order, emit_waiting(draft, order, market, view, terms)))
    trade = change.trade
    if trade is not None:
        ladder = _met_by(shelf, buyer_is_maker=trade.buyer_is_maker)
        ids = (order_id for order_id in ladder.through(trade.price) if ladder.after(order_id) < change.seq)
        for order_id, execution in meet_print([draft.order(order_id) for order_id in ids], trade):
            execute(draft, order_id, execution, terms)
    given = {}
    for ladder in (shelf.buys, shelf.sells):
        view, levels = _levels_through(market, view, ladder)
        orders = [draft.order(order_id) for order_id in ladder.through(levels[0][0])] if levels else []
        executions, given[ladder.side] = meet_quotes(orders, levels, view.update_id, ladder.given_at(levels))
        for order_id, execution in executions:
            execute(draft, order_id, execution, terms)
    return Meeting(given=given, took=tuple(took))


def _met_by(shelf: Shelf, *, buyer_is_maker: bool) -> Ladder:
    """Return the orders a print can meet: it took from the bids when its buyer was the maker."""
    return shelf.buys if buyer_is_maker else shelf.sells


def _levels_through(market: MarketSource, view: MarketView, ladder: Ladder) -> tuple[MarketView, Levels]:
    """Return the opposite levels strictly through the ladder's best limit, best first, looking deeper if need be."""
    best = ladder.best
    if best is None:
        return view, ()
    for levels in DEEPER:
        shown = opposite(view, ladder.side)
        if view.complete or not shown or not is_through(ladder.side, best, shown[-1][0]):
            break
        view = market.view(levels)
    if view.state is not FeedState.LIVE:
        return view, ()
    return view, tuple(level for level in opposite(view, ladder.side) if is_through(ladder.side, best, level[0]))
