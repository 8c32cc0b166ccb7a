"""How the server may be started, and how not."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import Server, Stream, Venue, wait_until

pytestmark = pytest.mark.slow

GUNICORN = [sys.executable, "-m", "gunicorn", "wsgi:app"]
FLASK = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", "{port}"]
BUY = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.001"}


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    with Venue(tmp_path_factory.mktemp("venue")) as started:
        yield started


@pytest.mark.parametrize(
    ("options", "settings", "reason"),
    (
        (["-w", "2"], {}, "workers must be 1"),
        ([], {"WEB_CONCURRENCY": "2"}, "workers must be 1"),
        (["--preload"], {}, "preload must be off"),
        (["--max-requests", "5"], {}, "max_requests must be 0"),
        (["-b", "0.0.0.0:{port}"], {}, "a bind wider than loopback needs PUBLIC=1 and ACCESS_PASSWORD"),
        (["--certfile", "x.pem"], {}, "TLS is not spoken here"),
        ([], {"MARKET": "nasdaq"}, "MARKET='nasdaq' is wrong"),
        ([], {"HOST": "0.0.0.0"}, "HOST='0.0.0.0' is wrong"),
        ([], {"PORT": "http"}, "PORT='http' is wrong"),
    ),
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_start_that_would_break_the_engine_is_refused_in_one_line(
    tmp_path: Path, venue: Venue, options: list[str], settings: dict[str, str], reason: str
) -> None:
    with Server(tmp_path, {**venue.settings, **settings}, command=[*GUNICORN, *options]) as server:
        assert server.popen.wait(20) != 0
        lines = [line for line in server.log.splitlines() if "cannot start" in line]
        assert len(lines) == 1
        assert reason in lines[0]
        assert "Traceback" not in server.log


def engines(server: Server) -> int:
    return server.log.count('"event": "account opened"') + server.log.count('"event": "loaded"')


@pytest.mark.parametrize("options", (["--no-debug"], ["--debug"], ["--debug", "--no-reload"]), ids=" ".join)
def test_flasks_own_server_runs_exactly_one_engine(tmp_path: Path, venue: Venue, options: list[str]) -> None:
    command = [*FLASK, *options] if options[0] != "--debug" else [*FLASK[:5], "--debug", *FLASK[5:], *options[1:]]
    command = [part for part in command if part != "--no-debug"]
    with Server(tmp_path, venue.settings, command=command) as server:
        server.wait_live()
        assert server.log.count('"event": "loaded"') == 1
        assert server.log.count("standing by") == 0
        assert server.post("/api/v1/orders", BUY).status == 201
        with Stream(server.port) as stream:
            assert stream.wait_for("hello")["account"] == "default"
            server.post("/api/v1/orders", BUY)
            assert stream.wait_for("order")["status"] == "filled"


@pytest.mark.parametrize("command", (["routes"], ["shell", "--help"]), ids=" ".join)
def test_other_flask_commands_start_nothing(tmp_path: Path, venue: Venue, command: list[str]) -> None:
    with Server(tmp_path, venue.settings, command=[*FLASK[:5], *command]) as server:
        assert server.popen.wait(30) == 0
        assert engines(server) == 0


def test_a_settings_file_reaches_the_server_that_works_beside_it_and_no_test_works_in_the_repository(
    tmp_path: Path, venue: Venue
) -> None:
    (tmp_path / ".env").write_text("ACCESS_PASSWORD=from-the-file\n")
    with Server(tmp_path, venue.settings) as server:
        wait_until(lambda: server.reached("/api/v1/account") == 401, "it asks for the password")
        assert Path(f"/proc/{server.popen.pid}/cwd").resolve() == tmp_path.resolve()


def test_a_second_server_on_the_same_data_stands_by_and_takes_over(tmp_path: Path, venue: Venue) -> None:
    settings = {**venue.settings}
    with Server(tmp_path, settings) as first:
        first.wait_live()
        with Server(tmp_path, settings, log_name="second.log") as second:
            second.wait_for("/health")
            wait_until(lambda: second.get("/health").json["engine"]["role"] == "standby", "the second stands by")
            assert second.get("/ready").status == 503
            refused = second.post("/api/v1/orders", BUY)
            assert (refused.status, refused.json["code"]) == (503, "standby")
            placed = first.post("/api/v1/orders", {**BUY, "client_order_id": "before"}).json
            assert first.terminate() < 8
            second.wait_live()
            repeated = second.post("/api/v1/orders", {**BUY, "client_order_id": "before"})
            assert (repeated.status, repeated.json["id"]) == (200, placed["id"])


def test_an_orphaned_worker_takes_no_orders_for_long(tmp_path: Path, venue: Venue) -> None:
    with Server(tmp_path, venue.settings) as server:
        server.wait_live()
        worker = server.worker
        os.kill(server.popen.pid, signal.SIGKILL)
        server.popen.wait()
        wait_until(lambda: not server.answers(), "nobody answers any more", timeout_s=3)
        wait_until(lambda: not Path(f"/proc/{worker}").exists(), "the worker has ended", timeout_s=8)
