"""Real processes for tests: the simulated venue, and our server on it as an operator starts it.

Ports are free ones, data lies in the test's folder, nothing of the caller's settings gets in (no variable, no `.env`:
what is started works in the test's folder), and whatever was started is ended with its children. Logs are kept, and
shown when something does not come up.
"""

import contextlib
import http.client
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).resolve().parents[1]
START_S = 40.0
"""Patience with a machine that has other things to do; a start takes about two seconds."""

PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "COVERAGE_PROCESS_START")
"""What a child sees of our environment; MARKET, PORT, DATABASE_URL and the like stay out."""


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = START_S) -> None:
    """Return when the condition holds; fail with `what` after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(0.02)


SERVER_PORTS = range(12_000, 32_000)
"""Below those the kernel gives to clients: one of those may be some connection's end before the server is up."""


def free_port() -> int:
    """Return a port nobody listens on at the moment. Truly random: tests elsewhere on the machine look for theirs."""
    while True:
        port = secrets.choice(SERVER_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def environment(**settings: str) -> dict[str, str]:
    """Return a clean environment with these settings."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**kept, "PYTHONPATH": str(ROOT), **settings}


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.text)


def send(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 10,
) -> Reply:
    """Send one request on a connection of its own; a `body` that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    said = {"Content-Type": "application/json"} if content is not None else {}
    try:
        connection.request(method, path, content, {**said, **(headers or {})})
        answer = connection.getresponse()
        return Reply(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        )
    finally:
        connection.close()


class Process:
    """A child and everything it starts, with its log."""

    def __init__(self, command: Sequence[str], folder: Path, settings: Mapping[str, str], *, log_name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / log_name
        with self.log_file.open("ab") as log:
            self.popen = subprocess.Popen(
                list(command),
                cwd=folder,
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        """What it has written."""
        return self.log_file.read_text(errors="replace")

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self.popen.poll() is not None

    def children(self) -> list[int]:
        """Return the process ids of its children."""
        listed = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []

    def terminate(self, timeout_s: float = 20) -> float:
        """Send SIGTERM; return the seconds until it has ended."""
        started = time.monotonic()
        self.popen.terminate()
        self.popen.wait(timeout_s)
        return time.monotonic() - started

    def kill(self) -> None:
        """End it and its group, as a power cut would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def __enter__(self) -> Self:
        """Use it for the time of a block."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Leave nothing behind."""
        self.kill()


class Venue(Process):
    """The simulated exchange, with its switches."""

    def __init__(self, folder: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "trading_engine.simulator",
            "--port",
            "0",
            "--state",
            str(folder / "simulator.json"),
        ]
        super().__init__(command, folder, {}, log_name="venue.log")
        wait_until(lambda: "\n" in self.log or self.ended, "the venue says where it listens")
        try:
            said = json.loads(self.log.splitlines()[0])
        except (ValueError, IndexError):
            self.kill()
            raise AssertionError(f"the venue did not start:\n{self.log}") from None
        self.rest_url: str = said["rest_url"]
        self.ws_url: str = said["ws_url"]
        self.port = int(self.rest_url.rpartition(":")[2])

    @property
    def settings(self) -> dict[str, str]:
        """What makes a server use this venue."""
        return {"MARKET_REST_URL": self.rest_url, "MARKET_WS_URL": self.ws_url}

    def control(self, command: str, **body: Any) -> Any:
        """Turn one of its switches."""
        reply = send(self.port, "POST", f"/control/{command}", body)
        assert reply.status == 200, reply.text
        return reply.json

    def heal(self) -> None:
        """Switch every fault off."""
        assert send(self.port, "DELETE", "/control/faults").status == 200

    def book(self, symbol: str) -> Any:
        """Return its true book."""
        return send(self.port, "GET", f"/control/book?symbol={symbol}").json


class Server(Process):
    """Our server under gunicorn (or whatever `command` says, where `{port}` stands for its port).

    A `port` is given where a server comes back under its old address.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str],
        *,
        command: Sequence[str] | None = None,
        log_name: str = "server.log",
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.folder = folder
        command = command or [sys.executable, "-m", "gunicorn", "wsgi:app"]
        super().__init__(
            [part.format(port=self.port) for part in command],
            folder,
            {
                "PORT": str(self.port),
                "DATA_DIR": str(folder / "data"),
                "LOG_FORMAT": "json",
                # gunicorn looks for it in the working directory, which is not the repository's.
                "GUNICORN_CMD_ARGS": f"--config {shlex.quote(str(ROOT / 'gunicorn.conf.py'))}",
                **settings,
            },
            log_name=log_name,
        )

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def worker(self) -> int:
        """The process id of gunicorn's one worker."""
        (pid,) = self.children()
        return pid

    def reached(self, path: str = "/health") -> int | None:
        """Return the status a GET gives now, None where nobody answers."""
        try:
            return send(self.port, "GET", path).status
        except OSError:
            return None

    def answers(self, path: str = "/health") -> bool:
        """Whether a GET gives 200 now."""
        return self.reached(path) == 200

    def wait_live(self) -> Self:
        """Return when orders can be placed on every configured symbol."""
        self.wait_for("/ready")
        return self

    def wait_for(self, path: str) -> None:
        """Return when `path` gives 200; show the log when it does not in time, or when the server has ended."""
        try:
            wait_until(lambda: self.answers(path) or self.ended, f"{path} gives 200")
            assert not self.ended, f"the server ended with {self.popen.returncode}"
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None

    def get(self, path: str, **headers: str) -> Reply:
        """Send a GET."""
        return send(self.port, "GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        """Send a POST with JSON."""
        return send(self.port, "POST", path, body, headers)

    def delete(self, path: str) -> Reply:
        """Send a DELETE."""
        return send(self.port, "DELETE", path)


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str | None
    data: Any


class Stream:
    """A reader of the live stream that checks its framing."""

    def __init__(
        self, port: int, query: str = "", last_event_id: int | None = None, *, receive_bytes: int | None = None
    ) -> None:
        self.sock = socket.socket()
        if receive_bytes is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.sock.settimeout(15)
        self.sock.connect(("127.0.0.1", port))
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.sock = self.sock
        resume = {"Last-Event-ID": str(last_event_id)} if last_event_id is not None else {}
        connection.request("GET", f"/api/v1/stream{query}", headers=resume)
        self.response = connection.getresponse()
        self.status = self.response.status
        self.headers = {name.lower(): value for name, value in self.response.getheaders()}
        self.last_id: int | None = None

    def events(self) -> Iterator[Event]:
        """Yield events until the stream ends."""
        name, event_id, data = "message", None, None
        for raw in self.response:
            line = raw.decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if not line:
                if data is not None:
                    yield Event(name, event_id, json.loads(data))
                name, event_id, data = "message", None, None
            elif field == "event":
                name = value
            elif field == "id":
                event_id, self.last_id = value, int(value)
            elif field == "data":
                data = value
            else:
                assert field in {"retry", ":"}, line

    def wait_for(self, name: str, matching: Callable[[Any], bool] = lambda _data: True) -> Any:
        """Return the data of the next event of that name that matches."""
        for event in self.events():
            if event.name == name and matching(event.data):
                return event.data
        raise AssertionError(f"the stream ended before an event {name}")

    def close(self) -> None:
        """Hang up."""
        self.response.close()
        self.sock.close()

    def __enter__(self) -> Self:
        """Use it for the time of a block."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        """Hang up."""
        self.close()
