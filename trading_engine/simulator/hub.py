"""Who listens to what: subscriptions by URL and by message, and the delivery of what the exchange publishes."""

from __future__ import annotations

import json
import re
from typing import Any

from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.faults import Faults
from trading_engine.simulator.market import Message
from trading_engine.simulator.sockets import Peer, Request, frame
from trading_engine.simulator.wire import compact

STREAMS_A_CONNECTION = 1_024  # web-socket-streams.md "WebSocket Limits"
ALL_MINI_TICKERS = "!miniTicker@arr"
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_ID = re.compile(r"[A-Za-z0-9_-]{0,36}\Z")


class Refusal(Exception):
    """A request on a socket that is refused with a code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hub:
    """All open WebSockets and their streams."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self._exchange = exchange
        self._faults = faults
        self._listeners: dict[str, dict[Peer, None]] = {}
        self.peers: dict[Peer, None] = {}

    @property
    def is_busy(self) -> bool:
        """Whether anybody listens to anything."""
        return bool(self._listeners)

    # -- coming and going ----------------------------------------------------------------------------------------------

    def enter(self, peer: Peer, request: Request) -> None:
        """Take a new WebSocket in, with the streams its URL names; unknown names are accepted and stay silent."""
        self.peers[peer] = None
        if request.path.startswith("/stream"):
            peer.combined = True
            names = request.parameters.get("streams", "").split("/")
        else:
            names = request.path.removeprefix("/ws").split("/")
        self._subscribe(peer, [name for name in names if name])

    def leave(self, peer: Peer) -> None:
        """Forget a closed connection."""
        self.peers.pop(peer, None)
        self._unsubscribe(peer, list(peer.streams))

    def _subscribe(self, peer: Peer, names: list[str]) -> None:
        for name in names:
            peer.streams[name] = None
            self._listeners.setdefault(name, {})[peer] = None
        self._tell_markets()

    def _unsubscribe(self, peer: Peer, names: list[str]) -> None:
        for name in names:
            peer.streams.pop(name, None)
            listeners = self._listeners.get(name)
            if listeners is not None:
                listeners.pop(peer, None)
                if not listeners:
                    del self._listeners[name]
        self._tell_markets()

    def _tell_markets(self) -> None:
        """Let every market know which of its streams are wanted."""
        wanted: dict[str, set[str]] = {}
        for stream in self._listeners:
            symbol, _, kind = stream.partition("@")
            wanted.setdefault(symbol, set()).add(kind)
        for name, market in self._exchange.markets.items():
            market.wanted = frozenset(wanted.get(name.lower(), ()))
        self._exchange.array_wanted = ALL_MINI_TICKERS in self._listeners

    # -- delivery ------------------------------------------------------------------------------------------------------

    def publish(self, messages: list[Message]) -> None:
        """Send messages to whoever listens, each connection's share in one write."""
        outgoing: dict[Peer, list[bytes]] = {}
        for stream, text in messages:
            symbol, _, kind = stream.partition("@")
            name = symbol.upper()
            if self._faults.is_muted(name):
                continue
            if kind in ("depth", "depth@100ms"):
                for late_stream, late_text in self._faults.pass_diff(name, stream, text):
                    self._deliver(late_stream, late_text, outgoing)
            elif kind == "trade" and self._faults.lose_trade(name):
                continue
            elif kind not in ("trade", "aggTrade") or not self._faults.hold_back(name, stream, text):
                self._deliver(stream, text, outgoing)
        for stream, text in self._faults.due():
            self._deliver(stream, text, outgoing)
        for peer, frames in outgoing.items():
            peer.write(b"".join(frames))

    def _deliver(self, stream: str, text: str, outgoing: dict[Peer, list[bytes]]) -> None:
        raw: bytes | None = None
        wrapped: bytes | None = None
        for peer in self._listeners.get(stream, ()):
            if peer.combined:
                if wrapped is None:
                    wrapped = frame(f'{{"stream":"{stream}","data":{text}}}'.encode())
                outgoing.setdefault(peer, []).append(wrapped)
            else:
                if raw is None:
                    raw = frame(text.encode())
                outgoing.setdefault(peer, []).append(raw)

    # -- requests on a socket ------------------------------------------------------------------------------------------

    def request(self, peer: Peer, message: str) -> None:
        """Answer one request of a client."""
        number: Any = None
        try:
            document = _parse(message)
            number = _legal_id(document.get("id"))
            answer: dict[str, Any] = {"result": self._perform(peer, document), "id": number}
        except Refusal as refusal:
            answer = {"code": refusal.code, "msg": str(refusal)}
            if number is not None:
                answer["id"] = number
        peer.send(compact(answer).encode())

    def _perform(self, peer: Peer, document: dict[str, Any]) -> Any:
        method = document.get("method")
        if method is None:
            raise Refusal(2, "Invalid request: missing field `method` at line 1 column 1")
        if method not in _METHODS:
            expected = ", ".join(f"`{name}`" for name in _METHODS)
            raise Refusal(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}")
        parameters = document.get("params", [])
        if method == "LIST_SUBSCRIPTIONS":
            return list(peer.streams)
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return self._property(peer, method, parameters)
        if not isinstance(parameters, list) or not all(isinstance(name, str) for name in parameters):
            raise Refusal(2, "Invalid request: params must be a list of stream names")
        if method == "UNSUBSCRIBE":
            self._unsubscribe(peer, parameters)
            return None
        if len({*peer.streams, *parameters}) > STREAMS_A_CONNECTION:
            raise Refusal(2, "Invalid request: too many parameters")
        self._subscribe(peer, parameters)
        return None

    @staticmethod
    def _property(peer: Peer, method: str, parameters: Any) -> bool | None:
        expected = 2 if method == "SET_PROPERTY" else 1
        if not isinstance(parameters, list) or not parameters or not isinstance(parameters[0], str):
            raise Refusal(2, "Invalid request: property name must be a string")
        if len(parameters) > expected:
            raise Refusal(2, "Invalid request: too many parameters")
        if parameters[0] != "combined":
            raise Refusal(0, "Unknown property")
        if method == "GET_PROPERTY":
            return peer.combined
        if len(parameters) < expected or not isinstance(parameters[1], bool):
            raise Refusal(1, "Invalid value type: expected Boolean")
        peer.combined = parameters[1]
        return None


def _parse(message: str) -> dict[str, Any]:
    try:
        document = json.loads(message)
    except (ValueError, RecursionError):
        raise Refusal(3, "Invalid JSON: expected value at line 1 column 1") from None
    if not isinstance(document, dict):
        raise Refusal(2, "Invalid request: expected an object")
    return document


def _legal_id(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63
    if value is None or whole or (isinstance(value, str) and _ID.match(value)):
        return value
    raise Refusal(2, "Invalid request: request ID must be an unsigned integer")
