"""How an order meets the book: what it takes, however it came to arrive, and the arrival of orders taken before.

An order of a command is planned in `placing`; here are the walk they all share, and those that arrive later: one that
waited for a live book, and one that the last price has set off. What the orders of one market change take is kept in
`Takings`, so that two of one account do not have the same quantity. Events go into a draft. Guarded by `Engine.lock`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from trading_engine.exchange import fills, history
from trading_engine.exchange.execution import Terms, execute
from trading_engine.exchange.fills import opposite, printed_away
from trading_engine.exchange.impact import Impact
from trading_engine.exchange.ledger import Draft
from trading_engine.exchange.market import FeedState, MarketView, Trade
from trading_engine.exchange.messages import OrderExpired, OrderRested, OrderTriggered
from trading_engine.exchange.money import ZERO
from trading_engine.exchange.orders import Order, Side, TimeInForce, hold_of
from trading_engine.exchange.portfolio import MarketSource
from trading_engine.exchange.resting import Shelf, Took
from trading_engine.exchange.symbols import step_of
from trading_engine.exchange.taking import (
    NOTHING_WAITING,
    Offer,
    Slice,
    Taking,
    all_or_nothing,
    offers,
    price_band,
    walk,
)

DEEPER: tuple[int | None, ...] = (200, None)
"""Levels to ask for, one after the other, when a walk runs out of the first look's 20 and more are known."""


class Takings:
    """What the orders of one market change have taken of the book so far, by account and level."""

    def __init__(self) -> None:
        self.took: list[Took] = []
        self._had: dict[tuple[int, Side], dict[Decimal, Decimal]] = {}

    def had(self, account_id: int, side: Side) -> Mapping[Decimal, Decimal]:
        """Return, by price, what an account's orders of a side have had in this change."""
        return self._had.get((account_id, side), NOTHING_WAITING)

    def add(self, order: Order, slices: tuple[Slice, ...], step: Decimal) -> None:
        """Note what an order took."""
        if not slices:
            return
        self.took.append(Took(account_id=order.account_id, side=order.side, slices=slices, step=step))
        had = self._had.setdefault((order.account_id, order.side), {})
        for part in slices:
            had[part.price] = had.get(part.price, ZERO) + part.quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where one market change, or command, plays: the draft, the shelf of the symbol, its market, what was taken."""

    draft: Draft
    shelf: Shelf
    view: MarketView
    terms: Terms
    takings: Takings

    def walk_of(self, order: Order) -> Callable[[MarketView], Taking]:
        """Return the walk of an order, after all that its account has had in this change."""
        had = self.takings.had(order.account_id, order.side)
        return walk_of(order, self.shelf.impacts.get(order.account_id), self.terms, had=had)

    def note(self, order: Order, slices: tuple[Slice, ...]) -> None:
        """Note what an order took of the book."""
        self.takings.add(order, slices, step_of(self.terms.symbol))


def offered(
    view: MarketView,
    side: Side,
    impact: Impact | None,
    now_ms: int,
    *,
    had: Mapping[Decimal, Decimal] = NOTHING_WAITING,
    fades: bool = True,
) -> Iterator[Offer]:
    """Give what each level of the view has for an order of this side, less what its account `had` in this change."""
    for offer in offers(
        opposite(view, side),
        side,
        step=step_of(view.symbol),
        impact=impact,
        waiting=printed_away(view, side),
        now_ms=now_ms,
        fades=fades,
    ):
        gone = had.get(offer.price)
        yield offer if not gone else offer._replace(available=max(ZERO, offer.available - gone))


def deepen(
    market: MarketSource, view: MarketView, taken: Callable[[MarketView], Taking]
) -> tuple[MarketView, Taking | None]:
    """Walk the view, and deeper ones while levels run out and more are known; None if the book stops being live."""
    taking = taken(view)
    for levels in DEEPER:
        if not taking.ran_out or view.complete:
            break
        view = market.view(levels)
        if view.state is not FeedState.LIVE:
            return view, None
        taking = taken(view)
    return view, taking


def emit_taking(draft: Draft, order_id: int, taking: Taking, view: MarketView, terms: Terms) -> None:
    """Write the fills of a walk."""
    for part in taking.slices:
        execute(draft, order_id, fills.taken(part, view), terms)


def emit_expiry(draft: Draft, order: Order, reason: str, time_ms: int) -> None:
    """Write that what is left of an order ends."""
    event = OrderExpired(
        seq=draft.next_seq, time_ms=time_ms, account_id=order.account_id, order_id=order.id, reason=reason
    )
    history.apply(draft, event)


def emit_waiting(order: Order, scene: Scene) -> None:
    """Let an order that waited meet its first live book, as one that arrives now."""
    draft, terms = scene.draft, scene.terms
    view, taking = deepen(scene.shelf.market, scene.view, scene.walk_of(order))
    if taking is None:
        return
    emit_taking(draft, order.id, taking, view, terms)
    scene.note(order, taking.slices)
    if draft.order(order.id).is_open:
        event = OrderRested(
            seq=draft.next_seq,
            time_ms=terms.time_ms,
            account_id=order.account_id,
            order_id=order.id,
            market_seq=view.seq,
        )
        history.apply(draft, event)


def emit_triggered(order: Order, trade: Trade, scene: Scene) -> None:
    """Let an order that a print has set off arrive at once: a market order ends here, a limit may rest."""
    draft, terms = scene.draft, scene.terms
    walked = scene.walk_of(order)
    view, taking = deepen(scene.shelf.market, scene.view, walked)
    if taking is None:
        # The book stopped being live while we looked deeper; what was seen of it before is what there is.
        view, taking = scene.view, walked(scene.view)
    if order.time_in_force is TimeInForce.FOK and order.price is not None:
        taking = all_or_nothing(taking)
    needed = _needed(order, taking, terms)
    affordable = needed <= order.held + draft.balance(order.account_id, order.asset_given).free
    event = OrderTriggered(
        seq=draft.next_seq,
        time_ms=terms.time_ms,
        account_id=order.account_id,
        order_id=order.id,
        held=needed if affordable else order.held,
        extreme=scene.shelf.triggers.standing(order.id).extreme,
        trade_id=trade.id,
        price=trade.price,
        market_seq=view.seq,
    )
    history.apply(draft, event)
    if not affordable:
        emit_expiry(draft, order, "insufficient_balance", terms.time_ms)
        return
    emit_taking(draft, order.id, taking, view, terms)
    scene.note(order, taking.slices)
    left = draft.order(order.id)
    if left.is_open and left.price is None:
        emit_expiry(draft, left, str(taking.end), terms.time_ms)
    elif left.is_open and left.time_in_force is not TimeInForce.GTC:
        emit_expiry(draft, left, left.time_in_force.value.lower(), terms.time_ms)


def walk_of(
    order: Order, impact: Impact | None, terms: Terms, *, had: Mapping[Decimal, Decimal] = NOTHING_WAITING
) -> Callable[[MarketView], Taking]:
    """Return the walk of an order; one without a limit ends at the price band."""

    def taken(view: MarketView) -> Taking:
        levels = opposite(view, order.side)
        return walk(
            offered(view, order.side, impact, terms.time_ms, had=had),
            order.side,
            quantity=order.leaves,
            limit=order.price,
            band=price_band(order.side, levels[0][0]) if order.price is None and levels else None,
            decimals=terms.symbol.quote_precision,
            complete=view.complete,
        )

    return taken


def _needed(order: Order, taking: Taking, terms: Terms) -> Decimal:
    """Return what a triggered order sets aside: a market buy what it is about to cost."""
    if order.price is not None or order.side is Side.SELL:
        return hold_of(order.side, order.price or ZERO, order.leaves, terms.symbol.quote_precision)
    return taking.quote_amount
