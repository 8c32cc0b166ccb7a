"""What a market change does to our own orders of its symbol, in the order it must happen.

First a book whose changes were missed is caught up with and orders that waited for it arrive. Then the change itself: a
print serves the queues it reaches and, as the last price, sets conditional orders off (after a gap the last price of
the new book does); levels that changed move the queues and age what was taken there; and a quote that has come to the
price of resting orders gives them what it has. The rules are in `fills`, `queue_model` and `taking`;
here they meet the shelf. Events go into a draft; what accounts took of the book is returned, for the engine to remember
once the draft is appended. Queues move at once: what the market did is so, whatever becomes of the draft.
Guarded by `Engine.lock`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from trading_engine.exchange import fills
from trading_engine.exchange.arriving import DEEPER, Scene, Takings, emit_triggered, emit_waiting, offered
from trading_engine.exchange.execution import FeeRates, execute, terms_of
from trading_engine.exchange.fills import Execution, Levels, opposite, reaches
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.market import ChangeKind, FeedState, MarketChange, MarketView, Trade
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Cause, Certainty, Liquidity, Order, Receipt
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.queue_model import Given
from trading_engine.exchange.resting import Ladder, Shelf, Took
from trading_engine.exchange.taking import Slice, walk
from trading_engine.exchange.waiting import LevelKey, side_hit


def touches(shelf: Shelf, change: MarketChange) -> bool:
    """Say, in O(1), whether a change concerns anything of our own at its symbol."""
    if shelf.waiting or shelf.missed or change.levels or change.kind is ChangeKind.LOADED:
        return True
    if shelf.buys.reached_by(change.best_ask) or shelf.sells.reached_by(change.best_bid):
        return True
    trade = change.trade
    return trade is not None and (
        shelf.ladder(side_hit(trade)).reached_by(trade.price) or shelf.triggers.touched_by(trade.price)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What the engine remembers once the draft is appended: what was taken of the book, and the last price it told."""

    took: tuple[Took, ...]
    last: Trade | None


def meet(
    draft: Draft,
    shelf: Shelf,
    change: MarketChange,
    *,
    markets: Mapping[str, MarketSource],
    fees: FeeRates,
    time_ms: int,
) -> Met:
    """Emit everything that the change brings about; return what is to be remembered of it.

    Nothing fills on a book that is no longer live, or without a price to value its quote asset in.
    """
    market = markets[change.symbol]
    view = market.view()
    terms = terms_of(view.symbol, markets, fees, time_ms)
    if view.state is not FeedState.LIVE or terms is None:
        shelf.missed = True
        return Met(took=(), last=None)
    scene = Scene(draft=draft, shelf=shelf, view=view, terms=terms, takings=Takings())
    last = change.trade
    if shelf.missed or change.kind is ChangeKind.LOADED:
        shelf.catch_up(market.view(None), time_ms)
        last = last or view.last_trade
    for order_id in sorted(shelf.waiting):
        emit_waiting(draft.order(order_id), scene)
    if change.trade is not None:
        _print(change, change.trade, scene)
    if last is not None:
        for order_id in shelf.triggers.would_fire(last.price, change.seq):
            order = draft.order(order_id)
            if order.is_open:
                emit_triggered(order, last, scene)
    shelf.follow(change.levels, seq=change.seq, time_ms=change.time_ms, now_ms=time_ms)
    for ladder in (shelf.buys, shelf.sells):
        _cross(ladder, scene)
    return Met(took=tuple(scene.takings.took), last=last)


def _print(change: MarketChange, trade: Trade, scene: Scene) -> None:
    """Let a print serve the queues it went through, best price first, then the one at its price."""
    draft, shelf, terms = scene.draft, scene.shelf, scene.terms
    ladder = shelf.ladder(side_hit(trade))
    spent: dict[int, Decimal] = {}
    prices = dict.fromkeys(limit for limit, _ in ladder.reached(trade.price))
    for price in prices:
        through = price != trade.price
        given = shelf.serve(
            LevelKey(ladder.side, price),
            trade,
            seq=change.seq,
            late=change.late and not through,
            through=through,
            spent=spent,
        )
        for each in given:
            order = draft.order(each.order_id)
            execute(draft, order.id, _printed(order, each, trade, scene.view, terms.time_ms, through=through), terms)


def _printed(order: Order, given: Given, trade: Trade, view: MarketView, now_ms: int, *, through: bool) -> Execution:
    """Return what a print gives a resting order."""
    certainty = Certainty.CERTAIN if through else Certainty.LIKELY if given.likely else Certainty.MODELLED
    return Execution(
        price=fills.limit_of(order),
        quantity=given.quantity,
        liquidity=Liquidity.MAKER,
        certainty=certainty,
        level_quantity=trade.quantity,
        update_id=None,
        trade_id=trade.id,
        receipt=Receipt(
            cause=Cause.PRINT_THROUGH if through else Cause.PRINT,
            best_bid=view.best_bid,
            best_ask=view.best_ask,
            level_price=None,
            waiting=ZERO,
            taken_before=ZERO,
            ahead_before=given.ahead_before,
            ahead_after=given.ahead_after,
            queued_ms=now_ms - order.created_ms,
        ),
    )


def _cross(ladder: Ladder, scene: Scene) -> None:
    """Give the orders that the opposite best quote has come to what it has, level by level, at their own limit."""
    draft, shelf, terms = scene.draft, scene.shelf, scene.terms
    shown = opposite(scene.view, ladder.side)
    if not shown or not ladder.reached_by(shown[0][0]):
        return
    view, levels = _levels_reached(shelf.market, scene.view, ladder)
    for _, order_id in list(ladder.reached(levels[0][0])) if levels else ():
        order = draft.order(order_id)
        if not order.is_open:
            continue
        queue = shelf.queues.get(fills.key_of(order))
        if queue is not None:
            queue.come_to_front()
        slices = _slices(order, replace(view, bids=levels, asks=levels), scene)
        for part in slices:
            execute(draft, order_id, fills.crossed(order, part, view, terms.time_ms), terms)
        scene.note(order, slices)


def _slices(order: Order, view: MarketView, scene: Scene) -> tuple[Slice, ...]:
    """Return what a resting order gets of the levels of the view, which have come to its price."""
    had = scene.takings.had(order.account_id, order.side)
    impact = scene.shelf.impacts.get(order.account_id)
    taking = walk(
        # An order that rests gets what is new there, not crumbs of what it had as the memory of that fades.
        offered(view, order.side, impact, scene.terms.time_ms, had=had, fades=False),
        order.side,
        quantity=order.leaves,
        limit=order.price,
        band=None,
        decimals=scene.terms.symbol.quote_precision,
        complete=True,
    )
    return taking.slices


def _levels_reached(market: MarketSource, view: MarketView, ladder: Ladder) -> tuple[MarketView, Levels]:
    """Return the opposite levels at or through the ladder's best limit, best first, looking deeper if need be."""
    best = ladder.best
    if best is None:
        return view, ()
    for levels in DEEPER:
        shown = opposite(view, ladder.side)
        if view.complete or not shown or not reaches(ladder.side, best, shown[-1][0]):
            break
        view = market.view(levels)
    if view.state is not FeedState.LIVE:
        return view, ()
    return view, tuple(level for level in opposite(view, ladder.side) if reaches(ladder.side, best, level[0]))
