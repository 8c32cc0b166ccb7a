"""WebSocket frames: bytes in, whole messages out; and the few frames a client sends.

Sans-I/O (RFC 6455, client side, no extensions). websocket-client makes the handshake; from then on this reader takes
the bytes, because the library's own receive costs ten times as much a frame, has no size limit, and stays inside
`recv` when a frame is cut in the middle. It knows no socket, no clock, no JSON. One thread owns a reader; there is no
lock.
"""

from __future__ import annotations

import struct
from typing import Final

from websocket import ABNF

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

_CONTINUATION: Final = 0x0
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_MASKED: Final = 0x80
_CONTROL_LIMIT: Final = 125

MESSAGE_LIMIT_BYTES: Final = 1 << 20
"""A diff of 1,000 levels a side is 60 kB; beyond 1 MB a message is a fault (websocket-client itself sets no limit)."""

Frame = tuple[int, bytes]
"""Opcode (TEXT, BINARY, CLOSE, PING or PONG) and the unmasked payload of one whole message."""


class FrameError(Exception):
    """The bytes are not a legal server-to-client WebSocket stream; the connection cannot be read any further."""


class FrameReader:
    """Cut a byte stream into messages, joining fragments."""

    def __init__(self, limit: int = MESSAGE_LIMIT_BYTES) -> None:
        self._limit = limit
        self._tail = bytearray()
        self._needed = 2
        self._parts: list[bytes] = []
        self._parts_opcode = 0
        self._parts_size = 0

    @property
    def mid_message(self) -> bool:
        """True while the start of a message has come and its end has not."""
        return bool(self._tail or self._parts_opcode)

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the messages completed by `chunk`, in order; raise FrameError on an illegal or oversized frame."""
        tail = self._tail
        if tail:
            tail += chunk
            if len(tail) < self._needed:
                return []
            chunk = bytes(tail)
            tail.clear()
        frames: list[Frame] = []
        at, end = 0, len(chunk)
        needed = 2
        while end - at >= 2:
            body, length = self._header(chunk, at, end)
            stop = body + length
            if stop > end:
                needed = stop - at
                break
            first = chunk[at]
            if first == _FINAL | TEXT and not self._parts_opcode:
                frames.append((TEXT, chunk[body:stop]))
            else:
                self._take(first, chunk[body:stop], frames)
            at = stop
        if at < end:
            tail += chunk[at:]
        self._needed = needed
        return frames

    def _header(self, chunk: bytes, at: int, end: int) -> tuple[int, int]:
        """Return where the payload of the frame at `at` begins and how long it is (0 while that has not come yet)."""
        length = chunk[at + 1]
        body = at + 2
        if length < 126:
            return body, length
        if length & _MASKED:
            raise FrameError("a server's frame is masked")
        body += 2 if length == 126 else 8
        if body > end:
            return body, 0
        length = int.from_bytes(chunk[at + 2 : body], "big")
        if length > self._limit:
            raise FrameError(f"a frame of {length} bytes is over the limit of {self._limit}")
        return body, length

    def _take(self, first: int, payload: bytes, frames: list[Frame]) -> None:
        """Add a control frame or a fragment to what is known so far."""
        if first & _RESERVED:
            raise FrameError("a reserved bit is set although no extension was agreed")
        opcode, final = first & _OPCODE, bool(first & _FINAL)
        if opcode in (CLOSE, PING, PONG):
            if not final or len(payload) > _CONTROL_LIMIT:
                raise FrameError("a control frame is fragmented or longer than 125 bytes")
            frames.append((opcode, payload))
            return
        if opcode == _CONTINUATION:
            if not self._parts_opcode:
                raise FrameError("a continuation without a beginning")
        elif opcode in (TEXT, BINARY):
            if self._parts_opcode:
                raise FrameError("a new message before the end of the last")
            self._parts_opcode = opcode
        else:
            raise FrameError(f"unknown opcode {opcode}")
        self._parts.append(payload)
        # Empty fragments count one, so that a stream of them ends at the limit too.
        self._parts_size += len(payload) or 1
        if self._parts_size > self._limit:
            raise FrameError(f"a message of fragments is over the limit of {self._limit} bytes")
        if final:
            frames.append((self._parts_opcode, b"".join(self._parts)))
            self._parts.clear()
            self._parts_opcode = self._parts_size = 0


def encode(opcode: int, payload: bytes) -> bytes:
    """Return one masked client frame, ready to send."""
    frame: bytes = ABNF.create_frame(payload, opcode).format()
    return frame


def close_reason(payload: bytes) -> str:
    """Put a close frame's payload into words, e.g. `1001 going away`; 1005 stands for no code given."""
    if len(payload) < 2:
        return "1005 no reason"
    (code,) = struct.unpack_from("!H", payload)
    text = payload[2:].decode("utf-8", "replace")
    return f"{code} {text}".rstrip()
