"""gunicorn's worker for this server: one thread for all sockets, a pool of threads for requests.

gunicorn's own threaded worker reads and writes in the pool, so clients that send or read slowly take its threads: forty
half-sent requests stop eight of them. Here the main thread collects each request until it is whole and writes what a
client does not take at once; a pool thread gets whole requests only and never waits for a client, nor for the commit of
an order: such an answer is kept back (`ANSWER_AFTER` in the WSGI environment) until the journal tells. A client has
`FIRST_BYTE_S` for the first byte, `WHOLE_REQUEST_S` for the whole request and loses an answer that makes no progress
for `STALLED_ANSWER_S`. Answers leave in one send, faults of the protocol are told in JSON like all others, and a stream
may take its socket along (`HAND_OVER` in the WSGI environment). No TLS, no HTTP/2: a proxy in front speaks those.

A `_Connection` belongs to the main thread, while `busy` to the pool thread that answers its request. It stays
registered with the poller meanwhile: in the usual case a request costs one hand-over, there and not back. The pool is
our own because gunicorn's would keep the process alive until its last request is answered.
"""

import contextlib
import errno
import http
import math
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

from gunicorn.http import RequestParser, errors, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.workers.gthread import ThreadWorker

from trading_engine.api.operations import ANSWER_AFTER, OUTCOME
from trading_engine.api.problems import Problem
from trading_engine.exchange.messages import Refused
from trading_engine.inbox import Inbox

FIRST_BYTE_S = 5.0
WHOLE_REQUEST_S = 10.0
STALLED_ANSWER_S = 5.0
LINGER_S = 1.0
"""How long a client may take to read the last answer of a connection that closes (RFC 9112, 9.6)."""

PROMISE_S = 30.0
"""How long an answer is kept back for what it waits for; then the client is told that the outcome is unknown."""

RUNTIME_STOP_S = 3.0
"""What is left of the graceful timeout for stopping the engine, once requests are answered."""

MAX_UNTAKEN_BYTES = 64 * 1024 * 1024
"""What all answers that wait for their readers may hold; beyond, the largest are cut."""

STOP_IDLE_S = 0.5
"""How long a stopping worker keeps idle connections, for a request that is already on its way."""

READ_BYTES = 64 * 1024
ACCEPTS_AT_ONCE = 16
SWEEP_S = 0.25
"""How often deadlines are looked at."""

HAND_OVER = "paper_exchange.hand_over"
"""WSGI environment: `hand_over(adopt)` gives the client's socket to `adopt`; the worker then writes nothing to it."""

_CLIENT_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (errors.LimitRequestLine, "uri_too_long"),
    (errors.LimitRequestHeaders, "headers_too_large"),
    (errors.UnsupportedTransferCoding, "not_implemented"),
    (errors.ExpectationFailed, "expectation_failed"),
    (errors.ParseException, "bad_request"),
)


class Promise(Protocol):
    """What an answer may have to wait for."""

    def then(self, tell: Callable[[Refused | None], None]) -> None:
        """Call `tell` with None when it is kept, with the refusal when it is not; in any thread."""


class _KeptBack(NamedTuple):
    """An answer that waits for a promise, and the request it answers."""

    octets: bytes
    request: bytes
    deadline: float


class _Connection:
    """A client's socket, what came in of its next request and what is left of its answer."""

    __slots__ = (
        "answer",
        "busy",
        "client",
        "closing",
        "deadline",
        "inbox",
        "kept_back",
        "lingers",
        "paused",
        "promise",
        "server",
        "sock",
        "taken",
    )

    def __init__(self, sock: socket.socket, client: Any, server: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.deadline = time.monotonic() + FIRST_BYTE_S
        self.inbox = Inbox()
        self.answer = memoryview(b"")
        self.promise: Promise | None = None
        self.kept_back: _KeptBack | None = None
        self.busy = self.paused = self.closing = self.lingers = self.taken = False

    def answer_after(self, promise: Promise) -> None:
        """Keep the answer to the present request back until `promise` is kept."""
        self.promise = promise

    def hand_over(self, adopt: Callable[[socket.socket], None]) -> None:
        """Give the socket away; when `adopt` raises, it stays ours."""
        sock = self.sock.dup()
        try:
            adopt(sock)
        except BaseException:
            sock.close()
            raise
        self.taken = True


class _Pool:
    """The web server's own daemon threads, which answer requests."""

    def __init__(self, threads: int, answer: Callable[[_Connection, bytes, Refused | None], None]) -> None:
        self._jobs: queue.SimpleQueue[tuple[_Connection, bytes, Refused | None] | None] = queue.SimpleQueue()
        self._answer = answer
        self._threads = [threading.Thread(target=self._work, name=f"request-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, connection: _Connection, request: bytes, outcome: Refused | None = None) -> None:
        """Have a request answered; `outcome`: what became of it, when it was carried out before."""
        self._jobs.put((connection, request, outcome))

    def shutdown(self, *, wait: bool = False) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._answer(*job)


class _Outbox:
    """Stands in for the socket where gunicorn writes a response: collects it, so that it leaves in one send."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.sendall = self.parts.append


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """One process, one thread for sockets, `threads` for requests."""

    alive: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections: dict[_Connection, None] = {}
        self._decided: deque[tuple[_Connection, _KeptBack, Refused | None]] = deque()
        self._delivers = False
        self._quick = False
        self._idle_until = math.inf
        self._next_sweep = 0.0

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Nothing to warn of: idle connections hold no thread here."""

    def get_thread_pool(self) -> _Pool:
        """Return the threads that answer requests."""
        return _Pool(self.cfg.threads, self._answer)

    def handle_exit(self, *_signal: object) -> None:
        """SIGTERM: end the streams, finish what is being answered, stop. A second signal changes nothing."""
        if self.alive:
            self.alive = False
            self.cfg.worker_int(self)
            self.method_queue.defer(bool)  # only to wake the main thread

    def handle_quit(self, *_signal: object) -> None:
        """SIGINT, SIGQUIT: as SIGTERM, without waiting for idle connections."""
        self._quick = True
        self.handle_exit()

    # The main thread

    def run(self) -> None:
        """Serve until told to stop or until the master is gone, then let running requests finish."""
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        self.set_accept_enabled(True)
        while self.alive and self.is_parent_alive():
            self.notify()
            self._step(SWEEP_S)
        self.handle_exit()  # the master may be gone, and nobody else to say so
        self.set_accept_enabled(False)
        now = time.monotonic()
        deadline = now + max(1.0, self.cfg.graceful_timeout - RUNTIME_STOP_S)
        self._idle_until = now if self._quick else now + STOP_IDLE_S
        while self._connections and time.monotonic() < deadline:
            self.notify()
            self._step(0.05)
        self.tpool.shutdown()
        for sock in self.sockets:
            sock.close()

    def _step(self, timeout_s: float) -> None:
        for key, events in self.poller.select(timeout_s):
            if isinstance(key.data, _Connection):
                self._on_socket(key.data, events)
            else:
                key.data(key.fileobj)
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + SWEEP_S
            self._sweep(now)
            self.set_accept_enabled(self.alive and len(self._connections) < self.worker_connections)

    def accept(self, listener: socket.socket) -> None:
        """Take what waits at the door; when the house is full, the oldest idle connection makes room."""
        server = listener.getsockname()
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    self._make_room()
                elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR}:
                    raise
                return
            sock.settimeout(0)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection(sock, client, server)
            self._connections[connection] = None
            self.poller.register(sock, selectors.EVENT_READ, connection)
            if len(self._connections) >= self.worker_connections:
                self._make_room()
                return

    def _make_room(self) -> None:
        idle = next((one for one in self._connections if not (one.busy or one.inbox or one.answer)), None)
        if idle is not None:
            self._forget(idle)
        else:
            self.set_accept_enabled(False)  # until the next sweep

    def _sweep(self, now: float) -> None:
        self._cut_hoarders()
        for connection in self._connections:
            kept_back = connection.kept_back
            if kept_back is not None and kept_back.deadline <= now:
                unknown = Refused("outcome_unknown", f"storing took longer than {PROMISE_S:g} s")
                self._release(connection, kept_back, unknown)
        for connection in [one for one in self._connections if not one.busy and self._deadline(one) <= now]:
            if connection.inbox and not connection.closing:
                self._refuse(connection, Problem("request_timeout", f"A request has {WHOLE_REQUEST_S:g} s to arrive."))
            else:
                self._forget(connection)

    def _deadline(self, connection: _Connection) -> float:
        idle = not (connection.inbox or connection.answer or connection.lingers)
        return min(connection.deadline, self._idle_until) if idle else connection.deadline

    def _cut_hoarders(self) -> None:
        waiting = sorted((one for one in self._connections if not one.busy), key=lambda one: one.answer.nbytes)
        untaken = sum(one.answer.nbytes for one in waiting)
        while untaken > MAX_UNTAKEN_BYTES:
            hoarder = waiting.pop()
            untaken -= hoarder.answer.nbytes
            self._forget(hoarder)

    def _on_socket(self, connection: _Connection, events: int) -> None:
        if connection not in self._connections:
            return  # forgotten by an event of the same round
        if connection.busy:
            # It sends more before it has its answer, or hung up: look again when the pool is done with it.
            self.poller.unregister(connection.sock)
            connection.paused = True
            self._resume(connection)  # if the pool is done already it may not have seen `paused`
        elif events & selectors.EVENT_WRITE:
            self._write(connection)
        else:
            self._read(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            octets = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._forget(connection)
        elif not connection.lingers:
            if not connection.inbox:
                connection.deadline = time.monotonic() + WHOLE_REQUEST_S
            connection.inbox.add(octets)
            self._dispatch(connection)

    def _dispatch(self, connection: _Connection) -> None:
        """Give the request to the pool when it is whole."""
        try:
            request = connection.inbox.take()
        except Problem as problem:
            self._refuse(connection, problem)
            return
        if request is not None:
            connection.busy = True
            self.tpool.submit(connection, request)
        elif connection.inbox.awaits_continue():
            with contextlib.suppress(OSError):
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, connection: _Connection, problem: Problem) -> None:
        """Answer a request that did not become one, and close."""
        connection.inbox.clear()
        connection.closing = True
        connection.answer = memoryview(_octets(problem))
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        """Write what the client takes of the answer; then close, or wait for its next request."""
        if connection.answer:
            try:
                sent = connection.sock.send(connection.answer)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._forget(connection)
                return
            connection.answer = connection.answer[sent:]
        now = time.monotonic()
        if connection.answer:
            connection.deadline = now + STALLED_ANSWER_S
            self._watch(connection, selectors.EVENT_WRITE)
        elif connection.closing:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
            connection.lingers = True
            connection.deadline = now + LINGER_S
            self._watch(connection, selectors.EVENT_READ)
        else:
            connection.deadline = now + self.cfg.keepalive
            self._watch(connection, selectors.EVENT_READ)
            self._dispatch(connection)

    def _take_back(self, connection: _Connection) -> None:
        """Go on with a connection the pool could not finish: a taken socket, a long answer, a close, a next request."""
        connection.busy = False
        if connection.taken:
            self._forget(connection)
        else:
            self._write(connection)

    def _resume(self, connection: _Connection) -> None:
        """Listen again to a connection that was paused while busy. May come twice; the second time is too late."""
        if connection.paused and not connection.busy and connection in self._connections:
            self._write(connection)

    def _watch(self, connection: _Connection, events: int) -> None:
        if connection.paused:
            connection.paused = False
            self.poller.register(connection.sock, events, connection)
        else:
            self.poller.modify(connection.sock, events, connection)

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection]
        if not connection.paused:
            self.poller.unregister(connection.sock)
        connection.sock.close()

    # The pool's threads

    def _answer(self, connection: _Connection, request: bytes, outcome: Refused | None) -> None:
        """Answer one request and pass the connection on; never raises, never waits for client or commit."""
        try:
            octets = self._respond(connection, request, outcome)
        except Exception as error:  # noqa: BLE001 - the client gets an answer whatever it is, and the thread goes on
            connection.closing = True
            octets = _octets(self._problem_of(error))
            connection.promise = None
        promise, connection.promise = connection.promise, None
        if promise is None:
            self._send(connection, octets)
            return
        kept_back = connection.kept_back = _KeptBack(octets, request, time.monotonic() + PROMISE_S)
        promise.then(lambda refused: self._decide(connection, kept_back, refused))

    def _decide(self, connection: _Connection, kept_back: _KeptBack, refused: Refused | None) -> None:
        """Take the outcome for an answer that was kept back; any thread. The main thread is woken once for many."""
        self._decided.append((connection, kept_back, refused))
        if not self._delivers:
            self._delivers = True
            self.method_queue.defer(self._deliver)

    def _deliver(self) -> None:
        """Send the answers that were kept back and may go out now; the main thread."""
        self._delivers = False  # before the look: what is appended after it wakes us again
        while self._decided:
            connection, kept_back, refused = self._decided.popleft()
            if connection.kept_back is kept_back:  # else it was told meanwhile that the outcome is unknown
                self._release(connection, kept_back, refused)

    def _release(self, connection: _Connection, kept_back: _KeptBack, refused: Refused | None) -> None:
        connection.kept_back = None
        if refused is None:
            self._send(connection, kept_back.octets)
        else:
            self.tpool.submit(connection, kept_back.request, refused)

    def _send(self, connection: _Connection, octets: bytes) -> None:
        """Send what the client takes at once, and pass the connection on."""
        sent = 0
        if not connection.taken:
            with contextlib.suppress(OSError):  # full, or gone: the main thread finds out
                sent = connection.sock.send(octets)
        connection.answer = memoryview(octets)[sent:]
        connection.deadline = time.monotonic() + self.cfg.keepalive
        if connection.taken or connection.closing or connection.answer or connection.inbox:
            self.method_queue.defer(self._take_back, connection)
            return
        connection.busy = False
        if connection.paused:
            self.method_queue.defer(self._resume, connection)

    def _respond(self, connection: _Connection, request: bytes, outcome: Refused | None = None) -> bytes:
        parser = RequestParser(self.cfg, [request], connection.client)
        req = next(parser)
        reader = req.body.reader
        if isinstance(reader, LengthReader) and reader.length != len(parser.unreader.buf.getvalue()):
            raise errors.InvalidHeader("CONTENT-LENGTH", req=req)  # we and the parser do not see the same request
        req._expected_100_continue = False  # noqa: SLF001 - was dealt with while the body was on its way
        outbox = _Outbox()
        response, environ = wsgi.create(req, outbox, connection.client, connection.server, self.cfg)
        del environ["gunicorn.socket"]
        environ["wsgi.multithread"] = True
        environ[HAND_OVER] = connection.hand_over
        environ[ANSWER_AFTER] = connection.answer_after
        if outcome is not None:
            environ[OUTCOME] = outcome
        started = time.monotonic()
        body = self.wsgi(environ, response.start_response)
        if not self.alive:
            response.force_close()
        try:
            for octets in body:
                response.write(octets)
            response.close()
        finally:
            if self.log.access_log_enabled:
                self.log.access(response, req, environ, timedelta(seconds=time.monotonic() - started))
            if hasattr(body, "close"):
                body.close()
        connection.closing = response.should_close()
        return b"".join(outbox.parts)

    def _problem_of(self, error: Exception) -> Problem:
        for kind, code in _CLIENT_FAULTS:
            if isinstance(error, kind):
                return Problem(code, str(error)[:200])
        self.log.error("a request failed by our own fault", exc_info=error)
        return Problem("internal_error", "The fault is ours and has been logged.")


def _octets(problem: Problem) -> bytes:
    """Return a whole response that closes the connection."""
    body = problem.body()
    status = http.HTTPStatus(problem.status)
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in problem.header_list()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
