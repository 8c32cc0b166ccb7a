"""Browser, venue and server for the page's tests; each test gets a fresh account, a fresh page and no faults."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Context
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tests.servers import Server, Venue
from tools import web_assets

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
)  # fmt: skip
PATIENCE_MS = 20_000
"""With a page on a machine that has other things to do; what is waited for mostly takes milliseconds."""

ROUNDING = Context(prec=60, traps=[])
"""The suite traps inexact arithmetic; where a test rounds on purpose it says so with this."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


class Unusable(Exception):
    """The browser is there but cannot be driven; the message says why."""


def try_driver() -> None:
    """Run the program with which Playwright drives a browser; raise Unusable."""
    version = [sys.executable, "-m", "playwright", "--version"]
    driver = subprocess.run(version, capture_output=True, text=True, check=False)
    if driver.returncode:
        raise Unusable(f"Playwright's driver does not run: {cause(driver.stderr)}")


def launch(playwright: Playwright, program: str) -> Browser:
    """Start a Chromium; raise Unusable."""
    try:
        return playwright.chromium.launch(executable_path=program, args=list(FLAGS))
    except PlaywrightError as error:
        raise Unusable(f"{program} does not run: {cause(error.message)}") from None


def cause(log: str) -> str:
    """Return the line that names a missing library, else the last one."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if "shared libraries" in line), lines[-1] if lines else "it says nothing")


def give_up(reason: str, *, is_root: bool) -> NoReturn:
    """Skip what wants the browser; but root is given all it needs by `make test`, so there it is a failure."""
    if is_root:
        pytest.fail(reason)
    pytest.skip(f"{reason} (`make test` as root installs what is missing)")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """What drives the browser; a process can have one of it."""
    try:
        try_driver()
    except Unusable as unusable:
        give_up(str(unusable), is_root=os.geteuid() == 0)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    try:
        chromium = launch(playwright, program)
    except Unusable as unusable:
        give_up(str(unusable), is_root=os.geteuid() == 0)
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def has_chart() -> bool:
    """Whether the third-party files are there; fetched now if they can be."""
    web_assets.main([])
    return web_assets.is_current(web_assets.FRONTEND)


@pytest.fixture(scope="session")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """The simulated exchange."""
    with Venue(tmp_path_factory.mktemp("venue")) as running:
        yield running


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory, venue: Venue, has_chart: bool) -> Iterator[Server]:
    """Our server on it, shared by the tests. The page's files are looked for at its start, so they come first."""
    with Server(tmp_path_factory.mktemp("server"), venue.settings) as running:
        yield running.wait_live()


@pytest.fixture
def server(running_server: Server) -> Server:
    """The shared server with 100,000 USDT and nothing else."""
    reset = running_server.post("/api/v1/account/reset", {"balances": {"USDT": "100000"}})
    assert reset.status == 200, reset.text
    return running_server


class Errors(list[str]):
    """What the page complained about: console errors and uncaught exceptions."""

    def console(self, message: ConsoleMessage) -> None:
        """Keep an error message."""
        if message.type == "error":
            self.append(f"{message.text} ({message.location.get('url', '')})")


@pytest.fixture
def errors() -> Errors:
    """Collects the complaints of every page the test opens."""
    return Errors()


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, errors: Errors) -> Iterator[OpenPage]:
    """Open a page in a context of its own: `open_page(url, width=, height=, scheme=, prepare=)`."""
    contexts = []

    def opened(
        url: str,
        *,
        width: int = 1440,
        height: int = 900,
        scheme: str = "dark",
        prepare: Callable[[Page], None] | None = None,
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="light" if scheme == "light" else "dark",
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", errors.console)
        page.on("pageerror", lambda error: errors.append(str(error)))
        if prepare is not None:
            prepare(page)
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: OpenPage, server: Server) -> Page:
    """The page on a desktop, live."""
    opened = open_page(server.url)
    wait_live(opened)
    return opened


def until(page: Page, expression: str) -> None:
    """Wait until a JavaScript expression is true. Playwright's own wait needs `eval`, which our policy forbids."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"waited in vain for {expression}"
        page.wait_for_timeout(40)


def wait_live(page: Page) -> None:
    """Wait until the pill says Live and account, book and rules are on the page."""
    until(page, LIVE)


LIVE = """document.getElementById('pill-text').textContent.startsWith('Live')
  && document.getElementById('equity').textContent !== '\u2014'
  && document.getElementById('spread').textContent !== '\u2014'
  && (!document.getElementById('book').offsetParent || document.querySelector('#asks .at').textContent !== '')
  && document.getElementById('price-unit').textContent !== ''"""
