"""The life of the process: one line when it listens, a clean end, and prices and ids that go on afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.simulator.process import PATIENCE_S, ROOT, Venue, drain, receive, receive_until, running, wait_for

pytestmark = pytest.mark.slow


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie nobody has buried yet does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used, 0 where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def facts(venue: Venue, symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {
        "update_id": venue.get("/api/v3/depth", symbol=symbol, limit=5)["lastUpdateId"],
        "price": float(venue.get("/api/v3/ticker/price", symbol=symbol)["price"]),
        "trade": venue.get("/api/v3/trades", symbol=symbol, limit=1)[0],
        "aggregate": venue.get("/api/v3/aggTrades", symbol=symbol, limit=1)[0],
        "hours": venue.get("/api/v3/klines", symbol=symbol, interval="1h", limit=1_000),
    }


def assert_goes_on(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after["update_id"] > before["update_id"]
    assert after["price"] == pytest.approx(before["price"], rel=0.005)
    known = {row[0]: row for row in after["hours"]}
    assert len(known) == 1_000
    assert all(known[row[0]] == row for row in before["hours"][1:-1])


def test_one_line_says_where_it_listens_and_the_first_book_comes_soon() -> None:
    with running("--seed", "1") as venue:
        assert json.loads(venue.line) == {
            "rest_url": f"http://127.0.0.1:{venue.port}",
            "ws_url": f"ws://127.0.0.1:{venue.port}",
        }
        with venue.open("/ws/btcusdt@depth@100ms") as socket:
            receive(socket)
            assert len(venue.get("/api/v3/depth", symbol="BTCUSDT", limit=1_000)["asks"]) == 1_000
            receive(socket)
        # Three seconds are promised; counted in processor time, so that a busy machine does not fail the test.
        assert cpu_seconds(venue.process.pid) < 2.0


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_a_signal_ends_it_quickly_and_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    state = tmp_path / "state.json"
    with running("--state", str(state)) as venue, venue.open("/ws/btcusdt@trade") as socket:
        began = time.monotonic()
        venue.process.send_signal(number)
        assert venue.process.wait(PATIENCE_S) == 0
        assert time.monotonic() - began < 5.0
        with pytest.raises(ConnectionClosed) as closed:
            drain(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert json.loads(state.read_text())["clean"] is True
        assert {path.name for path in tmp_path.iterdir()} == {"state.json", "state.json.lock"}
        assert venue.process.stdout is not None
        venue.process.stdout.close()


def test_prices_ids_and_candles_go_on_after_a_restart(tmp_path: Path) -> None:
    options = ("--seed", "life", "--state", str(tmp_path / "state.json"))
    with running(*options) as venue, venue.open("/ws/btcusdt@depth@100ms/btcusdt@trade") as socket:
        for _ in range(60):
            receive(socket)
        before = facts(venue)
        assert venue.end() == 0
    with running(*options) as venue:
        after = facts(venue)
    assert_goes_on(before, after)
    assert 0 <= after["trade"]["id"] - before["trade"]["id"] < 5_000
    assert 0 <= after["aggregate"]["a"] - before["aggregate"]["a"] < 5_000
    assert after["update_id"] - before["update_id"] < 50_000


def test_ids_never_go_back_even_after_kill_9(tmp_path: Path) -> None:
    options = ("--seed", "life", "--state", str(tmp_path / "state.json"), "--symbols", "BTCUSDT,ETHUSDT")
    with running(*options) as venue, venue.open("/ws/btcusdt@depth@100ms/btcusdt@trade") as socket:
        venue.control("rate", factor=10)
        seen = [receive(socket) for _ in range(150)]
        before = facts(venue)
        venue.kill()
    last_id = max(message["u"] for message in seen if message["e"] == "depthUpdate")
    last_trade = max(before["trade"]["id"], *(message["t"] for message in seen if message["e"] == "trade"))
    with running(*options) as venue:
        after = facts(venue)
        with venue.open("/ws/btcusdt@depth@100ms/btcusdt@trade") as socket:
            later = [receive_until(socket, lambda message: message["e"] == "trade")]
            later += [receive_until(socket, lambda message: message["e"] == "depthUpdate")]
            new_trades = venue.get("/api/v3/trades", symbol="BTCUSDT", limit=1)
    assert_goes_on(before, after)
    assert min(message["U"] for message in later if message["e"] == "depthUpdate") > last_id
    assert min(message["t"] for message in later if message["e"] == "trade") > last_trade
    assert new_trades[-1]["id"] > last_trade


def test_the_state_is_saved_while_it_runs(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with running("--state", str(state), "--symbols", "LTCUSDT"):
        first = json.loads(state.read_text())
        assert first["clean"] is False
        wait_for(lambda: json.loads(state.read_text())["time_ms"] > first["time_ms"])


def test_a_successor_waits_for_a_predecessor_that_is_still_ending(tmp_path: Path) -> None:
    options = ("--state", str(tmp_path / "state.json"), "--symbols", "LTCUSDT")
    with running(*options) as first:
        last_id = first.get("/api/v3/depth", symbol="LTCUSDT")["lastUpdateId"]
        first.process.send_signal(signal.SIGTERM)
        with running(*options) as second:
            assert first.process.wait(PATIENCE_S) == 0
            assert second.get("/api/v3/depth", symbol="LTCUSDT")["lastUpdateId"] > last_id
            assert json.loads((tmp_path / "state.json").read_text())["clean"] is False
        assert first.process.stdout is not None
        first.process.stdout.close()


def test_two_cannot_share_a_state(tmp_path: Path) -> None:
    options = ("--state", str(tmp_path / "state.json"), "--symbols", "LTCUSDT")
    with running(*options):
        ended = subprocess.run(
            [sys.executable, "-m", "trading_engine.simulator", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert ended.returncode == 2
    assert "in use by another simulator" in ended.stderr


def test_a_damaged_state_is_not_overwritten(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    state.write_text("{ not json")
    ended = subprocess.run(
        [sys.executable, "-m", "trading_engine.simulator", "--state", str(state)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "state file" in ended.stderr
    assert "move it away" in ended.stderr
    assert state.read_text() == "{ not json"


@pytest.mark.parametrize("options", (("--symbols", "BTCUSDT,NOSUCH"), ("--speed", "0"), ("--symbols", "")))
def test_a_wrong_command_line_is_refused(options: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "trading_engine.simulator", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "simulat" in ended.stderr


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with running("--symbols", "LTCUSDT") as venue:
        ended = subprocess.run(
            [sys.executable, "-m", "trading_engine.simulator", "--port", str(venue.port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1


def test_it_ends_within_a_second_of_its_parent(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'trading_engine.simulator', '--symbols', 'LTCUSDT',\n"
        "                          '--state', sys.argv[1], '--parent-pid', str(os.getpid())], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    state = tmp_path / "state.json"
    parent = subprocess.Popen([sys.executable, "-c", script, str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait(PATIENCE_S)
    parent.stdout.close()
    began = time.monotonic()
    wait_for(lambda: not is_alive(child))
    assert time.monotonic() - began < 3.0  # one second is promised, the rest is for a busy machine
    assert json.loads(state.read_text())["clean"] is True


def test_the_simulator_imports_nothing_else_of_ours() -> None:
    code = "import sys, trading_engine.simulator.__main__; print(*sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    ).stdout.split()
    ours = {name for name in loaded if name.startswith("trading_engine.")}
    assert ours
    assert all(name.startswith("trading_engine.simulator") for name in ours)
