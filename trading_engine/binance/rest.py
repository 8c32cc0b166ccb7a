"""Questions to a venue over REST: one thread-safe client per venue, public endpoints only.

Every method either returns typed messages from `wire` or raises one of the errors below; none of them sleeps or
repeats a question, because only the caller knows whether it may wait. Weight, and the venue's own "wait", are shared
by all callers (`weight.py`). Locks: none of its own; the pool and the budget bring theirs.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec
import urllib3
from urllib3 import exceptions as http_errors

from trading_engine.binance import wire
from trading_engine.binance.decoding import decode
from trading_engine.binance.weight import WINDOW_S, WeightBudget

CONNECT_TIMEOUT_S: Final = 3.0
READ_TIMEOUT_S: Final = 5.0
TOTAL_TIMEOUT_S: Final = 10.0
"""From sending to the last byte of the body; exchangeInfo, 10 MB and more, has LISTING_TIMEOUT_S."""
LISTING_TIMEOUT_S: Final = 30.0

ANSWER_LIMIT_BYTES: Final = 4 << 20
"""Depth with 5,000 levels a side is 0.4 MB."""
LISTING_LIMIT_BYTES: Final = 64 << 20
ERROR_LIMIT_BYTES: Final = 64 << 10

DEFAULT_RETRY_AFTER_S: Final = 30.0
"""Waited after a 429 or 418 that names no time."""
LONGEST_RETRY_AFTER_S: Final = 3 * 86_400.0
"""The longest ban Binance documents; a larger number is not believed."""

_POOL_SIZE: Final = 8
_CHUNK_BYTES: Final = 1 << 16
_LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})

T = TypeVar("T")


class VenueError(Exception):
    """A question to the venue got no usable answer; the text is a reason fit to be shown."""


class VenueUnavailable(VenueError):
    """No connection, no answer in time, or a 5xx: asking again later makes sense."""


class RegionRefused(VenueError):
    """HTTP 451 or 403: the venue does not serve this address; only another host or place helps."""


class Throttled(VenueError):
    """The weight budget, or the venue's own 429 or 418, forbids asking for another `wait_s` seconds."""

    def __init__(self, reason: str, wait_s: float) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class QuestionRefused(VenueError):
    """The venue refused this question (HTTP 4xx) with its own `code`, for instance -1121 for an unknown symbol."""

    def __init__(self, reason: str, code: int | None) -> None:
        super().__init__(reason)
        self.code = code


class BadAnswer(VenueError):
    """The answer was too large, or not what the endpoint's documentation promises."""


def proxy_of(url: str) -> str | None:
    """Return the proxy the environment names for `url` (`http_proxy` and so on); none for this machine itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOCAL_HOSTS or proxy_bypass(host):
        return None
    return getproxies().get({"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme))


def network_reason(error: BaseException) -> str:
    """Put a network failure into a few words: "DNS failure", "timeout", "TLS failure: ...", "connection refused"."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror | http_errors.NameResolutionError):
            return "DNS failure"
        # urllib3's "no new connection" is a timeout by inheritance only; its cause tells what it was.
        if isinstance(cause, TimeoutError | http_errors.TimeoutError) and not isinstance(
            cause, http_errors.NewConnectionError
        ):
            return "timeout"
        if isinstance(cause, ssl.SSLError | http_errors.SSLError):
            return f"TLS failure: {cause}"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, ConnectionResetError):
            return "connection reset"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {error}"


class VenueClient:
    """Ask one venue. Thread-safe. Prices and quantities stay what `wire` makes of them; times are UTC milliseconds."""

    def __init__(
        self,
        rest_url: str,
        *,
        monotonic: Callable[[], float],
        budget: WeightBudget | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
        answer_limit_bytes: int = ANSWER_LIMIT_BYTES,
    ) -> None:
        self.rest_url = rest_url.rstrip("/")
        self.budget = budget if budget is not None else WeightBudget(monotonic)
        self._monotonic = monotonic
        self._total_timeout_s = total_timeout_s
        self._answer_limit_bytes = answer_limit_bytes
        self._patience_s = connect_timeout_s, read_timeout_s
        proxy = proxy_of(self.rest_url)
        self._pool: urllib3.PoolManager = (
            urllib3.ProxyManager(proxy, maxsize=_POOL_SIZE) if proxy else urllib3.PoolManager(maxsize=_POOL_SIZE)
        )

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    # The questions. Weights: developers.binance.com, REST API, General endpoints and Market data endpoints.

    def exchange_info(self, symbols: Sequence[str] | None = None) -> wire.ExchangeInfo:
        """Ask for the rules of `symbols`, or of all (megabytes). QuestionRefused with code -1121: one is unknown."""
        return self.read_exchange_info(self.exchange_info_body(symbols))

    def exchange_info_body(self, symbols: Sequence[str] | None = None) -> bytes:
        """Return the answer to `exchange_info` as it came, for keeping on disk."""
        if symbols is None:
            return self._get("exchangeInfo", {}, weight=20, limit=LISTING_LIMIT_BYTES, total_s=LISTING_TIMEOUT_S)
        names = json.dumps(list(symbols), separators=(",", ":"))
        return self._get("exchangeInfo", {"symbols": names}, weight=20, limit=LISTING_LIMIT_BYTES)

    def read_exchange_info(self, body: bytes) -> wire.ExchangeInfo:
        """Read an answer to `exchange_info`, and keep to the request weight the venue allows in it; raise BadAnswer."""
        info = self._decoded(wire.decode_exchange_info, body)
        limit = self._decoded(_weight_limit, body)
        if limit is not None:
            self.budget.set_limit(limit)
        return info

    def depth(self, symbol: str, limit: int = 1000) -> wire.Snapshot:
        """Ask for the best `limit` levels a side (at most 5,000)."""
        weight = 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250
        body = self._get("depth", {"symbol": symbol, "limit": limit}, weight=weight)
        return self._decoded(lambda answer: wire.decode_snapshot(answer, limit), body)

    def klines(
        self, symbol: str, interval: str, *, start_ms: int | None = None, end_ms: int | None = None, limit: int = 500
    ) -> tuple[wire.Kline, ...]:
        """Ask for candles that open in [start_ms, end_ms], oldest first, at most 1,000; no start: the newest ones."""
        wanted = {"symbol": symbol, "interval": interval, "startTime": start_ms, "endTime": end_ms, "limit": limit}
        return self._decoded(wire.decode_klines, self._get("klines", wanted, weight=2))

    def agg_trades(
        self,
        symbol: str,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        from_id: int | None = None,
        limit: int = 500,
        within_s: float | None = None,
    ) -> tuple[wire.AggTrade, ...]:
        """Ask for aggregate trades, oldest first, at most 1,000, of [start_ms, end_ms] or from an aggregate id on.

        An end at most one hour after the start. `within_s`: give up sooner than usual.
        """
        wanted = {"symbol": symbol, "startTime": start_ms, "endTime": end_ms, "fromId": from_id, "limit": limit}
        return self._decoded(wire.decode_agg_trades, self._get("aggTrades", wanted, weight=4, total_s=within_s))

    def ticker_24h(self, symbol: str) -> wire.Ticker24h:
        """Ask for the rolling 24-hour figures of one symbol."""
        return self._decoded(wire.decode_ticker_24h, self._get("ticker/24hr", {"symbol": symbol}, weight=2))

    def server_time(self) -> int:
        """Ask for the venue's clock, UTC milliseconds."""
        return self._decoded(wire.decode_server_time, self._get("time", {}, weight=1))

    # The transport.

    def _decoded(self, decode: Callable[[bytes], T], body: bytes) -> T:
        try:
            return decode(body)
        except wire.Malformed as error:
            raise BadAnswer(f"malformed answer: {error}") from error

    def _get(
        self,
        path: str,
        wanted: Mapping[str, str | int | None],
        *,
        weight: int,
        limit: int | None = None,
        total_s: float | None = None,
    ) -> bytes:
        """Ask once and return the body of a 200; every other outcome is one of this module's errors."""
        wait_s = self.budget.take(weight)
        if wait_s > 0:
            raise Throttled(f"request weight is used up for {wait_s:.1f} s", wait_s)
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        url = f"{self.rest_url}/api/v3/{path}" + (f"?{query}" if query else "")
        total_s = self._total_timeout_s if total_s is None else total_s
        deadline = self._monotonic() + total_s
        connect_s, read_s = self._patience_s
        try:
            response = self._pool.request(
                "GET",
                url,
                headers={"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "paper-exchange"},
                timeout=urllib3.Timeout(connect=min(connect_s, total_s), read=min(read_s, total_s)),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (http_errors.HTTPError, OSError) as error:
            raise VenueUnavailable(network_reason(error)) from error
        whole = False
        try:
            self._account_for(response.headers)
            allowed = (limit or self._answer_limit_bytes) if response.status == 200 else ERROR_LIMIT_BYTES
            body = self._body(response, allowed, deadline)
            whole = True
        finally:
            # An answer read to its end gives its connection back; any other connection is of no use again.
            if whole:
                response.release_conn()
            else:
                response.close()
        if response.status == 200:
            return body
        raise self._refusal(response.status, response.headers, body)

    def _body(self, response: urllib3.BaseHTTPResponse, limit: int, deadline: float) -> bytes:
        """Read to the end, within `limit` bytes after decompression and before `deadline`."""
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                # read1 returns what one receive brought, so a body that drips cannot outlast the deadline.
                part = response.read1(_CHUNK_BYTES)
                if not part:
                    return b"".join(parts)
                size += len(part)
                if size > limit:
                    raise BadAnswer(f"answer larger than {limit} bytes")
                if self._monotonic() > deadline:
                    raise VenueUnavailable("timeout")
                parts.append(part)
        except (http_errors.HTTPError, OSError) as error:
            raise VenueUnavailable(network_reason(error)) from error

    def _account_for(self, headers: Mapping[str, str]) -> None:
        """Tell the budget what the venue says this address has used in the running clock minute."""
        used = headers.get("X-MBX-USED-WEIGHT-1M", "")
        if not (used.isascii() and used.isdigit()):
            return
        rest_s = WINDOW_S
        # Without the venue's clock its figure is believed for a whole minute.
        with contextlib.suppress(TypeError, ValueError):
            rest_s -= parsedate_to_datetime(headers.get("Date", "")).second
        self.budget.report(int(used[:9]), rest_s)

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> VenueError:
        """Sort an answer other than 200 into this module's errors."""
        code, text = _fault_in(body)
        if status in (429, 418):
            wait_s = _retry_after_s(headers.get("Retry-After"))
            self.budget.close_for(wait_s)
            return Throttled(f"HTTP {status}, asked to wait {wait_s:.0f} s", wait_s)
        if status in (451, 403):
            detail = f": {text}" if text else ""
            return RegionRefused(f"{status} region refused{detail}")
        if status >= 500:
            return VenueUnavailable(f"HTTP {status}" + (f": {text}" if text else ""))
        if 400 <= status < 500:
            return QuestionRefused(f"HTTP {status}, code {code}: {text}", code)
        return BadAnswer(f"HTTP {status}, which this endpoint never gives")


class _RateLimit(msgspec.Struct):
    kind: str = msgspec.field(name="rateLimitType")
    interval: str
    number: int = msgspec.field(name="intervalNum")
    limit: int


class _RateLimits(msgspec.Struct):
    rows: list[_RateLimit] = msgspec.field(name="rateLimits", default_factory=list)


_RATE_LIMITS: Final = msgspec.json.Decoder(_RateLimits)


def _weight_limit(body: bytes) -> int | None:
    """Return the request weight a minute that `exchangeInfo` allows; None where it says nothing sensible."""
    for row in decode(_RATE_LIMITS, body).rows:
        if row.kind == "REQUEST_WEIGHT" and row.interval == "MINUTE" and row.number >= 1 and row.limit >= 1:
            return row.limit // row.number
    return None


def _retry_after_s(value: str | None) -> float:
    if value is None or not (value.isascii() and value.isdigit()):
        return DEFAULT_RETRY_AFTER_S
    return min(float(value[:9]), LONGEST_RETRY_AFTER_S)


def _fault_in(body: bytes) -> tuple[int | None, str]:
    """Return the venue's code and text, or nothing where a proxy in between answered with a page."""
    try:
        fault = wire.decode_error(body)
    except wire.Malformed:
        return None, ""
    return fault.code, fault.text[:200]
