"""The frame reader: whole messages out of any cutting of the bytes, and refusal of what no server may send."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websocket import ABNF
from websockets.frames import Frame, Opcode

from trading_engine.binance.frames import (
    BINARY,
    CLOSE,
    MESSAGE_LIMIT_BYTES,
    PING,
    PONG,
    TEXT,
    FrameError,
    FrameReader,
    close_reason,
    encode,
)


def served(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return a frame as the other implementation's server sends it."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=False)


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([TEXT, BINARY]),
        st.one_of(st.binary(max_size=200), st.integers(120, 70_000).map(bytes)),
        st.integers(1, 4),
        st.booleans(),
    ),
    max_size=6,
)


@given(messages=MESSAGES, cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=20))
def test_any_cutting_gives_the_same_messages(messages: list[tuple[int, bytes, int, bool]], cuts: list[int]) -> None:
    stream, expected = b"", []
    for opcode, payload, pieces, pinged in messages:
        size = len(payload) // pieces + 1
        parts = [payload[at : at + size] for at in range(0, len(payload), size)] or [b""]
        for place, part in enumerate(parts):
            stream += served(opcode if place == 0 else 0, part, fin=place == len(parts) - 1)
            if pinged and place < len(parts) - 1:
                stream += served(PING, b"now")
                expected.append((PING, b"now"))
        expected.append((opcode, payload))
    reader, got, at, turn = FrameReader(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        got += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert got == expected
    assert not reader.mid_message


def test_one_byte_at_a_time() -> None:
    reader = FrameReader()
    stream = served(TEXT, b"x" * 300) + served(CLOSE, struct.pack("!H", 1001) + b"going away")
    got = [frame for byte in stream for frame in reader.feed(bytes([byte]))]
    assert got == [(TEXT, b"x" * 300), (CLOSE, b"\x03\xe9going away")]


def test_a_cut_message_is_known_to_be_unfinished() -> None:
    reader = FrameReader()
    whole = served(TEXT, b"x" * 256)
    assert reader.feed(whole[:3]) == []
    assert reader.mid_message
    assert reader.feed(whole[3:]) == [(TEXT, b"x" * 256)]
    reader = FrameReader()
    reader.feed(served(TEXT, b"first", fin=False))
    assert reader.mid_message


def header(first: int, second: int, extra: bytes = b"") -> bytes:
    return bytes([first, second]) + extra


@pytest.mark.parametrize(
    ("stream", "fault"),
    (
        (header(0x81, 0x85, b"mask" + b"hello"), "masked"),
        (header(0xC1, 1, b"x"), "reserved"),
        (header(0x83, 1, b"x"), "unknown opcode 3"),
        (header(0x80, 1, b"x"), "continuation without"),
        (header(0x01, 1, b"x") + header(0x81, 1, b"y"), "before the end"),
        (header(0x09, 0), "control frame"),
        (header(0x89, 126, struct.pack("!H", 126)) + bytes(126), "control frame"),
        (header(0x81, 127, struct.pack("!Q", MESSAGE_LIMIT_BYTES + 1)), "over the limit"),
        (header(0x81, 127, b"\xff" * 8), "over the limit"),
    ),
)
def test_illegal_bytes_are_refused_at_once(stream: bytes, fault: str) -> None:
    with pytest.raises(FrameError, match=fault):
        FrameReader().feed(stream)


@pytest.mark.parametrize("piece", (b"x" * 1000, b""))
def test_endless_fragments_meet_the_limit(piece: bytes) -> None:
    reader = FrameReader(limit=10_000)
    stream = served(TEXT, piece, fin=False) + served(0, piece, fin=False) * 10_000
    with pytest.raises(FrameError, match="over the limit"):
        reader.feed(stream)


@given(payload=st.binary(max_size=70_000), opcode=st.sampled_from([TEXT, PONG]))
def test_what_we_send_is_masked_and_read_back(payload: bytes, opcode: int) -> None:
    if opcode == PONG:
        payload = payload[:125]
    frame = encode(opcode, payload)
    assert frame[1] & 0x80
    start = {126: 4, 127: 10}.get(frame[1] & 0x7F, 2)
    assert frame[0] == 0x80 | opcode
    assert ABNF.mask(frame[start : start + 4], frame[start + 4 :]) == payload


def test_close_frames_in_words() -> None:
    assert close_reason(struct.pack("!H", 1008) + b"too many requests") == "1008 too many requests"
    assert close_reason(struct.pack("!H", 1001)) == "1001"
    assert close_reason(b"") == "1005 no reason"
