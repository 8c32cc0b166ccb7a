"""What the page shows: it loads cleanly, says where its prices come from, moves, fits every screen, and reads well."""

import gzip
import json
import tempfile
from decimal import ROUND_DOWN, ROUND_HALF_UP, ROUND_UP, Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, Route, expect

from tests.browser.conftest import PATIENCE_MS, ROUNDING, Errors, OpenPage, until, wait_live
from tests.servers import ROOT, Server, Venue, wait_until
from tools import web_assets

FRONTEND = ROOT / "frontend"
OURS_GZ_BYTES = 110_000
FIRST_LOAD_GZ_BYTES = 300_000


def test_loads_without_a_complaint_and_says_the_market_is_simulated(
    open_page: OpenPage, server: Server, errors: Errors, has_chart: bool
) -> None:
    page = open_page(server.url)
    wait_live(page)
    expect(page.locator(".banner")).to_contain_text("Simulated market")
    expect(page.locator("#symbol-name")).to_have_text("BTC/USDT")
    expect(page.locator(".paper")).to_be_visible()
    if has_chart:
        expect(page.locator("#chart canvas").first).to_be_visible()
        until(page, "document.getElementById('chart-summary').textContent.includes('candles: last')")
        assert errors == []
    assert page.locator("#asks .level:not(.vacant):visible").count() >= 11
    assert page.locator("#bids .level:not(.vacant):visible").count() >= 11


def test_the_policy_forbids_foreign_scripts(server: Server, page: Page) -> None:
    response = page.request.get(server.url)
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy
    assert "unsafe-eval" not in policy


def test_prices_and_book_move(page: Page) -> None:
    shown = "document.getElementById('asks').textContent + document.getElementById('tape').textContent"
    before = page.evaluate(shown)
    until(page, f"{shown} !== before".replace("before", json.dumps(before)))
    spread = page.locator("#others .quiet").first
    expect(spread).not_to_contain_text("\u2014")


def test_older_candles_come_when_the_chart_is_drawn_aside(page: Page, has_chart: bool) -> None:
    if not has_chart:
        pytest.skip("third-party files are not installed")
    until(page, "document.getElementById('chart-summary').textContent.includes('candles: last')")
    box = page.locator("#chart").bounding_box()
    assert box is not None
    answers: list[Response] = []
    page.on("response", lambda response: answers.append(response) if "before=" in response.url else None)

    def draw_aside() -> bool:
        page.mouse.move(box["x"] + 60, box["y"] + 120)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 160, box["y"] + 120, steps=8)
        page.mouse.up()
        page.wait_for_timeout(200)  # a paint of the chart
        return bool(answers)

    wait_until(draw_aside, "older candles have come", timeout_s=PATIENCE_MS / 1000)
    older = answers[0]
    candles = older.json()["candles"]
    assert candles
    times = [candle["open_time_ms"] for candle in candles]
    assert times == sorted(times)
    assert times[-1] < int(older.url.rsplit("before=", 1)[1])
    expect(page.locator("#chart-note")).to_have_text("")


def test_without_the_chart_library_the_rest_works(open_page: OpenPage, server: Server) -> None:
    def without_vendor(page: Page) -> None:
        def missing(route: Route) -> None:
            route.fulfill(status=404, body="")

        page.route("**/vendor/**", missing)

    page = open_page(server.url, prepare=without_vendor)
    wait_live(page)
    expect(page.locator("#chart-missing")).to_contain_text("python tools/web_assets.py")
    page.locator("[name=type][value=market]").check(force=True)
    page.fill("#amount", "0.01")
    page.click("#submit")
    expect(page.locator("#result")).to_contain_text("Filled at")


OUTSIDE = """() => [...document.querySelectorAll('.topbar > *, .ticket .submit, .trade-bar button, .panel-head > *')]
  .filter((node) => node.offsetParent && node.getBoundingClientRect().right > innerWidth + 0.5)
  .map((node) => node.id || node.className)"""


def test_no_screen_scrolls_sideways(open_page: OpenPage, server: Server) -> None:
    page = open_page(server.url, scheme="light")
    wait_live(page)
    for width in (320, 390, 800, 1000, 1199, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(150)  # two beats of the paint loop at the new size
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OUTSIDE) == [], width


def test_the_theme_is_there_before_the_first_paint_and_stays(open_page: OpenPage, server: Server) -> None:
    page = open_page(server.url, scheme="dark")
    background = "getComputedStyle(document.querySelector('.topbar')).backgroundColor"
    assert page.evaluate(background) == "rgb(16, 19, 23)"
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.reload(wait_until="commit")
    until(page, "document.documentElement.dataset.theme === 'light'")


def test_symbols_are_found_by_keyboard_and_keep_their_drafts(page: Page) -> None:
    page.fill("#price", "50,000")
    page.keyboard.press("Escape")
    page.locator("#book-title").click()
    page.keyboard.press("/")
    page.keyboard.type("eth")
    expect(page.locator("#switcher-list [aria-selected=true]")).to_contain_text("ETH/")
    page.keyboard.press("Enter")
    expect(page.locator("#symbol-name")).to_have_text("ETH/USDT")
    expect(page.locator("#price")).to_have_value("")
    until(page, "document.title.includes('ETH/USDT') && document.querySelector('#asks .at').textContent !== ''")
    page.locator("#others button", has_text="BTC").click()
    expect(page.locator("#price")).to_have_value("50,000")


def test_a_symbol_that_is_not_followed_yet_can_be_chosen(page: Page, server: Server) -> None:
    followed = set(server.get("/api/v1/prices").json)
    listed = server.get("/api/v1/symbols").json["symbols"]
    other = next(row for row in listed if row["symbol"] not in followed and row["status"] == "TRADING")
    page.click("#switcher-open")
    page.fill("#switcher-filter", other["symbol"])
    page.keyboard.press("Enter")
    expect(page.locator("#symbol-name")).to_have_text(f"{other['base_asset']}/{other['quote_asset']}")
    wait_live(page)
    page.click("#switcher-open")
    page.fill("#switcher-filter", "NOSUCHTHING")
    expect(page.locator("#switcher-foot")).to_contain_text("No symbol matches")


def test_a_name_in_the_address_that_is_not_listed_leads_to_one_that_is(open_page: OpenPage, server: Server) -> None:
    page = open_page(f"{server.url}/#NOSUCHTHING")
    expect(page.locator(".toast")).to_contain_text("NOSUCHTHING is not listed here")
    wait_live(page)
    expect(page.locator("#symbol-name")).to_have_text("BTC/USDT")


def test_keys_choose_side_and_type_and_stay_silent_in_fields(page: Page) -> None:
    page.locator("#book-title").click()
    page.keyboard.press("s")
    assert page.evaluate("document.querySelector('[name=side]:checked').value") == "sell"
    page.keyboard.press("m")
    assert page.evaluate("document.querySelector('[name=type]:checked').value") == "market"
    page.focus("#amount")
    page.keyboard.press("b")
    assert page.evaluate("document.querySelector('[name=side]:checked').value") == "sell"
    page.fill("#amount", "")
    page.locator("#keys-open").focus()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "keys-open"


TOO_SMALL = """() => [...document.querySelectorAll('#sheet button, #sheet .sides span, .trade-bar button')]
  .filter((node) => node.offsetParent && node.getBoundingClientRect().height < 34)
  .map((node) => node.textContent)"""


def test_the_phone_has_its_ticket_in_a_sheet(open_page: OpenPage, server: Server) -> None:
    page = open_page(server.url, width=390, height=844)
    wait_live(page)
    expect(page.locator("#ticket")).to_be_hidden()
    page.click("[data-open=sell]")
    expect(page.locator("#sheet #ticket")).to_be_visible()
    assert page.evaluate("document.querySelector('[name=side]:checked').value") == "sell"
    small = page.evaluate(TOO_SMALL)
    assert small == []
    page.keyboard.press("Escape")
    expect(page.locator("#sheet")).to_be_hidden()
    page.click("#tab-trades")
    expect(page.locator("#tape .print").first).to_be_visible()
    expect(page.locator("#chart-panel")).to_be_hidden()


SUMS = (
    ("0.01", "97412.35", "0.00017"),
    ("0.00001", "0.03503", "12.4"),
    ("0.00000001", "0.00001234", "1000000.00000001"),
    ("1000000", "123000000", "0.5"),
)
"""Tick, price and amount; the ticks are the extremes of the venue."""

CALCULATED = """async ([tick, price, amount]) => {
  const { decimal } = await import('/js/decimal.js');
  const [t, p, a] = [tick, price, amount].map(decimal);
  return [p.times(a), p.plus(t), p.minus(a), p.over(a, 12), p.over(a, 12, 'down'), p.times(a).to(4, 'up'),
          p.plus(a).floorTo(t), p.negated.over(a, 3)].map(String);
}"""

WRITTEN = (
    ("1234567.5", 2, "1,234,567.50"),
    ("-0.00001", 5, "\u22120.00001"),
    ("0.123456789", 2, "0.123456789"),
    ("97412.35000000", 2, "97,412.35"),
    (None, 2, "\u2014"),
)


def test_the_page_counts_and_writes_exactly(page: Page) -> None:
    """The page's arithmetic agrees with Python's on every digit, whatever the tick."""
    for tick, price, amount in SUMS:
        p, a, t = Decimal(price), Decimal(amount), Decimal(tick)
        expected = [
            p * a,
            p + t,
            p - a,
            ROUNDING.divide(p, a).quantize(Decimal("1e-12"), ROUND_HALF_UP, ROUNDING),
            ROUNDING.divide(p, a).quantize(Decimal("1e-12"), ROUND_DOWN, ROUNDING),
            (p * a).quantize(Decimal("0.0001"), ROUND_UP, ROUNDING),
            ((p + a) // t) * t,
            ROUNDING.divide(-p, a).quantize(Decimal("0.001"), ROUND_HALF_UP, ROUNDING),
        ]
        found = page.evaluate(CALCULATED, [tick, price, amount])
        assert [Decimal(text) for text in found] == expected, tick
    script = "async ([value, decimals]) => (await import('/js/format.js')).exact(value, decimals)"
    for value, decimals, shown in WRITTEN:
        assert page.evaluate(script, [value, decimals]) == shown


def test_the_page_is_light_enough() -> None:
    own = sum(
        len(gzip.compress(path.read_bytes(), 9, mtime=0))
        for folder in ("js", "css")
        for path in (FRONTEND / folder).iterdir()
    )
    assert own <= OURS_GZ_BYTES
    if not web_assets.is_current(FRONTEND):
        pytest.skip("third-party files are not installed")
    library = (FRONTEND / "vendor" / "lightweight-charts.js.gz").stat().st_size
    font = (FRONTEND / "vendor" / "inter-latin.woff2").stat().st_size
    html = len(gzip.compress((FRONTEND / "index.html").read_bytes(), 9, mtime=0))
    assert own + library + font + html <= FIRST_LOAD_GZ_BYTES


def test_settings_that_the_venue_does_not_know_are_named(open_page: OpenPage, tmp_path: Path, venue: Venue) -> None:
    settings = {**venue.settings, "SYMBOLS": "BTCUSDT,NOPEUSDT", "STARTING_BALANCE": "USDT=1000,NOPE=5"}
    with Server(tmp_path, settings) as own:
        own.wait_for("/health")
        page = open_page(own.url)
        expect(page.locator(".banner[data-key=feed]")).to_contain_text("does not list NOPEUSDT (SYMBOLS)")
        expect(page.locator(".banner[data-key=role]")).to_contain_text("values NOPE in USDT (STARTING_BALANCE)")
        expect(page.locator("#pill-text")).to_contain_text("Live")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from the lock's development packages."""
    with tempfile.TemporaryDirectory() as folder:
        for name in web_assets.NPM_INPUTS:
            (Path(folder) / name).write_bytes((FRONTEND / name).read_bytes())
        try:
            web_assets.npm_ci(Path(folder), include_dev=True)
        except web_assets.Unavailable as unavailable:
            pytest.skip(f"axe-core cannot be fetched: {unavailable}")
        return (Path(folder) / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


AXE_RUN = """async () => {
  const tags = ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'];
  const { violations } = await axe.run(document, { runOnly: { type: 'tag', values: tags } });
  const told = (node) => `${node.html} ${node.failureSummary}`;
  return violations.map((each) => `${each.id}: ${each.nodes.slice(0, 3).map(told).join(' | ')}`);
}"""


def test_axe_finds_nothing(open_page: OpenPage, server: Server, axe: str) -> None:
    """Both themes, phone and desktop, with and without a dialog."""
    assert server.post("/api/v1/orders", {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.01"}).status == 201
    price = Decimal(server.get("/api/v1/prices?symbol=BTCUSDT").json["BTCUSDT"]["price"])
    low = (price * Decimal("0.95")).quantize(Decimal("0.01"), context=ROUNDING)
    resting = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.01", "price": str(low)}
    assert server.post("/api/v1/orders", resting).status == 201
    page = open_page(server.url)
    wait_live(page)
    page.wait_for_selector("#dock-open tbody tr")
    page.evaluate(axe)
    for width, scheme, opener, dialog in (
        (1440, "dark", "#account-open", "#account"),
        (1440, "light", "#switcher-open", "#switcher"),
        (390, "light", "#account-open", "#account"),
        (390, "dark", "[data-open=sell]", "#sheet"),
    ):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
        assert page.evaluate(AXE_RUN) == [], (width, scheme)
        page.click(opener)
        page.wait_for_selector(f"{dialog}[open]")
        assert page.evaluate(AXE_RUN) == [], (width, scheme, dialog)
        page.keyboard.press("Escape")
