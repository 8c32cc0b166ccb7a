"""A small WSGI application for tests of the worker: says what it received, sleeps, answers a lot."""

import json
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from trading_engine.exchange.messages import Refused

BIG = b"x" * 4_000_000


class Promise:
    """A promise that a path makes: `late` is kept after half a second, `broken` is not, `kept` was already."""

    def __init__(self, path: str) -> None:
        self.path = path

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        """Tell the outcome, some time."""
        if self.path.endswith("/kept"):
            tell(None)
        elif self.path.endswith("/late"):
            threading.Timer(0.5, tell, [None]).start()
        elif self.path.endswith("/broken"):
            threading.Timer(0.1, tell, [Refused("not_committed", "as the test wants")]).start()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer by path."""
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ZeroDivisionError("as the test wants")
    if path == "/sleeps":
        environ["wsgi.errors"].write("sleeping\n")
        time.sleep(1)
    if path == "/given-away":
        environ["paper_exchange.hand_over"](lambda sock: (sock.sendall(b"raw bytes"), sock.close()))
        start_response("200 OK", [])
        return []
    body = environ["wsgi.input"].read()
    if path.startswith("/kept-back/") and "paper_exchange.outcome" not in environ:
        environ["paper_exchange.answer_after"](Promise(path))
    outcome = environ.get("paper_exchange.outcome")
    said = {"method": environ["REQUEST_METHOD"], "path": path, "body": body.decode("latin-1"), "outcome": str(outcome)}
    octets = {"/big": BIG, "/large": BIG[:500_000]}.get(path) or json.dumps(said).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(octets)))])
    return [octets]
