"""The processes behind a browser test: the simulated venue and our server on it, on ports the kernel gave."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from decimal import Context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0
ROUNDING = Context(prec=60, traps=[])
"""The suite traps inexact arithmetic; where a test rounds on purpose it says so with this."""

PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")
"""What a child sees of our environment; MARKET, PORT, DATABASE_URL and the like stay out."""


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = START_S) -> None:
    """Return when the condition holds; fail with `what` after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(0.05)


def request(method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
    """Send one JSON request and return the decoded answer; HTTP errors raise."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} if content else {}
    with urllib.request.urlopen(urllib.request.Request(url, content, headers, method=method), timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def answers(url: str) -> bool:
    """Tell whether a GET gives 200 now."""
    try:
        request("GET", url)
    except (OSError, ValueError):
        return False
    return True


def free_port() -> int:
    """Return a port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**settings: str) -> dict[str, str]:
    """Return a clean environment with these settings."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT)} | settings


class Venue:
    """The simulated exchange as a process of its own, with its fault switches."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "trading_engine.simulator",
                "--port",
                "0",
                "--state",
                str(folder / "simulator.json"),
            ],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        addresses = json.loads(self.process.stdout.readline())
        self.rest_url: str = addresses["rest_url"]
        self.ws_url: str = addresses["ws_url"]

    def control(self, command: str, **body: Any) -> None:
        """Turn one of the venue's switches."""
        request("POST", f"{self.rest_url}/control/{command}", body)

    def heal(self) -> None:
        """Switch every fault off."""
        request("DELETE", f"{self.rest_url}/control/faults")

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Server:
    """Our server, as an operator starts it, on a venue; may be killed and started again on the same data."""

    def __init__(self, folder: Path, venue: Venue) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.venue = venue
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until orders can be placed."""
        settings = environment(
            PORT=str(self.port),
            DATA_DIR=str(self.folder / "data"),
            MARKET_REST_URL=self.venue.rest_url,
            MARKET_WS_URL=self.venue.ws_url,
            LOG_LEVEL="warning",
        )
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--chdir", str(ROOT), "wsgi:app"],
                cwd=ROOT,
                env=settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._is_ready, "the server is ready")
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{(self.folder / 'server.log').read_text()[-3000:]}") from None

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}")
        return answers(f"{self.url}/ready")

    def kill(self) -> None:
        """Kill it with its worker, as a power cut would."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.process = None

    def get(self, path: str) -> Any:
        """GET from the native API."""
        return request("GET", f"{self.url}/api/v1/{path}")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST to the native API."""
        return request("POST", f"{self.url}/api/v1/{path}", body)
