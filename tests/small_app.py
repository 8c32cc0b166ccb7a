"""A small WSGI application for tests of the worker: says what it received, sleeps, answers a lot."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

BIG = b"x" * 4_000_000


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer by path."""
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ZeroDivisionError("as the test wants")
    if path == "/sleeps":
        time.sleep(1)
    if path == "/given-away":
        environ["paper_exchange.hand_over"](lambda sock: (sock.sendall(b"raw bytes"), sock.close()))
        start_response("200 OK", [])
        return []
    body = environ["wsgi.input"].read()
    said = {"method": environ["REQUEST_METHOD"], "path": path, "body": body.decode("latin-1")}
    octets = {"/big": BIG, "/large": BIG[:500_000]}.get(path) or json.dumps(said).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(octets)))])
    return [octets]
