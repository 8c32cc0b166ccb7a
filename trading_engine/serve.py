"""gunicorn's settings and hooks: one worker process that owns the engine, started and stopped with it.

`gunicorn.conf.py` hands these on, so that `gunicorn wsgi:app` needs no options. Several workers would be several
engines behind one address and a preloaded application would lose its threads in the fork: both are refused at start.
"""

import contextlib
import gc
import ipaddress
import resource
import sys
from typing import Any

from gunicorn import glogging

from trading_engine.api import EXTENSION
from trading_engine.config import Config
from trading_engine.runtime import Runtime
from trading_engine.telemetry import configure_logging

THREADS = 16
"""Requests worked on at once. None waits for a client or for an order's commit (see `worker`): only a look into the
store, a symbol that is followed on demand and a cancel's commit keep one busy. More would only queue for the
interpreter."""

CONNECTIONS = 4_000
"""Connections at once, streams not counted; beyond, the oldest idle one makes room."""

OPEN_FILES = 8_192
"""Connections, streams (`broadcast.MAX_STREAMS`) and what the engine itself opens."""

SWITCH_INTERVAL_S = 0.005
"""How long a thread may keep the others from running: Python's own default, stated because it was measured.

Every thread that waits its turn wakes up this often and a forced switch costs what lay in the processor's caches: at
1 ms a second holds a tenth fewer orders.
"""

YOUNG_OBJECTS = 20_000
"""New objects between two looks of the garbage collector. An order leaves some fifty behind, hardly ever in a cycle; at
Python's 700 the collector looks after every dozen orders."""


def settings(config: Config) -> dict[str, Any]:
    """Return gunicorn's settings."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    return {
        "bind": [f"{host}:{config.port}"],
        "worker_class": "trading_engine.worker.Worker",
        "threads": THREADS,
        "worker_connections": CONNECTIONS,
        "preload_app": False,
        "max_requests": 0,
        "timeout": 30,
        "graceful_timeout": 6,
        "keepalive": 75,
        "limit_request_line": 8190,
        "limit_request_fields": 50,
        "limit_request_field_size": 4096,
        "control_socket_disable": True,
        "sendfile": False,
        "loglevel": config.log_level,
        "logger_class": Logger,
        "on_starting": on_starting,
        "post_worker_init": post_worker_init,
        "worker_int": worker_int,
        "worker_exit": worker_exit,
    }


class Logger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own lines, in the format and to the place of all others."""

    def setup(self, cfg: Any) -> None:
        """Hand every record on to the root logger."""
        super().setup(cfg)
        configure_logging(Config.or_exit())
        for log in (self.error_log, self.access_log):
            log.handlers.clear()
            log.propagate = True


def on_starting(server: Any) -> None:
    """Refuse to start in a way that would break the engine, whatever the command line says."""
    cfg = server.cfg
    objections = [
        (cfg.workers != 1, f"workers must be 1, not {cfg.workers} (-w, WEB_CONCURRENCY): each would be an engine"),
        (cfg.preload_app, "preload must be off: the engine's threads would not survive the fork"),
        (cfg.max_requests, "max_requests must be 0: it would cut the feeds"),
        (cfg.is_ssl, "TLS is not spoken here: put a proxy in front"),
        (_too_wide(cfg.address, Config.or_exit()), "a bind wider than loopback needs PUBLIC=1 and ACCESS_PASSWORD"),
    ]
    for objected, reason in objections:
        if objected:
            sys.stderr.write(f"paper-exchange cannot start: {reason}\n")
            sys.exit(2)


def post_worker_init(worker: Any) -> None:
    """Start the engine in the process that will serve it."""
    with contextlib.suppress(ValueError, OSError):  # where the limit may not be raised, fewer clients fit
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()  # modules and routes stay: not to be looked at again
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    _runtime(worker).start()


def worker_int(worker: Any) -> None:
    """End the streams: the worker was told to stop. Runs in a signal handler."""
    if hasattr(worker, "wsgi"):
        _runtime(worker).broadcaster.goodbye()


def worker_exit(_server: Any, worker: Any) -> None:
    """Stop the engine and let go of its data; requests have been answered."""
    if hasattr(worker, "wsgi"):
        _runtime(worker).stop()


def _runtime(worker: Any) -> Runtime:
    runtime: Runtime = worker.wsgi.extensions[EXTENSION]
    return runtime


def _too_wide(addresses: list[Any], config: Config) -> bool:
    """Whether somebody else's machine could reach us though the settings do not say so: `--bind` overrules HOST."""
    if config.public and config.access_password:
        return False
    return any(isinstance(address, tuple) and not _is_loopback(address[0]) for address in addresses)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
