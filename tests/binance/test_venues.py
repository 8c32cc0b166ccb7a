"""Choosing a venue: the most preferred hosts that serve us, both kinds, and every refusal by name."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.binance.player import Player, Record
from trading_engine.binance.venues import (
    BINANCE,
    BINANCE_US,
    CANDIDATES,
    Hosts,
    NoVenue,
    choose,
    custom,
    probe_count,
    rest_probe,
    stream_answer,
)

REFUSED = "451 region refused"


@pytest.fixture
def executor() -> Iterator[Executor]:
    with ThreadPoolExecutor(probe_count(CANDIDATES["auto"])) as executor:
        yield executor


def answering(answers: dict[str, str | None], default: str | None) -> Callable[[str], str | None]:
    """Return a probe that knows each host's answer."""
    return lambda url: next((answer for part, answer in answers.items() if part in url), default)


def test_the_data_only_hosts_are_preferred(executor: Executor) -> None:
    serve = answering({}, None)
    venue = choose(
        CANDIDATES["auto"], executor=executor, monotonic=time.monotonic, probe_rest=serve, probe_stream=serve
    )
    assert venue.name == "binance"
    assert venue.rest_url == "https://data-api.binance.vision"
    assert venue.ws_url == "wss://data-stream.binance.vision"
    assert venue.reason == "binance by data-api.binance.vision and data-stream.binance.vision"
    assert not venue.simulated


def test_hosts_of_both_kinds_are_chosen_apart_and_the_reason_names_those_passed_over(executor: Executor) -> None:
    venue = choose(
        CANDIDATES["binance"],
        executor=executor,
        monotonic=time.monotonic,
        probe_rest=answering({"api-gcp": None, "api1": None}, "timeout"),
        probe_stream=answering({"data-stream": "DNS failure", ":9443": REFUSED}, None),
    )
    assert venue.rest_url == "https://api-gcp.binance.com"
    assert venue.ws_url == "wss://stream.binance.com:443"
    assert "data-api.binance.vision: timeout" in venue.reason
    assert "stream.binance.com:9443: 451 region refused" in venue.reason
    assert "api2" not in venue.reason


def test_a_refusing_region_falls_back_to_binance_us_and_says_so(executor: Executor) -> None:
    venue = choose(
        CANDIDATES["auto"],
        executor=executor,
        monotonic=time.monotonic,
        probe_rest=answering({"binance.us": None}, REFUSED),
        probe_stream=answering({}, None),
    )
    assert venue.name == "binance-us"
    assert "data-api.binance.vision: 451 region refused" in venue.reason


def test_a_venue_without_a_stream_host_is_no_venue(executor: Executor) -> None:
    with pytest.raises(NoVenue) as refusal:
        choose(
            CANDIDATES["binance"],
            executor=executor,
            monotonic=time.monotonic,
            probe_rest=answering({}, None),
            probe_stream=answering({}, "timeout"),
        )
    assert [host for host, _ in refusal.value.reasons] == [url.removeprefix("wss://") for url in BINANCE.ws_urls]
    assert "data-stream.binance.vision: timeout" in str(refusal.value)


def test_a_probe_that_raises_is_a_refusal(executor: Executor) -> None:
    def broken(url: str) -> str | None:
        raise RuntimeError(f"no probing {url}")

    with pytest.raises(NoVenue, match=r"RuntimeError: no probing https://api\.binance\.us"):
        choose(
            CANDIDATES["binance-us"],
            executor=executor,
            monotonic=time.monotonic,
            probe_rest=broken,
            probe_stream=answering({}, None),
        )


def test_a_hanging_host_delays_the_choice_only_while_it_is_preferred(executor: Executor) -> None:
    release = threading.Event()

    def api4_hangs(url: str) -> str | None:
        if "api4" in url:
            release.wait(30)
        return None

    begun = time.monotonic()
    venue = choose(
        CANDIDATES["auto"],
        executor=executor,
        monotonic=time.monotonic,
        probe_rest=api4_hangs,
        probe_stream=answering({}, None),
    )
    release.set()
    assert venue.rest_url == "https://data-api.binance.vision"
    assert time.monotonic() - begun < 5


def test_hosts_that_hang_for_ever_cost_the_stated_time_and_no_more(executor: Executor) -> None:
    release = threading.Event()

    def hang(url: str) -> str | None:
        release.wait(30)
        return None

    begun = time.monotonic()
    with pytest.raises(NoVenue) as refusal:
        choose(
            CANDIDATES["auto"],
            executor=executor,
            monotonic=time.monotonic,
            probe_rest=hang,
            probe_stream=hang,
            timeout_s=0.3,
        )
    took_s = time.monotonic() - begun
    release.set()
    assert took_s < 3
    assert {reason for _, reason in refusal.value.reasons} == {"no answer in time"}
    assert len(refusal.value.reasons) == probe_count(CANDIDATES["auto"])


def test_a_preferred_host_that_is_late_is_passed_over_at_the_deadline(executor: Executor) -> None:
    release = threading.Event()

    def data_only_hangs(url: str) -> str | None:
        if "data-api" in url:
            release.wait(30)
        return None

    venue = choose(
        (BINANCE, BINANCE_US),
        executor=executor,
        monotonic=time.monotonic,
        probe_rest=data_only_hangs,
        probe_stream=answering({}, None),
        timeout_s=0.3,
    )
    release.set()
    assert venue.rest_url == "https://api.binance.com"
    assert "data-api.binance.vision: no answer in time" in venue.reason


class RefusingExecutor(Executor):
    """An executor whose workers are all busy for ever."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


def test_probes_that_never_get_their_turn_are_reported_as_such() -> None:
    with pytest.raises(NoVenue, match=r"api\.binance\.us: no answer in time"):
        choose((BINANCE_US,), executor=RefusingExecutor(), monotonic=time.monotonic, timeout_s=0.2)


def test_the_custom_venue_is_taken_as_it_is() -> None:
    venue = custom("http://127.0.0.1:9000/", "ws://127.0.0.1:9000/")
    assert (venue.name, venue.rest_url, venue.ws_url) == ("custom", "http://127.0.0.1:9000", "ws://127.0.0.1:9000")


def test_the_real_probes_tell_an_exchange_from_what_is_none(executor: Executor) -> None:
    no_records: list[Record] = []
    with Player(no_records) as player, socket.create_server(("127.0.0.1", 0)) as silent:
        closed = socket.create_server(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        closed.close()
        assert rest_probe(time.monotonic)(player.rest_url) is None
        assert stream_answer(player.ws_url) is None
        assert rest_probe(time.monotonic)(f"http://127.0.0.1:{port}") == "connection refused"
        assert stream_answer(f"ws://127.0.0.1:{port}") == "connection refused"
        assert stream_answer("ws://no-such-host.invalid") == "DNS failure"
        assert rest_probe(time.monotonic)("http://no-such-host.invalid") == "DNS failure"
        hosts = Hosts(
            venue="here",
            rest_urls=(f"http://127.0.0.1:{port}", player.rest_url),
            ws_urls=(f"ws://127.0.0.1:{silent.getsockname()[1]}", player.ws_url),
        )
        venue = choose((hosts,), executor=executor, monotonic=time.monotonic)
        assert (venue.rest_url, venue.ws_url) == (player.rest_url, player.ws_url)
    assert "connection refused" in venue.reason
    assert "timeout" in venue.reason
