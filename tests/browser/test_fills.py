"""What an order would do, what is ahead of it, and why it filled, on the page."""

import re
from decimal import Decimal

from playwright.sync_api import Page, expect

from tests.browser.test_trading import choose, quiet_book, tab, wait_still
from tests.servers import Server, Venue

__all__ = ["quiet_book"]


def best_bid(page: Page) -> str:
    return page.locator("#bids .at").first.inner_text()


def test_the_ticket_says_what_an_order_would_do_before_it_is_sent(page: Page, server: Server) -> None:
    expect(page.locator("#preview")).to_have_text("\u2014")
    choose(page, "type", "market")
    page.fill("#amount", "0.01")
    expect(page.locator("#preview")).to_have_text(re.compile(r"^[\d,.]+ on average · [\d.]+ bps · fee 0\.00001 BTC$"))
    expect(page.locator("#preview")).to_have_attribute("title", re.compile("against the best price"))
    page.fill("#amount", "")
    expect(page.locator("#preview")).to_have_text("\u2014")
    assert server.get("/api/v1/orders").json["orders"] == []


def test_the_ticket_says_where_in_the_queue_an_order_would_rest(page: Page, quiet_book: Venue) -> None:
    wait_still(page)
    choose(page, "type", "limit")
    page.fill("#price", best_bid(page))
    page.fill("#amount", "0.01")
    size = Decimal(page.locator("#bids .amount").first.inner_text().replace(",", ""))
    expect(page.locator("#preview")).to_have_text(
        re.compile(rf"^rests behind {re.escape(f'{size.normalize():f}')} BTC$")
    )


def test_an_open_order_shows_what_is_ahead_of_it(page: Page, server: Server, quiet_book: Venue) -> None:
    wait_still(page)
    choose(page, "type", "limit")
    page.fill("#price", best_bid(page))
    page.fill("#amount", "0.01")
    page.click("#submit")
    ahead = page.locator("#dock-open tbody tr td").nth(7)
    expect(ahead).to_have_attribute("title", re.compile(r"^[\d,.]+ BTC ahead of it at its price$"))
    (order,) = server.get("/api/v1/orders?status=open").json["orders"]
    shown = (ahead.get_attribute("title") or "").split(" ")[0].replace(",", "")
    assert shown == order["queue_ahead"]
    assert Decimal(shown) > 0


def test_what_is_ahead_follows_the_market(page: Page, server: Server, quiet_book: Venue) -> None:
    wait_still(page)
    bid, size = server.get("/api/v1/depth?symbol=BTCUSDT&limit=1").json["bids"][0]
    order = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.01", "price": bid}
    assert server.post("/api/v1/orders", order).json["queue_ahead"] == size
    ahead = page.locator("#dock-open tbody tr td").nth(7)
    expect(ahead).to_have_attribute("title", f"{Decimal(size):,} BTC ahead of it at its price")
    printed = Decimal("0.00001")
    quiet_book.control("print", symbol="BTCUSDT", price=bid, quantity=f"{printed:f}", buyer_is_maker=True)
    expect(ahead).to_have_attribute("title", f"{Decimal(size) - printed:,} BTC ahead of it at its price")


def test_a_fill_says_how_sure_it_is_and_why_it_came_about(page: Page, server: Server) -> None:
    choose(page, "type", "market")
    page.fill("#amount", "0.01")
    page.click("#submit")
    tab(page, "fills")
    button = page.locator("#dock-fills tbody tr").first.locator("[data-act=receipt]")
    expect(button).to_have_text("Certain")
    expect(button).to_have_attribute("title", re.compile("Taken from the book"))
    button.click()
    fill = server.get("/api/v1/fills").json["fills"][0]
    sentence = server.get(f"/api/v1/fills/{fill['id']}/receipt").json["sentence"]
    expect(page.locator("#receipt-sentence")).to_have_text(sentence)
    assert sentence.startswith("Your order bought")
    expect(page.locator("#receipt-facts")).to_contain_text("taken on arrival")
    page.keyboard.press("Escape")
    expect(page.locator("#receipt")).to_be_hidden()
    expect(button).to_be_focused()
