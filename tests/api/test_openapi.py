"""The API describes itself, completely."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import said
from trading_engine.api.problems import PROBLEMS, entry
from trading_engine.exchange.messages import REFUSALS


@pytest.fixture(scope="module")
def document(reader: FlaskClient) -> dict[str, Any]:
    """Return the OpenAPI document as it is served."""
    return dict(said(reader.get("/api/v1/openapi.json")))


def test_every_route_is_described_and_nothing_else(reader: FlaskClient, document: dict[str, Any]) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in reader.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == routes
    assert document["openapi"].startswith("3.1")


def test_the_contracts_endpoints_are_there(document: dict[str, Any]) -> None:
    for path in ("prices", "depth", "symbols", "trades", "candles", "orders", "orders/{order_id}", "orders/preview",
                 "fills", "fills/{fill_id}/receipt", "portfolio", "account", "account/reset", "stream", "openapi.json",
                 "docs"):  # fmt: skip
        assert f"/api/v1/{path}" in document["paths"]
    assert set(document["paths"]["/api/v1/orders"]) == {"get", "post", "delete"}
    assert {"/health", "/ready", "/metrics"} <= set(document["paths"])


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].removeprefix("#/components/schemas/") in schemas, value
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)


def test_an_orders_body_is_described_field_by_field(document: dict[str, Any]) -> None:
    order = document["components"]["schemas"]["OrderRequest"]
    assert order["required"] == ["side", "symbol"]
    assert order["properties"]["quantity"]["type"] == ["string", "number", "null"]
    assert order["properties"]["side"]["enum"] == ["buy", "sell"]
    assert order["properties"]["client_order_id"]["pattern"] == "^[A-Za-z0-9._:/-]{1,36}$"
    assert order["additionalProperties"] is False


def test_parameters_have_types_and_limits(document: dict[str, Any]) -> None:
    parameters = {one["name"]: one for one in document["paths"]["/api/v1/orders"]["get"]["parameters"]}
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
    assert "open" in parameters["status"]["schema"]["enum"]


def test_every_operation_says_what_it_does_and_how_it_fails(document: dict[str, Any]) -> None:
    names = set()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            names.add(operation["operationId"])
            for code in re.findall(r"Codes of its own: ([^.]*)", operation["responses"]["default"]["description"]):
                assert all(entry(one) for one in code.split(", "))
    assert len(names) == sum(len(methods) for methods in document["paths"].values())


class _Page(HTMLParser):
    """Collects what a page links to and what it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.forbidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids.add(values.get("id") or "")
        self.links |= {value for name, value in attrs if name in {"href", "src"} and value}
        if tag in {"script", "style"} or "style" in values or any(name.startswith("on") for name in values):
            self.forbidden.append(tag)


def test_the_readable_page_needs_nothing_from_elsewhere(reader: FlaskClient) -> None:
    answer = reader.get("/api/v1/docs")
    assert answer.mimetype == "text/html"
    page = _Page()
    page.feed(answer.text)
    assert page.forbidden == []
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= page.ids
    assert {link for link in page.links if not link.startswith("#")} == {"docs.css", "openapi.json", "/"}
    assert reader.get("/api/v1/docs.css").mimetype == "text/css"
    assert {*PROBLEMS, *REFUSALS} <= page.ids
    assert "undefined" not in answer.text.lower()


def test_every_code_has_a_status_and_a_title() -> None:
    for code in {*PROBLEMS, *REFUSALS}:
        assert 400 <= entry(code).status < 600
        assert entry(code).title
    assert not PROBLEMS.keys() & REFUSALS.keys()
