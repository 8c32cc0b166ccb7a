"""The rules by which cancellations bring a resting order forward, by name.

`INFERRED` is ours; the others are there to be compared with. Pure.
"""

from enum import StrEnum


class Rule(StrEnum):
    """How the quantity ahead changes when the shown size falls and no print says why."""

    TOUCH = "touch"
    """Nothing is ever ahead."""
    PRINTS = "prints"
    """Cancellations never count: only prints bring an order forward."""
    STRICT = "strict"
    """All cancellations are behind us, as long as there is room."""
    PRO_RATA = "pro_rata"
    """A cancellation is ahead of us with the share of the queue that is."""
    POWER_2 = "power2"
    POWER_3 = "power3"
    """The same with the n-th powers of both parts: the back of the queue cancels more."""
    INFERRED = "inferred"
    """Each cancellation is matched with the orders it may have been (`queue_line`)."""


JUDGED = (Rule.STRICT, Rule.PRO_RATA, Rule.POWER_2, Rule.POWER_3, Rule.INFERRED)
"""The rules that look at what is shown."""

POWERS = {Rule.PRO_RATA: 1, Rule.POWER_2: 2, Rule.POWER_3: 3}


def powered(ahead: int, fell: int, before: int, power: int) -> int:
    """Return what is ahead after a fall that comes from both parts of the queue in proportion to their powers.

    Grains, rounded up. What the part behind cannot give, the part ahead does.
    """
    if power == 1:
        return max(0, ahead - fell * ahead // before)
    behind = max(0, before - ahead)
    front: int = pow(ahead, power)
    back: int = pow(behind, power)
    if not front:
        return ahead
    both = front + back
    more = max(0, fell * back - behind * both)
    return max(0, -((fell * front + more - ahead * both) // both))
