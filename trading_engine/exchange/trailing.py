"""Prices that the last price comes to, and extremes that it carries along: what `triggers` is made of.

The idea that keeps a new high cheap: after a print no extreme lies behind its price, so orders whose extremes a print
overtakes share their fate from then on. They become one *group*, and the next high touches that group, not its thousand
members. Groups merge small into large, so an order changes its group O(log n) times in its life.

Knows no conditions and no books. Guarded by `Engine.lock`.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from decimal import Decimal
from itertools import pairwise

from trading_engine.exchange.conditions import reversal
from trading_engine.exchange.money import plain
from trading_engine.exchange.orders import Side


class Levels:
    """Ids at prices, those that the last price meets first at the end, where taking them costs nothing."""

    __slots__ = ("_keys", "_rises")

    def __init__(self, *, rises: bool) -> None:
        self._rises = rises
        self._keys: list[tuple[Decimal, int]] = []

    def add(self, level: Decimal, entry_id: int) -> None:
        """Add an id that a last price at `level` or beyond meets."""
        insort(self._keys, self._key(level, entry_id))

    def remove(self, level: Decimal, entry_id: int) -> None:
        """Take an id out; raise KeyError if it is not at `level`."""
        key = self._key(level, entry_id)
        index = bisect_left(self._keys, key)
        if index == len(self._keys) or self._keys[index] != key:
            raise KeyError(f"{entry_id} is not at {level}")
        del self._keys[index]

    def touched_by(self, price: Decimal) -> bool:
        """Say, in O(1), whether a last price meets any."""
        return bool(self._keys) and self._meets(self._keys[-1][0], price)

    def met_by(self, price: Decimal) -> list[int]:
        """Return the ids that a last price meets, first met first."""
        met = []
        for rank, entry_id in reversed(self._keys):
            if not self._meets(rank, price):
                break
            met.append(entry_id)
        return met

    def take(self, price: Decimal) -> list[int]:
        """Take out, and return, the ids that a last price meets."""
        met = []
        while self.touched_by(price):
            met.append(self._keys.pop()[1])
        return met

    def ids(self) -> list[int]:
        """Return every id, for checks; raise AssertionError where they are out of order."""
        assert self._keys == sorted(self._keys), f"levels are out of order: {self._keys}"
        return [entry_id for _, entry_id in self._keys]

    def _key(self, level: Decimal, entry_id: int) -> tuple[Decimal, int]:
        return (-level if self._rises else level, entry_id)

    def _meets(self, rank: Decimal, price: Decimal) -> bool:
        return price >= -rank if self._rises else price <= rank


class _Group:
    """Orders with one extreme, as (-bps, id) in ascending order: the nearest to firing is the last."""

    __slots__ = ("extreme", "id", "members")

    def __init__(self, group_id: int, extreme: Decimal) -> None:
        self.id = group_id
        self.extreme = extreme
        self.members: list[tuple[int, int]] = []


class Trail:
    """One side's orders that follow the last price, in groups that end with the extreme nearest to the market."""

    __slots__ = ("_bps", "_by_id", "_firing", "_group_of", "_groups", "_last_id", "_side")

    def __init__(self, side: Side) -> None:
        self._side = side
        self._groups: list[_Group] = []
        self._group_of: dict[int, _Group] = {}
        self._bps: dict[int, int] = {}
        self._by_id: dict[int, _Group] = {}
        self._last_id = 0
        # Where the first of each group fires, by the group's id.
        self._firing = Levels(rises=side is Side.BUY)

    def __len__(self) -> int:
        return len(self._bps)

    def __contains__(self, order_id: int) -> bool:
        return order_id in self._bps

    def extreme_of(self, order_id: int) -> Decimal:
        """Return the extreme an order follows; raise KeyError if it follows none."""
        return self._group_of[order_id].extreme

    def add(self, order_id: int, bps: int, extreme: Decimal) -> None:
        """Let an order follow from `extreme`."""
        self._bps[order_id] = bps
        self._join(extreme, [(-bps, order_id)])

    def remove(self, order_id: int) -> None:
        """Take an order out; raise KeyError if it is not here."""
        member = (-self._bps.pop(order_id), order_id)
        group = self._group_of.pop(order_id)
        self._firing.remove(self._fires_at(group), group.id)
        del group.members[bisect_left(group.members, member)]
        if group.members:
            self._firing.add(self._fires_at(group), group.id)
        else:
            del self._groups[self._place(group.extreme)]
            del self._by_id[group.id]

    def touched_by(self, price: Decimal) -> bool:
        """Say, in O(1), whether a print moves an extreme or fires an order."""
        return bool(self._groups) and (self._passes(price, self._groups[-1].extreme) or self._firing.touched_by(price))

    def would_fire(self, price: Decimal) -> list[int]:
        """Return the orders whose reversal a print completes."""
        fired = []
        for group_id in self._firing.met_by(price):
            group = self._by_id[group_id]
            for minus_bps, order_id in reversed(group.members):
                fires_at = reversal(self._side, group.extreme, -minus_bps)
                if price < fires_at if self._side is Side.BUY else price > fires_at:
                    break
                fired.append(order_id)
        return fired

    def take(self, price: Decimal) -> list[int]:
        """Take out, and return, the orders whose reversal a print completes."""
        fired = self.would_fire(price)
        for order_id in fired:
            self.remove(order_id)
        return fired

    def follow(self, price: Decimal, starting: Iterable[tuple[int, int]]) -> bool:
        """Move the extremes a print passes, and let orders (id, bps) begin at it; say whether any moved or began."""
        moved = bool(self._groups) and self._passes(price, self._groups[-1].extreme)
        joined: list[_Group] = []
        while moved and self._groups and not self._passes(self._groups[-1].extreme, price):
            group = self._groups.pop()
            self._firing.remove(self._fires_at(group), group.id)
            joined.append(group)
        if joined:
            # All that the print passes, and who was at its price already. The largest stays, the others move into it.
            joined.sort(key=lambda group: len(group.members))
            largest = joined.pop()
            largest.extreme = price
            self._groups.append(largest)
            self._firing.add(self._fires_at(largest), largest.id)
            for group in joined:
                del self._by_id[group.id]
                self._join(price, group.members)
        joining = [(-bps, order_id) for order_id, bps in starting]
        for minus_bps, order_id in joining:
            self._bps[order_id] = -minus_bps
        if joining:
            self._join(price, joining)
        return moved or bool(joining)

    def state(self) -> list[list[object]]:
        """Return each extreme and the ids that follow it, as JSON can write it."""
        return [[plain(group.extreme), sorted(order_id for _, order_id in group.members)] for group in self._groups]

    def check(self) -> list[int]:
        """Walk the groups, return every id; raise AssertionError where the index is wrong."""
        ranks = [self._rank(group.extreme) for group in self._groups]
        assert all(one < other for one, other in pairwise(ranks)), f"extremes out of order: {ranks}"
        assert {group.id: group for group in self._groups} == self._by_id, "groups and their ids differ"
        assert sorted(self._firing.ids()) == sorted(self._by_id), "not every group has its fire price"
        members: list[int] = []
        for group in self._groups:
            assert group.members, f"nobody follows {group.extreme}"
            assert group.members == sorted(group.members), f"the followers of {group.extreme} are out of order"
            self._firing.remove(self._fires_at(group), group.id)
            self._firing.add(self._fires_at(group), group.id)
            for minus_bps, order_id in group.members:
                assert self._group_of[order_id] is group, f"order {order_id} is in two groups"
                assert self._bps[order_id] == -minus_bps, f"order {order_id} follows at another distance"
                members.append(order_id)
        assert len(members) == len(self._bps) == len(self._group_of), "orders are missing from the groups"
        return members

    def _join(self, extreme: Decimal, members: list[tuple[int, int]]) -> None:
        """Let orders follow `extreme`, in the group that does already or in a new one."""
        index = self._place(extreme)
        if index < len(self._groups) and self._groups[index].extreme == extreme:
            group = self._groups[index]
            self._firing.remove(self._fires_at(group), group.id)
        else:
            self._last_id += 1
            group = _Group(self._last_id, extreme)
            self._groups.insert(index, group)
            self._by_id[group.id] = group
        for member in members:
            insort(group.members, member)
            self._group_of[member[1]] = group
        self._firing.add(self._fires_at(group), group.id)

    def _fires_at(self, group: _Group) -> Decimal:
        return reversal(self._side, group.extreme, -group.members[-1][0])

    def _rank(self, extreme: Decimal) -> Decimal:
        return extreme if self._side is Side.BUY else -extreme

    def _place(self, extreme: Decimal) -> int:
        return bisect_left(self._groups, self._rank(extreme), key=lambda group: self._rank(group.extreme))

    def _passes(self, price: Decimal, extreme: Decimal) -> bool:
        return price < extreme if self._side is Side.BUY else price > extreme
