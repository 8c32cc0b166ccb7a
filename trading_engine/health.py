"""The answer of /health: how the process, its engine and its feed stand. Pure: reads what it is given, takes no lock.

The process is well while it can commit or stands by; a venue that is down is the feed's state, not a fault of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trading_engine.binance.venues import Venue
from trading_engine.exchange.door import EngineRole, EngineStatus
from trading_engine.exchange.market import FeedState, Market, MarketView

WORST_FIRST = (FeedState.DOWN, FeedState.STALE, FeedState.SYNCING, FeedState.LIVE)


def process_health(
    *,
    role: str,
    reason: str | None,
    failing: bool,
    engine: EngineStatus,
    refusing: str | None,
    dead_threads: tuple[str, ...],
) -> dict[str, Any]:
    """Say whether we can do our work. `failing`: the store or we ourselves keep us from it; `refusing`: the journal."""
    active = role == "active"
    unwell = failing or role == "halted" or (active and refusing is not None)
    return {
        "status": "failing" if unwell else "ok",
        "engine": {
            "role": role,
            "reason": reason or engine.reason or (refusing if active else None),
            "accepting_orders": active and refusing is None and engine.role is EngineRole.RUNNING,
            "seq": engine.seq,
            "open_orders": engine.open_orders,
            "journal": "ok" if refusing is None else "failed",
            "dead_threads": list(dead_threads),
        },
    }


def venue_health(venue: Venue | None) -> dict[str, Any]:
    """Say which venue it is, once that is known, and why that one."""
    return {
        "venue": venue.name if venue is not None else None,
        "venue_reason": venue.reason if venue is not None else None,
        "simulated": venue is not None and venue.simulated,
    }


def feed_ages_s(configured: tuple[str, ...], markets: Mapping[str, Market]) -> dict[str, float]:
    """Return the age of each configured symbol's book, in seconds, where it has one."""
    views = {name: markets[name].view(0) for name in configured if name in markets}
    return {name: view.age_ms / 1000 for name, view in views.items() if view.age_ms is not None}


def feed_health(configured: tuple[str, ...], markets: Mapping[str, Market], reason: str | None) -> dict[str, Any]:
    """Say how fresh the configured symbols are. `reason` is that of the venue or the feed as a whole, if there is one.

    The feed's own state is the worst of its symbols, in the three words that matter outside: live, stale or down.
    """
    views = {name: markets[name].view(0) if name in markets else None for name in configured}
    symbols = {name: _symbol_health(view, reason) for name, view in views.items()}
    worst = next((state for state in WORST_FIRST if any(said["state"] == state for said in symbols.values())), None)
    state = FeedState.STALE if worst is FeedState.SYNCING else worst or FeedState.DOWN
    why = None
    if state is not FeedState.LIVE:
        why = reason or next((f"{name}: {said['reason']}" for name, said in symbols.items() if said["reason"]), None)
    return {"state": state.value, "reason": why, "symbols": symbols}


def _symbol_health(view: MarketView | None, reason: str | None) -> dict[str, Any]:
    if view is None:
        return {"state": FeedState.DOWN.value, "age_ms": None, "reason": reason or "not followed"}
    return {"state": view.state.value, "age_ms": view.age_ms, "reason": view.reason}
