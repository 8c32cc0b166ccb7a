"""What control commands work on, and how they choose markets and sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trading_engine.simulator.arguments import Arguments, BadCommand
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.faults import Faults
from trading_engine.simulator.hub import Hub
from trading_engine.simulator.market import SymbolMarket
from trading_engine.simulator.rest import Rest
from trading_engine.simulator.sockets import Peer

PING_EVERY_S = 20.0  # web-socket-streams.md "General WSS information"
PONG_WITHIN_S = 60.0


class Plant(Protocol):
    """The server, as the control endpoint sees it.

    Attributes:
        ping_every_s: time between two pings.
        pong_within_s: patience for a pong.
    """

    exchange: Exchange
    rest: Rest
    hub: Hub
    faults: Faults
    ping_every_s: float
    pong_within_s: float

    def seconds(self) -> float:
        """A monotonic clock."""

    def now_ms(self) -> int:
        """The exchange's time."""

    def refuse(self, seconds: float) -> None:
        """Close the port for a while."""

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in a while."""


def market_named(plant: Plant, name: str) -> SymbolMarket:
    """The market of that name.

    Raises:
        BadCommand: when there is none.
    """
    market = plant.exchange.markets.get(name)
    if market is None:
        raise BadCommand(f"unknown symbol {name}")
    return market


def one_market(plant: Plant, arguments: Arguments) -> SymbolMarket:
    """The market of the mandatory field `symbol`."""
    return market_named(plant, arguments.words("symbol"))


def chosen_market(plant: Plant, arguments: Arguments) -> SymbolMarket | None:
    """The market of the field `symbol`, None when it is not there (all are meant)."""
    name = arguments.get("symbol", (str,), None)
    return None if name is None else market_named(plant, name)


def chosen_markets(plant: Plant, arguments: Arguments) -> list[SymbolMarket]:
    """The market of the field `symbol`, or all."""
    market = chosen_market(plant, arguments)
    return list(plant.exchange.markets.values()) if market is None else [market]


def chosen_peers(plant: Plant, arguments: Arguments) -> list[Peer]:
    """The WebSockets that listen to the field `symbol`, or all."""
    market = chosen_market(plant, arguments)
    if market is None:
        return list(plant.hub.peers)
    start = f"{market.name.lower()}@"
    return [peer for peer in plant.hub.peers if any(stream.startswith(start) for stream in peer.streams)]
