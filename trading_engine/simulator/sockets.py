"""HTTP and WebSocket on one port, byte by byte, so that every way a connection can go wrong can be made to happen.

`Peer` is one connection. It parses requests itself and leaves the WebSocket handshake and what comes in to the sans-I/O
protocol of `websockets`; what goes out is framed here, once for all listeners. What a request means is the `House`'s
business.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from dataclasses import dataclass, field, replace
from http.client import responses
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

HEAD_LIMIT = 16_384
BODY_LIMIT = 4_000_000
UNSENT_LIMIT = 8_000_000  # a reader further behind is dropped
MESSAGES_A_SECOND = 5  # pings, pongs and requests, web-socket-streams.md "WebSocket Limits"
MESSAGE_LIMIT = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One HTTP answer, JSON unless the headers say otherwise."""

    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, *, keep: bool) -> bytes:
        """Bytes on the wire."""
        body = self.body.encode()
        lines = [
            f"HTTP/1.1 {self.status} {responses.get(self.status, 'Status')}",
            "Content-Type: application/json;charset=UTF-8",
            f"Content-Length: {len(body)}",
            f"Connection: {'keep-alive' if keep else 'close'}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class House(Protocol):
    """What a connection asks of the server."""

    def seconds(self) -> float:
        """A monotonic clock."""

    def opened(self, peer: Peer) -> None:
        """A connection was accepted."""

    def closed(self, peer: Peer) -> None:
        """A connection is gone."""

    def answer(self, request: Request, peer: Peer) -> Answer | None:
        """Answer a request; None to reset the connection."""

    def admits(self, request: Request, peer: Peer) -> Answer | bool | None:
        """A WebSocket handshake: True to accept, False to reset, an answer to refuse, None never to answer."""

    def entered(self, request: Request, peer: Peer) -> None:
        """The WebSocket is open."""

    def received(self, peer: Peer, message: str) -> None:
        """A text message came in."""

    def ponged(self) -> None:
        """A pong came in."""


def frame(payload: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A whole unmasked frame, as servers send it."""
    size = len(payload)
    first = 0x80 | opcode
    if size < 126:
        return struct.pack("!BB", first, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def _parse_head(head: bytes) -> tuple[Request, int] | None:
    """A request without its body, and the body's length; None when it is malformed."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if parts[-1] == "HTTP/1.0":
        headers["connection"] = "close"
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not (length.isascii() and length.isdecimal()):
        return None
    target, _, query = parts[1].partition("?")
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    request = Request(method=parts[0], path=unquote(target), parameters=parameters, headers=headers, body=b"")
    return request, int(length)


class Peer(asyncio.Protocol):
    """One connection.

    Attributes:
        streams: names it listens to, in order of subscription.
        combined: whether messages come wrapped with their stream's name.
        frozen: nothing is sent and nothing heard any more, but the connection stays open.
        broken: half a frame was sent, so it can never go on.
        waiting: its handshake is left unanswered.
        active_at: monotonic second of the last HTTP request, so for a WebSocket of its handshake.
        ponged: monotonic second of the last pong (or of the handshake).
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._websocket: ServerProtocol | None = None
        self._incoming: deque[float] = deque(maxlen=MESSAGES_A_SECOND)
        self.waiting = False
        self._message = bytearray()
        self.streams: dict[str, None] = {}
        self.combined = False
        self.frozen = False
        self.broken = False
        self.active_at = house.seconds()
        self.ponged = self.active_at

    # -- the connection ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._house.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End."""
        self._transport = None
        self._house.closed(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if self.frozen or self.waiting:
            return
        if self._websocket is not None:
            self._feed(data)
            return
        self._buffer += data
        while (request := self._next_request()) is not None:
            self._serve(request)

    @property
    def is_websocket(self) -> bool:
        """Whether this is an open WebSocket."""
        return self._websocket is not None and self._websocket.state is OPEN and self._transport is not None

    @property
    def remote_host(self) -> str:
        """Address of the other end."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]) if name else ""

    @property
    def unsent(self) -> int:
        """Bytes waiting because the other end does not read."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def write(self, data: bytes) -> None:
        """Send bytes as they are, unless frozen or gone."""
        if self._transport is not None and not self.frozen and not self._transport.is_closing():
            self._transport.write(data)

    def send(self, payload: bytes, opcode: Opcode = Opcode.TEXT) -> None:
        """Send one message."""
        self.write(frame(payload, opcode))

    def close(self, code: int, reason: str) -> None:
        """Say goodbye with a close frame and hang up."""
        if self._websocket is not None and self._websocket.state is OPEN:
            self._websocket.send_close(code, reason)
            self._flush()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection after what is already written."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()

    def thaw(self) -> None:
        """Go on after `frozen`; a broken connection is cut instead."""
        self.frozen = False
        if self.broken:
            self.reset()

    # -- HTTP ----------------------------------------------------------------------------------------------------------

    def _next_request(self) -> Request | None:
        """The next whole request of the buffer; bad ones are answered here."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._transport is None or self._transport.is_closing():
            if len(self._buffer) > HEAD_LIMIT:
                self._refuse(400, "head too long")
            return None
        head = _parse_head(bytes(self._buffer[:end]))
        if head is None:
            self._refuse(400, "malformed request")
            return None
        request, length = head
        self.active_at = self._house.seconds()
        if length > BODY_LIMIT:
            self._refuse(413, "body too long")
            return None
        if request.headers.get("upgrade", "").lower() == "websocket":
            self._upgrade(request, bytes(self._buffer))
            return None
        whole = end + 4 + length
        if len(self._buffer) < whole:
            return None
        body = bytes(self._buffer[end + 4 : whole])
        del self._buffer[:whole]
        return replace(request, body=body)

    def _serve(self, request: Request) -> None:
        keep = request.headers.get("connection", "").lower() != "close"
        answer = self._house.answer(request, self)
        if answer is None:
            self.reset()
            return
        self.write(answer.encode(keep=keep))
        if not keep:
            self.hang_up()

    def _refuse(self, status: int, reason: str) -> None:
        self.write(Answer(status=status, body=f'{{"code":-1000,"msg":"{reason}"}}').encode(keep=False))
        self._buffer.clear()
        self.hang_up()

    # -- WebSocket -----------------------------------------------------------------------------------------------------

    def _upgrade(self, request: Request, raw: bytes) -> None:
        self._buffer.clear()
        admitted = self._house.admits(request, self)
        if admitted is None:
            self.waiting = True
            return
        if admitted is False:
            self.reset()
            return
        if isinstance(admitted, Answer):
            self.write(admitted.encode(keep=False))
            self.hang_up()
            return
        self._websocket = ServerProtocol(max_size=MESSAGE_LIMIT)
        self._websocket.receive_data(raw)
        for event in self._websocket.events_received():
            if isinstance(event, Handshake):
                self._websocket.send_response(self._websocket.accept(event))
        self._flush()
        self.ponged = self._house.seconds()
        if self.is_websocket:
            self._house.entered(request, self)

    def _feed(self, data: bytes) -> None:
        protocol = self._websocket
        assert protocol is not None
        protocol.receive_data(data)
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.PONG:
                self.ponged = self._house.seconds()
                self._house.ponged()
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.PING, Opcode.PONG) and self._too_many():
                self._flush()
                self.close(CloseCode.POLICY_VIOLATION, "Too many requests")
                return
            if event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._message += event.data
                if event.fin:
                    message = self._message.decode("utf-8", "replace")
                    self._message.clear()
                    self._house.received(self, message)
        self._flush()

    def _too_many(self) -> bool:
        """Whether this incoming message is one more than a second allows."""
        now = self._house.seconds()
        full = len(self._incoming) == MESSAGES_A_SECOND and now - self._incoming[0] < 1.0
        self._incoming.append(now)
        return full

    def _flush(self) -> None:
        """Send what the protocol wants to say: handshake, pongs, close frames."""
        assert self._websocket is not None
        for data in self._websocket.data_to_send():
            if data:
                self.write(data)
            else:
                self.hang_up()
