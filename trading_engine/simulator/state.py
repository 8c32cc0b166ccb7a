"""The state file: one JSON document, replaced as a whole so that a crash leaves the old or the new one.

Beside it lies a lock file, so that a simulator that is still ending cannot overwrite what its successor saves.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import TextIO

from trading_engine.simulator.listings import Json

FORMAT = 1
PATIENCE_S = 2.0  # an orphan ends within a second


class UnusableState(Exception):
    """The state file cannot be used; the text says why."""


def claim(path: Path) -> TextIO:
    """Claim the state file for as long as the file returned stays open.

    Raises:
        UnusableState: another simulator holds it, or its folder cannot be written.
    """
    try:
        lock = path.with_name(f"{path.name}.lock").open("a", encoding="utf-8")
    except OSError as error:
        raise UnusableState(f"state file {path} cannot be written: {error}") from error
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.close()
                raise UnusableState(f"state file {path} is in use by another simulator") from None
            time.sleep(0.02)
        else:
            return lock


def load(path: Path) -> Json | None:
    """What `save` wrote, None when there is no file.

    Raises:
        UnusableState: when it cannot be read or is of another format.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnusableState(f"state file {path} cannot be read ({error}); move it away to begin anew") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UnusableState(f"state file {path} is not of format {FORMAT}; move it away to begin anew")
    return document


def save(path: Path, state: Json) -> None:
    """Replace the file by `state`; durable when this returns."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(state, file, separators=(",", ":"))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
