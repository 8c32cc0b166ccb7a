"""A test venue that plays a capture over real sockets: streams by WebSocket, depth snapshots by REST, in step.

A capture is a list of records in the order of their arrival: stream frames, and REST depth answers at the moment they
came. In step means: playing stops at a depth answer until somebody has asked for it, and who asks early waits for its
moment, so a follower of the player sees exactly what the capturing program saw. Asked again later, the player answers
with the book it has kept itself (snapshot plus the diffs played since). Built on `websockets`, which shares no code
with the follower.
"""

from __future__ import annotations

import gzip
import http
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

WAIT_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a capture: `at_s` is the receive time; exactly one of `stream` and `depth_of` is set."""

    at_s: float
    text: str
    stream: str | None
    depth_of: str | None


def read_capture(path: Path) -> list[Record]:
    """Read a `*.jsonl.gz` capture of combined-stream frames and REST depth answers."""
    records = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            is_frame = row["kind"] == "ws"
            records.append(
                Record(
                    at_s=row["t"],
                    text=row["data"],
                    stream=row["data"].split('"', 4)[3] if is_frame else None,
                    depth_of=None if is_frame else parse_qs(urlsplit(row["url"]).query)["symbol"][0],
                )
            )
    return records


class KeptBook:
    """The player's own book of one symbol: decimal texts as they came, the id of the last diff."""

    def __init__(self) -> None:
        self.update_id = 0
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self._before: list[dict[str, Any]] = []

    def load(self, snapshot: dict[str, Any]) -> None:
        """Start from the captured snapshot; diffs played before it may be newer than it."""
        self.update_id = snapshot["lastUpdateId"]
        self.bids, self.asks = dict(snapshot["bids"]), dict(snapshot["asks"])
        earlier, self._before = self._before, []
        for diff in earlier:
            self.apply(diff)

    def apply(self, diff: dict[str, Any]) -> None:
        if not self.update_id:
            self._before.append(diff)
            return
        if diff["u"] <= self.update_id:
            return
        self.update_id = diff["u"]
        for side, changes in ((self.bids, diff["b"]), (self.asks, diff["a"])):
            for price, quantity in changes:
                if float(quantity) == 0:
                    side.pop(price, None)
                else:
                    side[price] = quantity

    def body(self, limit: int) -> bytes:
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))[:limit]
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))[:limit]
        return json.dumps({"lastUpdateId": self.update_id, "bids": bids, "asks": asks}).encode()


class Player:
    """Serve one capture to the first connection that subscribes to the depth of all its symbols.

    `pace` is the speed against the capture's clock: None as fast as the reader takes it, 1.0 as it was. `listing` is
    the body of /api/v3/exchangeInfo. `on_record(index)` is called before each record is played, for tests that step
    in.
    """

    def __init__(
        self,
        records: list[Record],
        *,
        pace: float | None = None,
        listing: bytes = b"",
        on_record: Callable[[int], None] | None = None,
    ) -> None:
        self.symbols = sorted({record.depth_of for record in records if record.depth_of})
        self.finished = threading.Event()
        self.error: BaseException | None = None
        self.asked: list[str] = []
        self._records = records
        self._pace = pace
        self._listing = listing
        self._on_record = on_record
        self._state = threading.Condition()
        self._books = {symbol: KeptBook() for symbol in self.symbols}
        self._captured: dict[str, str] = {}
        self._open: set[str] = set()
        self._wanted: set[str] = set()
        self._playing = False
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._server = serve(
            self._stream,
            "127.0.0.1",
            0,
            process_request=self._rest,
            compression=None,
            ping_interval=None,
            open_timeout=WAIT_LIMIT_S,
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="player", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join(5)

    @property
    def rest_url(self) -> str:
        return f"http://{self._address}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self._address}"

    @property
    def _address(self) -> str:
        assert self._server is not None
        host, port = self._server.socket.getsockname()[:2]
        return f"{host}:{port}"

    # Streams.

    def _stream(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        raw = urlsplit(connection.request.path).path.startswith("/ws")
        subscribed: set[str] = set()
        try:
            for message in connection:
                question = json.loads(message)
                names = set(question["params"])
                subscribed = subscribed | names if question["method"] == "SUBSCRIBE" else subscribed - names
                connection.send(json.dumps({"result": None, "id": question["id"]}))
                with self._state:
                    ready = all(f"{symbol.lower()}@depth@100ms" in subscribed for symbol in self.symbols)
                    start = ready and not self._playing
                    self._playing = self._playing or start
                if start:
                    play = threading.Thread(
                        target=self._play,
                        args=(connection, subscribed),
                        kwargs={"raw": raw},
                        name="player-records",
                        daemon=True,
                    )
                    play.start()
        except ConnectionClosed:
            pass

    def _play(self, connection: ServerConnection, subscribed: set[str], *, raw: bool) -> None:
        try:
            started, first = time.monotonic(), self._records[0].at_s
            for index, record in enumerate(self._records):
                if self._on_record is not None:
                    self._on_record(index)
                if self._pace is not None:
                    time.sleep(max(0.0, started + (record.at_s - first) / self._pace - time.monotonic()))
                if record.depth_of is not None:
                    self._serve_in_step(record.depth_of, record.text)
                elif record.stream in subscribed:
                    self._send(connection, record, raw=raw)
        except (ConnectionClosed, TimeoutError) as error:
            self.error = error
        finally:
            self.finished.set()

    def _send(self, connection: ServerConnection, record: Record, *, raw: bool) -> None:
        text = record.text
        if raw or "@depth" in text[:60]:
            event = json.loads(text)["data"]
            if "@depth" in text[:60]:
                with self._state:
                    self._books[event["s"]].apply(event)
            if raw:
                text = json.dumps(event)
        connection.send(text)

    def _serve_in_step(self, symbol: str, snapshot: str) -> None:
        """Offer the captured snapshot, and go on only once it has been asked for."""
        with self._state:
            self._books[symbol].load(json.loads(snapshot))
            self._captured[symbol] = snapshot
            self._open.add(symbol)
            self._state.notify_all()
            if not self._state.wait_for(lambda: symbol in self._wanted, WAIT_LIMIT_S):
                raise TimeoutError(f"nobody asked for the depth of {symbol}")

    # REST.

    def _rest(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if not url.path.startswith("/api/v3/"):
            return None
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/api/v3/depth":
            return self._depth(query["symbol"], int(query.get("limit", "100")))
        if url.path == "/api/v3/exchangeInfo" and self._listing:
            return _answer(self._listing)
        if url.path == "/api/v3/time":
            return _answer(json.dumps({"serverTime": int(time.time() * 1000)}).encode())
        return _answer(b'{"code":-1100,"msg":"Not played."}', http.HTTPStatus.BAD_REQUEST)

    def _depth(self, symbol: str, limit: int) -> Response:
        with self._state:
            self.asked.append(symbol)
            self._wanted.add(symbol)
            self._state.notify_all()
            if not self._state.wait_for(lambda: symbol in self._open, WAIT_LIMIT_S):
                return _answer(b"", http.HTTPStatus.GATEWAY_TIMEOUT)
            captured = self._captured.pop(symbol, None)
            return _answer(captured.encode() if captured else self._books[symbol].body(limit))


def _answer(body: bytes, status: http.HTTPStatus = http.HTTPStatus.OK) -> Response:
    headers = Headers({"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status.value, status.phrase, headers, body)
