"""Which venue to follow: probe the known hosts side by side and choose, naming the reason each refused host gave.

The choice is made once per start. A venue is usable only when a REST host answers and a stream host completes a
WebSocket handshake; the two may be different hosts of the same venue, for they serve the same books under the same
ids. Probes run in an executor of the caller (this house starts threads in one place only). No lock: the state is
local to a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from trading_engine.binance.connection import open_socket
from trading_engine.binance.rest import VenueClient, VenueError

PROBE_TIMEOUT_S: Final = 3.0
CHOICE_TIMEOUT_S: Final = 10.0

Probe = Callable[[str], str | None]
"""Ask one host by its URL: None when it serves us, else why not, in a few words. Ends within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Venue:
    """An exchange to follow: `{rest_url}/api/v3/...` answers questions, `{ws_url}/stream` streams.

    `reason` says in words why this venue and these hosts: which more preferred ones failed, and of what.
    """

    name: str
    rest_url: str
    ws_url: str
    simulated: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """The hosts of one venue, most preferred first."""

    venue: str
    rest_urls: tuple[str, ...]
    ws_urls: tuple[str, ...]


BINANCE: Final = Hosts(
    venue="binance",
    # Data-only hosts first: they hold no accounts, and are said to answer from places where the others give 451.
    rest_urls=(
        "https://data-api.binance.vision",
        "https://api.binance.com",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
    ),
    ws_urls=(
        "wss://data-stream.binance.vision",
        "wss://stream.binance.com:9443",
        "wss://stream.binance.com:443",
    ),
)
BINANCE_US: Final = Hosts(
    venue="binance-us",
    rest_urls=("https://api.binance.us",),
    ws_urls=("wss://stream.binance.us:9443", "wss://stream.binance.us:443"),
)

CANDIDATES: Final[Mapping[str, tuple[Hosts, ...]]] = {
    "auto": (BINANCE, BINANCE_US),
    "binance": (BINANCE,),
    "binance-us": (BINANCE_US,),
}
"""Setting MARKET -> venues to try, most preferred first."""


class NoVenue(Exception):
    """No candidate can be used; `reasons` holds (host, reason) in the order of preference."""

    def __init__(self, reasons: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{host}: {reason}" for host, reason in reasons))
        self.reasons = reasons


def custom(rest_url: str, ws_url: str) -> Venue:
    """Return the venue the operator named; it is not probed, the feed tries until it is up."""
    return Venue(
        name="custom", rest_url=rest_url.rstrip("/"), ws_url=ws_url.rstrip("/"), reason="named by MARKET_REST_URL"
    )


def choose(
    candidates: tuple[Hosts, ...],
    *,
    executor: Executor,
    monotonic: Callable[[], float],
    probe_rest: Probe | None = None,
    probe_stream: Probe | None = None,
    timeout_s: float = CHOICE_TIMEOUT_S,
) -> Venue:
    """Return the most preferred usable venue; raise NoVenue with every host's reason after at most `timeout_s` seconds.

    All hosts of all candidates are probed at once, so `executor` should have a worker for each (`probe_count`): a
    host that never got its turn counts as "no answer in time". A slow host delays the choice only while it is
    preferred to those that answered.
    """
    ask_rest = probe_rest or rest_probe(monotonic)
    ask_stream = probe_stream or stream_answer
    probes: dict[str, Future[str | None]] = {}
    for hosts in candidates:
        probes.update({url: executor.submit(ask_rest, url) for url in hosts.rest_urls})
        probes.update({url: executor.submit(ask_stream, url) for url in hosts.ws_urls})
    deadline = monotonic() + timeout_s
    try:
        while True:
            pending = {probe for probe in probes.values() if not probe.done()}
            late = monotonic() >= deadline
            venue, decided = _decide(candidates, probes, late=late)
            if venue is not None:
                return venue
            if decided or late:
                outcomes = ((url, _outcome(probe)) for url, probe in probes.items())
                raise NoVenue(tuple((_host(url), reason) for url, reason in outcomes if reason is not None))
            wait(pending, timeout=deadline - monotonic(), return_when=FIRST_COMPLETED)
    finally:
        for probe in probes.values():
            probe.cancel()


def probe_count(candidates: tuple[Hosts, ...]) -> int:
    """Return how many workers `choose` can use at once."""
    return sum(len(hosts.rest_urls) + len(hosts.ws_urls) for hosts in candidates)


def rest_probe(monotonic: Callable[[], float]) -> Probe:
    """Return the probe of a REST host: one server time question."""

    def answer(url: str) -> str | None:
        client = VenueClient(
            url,
            monotonic=monotonic,
            connect_timeout_s=PROBE_TIMEOUT_S,
            read_timeout_s=PROBE_TIMEOUT_S,
            total_timeout_s=PROBE_TIMEOUT_S,
        )
        try:
            client.server_time()
        except VenueError as error:
            return str(error)
        finally:
            client.close()
        return None

    return answer


def stream_answer(url: str) -> str | None:
    """Probe a stream host: one WebSocket handshake."""
    try:
        sock = open_socket(f"{url}/stream", timeout_s=PROBE_TIMEOUT_S)
    except VenueError as error:
        return str(error)
    sock.close()
    return None


def _decide(
    candidates: tuple[Hosts, ...], probes: Mapping[str, Future[str | None]], *, late: bool
) -> tuple[Venue | None, bool]:
    """Return (venue, True), (None, True) when none is left, (None, False) while a preferred host may still answer."""
    passed_over: list[str] = []
    for hosts in candidates:
        rest_url, rest_refused = _first_usable(hosts.rest_urls, probes, late=late)
        ws_url, ws_refused = _first_usable(hosts.ws_urls, probes, late=late)
        passed_over += [*rest_refused, *ws_refused]
        if rest_url and ws_url:
            why = f"{hosts.venue} by {_host(rest_url)} and {_host(ws_url)}"
            refused = "; ".join(f"{_host(url)}: {_outcome(probes[url])}" for url in passed_over)
            reason = f"{why} ({refused})" if refused else why
            return Venue(name=hosts.venue, rest_url=rest_url, ws_url=ws_url, reason=reason), True
        none_left = (rest_url is None and len(rest_refused) == len(hosts.rest_urls)) or (
            ws_url is None and len(ws_refused) == len(hosts.ws_urls)
        )
        if not none_left:
            return None, False
    return None, True


def _first_usable(
    urls: tuple[str, ...], probes: Mapping[str, Future[str | None]], *, late: bool
) -> tuple[str | None, list[str]]:
    """Return the most preferred URL that serves us, or None, and those before it that do not.

    An unfinished probe ends the search unless it is `late`, when it counts as a refusal.
    """
    refused: list[str] = []
    for url in urls:
        if not probes[url].done() and not late:
            break
        if _outcome(probes[url]) is None:
            return url, refused
        refused.append(url)
    return None, refused


def _outcome(probe: Future[str | None]) -> str | None:
    """Return the reason a probe gave; a probe that raised is a host we cannot use."""
    if not probe.done():
        return "no answer in time"
    error = probe.exception()
    return f"{type(error).__name__}: {error}" if error is not None else probe.result()


def _host(url: str) -> str:
    return urlsplit(url).netloc
