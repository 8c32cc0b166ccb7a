"""What one account has taken of what the book shows at one symbol: its own impact, which the real book cannot know.

The public market does not react to paper orders, so a level goes on showing what an account has already had. `Impact`
remembers that, by level, so that the same quantity is not given twice, and lets it fade:
- by time, halving every half-life, since others would have refilled the level;
- by cancels: when a level shrinks by more than its prints explain, some of what went was what we took. Cancels hit both
  alike, so the memory shrinks in proportion;
- prints and additions leave it alone: whoever traded would have met what we left, and new orders are new;
- a level that is gone keeps its memory (a tombstone), so that a quote that flickers is not given twice;
- it never exceeds what the level shows.

A memory is kept unrounded, as of the moment it was taken, and rounded up to whole lots where it is used. Were it
rounded at each change, a diff every 100 ms would round a small one up for ever and it would never fade. It is forgotten
one half-life after it would have faded to its last lot. Each operation on its numbers is correctly rounded by the
decimal standard, so every machine comes to the same digits.

Pure: no lock of its own (`Engine.lock` guards it), no clock; times are handed in, milliseconds that do not go back.
"""

import decimal
from collections.abc import KeysView, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from trading_engine.exchange.money import ZERO, plain
from trading_engine.exchange.orders import Side

HALF_LIFE_MS: Final = 10_000
"""How long until half of what was taken counts as refilled, unless set otherwise."""

Row = tuple[str, str, str, int]
"""Price, quantity taken, what the level shows, when it was taken."""

FADE_STEP_MS: Final = 10
"""A memory fades in steps of this length: few enough factors to keep, since each takes a logarithm's work."""

ImpactState = dict[str, list[Row]]
"""By side, a row a level: JSON as it is."""

_LN_2: Final = Decimal("0.6931471805599453094172321215")
_FADING: Final = Context(
    prec=28,
    rounding=ROUND_HALF_EVEN,
    traps=[decimal.FloatOperation, decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)


class _Memory(NamedTuple):
    """`quantity` as of `since_ms`, unrounded once cancels have cut it; `shown`: what its level last showed."""

    quantity: Decimal
    shown: Decimal
    since_ms: int


@lru_cache(maxsize=2048)
def _left_after(steps: int, half_life_ms: int) -> Decimal:
    """Return the share that is left after so many steps, less than a half-life."""
    exponent = _FADING.divide(_FADING.multiply(Decimal(-steps * FADE_STEP_MS), _LN_2), Decimal(half_life_ms))
    return _FADING.exp(exponent)


class Impact:
    """One account's memory at one symbol. `side` is always that of the order that takes: a buy takes from the asks.

    `step` is the lot step, above 0, and may be replaced when the symbol's rules change. `half_life_ms` of None: what
    was taken stays taken as long as its level shows it.
    """

    __slots__ = ("_half_life_ms", "_sides", "step")

    def __init__(self, *, step: Decimal, half_life_ms: int | None = HALF_LIFE_MS) -> None:
        """Remember nothing yet; raise ValueError for a step or half-life that is not above 0."""
        if step <= 0 or (half_life_ms is not None and half_life_ms <= 0):
            raise ValueError(f"an impact needs a lot step and a half-life above 0, not {step} and {half_life_ms}")
        self.step = step
        self._half_life_ms = half_life_ms
        self._sides: dict[Side, dict[Decimal, _Memory]] = {Side.BUY: {}, Side.SELL: {}}

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is remembered."""
        return not any(self._sides.values())

    def prices(self, side: Side) -> KeysView[Decimal]:
        """Return the levels to be told about by `on_level`, those no longer shown among them; a live view."""
        return self._sides[side].keys()

    def taken(self, side: Side, price: Decimal, now_ms: int, *, fades: bool = True) -> Decimal:
        """Return what a walk must leave at a level, in whole lots. Looking changes nothing.

        Without `fades` as much as when it was taken, until it is forgotten.
        """
        memory = self._sides[side].get(price)
        if memory is None or self._is_forgotten(memory, now_ms):
            return ZERO
        return self._in_lots(self._faded(memory, now_ms) if fades else memory.quantity) * self.step

    def took(self, side: Side, price: Decimal, quantity: Decimal, shown: Decimal, now_ms: int) -> None:
        """Remember that `quantity` was taken from a level that shows `shown`.

        Raises ValueError where that is more than was left there, which would be our own fault.
        """
        memory = self._sides[side].get(price)
        forgotten = memory is None or self._is_forgotten(memory, now_ms)
        # Not in whole lots here: what several orders take of a level in one go adds up to it exactly.
        before = ZERO if memory is None or forgotten else self._faded(memory, now_ms)
        if not 0 < quantity <= shown - before:
            raise ValueError(f"took {quantity} at {price}, which shows {shown}, {before} of it taken before")
        self._sides[side][price] = _Memory(before + quantity, shown, now_ms)

    def recall(self, side: Side, price: Decimal, quantity: Decimal, shown: Decimal, time_ms: int) -> None:
        """Remember what was taken at `time_ms`, as history tells it: cancels since the fills before are not known."""
        taken = self.taken(side, price, time_ms) + quantity
        self._sides[side][price] = _Memory(taken, max(shown, taken), time_ms)

    def on_level(self, side: Side, price: Decimal, *, traded: Decimal, after: Decimal, now_ms: int) -> None:
        """Follow a level to what it shows now, `after`; 0: it is gone.

        `traded` are the prints among what went since the last call: those the book shows only now.
        """
        memories = self._sides[side]
        memory = memories.get(price)
        if memory is None:
            return
        if self._is_forgotten(memory, now_ms):
            del memories[price]
            return
        untraded = memory.shown - traded
        if 0 < after < untraded:
            # Fading is a factor too, so it does not matter that it is applied later.
            cut = _FADING.divide(_FADING.multiply(memory.quantity, after), untraded)
            memory = memory._replace(quantity=cut)
        memories[price] = self._showing(memory, after, now_ms)

    def gap(self, side: Side, shown: Mapping[Decimal, Decimal], now_ms: int) -> None:
        """Go on with a book whose changes were missed: nobody knows why a level shrank, so none of it is forgiven.

        `shown` is the quantity by price; a level that is not there keeps its memory.
        """
        memories = self._sides[side]
        for price, memory in memories.items():
            memories[price] = self._showing(memory, shown.get(price, ZERO), now_ms)

    def forget(self, now_ms: int) -> None:
        """Drop what has faded away, also where no level changes any more."""
        for side, memories in self._sides.items():
            self._sides[side] = {
                price: memory for price, memory in memories.items() if not self._is_forgotten(memory, now_ms)
            }

    def state(self) -> ImpactState:
        """Return all that is remembered; `restore` continues from it exactly."""
        return {
            side.value: [
                (plain(price), plain(memory.quantity), plain(memory.shown), memory.since_ms)
                for price, memory in memories.items()
            ]
            for side, memories in self._sides.items()
        }

    def restore(self, state: Mapping[str, Sequence[Row]]) -> None:
        """Replace what is remembered by a `state`.

        Raises ValueError for a side or quantity that cannot be, ArithmeticError for text that is no number.
        """
        sides: dict[Side, dict[Decimal, _Memory]] = {Side.BUY: {}, Side.SELL: {}}
        for side, rows in state.items():
            for price, quantity, shown, since_ms in rows:
                memory = _Memory(Decimal(quantity), Decimal(shown), since_ms)
                if memory.quantity <= 0 or memory.shown < 0:
                    raise ValueError(f"a memory of {quantity} at {price}, which shows {shown}")
                sides[Side(side)][Decimal(price)] = memory
        self._sides = sides

    def _showing(self, memory: _Memory, shown: Decimal, now_ms: int) -> _Memory:
        """Return a memory of a level that shows `shown`, cut to that unless it is nothing."""
        if 0 < shown < memory.quantity and shown < self._faded(memory, now_ms):
            return _Memory(shown, shown, now_ms)
        return memory._replace(shown=shown)

    def _faded(self, memory: _Memory, now_ms: int) -> Decimal:
        """Return what is left by now, unrounded."""
        elapsed_ms = now_ms - memory.since_ms
        if self._half_life_ms is None or elapsed_ms <= 0:
            return memory.quantity
        halvings, rest_ms = divmod(elapsed_ms, self._half_life_ms)
        left = memory.quantity
        if rest_ms >= FADE_STEP_MS:
            left = _FADING.multiply(left, _left_after(rest_ms // FADE_STEP_MS, self._half_life_ms))
        return _FADING.divide(left, Decimal(1 << halvings)) if halvings else left

    def _is_forgotten(self, memory: _Memory, now_ms: int) -> bool:
        """Say whether a memory has faded to half a lot or less: each doubling of one lot lasts a half-life longer."""
        if self._half_life_ms is None:
            return False
        lives = (self._in_lots(memory.quantity) - 1).bit_length() + 1
        return now_ms - memory.since_ms >= lives * self._half_life_ms

    def _in_lots(self, quantity: Decimal) -> int:
        """Return how many lots it takes to hold `quantity`, which is above 0."""
        lots, rest = _FADING.divmod(quantity, self.step)
        return int(lots) + bool(rest)
