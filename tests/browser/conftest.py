"""Browser, venue and server for the page's tests; each test gets a fresh account, a fresh page and no faults."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.browser.servers import Server, Venue
from tools import web_assets

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
)  # fmt: skip
PATIENCE_MS = 10_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
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
    running = Venue(tmp_path_factory.mktemp("venue"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def running_server(tmp_path_factory: pytest.TempPathFactory, venue: Venue, has_chart: bool) -> Iterator[Server]:
    """Our server on it, shared by the tests. The page's files are looked for at its start, so they come first."""
    running = Server(tmp_path_factory.mktemp("server"), venue)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def server(running_server: Server) -> Server:
    """The shared server with 100,000 USDT and nothing else."""
    running_server.post("account/reset", {"balances": {"USDT": "100000"}})
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
