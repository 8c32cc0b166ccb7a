"""Photograph the page for the documentation, on the simulated market.

Usage: ``python tools/screenshots.py``

Starts the server in a temporary folder, trades a little so that every panel has something to show, and writes
`docs/images/terminal-dark.png`, `terminal-light.png` and `mobile.png`. Needs Chromium (Debian: `apt-get install
chromium`) and the development packages; starts nothing that outlives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
MAX_IMAGE_BYTES = 400_000
READY_WITHIN_S = 40.0
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

HOLDINGS = (("BTCUSDT", "0.25"), ("ETHUSDT", "4"), ("SOLUSDT", "30"))
RESTING = (
    ("ETHUSDT", "buy", "1.5", "0.985"),
    ("BTCUSDT", "sell", "0.05", "1.006"),
    ("BTCUSDT", "sell", "0.1", "1.003"),
    ("BTCUSDT", "buy", "0.1", "0.9970"),
    ("BTCUSDT", "buy", "0.12", "0.9990"),
)
"""Symbol, side, quantity, price as a share of the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image: its file name, the size of the screen, how sharp, and in which theme."""

    name: str
    width: int
    height: int
    scale: float
    scheme: str


PICTURES = (
    Picture(name="terminal-dark", width=1440, height=900, scale=1, scheme="dark"),
    Picture(name="terminal-light", width=1440, height=900, scale=1, scheme="light"),
    Picture(name="mobile", width=390, height=844, scale=2, scheme="dark"),
)


def main() -> int:
    """Take all pictures; return the exit code."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        print("screenshots: no chromium; apt-get install chromium", file=sys.stderr)
        return 1
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder, serving(Path(folder)) as url:
        trade(url)
        with sync_playwright() as playwright:
            sizes = [photograph(playwright, program, url, picture) for picture in PICTURES]
    return 1 if any(size > MAX_IMAGE_BYTES for size in sizes) else 0


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the server on the simulated market; yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR", "LANG"}}
    settings = {"MARKET": "simulated", "PORT": str(port), "DATA_DIR": str(folder / "data"), "LOG_LEVEL": "warning"}
    settings["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py"), "wsgi:app"]
    # Not in the repository's folder: its .env is somebody's own installation.
    server = subprocess.Popen(command, cwd=folder, env=kept | settings, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        await_ready(url, server)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def await_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until orders can be placed.

    Raises:
        RuntimeError: the server ended or is not ready in time.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}")
        try:
            ask(url, "/ready")
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the server is not ready after {READY_WITHIN_S:g} s")


def ask(url: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """GET a path, or POST a body to it; return the decoded answer."""
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(
        urllib.request.Request(url + path, content, {"Content-Type": "application/json"}), timeout=10
    ) as answer:
        return json.loads(answer.read())


def trade(url: str) -> None:
    """Take a few positions and leave some orders resting, for pictures with life in them."""
    for symbol, quantity in HOLDINGS:
        ask(url, "/api/v1/orders", {"symbol": symbol, "side": "buy", "quantity": quantity})
    for symbol, side, quantity, share in RESTING:
        last = Decimal(ask(url, f"/api/v1/prices?symbol={symbol}")[symbol]["price"])
        price = str((last * Decimal(share)).quantize(Decimal("0.01")))
        order = {"symbol": symbol, "side": side, "quantity": quantity, "price": price, "post_only": True}
        ask(url, "/api/v1/orders", order)


def photograph(playwright: Playwright, program: str, url: str, picture: Picture) -> int:
    """Open the page as the picture wants it and write it; return the file's size.

    The scale is given to Chromium itself too: the chart's canvas looks at it, not at the emulated one.
    """
    chromium = playwright.chromium.launch(
        executable_path=program, args=[*FLAGS, f"--force-device-scale-factor={picture.scale:g}"]
    )
    try:
        context = chromium.new_context(
            viewport={"width": picture.width, "height": picture.height},
            device_scale_factor=picture.scale,
            color_scheme="light" if picture.scheme == "light" else "dark",
        )
        page = context.new_page()
        page.goto(url)
        settle(page)
        target = IMAGES / f"{picture.name}.png"
        page.screenshot(path=target)
    finally:
        chromium.close()
    size = target.stat().st_size
    print(f"screenshots: {target.relative_to(ROOT)}, {size:,} bytes")
    return size


def settle(page: Page) -> None:
    """Wait until the page is live with candles, a filled-in ticket and a tape."""
    until(page, SHOWN)
    page.evaluate("document.querySelector('[data-price=bid]').click()")
    page.evaluate("document.querySelector('[data-share=\"25\"]').click()")
    until(page, TAPE)
    page.wait_for_timeout(700)  # two paints of the chart


TAPE = """!document.getElementById('tape').offsetParent
  || document.querySelectorAll('#tape .print')[7].textContent !== ''"""

SHOWN = """document.getElementById('pill-text').textContent.startsWith('Live')
  && document.querySelectorAll('#dock-open tbody tr').length > 0
  && document.getElementById('chart-summary').textContent !== ''"""


def until(page: Page, expression: str) -> None:
    """Wait for a JavaScript expression; Playwright's own wait needs `eval`, which the page's policy forbids.

    Raises:
        RuntimeError: it is still false after the deadline.
    """
    deadline = time.monotonic() + READY_WITHIN_S
    while not page.evaluate(expression):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the page never showed: {expression}")
        page.wait_for_timeout(50)


if __name__ == "__main__":
    raise SystemExit(main())
