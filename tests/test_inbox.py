"""Cutting a connection's bytes into requests: whole ones only, whatever the pieces they come in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_engine.api.problems import MAX_BODY_BYTES, Problem
from trading_engine.inbox import MAX_HEAD_BYTES, Inbox

GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /orders HTTP/1.1\r\nHost: localhost\r\ncontent-length:  7 \r\n\r\n" + b'{"a":1}'
CHUNKED = (
    b"POST /orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'4;name="value"\r\n{"a"\r\n3\r\n:1}\r\n0\r\nTrailer: x\r\n\r\n'
)
BARE_CHUNKED = CHUNKED.replace(b"Trailer: x\r\n", b"")
REQUESTS = st.lists(st.sampled_from([GET, POST, CHUNKED, BARE_CHUNKED]), max_size=6)


def taken(inbox: Inbox) -> list[bytes]:
    requests = []
    while (request := inbox.take()) is not None:
        requests.append(request)
    return requests


@given(REQUESTS, st.data())
def test_requests_come_out_as_they_went_in_however_they_are_cut(requests: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=12)))
    inbox, out = Inbox(), []
    for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
        inbox.add(octets[start:end])
        out += taken(inbox)
    assert out == requests
    assert not inbox


def test_one_byte_at_a_time() -> None:
    inbox, out = Inbox(), []
    for octet in GET + CHUNKED + POST:
        inbox.add(bytes([octet]))
        out += taken(inbox)
    assert out == [GET, CHUNKED, POST]


def test_the_client_is_asked_for_the_body_once() -> None:
    inbox = Inbox()
    inbox.add(b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert inbox.take() is None
    assert inbox.awaits_continue()
    assert not inbox.awaits_continue()
    inbox.add(b"{}")
    assert inbox.take() is not None


@pytest.mark.parametrize(
    ("octets", "code"),
    (
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", "headers_too_large"),
        (b"\0" * (MAX_HEAD_BYTES + 1), "headers_too_large"),
        (b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), "body_too_large"),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999999999\r\n\r\n", "body_too_large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n" + b"a" * 90_000, "body_too_large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 15_000, "body_too_large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"a" * 90_000, "body_too_large"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", "bad_request"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "bad_request"),
    ),
    ids=lambda value: repr(value)[:60],
)
def test_what_is_too_large_or_cannot_be_measured_is_refused(octets: bytes, code: str) -> None:
    inbox = Inbox()
    inbox.add(octets)
    with pytest.raises(Problem) as refused:
        inbox.take()
    assert refused.value.code == code


def test_a_length_that_is_no_number_is_left_to_the_parser() -> None:
    inbox = Inbox()
    inbox.add(b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n")
    assert inbox.take() == b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n"
