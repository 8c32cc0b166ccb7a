"""What must not come in, and how it is turned away: in JSON, with the field and the rule, and nothing changed."""

import contextlib
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from tests.api.conftest import Floor, said
from trading_engine.api.numbers import NotADecimal, NumberText, decimal_of, parse_object
from trading_engine.api.problems import Problem

ORDERS = "/api/v1/orders"
ORDER = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.5"}
TEXT = json.dumps(ORDER)


def send(client: FlaskClient, body: bytes | str, **headers: str) -> Any:
    return client.post(ORDERS, data=body, headers={"Content-Type": "application/json", **headers})


NOT_JSON = {
    "nothing": b"",
    "an open array": b"[",
    "a hundred kilobytes of open arrays": b"[" * 60_000,
    "seventeen levels": (b'{"a":' * 17) + b"1" + b"}" * 17,
    "a comma too many": TEXT[:-1].encode() + b",}",
    "two objects": (TEXT + TEXT).encode(),
    "NaN": TEXT.replace('"0.5"', "NaN").encode(),
    "Infinity": TEXT.replace('"0.5"', "Infinity").encode(),
    "minus Infinity": TEXT.replace('"0.5"', "-Infinity").encode(),
    "a name twice": TEXT[:-1].encode() + b',"side":"sell"}',
    "a name twice further in": b'{"balances":{"USDT":1,"USDT":2}}',
    "Latin-1": TEXT.replace("BTC", "BÄC").encode("latin-1"),
    "UTF-16": TEXT.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "an overlong slash": b'{"symbol":"\xc0\xaf"}',
    "half a surrogate pair": TEXT.replace("BTC", "\\ud800").encode(),
    "half a surrogate pair as a name": b'{"\\udfff":1}',
    "a NUL": TEXT.replace("BTC", "\\u0000").encode(),
    "a raw control character": TEXT.replace("BTC", "\n").encode(),
    "single quotes": b"{'symbol': 'BTCUSDT'}",
    "a comment": b"{} // order",
    "a leading zero": TEXT.replace('"0.5"', "00.5").encode(),
    "a plus sign": TEXT.replace('"0.5"', "+0.5").encode(),
    "hexadecimal": TEXT.replace('"0.5"', "0x1").encode(),
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON)
def test_what_is_not_acceptable_json_is_400(reader: FlaskClient, still_floor: Floor, body: bytes) -> None:
    answer = send(reader, body)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert said(answer)["code"] == "malformed_json"
    assert still_floor.engine.status.seq == 1


@pytest.mark.parametrize("body", (b"[]", b"1", b"null", b'"text"', b"true", TEXT.join("[]").encode()))
def test_json_that_is_no_object_is_not_valid(reader: FlaskClient, body: bytes) -> None:
    assert (send(reader, body).status_code, said(send(reader, body))["code"]) == (422, "validation_failed")


NOT_A_DECIMAL = [
    "", " 1", "1 ", "1\n", "+1", "-1", "-0", "1.", ".5", "01", "1e5", "1E-5", "1_000", "1,5", "0x1", "NaN", "nan",
    "Infinity", "1" * 16, "0." + "1" * 19, "٣", "１", "1\u0000", "1'--", True, False, [], [1], {}, {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", NOT_A_DECIMAL, ids=repr)
@pytest.mark.parametrize("field", ("quantity", "price", "quote_quantity"))
def test_what_is_no_decimal_is_named(reader: FlaskClient, still_floor: Floor, field: str, value: object) -> None:
    answer = reader.post(ORDERS, json={**ORDER, field: value})
    if value == "1\u0000":
        assert said(answer)["code"] == "malformed_json"
    else:
        assert (answer.status_code, list(said(answer)["errors"])) == (422, [field])
    assert still_floor.engine.status.seq == 1


@pytest.mark.parametrize(
    "number", ("1e16", "1e999", "1E+99999999", "1e-19", "-1", "0", "0.0", "0e5", "1" * 40, "1" * 5000)
)
def test_a_number_out_of_bounds_is_refused_before_it_is_one(reader: FlaskClient, number: str) -> None:
    answer = send(reader, TEXT.replace('"0.5"', number))
    assert (answer.status_code, list(said(answer)["errors"])) == (422, ["quantity"])


@pytest.mark.parametrize(
    ("change", "field"),
    (
        ({"symbol": None}, "symbol"),
        ({"symbol": 5}, "symbol"),
        ({"symbol": "BTC/USDT"}, "symbol"),
        ({"symbol": "B" * 41}, "symbol"),
        ({"symbol": "'; DROP TABLE orders; --"}, "symbol"),
        ({"side": "hold"}, "side"),
        ({"side": 1}, "side"),
        ({"side": None}, "side"),
        ({"side": ["buy"]}, "side"),
        ({"type": "iceberg"}, "type"),
        ({"type": 0}, "type"),
        ({"time_in_force": "DAY"}, "time_in_force"),
        ({"post_only": "true"}, "post_only"),
        ({"post_only": 1}, "post_only"),
        ({"post_only": None}, "post_only"),
        ({"client_order_id": ""}, "client_order_id"),
        ({"client_order_id": "a" * 37}, "client_order_id"),
        ({"client_order_id": "with space"}, "client_order_id"),
        ({"client_order_id": "ümlaut"}, "client_order_id"),
        ({"client_order_id": "line\n"}, "client_order_id"),
        ({"client_order_id": 5}, "client_order_id"),
        ({"leverage": 10}, "leverage"),
        ({"Symbol": "BTCUSDT"}, "Symbol"),
        ({"account_id": 2}, "account_id"),
        ({"x" * 30_000: 1}, "x" * 64),
    ),
    ids=lambda value: repr(value)[:40],
)
def test_every_bad_field_is_named(reader: FlaskClient, still_floor: Floor, change: dict[str, Any], field: str) -> None:
    answer = reader.post(ORDERS, json={**ORDER, **change})
    assert (answer.status_code, said(answer)["code"], list(said(answer)["errors"])) == (
        422,
        "validation_failed",
        [field],
    )
    assert field in said(answer)["detail"]
    assert still_floor.engine.status.seq == 1


def test_all_bad_fields_are_named_at_once(reader: FlaskClient) -> None:
    answer = reader.post(ORDERS, json={"side": "hold", "quantity": "x", "extra": 1})
    assert set(said(answer)["errors"]) == {"symbol", "side", "quantity", "extra"}


@pytest.mark.parametrize(
    "headers",
    (
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/problem+json"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
    ),
    ids=repr,
)
def test_only_plain_json_is_taken(reader: FlaskClient, headers: dict[str, str]) -> None:
    answer = send(reader, TEXT, **headers)
    assert (answer.status_code, said(answer)["code"]) == (415, "unsupported_media_type")


def test_a_charset_of_utf_8_may_be_said(client: FlaskClient) -> None:
    assert send(client, TEXT, **{"Content-Type": "Application/JSON; Charset=UTF-8"}).status_code == 201


def test_a_body_over_64_kilobytes_is_too_large(reader: FlaskClient) -> None:
    answer = send(reader, TEXT[:-1] + " " * 65_536 + "}")
    assert (answer.status_code, said(answer)["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("query", "field"),
    (
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e2", "limit"),
        ("limit=+5", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("status=gone", "status"),
        ("symbol=%00", "symbol"),
        ("symbol=%FF", "symbol"),
        ("symbol=", "symbol"),
        ("epoch=0", "epoch"),
        ("epoch=99999999999999999999", "epoch"),
        ("cursor=%2F", "cursor"),
        ("client_order_id=a%20b", "client_order_id"),
        ("page=2", "page"),
        ("LIMIT=5", "LIMIT"),
    ),
)
def test_a_bad_parameter_is_named(reader: FlaskClient, query: str, field: str) -> None:
    answer = reader.get(f"{ORDERS}?{query}")
    assert (answer.status_code, list(said(answer)["errors"])) == (422, [field])


@pytest.mark.parametrize(
    "path", ("/api/v1/portfolio", "/api/v1/account", "/health", "/metrics", "/api/v1/openapi.json")
)
def test_an_endpoint_without_parameters_takes_none(reader: FlaskClient, path: str) -> None:
    assert reader.get(f"{path}?verbose=1").status_code == 422


@pytest.mark.parametrize(
    "path",
    ("/nope", "/api", "/api/v1", "/api/v2/orders", "/api/v1/orders/", "/api//v1/orders", "/API/v1/orders",
     "/vendor/missing.js", "/../etc/passwd", "/%2e%2e/etc/passwd", "/api/v1/orders/1/2", "/package.json", "/.npmrc",
     "/vendor/../index.html", "/\u00e4"),
)  # fmt: skip
def test_what_is_not_there_is_404_in_json(reader: FlaskClient, path: str) -> None:
    answer = reader.get(path)
    assert (answer.status_code, said(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    (("PUT", ORDERS), ("PATCH", ORDERS), ("OPTIONS", ORDERS), ("TRACE", ORDERS), ("POST", f"{ORDERS}/1"),
     ("POST", "/health"), ("DELETE", "/api/v1/portfolio"), ("GET", "/api/v1/account/reset"), ("BREW", ORDERS)),
)  # fmt: skip
def test_another_method_is_405_and_says_which_there_are(reader: FlaskClient, method: str, path: str) -> None:
    answer = reader.open(path, method=method)
    assert (answer.status_code, said(answer)["code"]) == (405, "method_not_allowed")
    assert method not in answer.headers["Allow"]
    assert answer.headers["Allow"]


def test_our_own_fault_is_told_without_its_insides(
    reader: FlaskClient, still_floor: Floor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("the secret inside")

    monkeypatch.setattr(still_floor.queries, "orders", broken)
    answer = reader.get("/api/v1/orders", query_string={})
    assert answer.status_code == 500
    assert said(answer)["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "secret" in caplog.text


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_any_acceptable_object_is_parsed_as_python_parses_it(members: dict[str, Any]) -> None:
    text = json.dumps(members)
    if any(escape in text for escape in ("\\u0000", "\\ud", "\\\\")):
        return  # said elsewhere
    parsed = parse_object(text.encode())
    assert json.loads(json.dumps(parsed)) == json.loads(text, parse_float=str, parse_int=str)


@given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with contextlib.suppress(Problem):
        assert isinstance(parse_object(body), dict)


@given(st.text(max_size=30) | st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_a_decimal_that_is_taken_is_small_and_never_negative(text: str) -> None:
    for value in (text, NumberText(text)):
        try:
            taken = decimal_of(value)
        except NotADecimal:
            continue
        assert 0 <= taken < 10**15
        assert taken == taken.quantize(taken.__class__("1e-18"))
