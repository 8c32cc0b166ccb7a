"""One connection's incoming bytes, cut into whole HTTP requests. Pure: no socket, no clock, no lock.

Only as much of HTTP/1.1 is looked at as it takes to see where a request ends (RFC 9112, 6); what it says is parsed
afterwards, by gunicorn's parser, from the bytes cut off here. Where the two disagree the worker refuses the request.
"""

import re

from trading_engine.api.problems import MAX_BODY_BYTES, Problem

MAX_HEAD_BYTES = 32 * 1024
MAX_CHUNKING_BYTES = 16 * 1024
"""What the framing of a chunked body may add to `MAX_BODY_BYTES`."""

_HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_TRANSFER_ENCODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*\r\n", re.IGNORECASE)
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}(?=[ \t;\r])")


class Inbox:
    """Bytes that came in and were not yet taken as a request."""

    __slots__ = ("_awaited", "_body_at", "_chunked", "_octets", "_scanned", "_size")

    def __init__(self) -> None:
        self._octets = bytearray()
        self._scanned = 0
        self._body_at = 0
        self._size = 0
        self._chunked = False
        self._awaited = False

    def __bool__(self) -> bool:
        """Whether part of a request, or more, is here."""
        return bool(self._octets)

    def add(self, octets: bytes) -> None:
        """Append what the client sent."""
        self._octets += octets

    def clear(self) -> None:
        """Throw everything away."""
        self._octets.clear()
        self._start()

    def take(self) -> bytes | None:
        """Return the first request when it is whole and forget it, else None.

        Raises:
            Problem: it is larger than we take, or cannot be measured.
        """
        if not self._body_at and not self._find_head():
            return None
        size = self._chunked_size() if self._chunked else self._size
        if not size or len(self._octets) < size:
            return None
        with memoryview(self._octets) as octets:
            request = bytes(octets[:size])
        del self._octets[:size]
        self._start()
        return request

    def awaits_continue(self) -> bool:
        """Say, once, that the client waits to be asked for the body."""
        awaited, self._awaited = self._awaited, False
        return awaited

    def _start(self) -> None:
        """Forget what was found out about the request before."""
        self._scanned = self._body_at = self._size = 0
        self._chunked = self._awaited = False

    def _find_head(self) -> bool:
        found = self._octets.find(_HEAD_END, max(0, self._scanned - len(_HEAD_END)))
        self._scanned = len(self._octets)
        if (self._scanned if found < 0 else found) > MAX_HEAD_BYTES:
            raise Problem("headers_too_large", f"A request's head may have at most {MAX_HEAD_BYTES} bytes.")
        if found < 0:
            return False
        self._body_at = self._scanned = found + len(_HEAD_END)
        head = bytes(self._octets[: self._body_at])
        length = _CONTENT_LENGTH.search(head)
        body_size = int(length[1]) if length else 0
        if body_size > MAX_BODY_BYTES:
            raise _too_large()
        self._size = self._body_at + body_size
        self._chunked = bool(_TRANSFER_ENCODING.search(head))
        self._awaited = bool(_EXPECT.search(head))
        return True

    def _chunked_size(self) -> int:
        """Walk the chunks that are here, from where the last walk ended; return the request's size, 0 while unknown."""
        while (line_end := self._octets.find(b"\r\n", self._scanned)) >= 0:
            size_text = _CHUNK_SIZE.match(self._octets, self._scanned)
            if size_text is None:
                raise Problem("bad_request", "A chunk has no size.")
            size = int(size_text[0], 16)
            if not size:
                trailers_end = self._octets.find(_HEAD_END, line_end)
                if trailers_end >= 0:
                    return trailers_end + len(_HEAD_END)
                break
            if line_end + size + 4 > len(self._octets):
                break
            self._scanned = line_end + size + 4
        if len(self._octets) - self._body_at > MAX_BODY_BYTES + MAX_CHUNKING_BYTES:
            raise _too_large()
        return 0


def _too_large() -> Problem:
    return Problem("body_too_large", f"A body may have at most {MAX_BODY_BYTES} bytes.")
