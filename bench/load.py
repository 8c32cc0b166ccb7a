"""A load generator in its own process: N kept-alive connections, each sending one request again and again.

Raw sockets and a selector, and responses are only measured, not parsed: it must cost less than what it measures.
`python -m bench.load HOST:PORT METHOD PATH CONNECTIONS SECONDS [BODY]` prints one line of JSON.
"""

import json
import selectors
import socket
import sys
import time

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\nContent-Length: "


class _Client:
    """One connection and the answer it is waiting for."""

    __slots__ = ("answer", "sent_at", "sock")

    def __init__(self, address: tuple[str, int]) -> None:
        self.sock = socket.create_connection(address, timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.sent_at = 0.0


def _size(answer: bytes) -> int:
    """Return the size of the whole answer, 0 while that is not known."""
    head_end = answer.find(_HEAD_END)
    if head_end < 0:
        return 0
    at = answer.find(_LENGTH, 0, head_end) + len(_LENGTH)
    end = answer.find(b"\r\n", at)
    return head_end + len(_HEAD_END) + int(answer[at:end])


def drive(address: tuple[str, int], request: bytes, connections: int, seconds: float) -> dict[str, float]:
    """Send `request` over and over; return requests per second, latencies in ms and how many were not answered 2xx."""
    selector = selectors.DefaultSelector()
    clients = [_Client(address) for _ in range(connections)]
    for client in clients:
        selector.register(client.sock, selectors.EVENT_READ, client)
        client.sock.sendall(request)
        client.sent_at = time.perf_counter()
    latencies: list[float] = []
    refused = 0
    started = time.perf_counter()
    while (now := time.perf_counter()) - started < seconds:
        for key, _ in selector.select(1.0):
            client = key.data
            octets = client.sock.recv(65536)
            if not octets:
                raise ConnectionError("the server closed a connection")
            client.answer += octets
            size = _size(client.answer)
            if size and len(client.answer) >= size:
                now = time.perf_counter()
                latencies.append(now - client.sent_at)
                refused += client.answer[9:10] != b"2"
                client.answer = b""
                client.sent_at = now
                client.sock.send(request)
    elapsed = time.perf_counter() - started
    for client in clients:
        client.sock.close()
    latencies.sort()
    return {
        "rate": len(latencies) / elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "refused": refused,
    }


def main() -> None:
    """Run once, as told on the command line."""
    where, method, path, connections, seconds, *rest = sys.argv[1:]
    host, _, port = where.rpartition(":")
    body = rest[0].encode() if rest else b""
    head = f"{method} {path} HTTP/1.1\r\nHost: {where}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    result = drive((host, int(port)), f"{head}\r\n".encode() + body, int(connections), float(seconds))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
