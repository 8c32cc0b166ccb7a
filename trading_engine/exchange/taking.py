"""What an arriving order takes: a walk over the opposite side of the book, from its best level on.

A level gives what it shows, less the prints that the book does not show yet, less what the account took there before
(`impact`), in whole lots. A level that gives nothing is passed over. Each level is one fill at its own price. The walk
ends where the order is done, at the order's limit, at the edge of the price band, where the known book ends (never at
an invented price), or at an own order that self-trade prevention lets nobody pass. Where the known book ends and more
of it can be had, the caller walks again over a longer view: a walk changes nothing.

*Price band.* The venue's price-range rule where it is published, else 2 % around the best price it
can take (not mid, which would refuse every market order where the spread is wide). A market order's
remainder ends there.

*Own orders.* Orders of one account never trade with each other, whatever the venue would do. Before the walk passes the
real quantity ahead of an own order on the other side, the mode of the order that arrives decides (rules and names of
the venue, "Self Trade Prevention FAQ"):
- NONE: the walk passes it as if it were not there. (On the venue the two would trade; here that would only print fees.)
- EXPIRE_TAKER: what is left of the arriving order expires. EXPIRE_MAKER: the own order expires, the walk goes on.
  EXPIRE_BOTH: both expire.
- DECREMENT: the smaller of both quantities is taken off both; what has none left expires. TRANSFER between orders of
  one account is the same.

Pure functions: no lock.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from trading_engine.exchange.grid import Level
from trading_engine.exchange.impact import Impact
from trading_engine.exchange.money import ONE, ZERO, floor_to_step, round_half_up, unit
from trading_engine.exchange.orders import SelfTradePrevention, Side

BAND_SHARE: Final = Decimal("0.02")
"""How far from the best price a market order may fill where the venue publishes no price range."""

NOTHING_WAITING: Final[Mapping[Decimal, Decimal]] = MappingProxyType({})

_HALF: Final = Decimal("0.5")


class End(StrEnum):
    """Why a walk ended; for a remainder that expires, also the reason given."""

    DONE = "done"
    LIMIT = "limit"
    PRICE_BAND = "price_band"
    NO_LIQUIDITY = "no_liquidity"
    SELF_TRADE = "self_trade"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRange:
    """The venue's PRICE_RANGE rule: multipliers of the reference price, for buys (bid) and sells (ask); None: unset."""

    bid_up: Decimal | None
    bid_down: Decimal | None
    ask_up: Decimal | None
    ask_down: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """The prices an order may trade at, both ends included; None: no end."""

    low: Decimal | None
    high: Decimal | None

    def allows(self, price: Decimal) -> bool:
        """Say whether `price` lies within."""
        return (self.low is None or price >= self.low) and (self.high is None or price <= self.high)


class Offer(NamedTuple):
    """What a level has for one account: `shown`, of which `waiting` is printed away and `taken` was had before."""

    price: Decimal
    shown: Decimal
    waiting: Decimal
    taken: Decimal
    available: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOrder:
    """A resting order of the same account on the other side, `ahead`: the real quantity before it at its price."""

    order_id: int
    price: Decimal
    ahead: Decimal
    leaves: Decimal


class Slice(NamedTuple):
    """One fill: `quote_amount` is price x quantity rounded half-up to the quote asset's precision.

    The rest is evidence: what the level showed, what of that was printed away, what had been taken there before.
    """

    price: Decimal
    quantity: Decimal
    quote_amount: Decimal
    shown: Decimal
    waiting: Decimal
    taken_before: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """An own order that was met, and what the mode took off both: `maker_left` 0 means that the own order expires."""

    order_id: int
    price: Decimal
    taker_prevented: Decimal
    maker_prevented: Decimal
    maker_left: Decimal


class Taking(NamedTuple):
    """What an arriving order gets now. `left` is what it still wants, None for an order by quote amount.

    An order's quantity is `quantity` + `prevented` + `left`. Own orders in `met` come in the order they were met.
    """

    slices: tuple[Slice, ...]
    quantity: Decimal
    quote_amount: Decimal
    left: Decimal | None
    prevented: Decimal
    end: End
    met: tuple[Met, ...]

    @property
    def ran_out(self) -> bool:
        """Say whether the levels ended before anything else did."""
        return self.end is End.NO_LIQUIDITY


NOTHING_TAKEN: Final = Taking(
    slices=(), quantity=ZERO, quote_amount=ZERO, left=ZERO, prevented=ZERO, end=End.DONE, met=()
)


def price_band(side: Side, best: Decimal, *, rule: PriceRange | None = None, reference: Decimal | None = None) -> Band:
    """Return the prices an order may trade at, by the venue's rule around its reference price, or around `best`.

    As on the venue, an unset multiplier leaves its end open, and without a reference price the rule does not bind.
    """
    if rule is None or reference is None:
        return Band(low=best * (ONE - BAND_SHARE), high=best * (ONE + BAND_SHARE))
    up, down = (rule.bid_up, rule.bid_down) if side is Side.BUY else (rule.ask_up, rule.ask_down)
    return Band(low=reference * down if down is not None else None, high=reference * up if up is not None else None)


def offers(
    levels: Iterable[Level],
    side: Side,
    *,
    step: Decimal,
    impact: Impact | None,
    waiting: Mapping[Decimal, Decimal] = NOTHING_WAITING,
    now_ms: int,
    fades: bool = True,
) -> Iterator[Offer]:
    """Say of each level, best first, what it has for an order of this side. `waiting`: prints not yet shown, by price.

    `step` is the lot step; `impact` None: the account took nothing here yet. `fades`: whether that fades.
    """
    for price, shown in levels:
        printed = waiting.get(price, ZERO)
        taken = min(impact.taken(side, price, now_ms, fades=fades), shown) if impact is not None else ZERO
        available = max(ZERO, shown - printed - taken)
        if available % step:
            available = floor_to_step(available, step)
        yield Offer(price, shown, printed, taken, available)


def walk(
    levels: Iterable[Offer],
    side: Side,
    *,
    quantity: Decimal,
    limit: Decimal | None,
    band: Band | None,
    decimals: int,
    own: Sequence[OwnOrder] = (),
    mode: SelfTradePrevention = SelfTradePrevention.NONE,
    complete: bool,
) -> Taking:
    """Take `quantity`, not beyond `limit` nor outside `band`; amounts rounded to `decimals`.

    `complete`: no level lies beyond those given, so that own orders there can be met.
    """
    tally = _Tally(decimals)
    left, end, met = quantity, End.NO_LIQUIDITY, []
    for reached in _reached(levels, side, own, mode, complete=complete):
        stop = _stop(reached.price, side, limit, band)
        if stop is not None:
            end = stop
        elif isinstance(reached, OwnOrder):
            meeting = prevent(mode, reached, left)
            met.append(meeting)
            left -= meeting.taker_prevented
            end = end if left else End.SELF_TRADE
        else:
            part = min(left, reached.quantity)
            tally.add(reached.offer, part)
            left -= part
            end = end if left else End.DONE
        if end is not End.NO_LIQUIDITY:
            break  # before another level is asked what it has
    return tally.taking(left=left, end=end, met=met)


def walk_amount(
    levels: Iterable[Offer],
    side: Side,
    *,
    amount: Decimal,
    step: Decimal,
    band: Band | None,
    decimals: int,
    own: Sequence[OwnOrder] = (),
    mode: SelfTradePrevention = SelfTradePrevention.NONE,
    complete: bool,
) -> Taking:
    """Take the largest quantity on the grid of `step` that costs (or brings) no more than `amount` of the quote asset.

    `amount` has no more than `decimals` decimals. An own order counts as the quantity that what is left would come to
    at its price; where that is taken off, so is its cost.
    """
    tally = _Tally(decimals)
    end, met = End.NO_LIQUIDITY, []
    for reached in _reached(levels, side, own, mode, complete=complete):
        stop = _stop(reached.price, side, None, band)
        if stop is not None:
            end = stop
            break
        if isinstance(reached, OwnOrder):
            left = amount - tally.quote_amount
            wanted = _most_within(left, reached.price, ZERO, step, decimals) if left else ZERO
            if not wanted:
                end = End.DONE
                break
            meeting = prevent(mode, reached, wanted)
            met.append(meeting)
            if meeting.taker_prevented == wanted:
                end = End.SELF_TRADE
                break
            amount -= round_half_up(reached.price * meeting.taker_prevented, decimals)
        elif tally.cost_with(reached.offer, reached.quantity) <= amount:
            tally.add(reached.offer, reached.quantity)
        else:
            before, spent = tally.before(reached.offer)
            most = _most_within(amount - spent, reached.price, before, step, decimals)
            if most > tally.quantity:
                tally.add(reached.offer, most - tally.quantity)
            end = End.DONE
            break
    if amount == tally.quote_amount:
        end = End.DONE
    tally.cut(floor_to_step(tally.quantity, step))
    return tally.taking(left=None, end=end, met=met)


def all_or_nothing(taking: Taking) -> Taking:
    """Return what a fill-or-kill order takes: all it wants, or nothing, and then what it met stays as it is too."""
    if taking.end is End.DONE and not taking.prevented:
        return taking
    return Taking(
        slices=(),
        quantity=ZERO,
        quote_amount=ZERO,
        left=None if taking.left is None else taking.quantity + taking.prevented + taking.left,
        prevented=ZERO,
        end=End.SELF_TRADE if taking.prevented else taking.end,
        met=(),
    )


def prevent(mode: SelfTradePrevention, own: OwnOrder, left: Decimal) -> Met:
    """Say what a mode does to an arriving order with `left` to fill and the own order it meets.

    Raises ValueError for NONE, which prevents nothing.
    """
    if mode is SelfTradePrevention.NONE:
        raise ValueError("self-trade prevention NONE has nothing to apply")
    taker = maker = min(left, own.leaves)
    if mode in {SelfTradePrevention.EXPIRE_TAKER, SelfTradePrevention.EXPIRE_BOTH}:
        taker, maker = left, ZERO
    if mode in {SelfTradePrevention.EXPIRE_MAKER, SelfTradePrevention.EXPIRE_BOTH}:
        maker = own.leaves
    if mode is SelfTradePrevention.EXPIRE_MAKER:
        taker = ZERO
    return Met(
        order_id=own.order_id,
        price=own.price,
        taker_prevented=taker,
        maker_prevented=maker,
        maker_left=own.leaves - maker,
    )


class _Piece(NamedTuple):
    """Part of a level's offer: up to the next own order, or up to its end; may be empty."""

    price: Decimal
    offer: Offer
    quantity: Decimal


class _Tally:
    """What has been taken so far, one slice a level."""

    __slots__ = ("_decimals", "quantity", "quote_amount", "slices")

    def __init__(self, decimals: int) -> None:
        self._decimals = decimals
        self.slices: list[Slice] = []
        self.quantity = ZERO
        self.quote_amount = ZERO

    def before(self, offer: Offer) -> tuple[Decimal, Decimal]:
        """Return quantity and quote amount taken at levels before this one."""
        if self.slices and self.slices[-1].price == offer.price:
            last = self.slices[-1]
            return self.quantity - last.quantity, self.quote_amount - last.quote_amount
        return self.quantity, self.quote_amount

    def cost_with(self, offer: Offer, quantity: Decimal) -> Decimal:
        """Return the quote amount there would be with `quantity` more of this level."""
        before, spent = self.before(offer)
        return spent + round_half_up(offer.price * (self.quantity - before + quantity), self._decimals)

    def add(self, offer: Offer, quantity: Decimal) -> None:
        """Take `quantity` of a level, the last one or one behind it."""
        if not quantity:
            return
        before, spent = self.before(offer)
        if before != self.quantity:
            quantity += self.slices.pop().quantity
        cost = round_half_up(offer.price * quantity, self._decimals)
        self.slices.append(
            Slice(
                price=offer.price,
                quantity=quantity,
                quote_amount=cost,
                shown=offer.shown,
                waiting=offer.waiting,
                taken_before=offer.taken,
            )
        )
        self.quantity, self.quote_amount = before + quantity, spent + cost

    def cut(self, quantity: Decimal) -> None:
        """Give back, worst price first, until `quantity` is left."""
        while self.quantity > quantity:
            last = self.slices.pop()
            kept = max(ZERO, last.quantity - (self.quantity - quantity))
            self.quantity -= last.quantity - kept
            self.quote_amount -= last.quote_amount
            if kept:
                cost = round_half_up(last.price * kept, self._decimals)
                self.slices.append(last._replace(quantity=kept, quote_amount=cost))
                self.quote_amount += cost

    def taking(self, *, left: Decimal | None, end: End, met: Sequence[Met]) -> Taking:
        return Taking(
            slices=tuple(self.slices),
            quantity=self.quantity,
            quote_amount=self.quote_amount,
            left=left,
            prevented=sum((meeting.taker_prevented for meeting in met), ZERO),
            end=end,
            met=tuple(met),
        )


def _reached(
    levels: Iterable[Offer],
    side: Side,
    own: Sequence[OwnOrder],
    mode: SelfTradePrevention,
    *,
    complete: bool,
) -> Iterator[_Piece | OwnOrder]:
    """Give what an arriving order reaches, in that order: levels, cut in pieces where own orders stand in them.

    What the account took at a level before, it took from the front.
    """
    if mode is SelfTradePrevention.NONE or not own:
        for offer in levels:
            yield _Piece(offer.price, offer, offer.available)
        return
    sign = 1 if side is Side.BUY else -1
    waiting = deque(sorted(own, key=lambda order: (sign * order.price, order.ahead, order.order_id)))
    for offer in levels:
        while waiting and sign * waiting[0].price < sign * offer.price:
            yield waiting.popleft()
        given = ZERO
        while waiting and waiting[0].price == offer.price:
            ahead = min(offer.available, max(given, waiting[0].ahead - offer.taken))
            yield _Piece(offer.price, offer, ahead - given)
            given = ahead
            yield waiting.popleft()
        yield _Piece(offer.price, offer, offer.available - given)
    if complete:
        yield from waiting


def _stop(price: Decimal, side: Side, limit: Decimal | None, band: Band | None) -> End | None:
    """Say whether a price is beyond what the order may pay, and by which bound; the order's own comes first."""
    if limit is not None and (price > limit if side is Side.BUY else price < limit):
        return End.LIMIT
    if band is not None and not band.allows(price):
        return End.PRICE_BAND
    return None


def _most_within(amount: Decimal, price: Decimal, whole: Decimal, step: Decimal, decimals: int) -> Decimal:
    """Return the largest multiple of `step` whose part beyond `whole`, at `price`, rounds to no more than `amount`.

    Half-up rounding lets the exact price of that part come up to half a unit above `amount`, but not reach it.
    """
    bound = amount + unit(decimals) * _HALF
    quantity = ((whole * price + bound) // (price * step)) * step
    return quantity - step if (quantity - whole) * price == bound else quantity
