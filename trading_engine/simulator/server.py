"""The loop that joins everything: one port, one exchange, one step every few milliseconds.

Single-threaded asyncio. Each step moves the exchange to the present and delivers what it published; a slower beat
pings, drops whoever does not answer, watches the parent process and saves the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.frames import CloseCode, Opcode

from trading_engine.simulator import control, state
from trading_engine.simulator.arguments import BadCommand
from trading_engine.simulator.exchange import Exchange
from trading_engine.simulator.faults import Faults
from trading_engine.simulator.hub import Hub
from trading_engine.simulator.plant import PING_EVERY_S, PONG_WITHIN_S
from trading_engine.simulator.rest import ApiError, Rest
from trading_engine.simulator.sockets import UNSENT_LIMIT, Answer, Peer, Request
from trading_engine.simulator.wire import compact

STEP_S = 0.02
IDLE_STEP_S = 0.2
BEAT_S = 0.25
SAVE_EVERY_S = 3.0
LONGEST_CONNECTION_S = 24 * 3600.0  # web-socket-streams.md: a connection is valid for 24 hours
WEIGHT_A_MINUTE = 6_000
CLOCK_SLACK_MS = 250
CONNECTIONS_LIMIT = 300  # handshakes in CONNECTIONS_WINDOW_S and address, "WebSocket Limits"
CONNECTIONS_WINDOW_S = 300.0
OPEN_LIMIT = 2_000  # connections; more are reset
IDLE_LIMIT_S = 120.0  # a connection without a request for so long is closed
REMEMBERED = 2_000  # requests, and different paths and addresses, kept in memory


class Clock:
    """Milliseconds of the exchange: real time since the start times `speed`, never going back.

    It begins at the wall clock, or where the last run ended if that is later. At speed 1 it follows the wall clock
    forward when that has gone ahead, as it does while the machine sleeps.
    """

    def __init__(self, speed: float, earliest_ms: int) -> None:
        self._speed = speed
        self._start_ms = max(earliest_ms, _wall_ms())
        self._origin = time.monotonic()

    def now_ms(self) -> int:
        """The present."""
        now = self._start_ms + int((time.monotonic() - self._origin) * 1000.0 * self._speed)
        ahead = _wall_ms() - now if self._speed == 1.0 else 0
        if ahead > CLOCK_SLACK_MS:
            self._start_ms += ahead
            now += ahead
        return now


def _wall_ms() -> int:
    return int(time.time() * 1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run.

    Attributes:
        port: 0 for any free one.
        state_path: where to keep prices and ids between runs, None to forget them.
        parent_pid: end when this process is gone.
    """

    host: str
    port: int
    speed: float
    state_path: Path | None
    parent_pid: int | None


class Server:
    """The simulated exchange on its port."""

    def __init__(self, exchange: Exchange, settings: Settings) -> None:
        self.exchange = exchange
        self.faults = Faults(self.seconds)
        self.rest = Rest(exchange)
        self.hub = Hub(exchange, self.faults)
        self.ping_every_s = PING_EVERY_S
        self.pong_within_s = PONG_WITHIN_S
        self._settings = settings
        self._clock = Clock(settings.speed, exchange.now_ms)
        self._stopped = asyncio.Event()
        self._listener: asyncio.Server | None = None
        self._placeholder: socket.socket | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._address: tuple[str, int] = (settings.host, settings.port)
        self._connected: dict[Peer, None] = {}
        self._handshakes: dict[str, deque[float]] = {}
        self._weight: tuple[int, int] = (0, 0)  # minute, weight used in it
        self._pinged_at = self.seconds()
        self._saved_at = self.seconds()
        self._saving: asyncio.Task[None] | None = None
        self._counts: Counter[str] = Counter()
        self._requests: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self._openings: deque[int] = deque(maxlen=REMEMBERED)
        self._orphan = settings.parent_pid is not None and os.getppid() != settings.parent_pid

    def seconds(self) -> float:
        """A monotonic clock."""
        return time.monotonic()

    def now_ms(self) -> int:
        """The exchange's time."""
        return self._clock.now_ms()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self, announce: Callable[[str, int], None]) -> None:
        """Listen, announce the address, trade until `stop`, save.

        Raises:
            OSError: when the port or the state file cannot be had.
        """
        self._save_now(clean=False)
        await self._listen()
        announce(*self._address)
        try:
            async with asyncio.TaskGroup() as tasks:
                loops = [tasks.create_task(self._trade()), tasks.create_task(self._beat())]
                await self._stopped.wait()
                for task in loops:
                    task.cancel()
        finally:
            await self._end()

    async def _trade(self) -> None:
        while True:
            self.hub.publish(self.exchange.advance(self.now_ms()))
            await asyncio.sleep(STEP_S if self.hub.is_busy else IDLE_STEP_S)

    def stop(self) -> None:
        """End soon; safe to call twice."""
        self._stopped.set()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Peer(self), self._address[0], self._address[1], reuse_address=True, backlog=512
        )
        self._address = self._listener.sockets[0].getsockname()[:2]

    async def _end(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._placeholder is not None:
            self._placeholder.close()
        for peer in list(self._connected):
            if peer.is_websocket:
                peer.close(CloseCode.GOING_AWAY, "server shutdown")
            else:
                peer.hang_up()
        if self._saving is not None:
            await self._saving
        self._save_now(clean=self._stopped.is_set())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            if self._parent_is_gone():
                self.stop()
            self._check_peers()
            if self._settings.state_path is not None and (
                self.seconds() - self._saved_at >= SAVE_EVERY_S or self.exchange.must_save
            ):
                self._save_later(self._settings.state_path)

    def _parent_is_gone(self) -> bool:
        """Polled, because the kernel's death signal follows the *thread* that started us, which may end any time."""
        pid = self._settings.parent_pid
        if pid is None:
            return False
        if not self._orphan:
            return os.getppid() != pid
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    def _check_peers(self) -> None:
        now = self.seconds()
        ping = now - self._pinged_at >= self.ping_every_s
        if ping:
            self._pinged_at = now
        for peer in list(self._connected):
            if not peer.is_websocket and not peer.waiting and now - peer.active_at > IDLE_LIMIT_S:
                peer.hang_up()
        for peer in list(self.hub.peers):
            if peer.unsent > UNSENT_LIMIT:
                peer.reset()
            elif peer.frozen:
                continue
            elif now - peer.ponged > self.pong_within_s + self.ping_every_s:
                peer.close(CloseCode.POLICY_VIOLATION, "Pong timeout")
            elif now - peer.active_at > LONGEST_CONNECTION_S:
                peer.close(CloseCode.GOING_AWAY, "24 hours are over")
            elif ping:
                peer.send(str(self.now_ms()).encode(), Opcode.PING)

    # -- state ---------------------------------------------------------------------------------------------------------

    def _save_now(self, *, clean: bool) -> None:
        if self._settings.state_path is not None:
            state.save(self._settings.state_path, self.exchange.export(clean=clean))

    def _save_later(self, path: Path) -> None:
        """Write in a thread of its own, so that a slow disk does not stop the market."""
        if self._saving is not None and not self._saving.done():
            return
        self._saved_at = self.seconds()
        document = self.exchange.export(clean=False)

        async def write() -> None:
            try:
                await asyncio.to_thread(state.save, path, document)
            except OSError as error:
                sys.stderr.write(f"simulator: cannot save {path}: {error}\n")

        self._saving = asyncio.create_task(write())

    # -- faults that need the loop -------------------------------------------------------------------------------------

    def refuse(self, seconds: float) -> None:
        """Close the port for a while; a bound but deaf socket keeps it ours meanwhile."""
        if self._listener is None:
            return
        self.faults.refuse_until = self.seconds() + seconds
        self._listener.close()
        self._listener = None
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        self._placeholder = socket.socket(family, socket.SOCK_STREAM)
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(self._address)
        self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        while self.faults.refuses():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), STEP_S)
                return
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None
        await self._listen()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something in a while."""
        asyncio.get_running_loop().call_later(seconds, action)

    # -- the house the connections live in -----------------------------------------------------------------------------

    def opened(self, peer: Peer) -> None:
        """Count a connection."""
        self._connected[peer] = None
        if len(self._connected) > OPEN_LIMIT:
            peer.reset()
        self._counts["connections"] += 1
        self._openings.append(self.now_ms())

    def closed(self, peer: Peer) -> None:
        """Forget a connection."""
        self._connected.pop(peer, None)
        if peer in self.hub.peers:
            self.hub.leave(peer)

    def answer(self, request: Request, peer: Peer) -> Answer | None:
        """Answer a request; None cuts the connection."""
        if request.path.startswith("/control/"):
            return self._answer_control(request, peer)
        if self.faults.resets():
            return None
        answer = self._answer_market(request)
        self._note(request, answer.status)
        return answer

    def admits(self, request: Request, peer: Peer) -> Answer | bool | None:
        """Whether a WebSocket may open."""
        if self.faults.resets():
            self._note(request, 0)
            return False
        if self.faults.hangs():
            self._note(request, 0)
            return None
        refused = self._refused(request.path)
        if refused is None and request.path != "/ws" and not request.path.startswith(("/ws/", "/stream")):
            refused = Answer(status=404, body='{"code":-1000,"msg":"no such stream path"}')
        if refused is None and self._too_many_handshakes(peer.remote_host):
            refused = Answer(status=429, body='{"code":-1003,"msg":"Too many connections."}')
        self._note(request, 101 if refused is None else refused.status)
        return refused or True

    def entered(self, request: Request, peer: Peer) -> None:
        """A WebSocket is open."""
        self.hub.enter(peer, request)

    def received(self, peer: Peer, message: str) -> None:
        """A request on a WebSocket."""
        self._counts["websocket requests"] += 1
        self.hub.request(peer, message)

    def ponged(self) -> None:
        """Count a pong."""
        self._counts["pongs"] += 1

    def _too_many_handshakes(self, host: str) -> bool:
        if len(self._handshakes) > REMEMBERED:
            self._handshakes.clear()
        times = self._handshakes.setdefault(host, deque(maxlen=CONNECTIONS_LIMIT))
        now = self.seconds()
        full = len(times) == CONNECTIONS_LIMIT and now - times[0] < CONNECTIONS_WINDOW_S
        if not full:
            times.append(now)
        return full

    # -- requests ------------------------------------------------------------------------------------------------------

    def _answer_market(self, request: Request) -> Answer:
        refused = self._refused(request.path)
        if refused is not None:
            return refused
        minute = int(time.time()) // 60
        used = self._weight[1] if self._weight[0] == minute else 0
        if used > WEIGHT_A_MINUTE:
            wait_s = 60 - int(time.time()) % 60
            message = (
                f"Too much request weight used; current limit is {WEIGHT_A_MINUTE} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API."
            )
            return Answer(status=429, body=ApiError(-1003, message).body, headers={"Retry-After": str(wait_s)})
        try:
            reply = self.rest.answer(request.method, request.path, request.parameters, self.now_ms())
            status, body, weight = 200, reply.body, reply.weight
        except ApiError as error:
            status, body, weight = error.status, error.body, 1
        self._weight = (minute, used + weight)
        spent = str(used + weight)
        return Answer(status=status, body=body, headers={"X-MBX-USED-WEIGHT": spent, "X-MBX-USED-WEIGHT-1M": spent})

    def _refused(self, path: str) -> Answer | None:
        rule = self.faults.status_for(path)
        if rule is None:
            return None
        headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
        return Answer(status=rule.status, body=rule.text(self.now_ms()), headers=headers)

    def _answer_control(self, request: Request, peer: Peer) -> Answer:
        if not (peer.remote_host.startswith("127.") or peer.remote_host in ("::1", "::ffff:127.0.0.1")):
            return Answer(status=403, body='{"error":"only from this machine"}')
        name = request.path.removeprefix("/control/")
        try:
            if request.method == "GET":
                document = control.read(self, name, request.parameters, self._seen)
            elif request.method == "DELETE" and name == "faults":
                document = control.clear(self)
            elif request.method != "POST":
                return Answer(status=405, body='{"error":"POST a command"}')
            elif not request.headers.get("content-type", "").startswith("application/json"):
                return Answer(status=415, body='{"error":"Content-Type must be application/json"}')
            else:
                document = control.perform(self, name, request.body)
        except BadCommand as error:
            return Answer(status=400, body=compact({"error": str(error)}))
        return Answer(status=200, body=compact(document))

    def _note(self, request: Request, status: int) -> None:
        known = request.path in self._counts or len(self._counts) < REMEMBERED
        self._counts[request.path if known else "(other paths)"] += 1
        self._requests.append(
            {
                "time_ms": self.now_ms(),
                "method": request.method,
                "path": request.path,
                "parameters": {name[:40]: value[:200] for name, value in list(request.parameters.items())[:10]},
                "status": status,
            }
        )

    def _seen(self) -> dict[str, Any]:
        return {
            "counts": dict(self._counts),
            "open_connections": len(self._connected),
            "open_websockets": len(self.hub.peers),
            "subscriptions": [list(peer.streams) for peer in self.hub.peers],
            "connections_ms": list(self._openings),
            "latest": list(self._requests),
        }
