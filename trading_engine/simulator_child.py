"""The simulated exchange as a child process: begin it, learn where it listens, begin it again, end it.

It shares no code with us: it is spoken to over its sockets only, as any venue. Used by the runtime's supervisor
thread alone; no lock. A child whose parent dies without a word notices by itself (`--parent-pid`).
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

STARTS_WITHIN_S: Final = 15.0
"""From the call to the line that says where it listens; an idle machine needs less than one second."""

ENDS_WITHIN_S: Final = 1.0
"""From SIGTERM to the end; then SIGKILL."""

POLL_S: Final = 0.1

_WITHHELD: Final = ("ACCESS_PASSWORD", "DATABASE_URL", "SECRET_KEY", "API_SECRET")
"""Variables the child has no use for."""


class SimulatorFailed(Exception):
    """The simulator did not come up; the text says why."""


class SimulatorChild:
    """At most one running simulator. It keeps its prices in `state_file`, so a restart goes on where it was."""

    def __init__(self, state_file: Path) -> None:
        self._state_file = state_file
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    @property
    def running(self) -> bool:
        """Say whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def ended(self) -> bool:
        """Say whether a process was started and is not there any more."""
        return self._process is not None and self._process.poll() is not None

    def begin(self) -> None:
        """Start the process, on its former port if it had one; returns at once. Does nothing while it runs."""
        if self.running:
            return
        root = Path(__file__).resolve().parents[1]
        environment = {name: value for name, value in os.environ.items() if name not in _WITHHELD}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), environment.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "trading_engine.simulator", "--port", str(self._port)]
        command += ["--state", str(self._state_file), "--parent-pid", str(os.getpid())]
        self._close_pipe()
        self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is for us; we end it when it is no longer needed
        )

    def addresses(self, stop: threading.Event) -> tuple[str, str]:
        """Wait until it listens; return its REST and stream origins. Raise SimulatorFailed, also at `stop`."""
        process = self._process
        if process is None or process.stdout is None:
            raise SimulatorFailed("the simulator was not started")
        deadline = time.monotonic() + STARTS_WITHIN_S
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not selector.select(POLL_S):
                if stop.is_set() or time.monotonic() > deadline:
                    raise SimulatorFailed("stopped" if stop.is_set() else f"no answer within {STARTS_WITHIN_S:.0f} s")
        line = process.stdout.readline()
        if not line:
            raise SimulatorFailed(f"it ended with status {process.wait(ENDS_WITHIN_S)}")
        try:
            said = json.loads(line)
            rest_url, ws_url = str(said["rest_url"]), str(said["ws_url"])
            self._port = urlsplit(rest_url).port or 0
        except (ValueError, KeyError, TypeError) as error:
            raise SimulatorFailed(f"it said {line[:80]!r}") from error
        return rest_url, ws_url

    def end(self) -> None:
        """End the process and wait for it; harmless when there is none."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
