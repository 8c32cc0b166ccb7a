"""Who may come in: host names, password, origins; and what every answer carries for the browser."""

import base64
import gzip
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor, said
from trading_engine.app import create_app
from trading_engine.config import Config

ORDER = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.5"}


@pytest.fixture
def guarded(still_floor: Floor) -> FlaskClient:
    """A client of an exchange with a password."""
    config = Config(access_password="pässword: with colon", allowed_hosts=("localhost",))
    app = create_app(config, runtime=still_floor)  # type: ignore[arg-type]  # a floor is all the API needs
    return app.test_client()


def basic(password: str, user: str = "anyone") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.mark.parametrize("host", ("localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"))
def test_our_own_names_are_answered(reader: FlaskClient, host: str) -> None:
    assert reader.get("/api/v1/portfolio", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ("evil.example", "localhost.evil.example", "127.0.0.1.evil", "", "[::1", "10.0.0.1", "[::1].evil:80")
)
@pytest.mark.parametrize("path", ("/", "/api/v1/portfolio", "/metrics", "/api/v1/docs"))
def test_other_names_are_not(reader: FlaskClient, host: str, path: str) -> None:
    answer = reader.get(path, headers={"Host": host})
    assert (answer.status_code, said(answer)["code"]) == (400, "host_not_allowed")


@pytest.mark.parametrize("path", ("/health", "/ready"))
def test_the_platform_may_ask_under_any_name_and_without_password(guarded: FlaskClient, path: str) -> None:
    assert guarded.get(path, headers={"Host": "10.1.2.3:8080"}).status_code == 200


@pytest.mark.parametrize("path", ("/", "/api/v1/portfolio", "/metrics", "/api/v1/openapi.json", "/app.js", "/nope"))
def test_nothing_else_is_shown_without_the_password(guarded: FlaskClient, path: str) -> None:
    answer = guarded.get(path)
    assert (answer.status_code, said(answer)["code"]) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")


def test_the_password_opens_page_and_api(guarded: FlaskClient) -> None:
    headers = basic("pässword: with colon")
    assert guarded.get("/api/v1/portfolio", headers=headers).status_code == 200
    assert guarded.get("/", headers=headers, buffered=True).status_code == 200


@pytest.mark.parametrize(
    "authorization",
    ("Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Bearer x", "Basic " + "A" * 4000, "é"),
    ids=lambda value: value[:16],
)
def test_what_is_no_password_does_not_open(guarded: FlaskClient, authorization: str) -> None:
    assert guarded.get("/api/v1/portfolio", headers={"Authorization": authorization}).status_code == 401


@pytest.mark.parametrize("password", ("", "wrong", "pässword: with colon ", "password: with colon"))
def test_a_wrong_password_does_not_open(guarded: FlaskClient, password: str) -> None:
    assert guarded.get("/api/v1/portfolio", headers=basic(password)).status_code == 401


@pytest.mark.parametrize(
    "origin", ("https://evil.example", "null", "http://localhost:1", "http://localhost.evil", "localhost", "")
)
def test_a_page_that_is_not_ours_cannot_write(reader: FlaskClient, origin: str) -> None:
    headers = {"Origin": origin}
    for answer in (
        reader.post("/api/v1/orders", json=ORDER, headers=headers),
        reader.delete("/api/v1/orders", headers=headers),
        reader.post("/api/v1/account/reset", json={}, headers=headers),
        reader.get("/api/v1/stream", headers=headers),
    ):
        assert (answer.status_code, said(answer)["code"]) == (403, "origin_not_allowed")


@pytest.mark.parametrize("origin", ("http://localhost:8080", "https://localhost:8080", "http://LOCALHOST:8080"))
def test_our_own_page_can(client: FlaskClient, origin: str) -> None:
    headers = {"Origin": origin, "Host": "localhost:8080"}
    assert client.post("/api/v1/orders", json=ORDER, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "path", ("/", "/health", "/api/v1/portfolio", "/api/v1/docs", "/nope", "/api/v1/orders?limit=0")
)
def test_every_answer_carries_the_security_headers(reader: FlaskClient, path: str) -> None:
    headers = reader.get(path, buffered=True).headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; "
        "frame-ancestors 'none'; form-action 'self'"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("path", ("/api/v1/portfolio", "/health", "/nope"))
def test_private_answers_are_not_kept(reader: FlaskClient, path: str) -> None:
    assert reader.get(path).headers["Cache-Control"] == "no-store"


def test_the_page_is_asked_for_again_and_then_not_sent_again(reader: FlaskClient) -> None:
    first = reader.get("/", buffered=True)
    assert (first.status_code, first.headers["Cache-Control"]) == (200, "private, no-cache")
    assert first.mimetype == "text/html"
    again = reader.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_is_there_without_its_vendor_files(reader: FlaskClient) -> None:
    answer = reader.get("/vendor/no-such-library.js")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ("/", "/js/main.js", "/css/tokens.css", "/favicon.svg"))
def test_our_own_files_are_sent_compressed_to_who_can_read_that(reader: FlaskClient, path: str) -> None:
    plain = reader.get(path, buffered=True)
    packed = reader.get(path, headers={"Accept-Encoding": "gzip, br"}, buffered=True)
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert packed.content_length == len(packed.data) < len(plain.data)
    for name in ("Content-Type", "ETag", "Cache-Control", "Vary"):
        assert packed.headers[name] == plain.headers[name]
    assert plain.headers["Vary"] == "Accept-Encoding"
    head = reader.head(path, headers={"Accept-Encoding": "gzip"})
    assert (head.content_length, head.data) == (packed.content_length, b"")
    part = reader.get(path, headers={"Accept-Encoding": "gzip", "Range": "bytes=0-9"}, buffered=True)
    assert (part.status_code, part.data) == (206, plain.data[:10])
    again = reader.get(path, headers={"Accept-Encoding": "gzip", "If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_a_compressed_twin_is_sent_to_who_can_read_it(
    still_floor: Floor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "vendor/library.js").write_text("export {}" * 100)
    (tmp_path / "vendor/library.js.gz").write_bytes(b"twin")
    monkeypatch.setattr("trading_engine.app.FRONTEND", tmp_path)
    client = create_app(still_floor.config, runtime=still_floor).test_client()  # type: ignore[arg-type]  # as above
    packed = client.get("/vendor/library.js", headers={"Accept-Encoding": "gzip"}, buffered=True)
    assert (packed.data, packed.headers["Content-Encoding"]) == (b"twin", "gzip")
    assert packed.headers["Cache-Control"] == "private, max-age=3600"
    assert client.get("/vendor/library.js", buffered=True).data.startswith(b"export")
