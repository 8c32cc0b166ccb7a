"""The simulated venue as a process of its own, spoken to with other people's clients only (urllib, websockets)."""

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from websockets.sync.client import ClientConnection, connect

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 10.0


class Venue:
    """One running simulator."""

    def __init__(self, *options: str, command: list[str] | None = None) -> None:
        self.process = subprocess.Popen(
            command or [sys.executable, "-m", "trading_engine.simulator", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        addresses = json.loads(self.line)
        self.rest_url: str = addresses["rest_url"]
        self.ws_url: str = addresses["ws_url"]
        self.port = int(self.rest_url.rsplit(":", 1)[1])

    def get(self, path: str, **parameters: object) -> Any:
        """The JSON of a GET."""
        return self.ask("GET", path, **parameters)[2]

    def ask(self, method: str, path: str, **parameters: object) -> tuple[int, dict[str, str], Any]:
        """Status, headers in lower case, and JSON."""
        query = urllib.parse.urlencode(parameters)
        request = urllib.request.Request(f"{self.rest_url}{path}{'?' if query else ''}{query}", method=method)
        return _send(request)

    def control(self, name: str, **fields: object) -> Any:
        """Do a control command that must succeed."""
        status, document = self.command(name, **fields)
        assert status == 200, document
        return document

    def command(self, name: str, **fields: object) -> tuple[int, Any]:
        """Try a control command."""
        request = urllib.request.Request(
            f"{self.rest_url}/control/{name}",
            data=json.dumps(fields).encode(),
            headers={"Content-Type": "application/json"},
        )
        status, _, document = _send(request)
        return status, document

    def heal(self) -> None:
        """Everything back to normal, and nobody connected."""
        assert self.ask("DELETE", "/control/faults")[0] == 200
        wait_for(lambda: self.get("/control/requests")["open_websockets"] == 0)

    def open(self, path: str, **options: Any) -> ClientConnection:
        """A WebSocket on a path such as /ws/btcusdt@trade.

        Its queue has no limit: a full one would keep the client from reading the close frame when the test ends.
        """
        socket: ClientConnection = connect(
            self.ws_url + path, open_timeout=PATIENCE_S, max_size=None, max_queue=None, proxy=None, **options
        )
        return socket

    def end(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self._wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        status = self.process.wait(PATIENCE_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status


@contextlib.contextmanager
def running(*options: str) -> Iterator[Venue]:
    """A simulator for one test."""
    venue = Venue(*options)
    try:
        yield venue
    finally:
        if venue.process.poll() is None:
            venue.kill()


def wait_for(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`, asked again and again."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def receive(socket: ClientConnection, patience_s: float = PATIENCE_S) -> Any:
    """The JSON of the next message."""
    return json.loads(socket.recv(patience_s))


def receive_until(socket: ClientConnection, wanted: Callable[[Any], bool], patience_s: float = PATIENCE_S) -> Any:
    """The first message that fits."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        message = receive(socket, deadline - time.monotonic())
        if wanted(message):
            return message
    raise AssertionError("no such message")


def drain(socket: ClientConnection, patience_s: float = PATIENCE_S) -> NoReturn:
    """Receive until the connection ends (ConnectionClosed) or falls silent (TimeoutError)."""
    while True:
        socket.recv(patience_s)


def _send(request: urllib.request.Request) -> tuple[int, dict[str, str], Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=PATIENCE_S) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            text = error.read()
            headers = {name.lower(): value for name, value in error.headers.items()}
            return error.code, headers, json.loads(text) if text.startswith((b"{", b"[")) else text
