"""The receive path of a feed: from the socket to messages, and from the socket to the market.

*Reading* compares our frame reader on a non-blocking socket with websocket-client's own `recv_data` (validation
skipped), the same bytes through the same kind of socket pair, CPU time of the reading thread only. *Following* adds
what the feed does with each message: decode, follow the update ids, apply to a market, and a `MarketChange` for the
engine. The stream is made up of quotes, prints and diffs of about 34 levels in the proportions of a capture of
BTCUSDT (8 : 3 : 1).
"""

import json
import random
import socket
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

import websocket

from bench import Result
from bench.__main__ import main
from tests.binance.feeding import rules
from trading_engine.binance import wire
from trading_engine.binance.connection import Connection, Limits
from trading_engine.binance.follower import Follower, Patience
from trading_engine.binance.messages import Snapshot
from trading_engine.binance.tally import Tally
from trading_engine.exchange.market import Market, MarketChange
from trading_engine.exchange.money import use_exact_arithmetic

FRAMES = 24_000
LEVELS = 1_000
ROUNDS = 5


def run() -> list[Result]:
    """Measure and return the figures; takes about ten seconds."""
    use_exact_arithmetic()
    payloads = _stream(FRAMES)
    stream = b"".join(_framed(payload) for payload in payloads)
    library: list[float] = []
    ours: list[float] = []
    following: list[float] = []
    for _ in range(ROUNDS):
        library.append(_timed(stream, _read_by_library))
        ours.append(_timed(stream, _read))
        following.append(_timed(stream, _follow))
    read_us, follow_us = statistics.median(ours), statistics.median(following)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(ours, library, strict=True))
    return [
        Result(name="reading a frame / websocket-client's recv_data", value=ratio, goal=0.5, unit="ratio"),
        Result(name="reading a frame", value=read_us, goal=None, unit="us CPU"),
        Result(name="following a frame: socket to market", value=follow_us, goal=None, unit="us CPU"),
    ]


def _stream(count: int) -> list[bytes]:
    """Make combined-stream messages of one symbol that keep its book consistent; the same every time."""
    chance = random.Random(8)
    touch, update_id, first_id, trade_id = 6_183_763, 1_000, 1_001, 1
    stamp_ms = 1_700_000_000_000
    payloads = []
    for number in range(count):
        kind = number % 12
        update_id += chance.randint(1, 12)
        if kind == 11:
            bids = [[_text(touch - chance.randint(1, 900)), _size(chance)] for _ in range(17)]
            asks = [[_text(touch + chance.randint(1, 900)), _size(chance)] for _ in range(17)]
            data = {"e": "depthUpdate", "E": stamp_ms, "s": "BTCUSDT", "U": first_id, "u": update_id}
            payloads.append(_combined("depth@100ms", {**data, "b": bids, "a": asks}))
            first_id = update_id + 1
            stamp_ms += 100
        elif kind % 4 == 3:
            data = {"e": "trade", "E": stamp_ms, "s": "BTCUSDT", "t": trade_id, "p": _text(touch), "q": "0.02000000"}
            payloads.append(_combined("trade", {**data, "T": stamp_ms, "m": True, "M": True}))
            trade_id += 1
        else:
            touch += chance.choice((-1, 0, 0, 1))
            best = {"b": _text(touch - 1), "B": "3.78826000", "a": _text(touch + 1), "A": "1.54698000"}
            payloads.append(_combined("bookTicker", {"u": update_id, "s": "BTCUSDT", **best}))
    return payloads


def _combined(stream: str, data: dict[str, object]) -> bytes:
    return json.dumps({"stream": f"btcusdt@{stream}", "data": data}, separators=(",", ":")).encode()


def _text(ticks: int) -> str:
    return f"{ticks // 100}.{ticks % 100:02d}000000"


def _size(chance: random.Random) -> str:
    return f"{chance.randint(0, 3)}.{chance.randint(1, 99_999):05d}000" if chance.random() < 0.7 else "0.00000000"


def _framed(payload: bytes) -> bytes:
    size = len(payload)
    head = bytes([0x81, size]) if size < 126 else bytes([0x81, 126]) + size.to_bytes(2, "big")
    return head + payload


def _timed(stream: bytes, read: Callable[[socket.socket], int]) -> float:
    """Return the CPU microseconds a frame that `read` takes on its thread, while another thread sends."""
    ours, theirs = socket.socketpair()
    sender = threading.Thread(target=theirs.sendall, args=(stream,), daemon=True)
    sender.start()
    began = time.thread_time()
    frames = read(ours)
    took = time.thread_time() - began
    sender.join()
    ours.close()
    theirs.close()
    if frames != FRAMES:
        raise AssertionError(f"{frames} of {FRAMES} frames were read")
    return took / FRAMES * 1e6


def _read_by_library(sock: socket.socket) -> int:
    client = websocket.WebSocket(skip_utf8_validation=True)
    client.sock = sock
    client.connected = True
    for _ in range(FRAMES):
        client.recv_data()
    return FRAMES


def _read(sock: socket.socket) -> int:
    return _each(sock, len)


def _follow(sock: socket.socket) -> int:
    market = Market(rules("BTCUSDT"), monotonic_ns=time.monotonic_ns, wall_ms=lambda: 0)
    changes: deque[MarketChange | None] = deque(maxlen=1)
    follower = Follower(
        market,
        name="BTCUSDT",
        monotonic=time.monotonic,
        jitter=lambda: 0.0,
        emit=changes.append,
        tally=Tally(),
        patience=Patience(),
        has_orders=lambda: False,
    )
    follower.attach(1, "measured")
    follower.acknowledge(1)
    follower.tick(time.monotonic())
    bids = [(61_837.62 - level / 100, 1.0) for level in range(LEVELS)]
    asks = [(61_837.64 + level / 100, 1.0) for level in range(LEVELS)]
    rounded = Snapshot(
        update_id=1_000,
        bids=[(round(price, 2), size) for price, size in bids],
        asks=[(round(price, 2), size) for price, size in asks],
        limit=None,
    )
    follower.on_snapshot(rounded)

    def take(payload: bytes) -> None:
        message = wire.decode_frame(payload)
        if not isinstance(message, wire.Reply | wire.ServerShutdown):
            follower.receive(1, message)

    return _each(sock, take)


def _each(sock: socket.socket, take: Callable[[bytes], object]) -> int:
    sock.settimeout(0)
    connection = Connection(sock, number=1, monotonic=time.monotonic, limits=Limits())
    frames = 0
    while frames < FRAMES:
        messages, _ = connection.receive()
        for _, payload in messages:
            take(payload)
        frames += len(messages)
        if not messages:
            time.sleep(0.0001)
    return frames


if __name__ == "__main__":
    sys.exit(main(["receive"]))
