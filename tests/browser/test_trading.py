"""Trading by hand: from the book to the ticket, fills, resting, cancelling, refusals, lost answers and faults."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import ROUNDING, OpenPage, until, wait_live
from tests.servers import Server, Venue, wait_until

FAR_BELOW = Decimal("0.97")


def choose(page: Page, name: str, value: str) -> None:
    """Choose a side or an order type in the ticket."""
    page.locator(f"[name={name}][value={value}]").check(force=True)


def tab(page: Page, name: str) -> None:
    """Open a tab of the dock."""
    page.click(f"#dock-tab-{name}")


def rest_below(page: Page, amount: str = "0.01") -> str:
    """Fill in a limit buy that rests well below the market; return its price as shown."""
    choose(page, "side", "buy")
    choose(page, "type", "limit")
    best = Decimal(page.locator("#bids .at").first.inner_text().replace(",", ""))
    page.fill("#price", str((best * FAR_BELOW).quantize(Decimal("0.01"), context=ROUNDING)))
    page.fill("#amount", amount)
    return f"{Decimal(page.input_value('#price')):,}"


@pytest.fixture
def quiet_book(venue: Venue) -> Iterator[Venue]:
    """The venue with its book standing still, and moving again afterwards."""
    venue.control("pause", symbol="BTCUSDT")
    yield venue
    venue.heal()


@pytest.fixture
def faulty(venue: Venue) -> Iterator[Venue]:
    """The venue, healed afterwards."""
    yield venue
    venue.heal()


def wait_still(page: Page) -> None:
    """Wait until the page has caught up with a market that stands still."""
    kept = [page.locator("#asks").inner_text()]

    def unchanged() -> bool:
        page.wait_for_timeout(500)
        kept.append(page.locator("#asks").inner_text())
        return kept[-1] == kept[-2]

    wait_until(unchanged, "the book stands still")


def test_a_click_on_price_or_size_fills_the_ticket(page: Page, quiet_book: Venue) -> None:
    wait_still(page)
    row = page.locator("#asks .level").nth(2)
    price, size = row.locator(".at").inner_text(), row.locator(".amount").inner_text()
    row.locator(".at").click()
    expect(page.locator("#price")).to_have_value(price)
    expect(page.locator("#amount")).to_have_value("")
    row.locator(".amount").click()
    expect(page.locator("#amount")).to_have_value(size)
    total = Decimal(price.replace(",", "")) * Decimal(size.replace(",", ""))
    assert Decimal(page.input_value("#total").replace(",", "")) == total.quantize(Decimal("1e-8"), context=ROUNDING)


def test_a_click_is_void_when_the_price_moved_under_it(page: Page, venue: Venue) -> None:
    """Press on a row, let the market move, release: nothing may reach the ticket."""
    page.evaluate("""() => {
      const cell = document.querySelector('#asks .at');
      window.pressedAt = cell.textContent;
      cell.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }));
    }""")
    venue.control("walk", symbol="BTCUSDT", percent=0.2)
    until(page, "document.querySelector('#asks .at').textContent !== window.pressedAt")
    page.evaluate("document.querySelector('#asks .at').dispatchEvent(new MouseEvent('click', { bubbles: true }))")
    expect(page.locator(".toast")).to_contain_text("moved under your click")
    expect(page.locator("#price")).to_have_value("")


def test_a_market_order_fills_and_changes_the_balances(page: Page, server: Server) -> None:
    choose(page, "type", "market")
    page.fill("#amount", "0.05")
    expect(page.locator("#estimate")).to_contain_text("USDT")
    page.click("#submit")
    expect(page.locator("#result")).to_contain_text("Filled at")
    expect(page.locator(".toast").first).to_contain_text("Bought 0.05 BTC at")
    expect(page.locator("#polite")).to_contain_text("Bought 0.05 BTC")
    tab(page, "fills")
    expect(page.locator("#dock-fills tbody tr").first).to_contain_text("Taker")
    tab(page, "history")
    expect(page.locator("#dock-history tbody tr").first).to_contain_text("Filled")
    tab(page, "balances")
    expect(page.locator("#dock-balances tbody")).to_contain_text("0.04995")
    tab(page, "positions")
    expect(page.locator("#dock-positions tbody tr")).to_contain_text("BTC/USDT")
    expect(page.locator("#dock-positions tbody tr")).to_contain_text("0.04995")
    assert server.get("/api/v1/portfolio").json["positions"]["BTCUSDT"]["quantity"] == "0.04995"


def test_a_market_buy_may_name_what_to_spend(page: Page, server: Server) -> None:
    choose(page, "type", "market")
    page.click("[data-share='25']")
    expect(page.locator("#amount")).to_have_value("25,000.00")
    expect(page.locator("#submit")).to_have_text("Buy for 25,000.00 USDT")
    page.click("#submit")
    expect(page.locator("#result")).to_contain_text("Filled at")
    order = server.get("/api/v1/orders?limit=1").json["orders"][0]
    assert order["quote_quantity"] == "25000"
    assert Decimal(order["filled_quote"]) <= 25000


def test_a_limit_order_rests_and_is_cancelled(page: Page) -> None:
    price = rest_below(page)
    page.keyboard.press("Enter")
    row = page.locator("#dock-open tbody tr")
    expect(row).to_contain_text(price)
    expect(page.locator("#dock-tab-open .count")).to_have_text("1")
    expect(page.locator("#dock-held")).not_to_contain_text("nothing")
    row.locator("[data-act=cancel]").click()
    expect(page.locator("#dock-open .empty")).to_be_visible()
    tab(page, "history")
    expect(page.locator("#dock-history tbody tr").first).to_contain_text("Cancelled")


def test_a_focused_order_is_cancelled_by_x_and_all_after_a_question(page: Page) -> None:
    for _ in range(3):
        rest_below(page)
        page.click("#submit")
        expect(page.locator("#result")).to_contain_text("rests in the book")
    rows = page.locator("#dock-open tbody tr")
    expect(rows).to_have_count(3)
    rows.first.locator("[data-act=cancel]").focus()
    page.keyboard.press("x")
    expect(rows).to_have_count(2)
    page.click("#cancel-all")
    expect(page.locator("#confirm-text")).to_contain_text("2 orders")
    page.click("#confirm button[value=no]")
    expect(rows).to_have_count(2)
    page.click("#cancel-all")
    page.click("#confirm-yes")
    expect(page.locator("#dock-open .empty")).to_be_visible()


def test_closing_a_position_fills_the_ticket_and_sends_nothing(page: Page, server: Server) -> None:
    assert server.post("/api/v1/orders", {"symbol": "ETHUSDT", "side": "buy", "quantity": "1"}).status == 201
    tab(page, "positions")
    page.locator("#dock-positions [data-act=close]").click()
    expect(page.locator("#symbol-name")).to_have_text("ETH/USDT")
    expect(page.locator("#amount")).to_have_value("0.9990")
    assert page.evaluate("document.querySelector('[name=side]:checked').value") == "sell"
    assert len(server.get("/api/v1/orders").json["orders"]) == 1
    wait_live(page)
    page.click("#submit")
    expect(page.locator("#dock-positions .empty")).to_be_visible()


def test_faults_of_a_draft_are_shown_with_their_remedy(page: Page) -> None:
    page.fill("#price", "50000.005")
    page.fill("#amount", "0.000005")
    expect(page.locator("#price-error")).to_contain_text("Prices step by 0.01.")
    expect(page.locator("#amount-error")).to_contain_text("Smallest amount is 0.00001 BTC.")
    expect(page.locator("#submit")).to_have_text("Fix 2 fields to buy")
    expect(page.locator("#submit")).to_be_disabled()
    page.locator("#price-error button").click()
    expect(page.locator("#price")).to_have_value("50000.00")
    page.fill("#amount", "5")
    expect(page.locator("#amount-error")).to_contain_text("Needs 250,000.00 USDT; 100,000.00 is free.")
    page.locator("#amount-error button").click()
    expect(page.locator("#amount")).to_have_value("2.00000")
    expect(page.locator("#submit")).to_be_enabled()


def test_a_refusal_shows_its_sentence_code_and_field_and_keeps_the_draft(page: Page, server: Server) -> None:
    price = Decimal(server.get("/api/v1/prices?symbol=BTCUSDT").json["BTCUSDT"]["price"])
    page.fill("#price", str((price * 9).quantize(Decimal("0.01"), context=ROUNDING)))
    page.fill("#amount", "0.01")
    typed = page.input_value("#price")
    page.click("#submit")
    result = page.locator("#result")
    expect(result).to_contain_text("Refused")
    expect(result.locator(".code")).to_have_text("percent_price \u00b7 price")
    expect(page.locator("#price-error")).to_be_visible()
    expect(page.locator("#price")).to_be_focused()
    expect(page.locator("#price")).to_have_value(typed)
    expect(page.locator("#assertive")).to_contain_text("Order refused.")
    assert server.get("/api/v1/orders").json["orders"] == []


def test_a_lost_answer_is_asked_for_and_the_order_is_placed_once(page: Page, server: Server) -> None:
    lost: list[int] = []

    def lose_first(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            lost.append(route.fetch().status)
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/orders*", lose_first)
    choose(page, "type", "market")
    page.fill("#amount", "0.02")
    page.focus("#amount")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_contain_text("Filled at")
    assert lost == [201]
    assert len(server.get("/api/v1/orders").json["orders"]) == 1


def test_an_order_that_never_arrived_waits_for_the_user(page: Page, server: Server) -> None:
    def lose(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/orders*", lose)
    rest_below(page)
    page.click("#submit")
    expect(page.locator("#submit")).to_contain_text("asking")
    expect(page.locator("#result")).to_contain_text("did not reach the exchange", timeout=20_000)
    expect(page.locator("#submit")).to_be_disabled()
    page.unroute("**/api/v1/orders*", lose)
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("#result")).to_contain_text("rests in the book")
    assert len(server.get("/api/v1/orders").json["orders"]) == 1


def test_a_stale_book_loses_its_colour_and_cannot_be_taken(page: Page, faulty: Venue) -> None:
    rest_below(page)
    page.click("#submit")
    expect(page.locator("#dock-open tbody tr")).to_have_count(1)
    faulty.control("mute", symbol="BTCUSDT")
    expect(page.locator("#pill-text")).to_contain_text("Stale", timeout=15_000)
    expect(page.locator("#book-note")).to_contain_text("No update for")
    expect(page.locator("#book-panel")).to_have_class("book-panel drained")
    choose(page, "type", "market")
    page.fill("#amount", "0.01")
    expect(page.locator("#ticket-note")).to_contain_text("nothing can be taken")
    expect(page.locator("#submit")).to_be_disabled()
    page.locator("#dock-open [data-act=cancel]").click()
    expect(page.locator("#dock-open .empty")).to_be_visible()
    faulty.heal()
    expect(page.locator("#pill-text")).to_contain_text("Live", timeout=15_000)
    expect(page.locator("#submit")).to_be_enabled()


def test_reset_asks_for_the_name_and_starts_anew(page: Page, server: Server) -> None:
    rest_below(page)
    page.click("#submit")
    expect(page.locator("#dock-open tbody tr")).to_have_count(1)
    page.click("#account-open")
    page.click("[data-balance='10,000']")
    expect(page.locator("#reset-send")).to_be_disabled()
    page.fill("#reset-name", "default")
    page.click("#reset-send")
    expect(page.locator("#account")).to_be_hidden()
    expect(page.locator("#equity")).to_have_text("10,000.00")
    expect(page.locator("#dock-open .empty")).to_be_visible()
    assert server.get("/api/v1/portfolio").json["cash_balance"] == "10000"


def test_a_killed_server_is_told_and_its_return_too(open_page: OpenPage, tmp_path: Path, venue: Venue) -> None:
    with contextlib.ExitStack() as started:
        own = started.enter_context(Server(tmp_path, venue.settings)).wait_live()
        page = open_page(own.url)
        wait_live(page)
        choose(page, "type", "market")
        page.fill("#amount", "0.01")
        page.click("#submit")
        expect(page.locator("#result")).to_contain_text("Filled at")
        own.kill()
        expect(page.locator("#pill-text")).to_contain_text("Offline")
        expect(page.locator(".banner[data-key=offline]")).to_contain_text("retrying in")
        expect(page.locator("#book-panel")).to_have_class("book-panel drained")
        page.fill("#amount", "0.01")
        expect(page.locator("#submit")).to_be_disabled()
        own = started.enter_context(Server(tmp_path, venue.settings, port=own.port)).wait_live()
        wait_live(page)
        tab(page, "fills")
        expect(page.locator("#dock-fills tbody tr")).to_have_count(len(own.get("/api/v1/fills").json["fills"]))
        wait_until(lambda: page.locator(".banner[data-key=offline]").count() == 0, "the banner goes")
        expect(page.locator("#submit")).to_be_enabled()
