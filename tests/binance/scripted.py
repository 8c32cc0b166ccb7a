"""A server for one test: it reads a request and does exactly what the script says, down to the byte and the pause."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

Act = Callable[[socket.socket, str], None]
"""Answer a request whose target (path and query) is given; the connection closes when it returns."""


def answer(
    body: bytes | str | dict[str, Any] | list[Any],
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Act:
    """Return the act of a well-behaved server."""
    payload = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()

    def act(sock: socket.socket, target: str) -> None:
        lines = {"Content-Length": str(len(payload)), "Connection": "close", **(headers or {})}
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        sock.sendall(head.encode() + b"\r\n" + payload)

    return act


def reset(sock: socket.socket, target: str) -> None:
    """Answer nothing but a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Scripted:
    """Serves `script(number)` to its requests, numbered from 0."""

    def __init__(self, script: Callable[[int], Act]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listener.getsockname())
        self._lock = threading.Lock()
        self.targets: list[str] = []
        self.released = threading.Event()
        """Set when the test is over: acts that hang wait for it."""
        self._thread = threading.Thread(target=self._accept, name="scripted", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        # Closing does not wake accept(); shutting down does.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def hang(self, sock: socket.socket, target: str) -> None:
        """Read the request and say nothing."""
        self.released.wait(30)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                part = sock.recv(4096)
                if not part:
                    return
                request += part
            target = request.split(b" ", 2)[1].decode()
            with self._lock:
                number = len(self.targets)
                self.targets.append(target)
            self._script(number)(sock, target)
