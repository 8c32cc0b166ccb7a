"""Benchmarks: each module measures one thing beside a floor or a peer in the same run. `python -m bench.NAME [--json]`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure with its goal. `better` says on which side of the goal it should lie; a `goal` of None: for information."""

    name: str
    value: float
    goal: float | None
    unit: str
    better: Literal["lower", "higher"] = "lower"

    @property
    def missed_by(self) -> float:
        """The share of the goal by which the value misses it; 0 or less where it is met or where there is none."""
        if self.goal is None:
            return 0.0
        gap = self.value - self.goal if self.better == "lower" else self.goal - self.value
        return gap / self.goal
