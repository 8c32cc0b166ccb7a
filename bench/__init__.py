"""Benchmarks: each module measures one thing beside a floor or a peer of the same run (`python -m bench.NAME`)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure; `better` says on which side of its goal it should lie. A `goal` of None: for information."""

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
