"""What the process says about itself: the log's set-up and the definition of every metric.

A leaf: imports only `config`. Nothing here is global but what `configure_logging` hands to `logging` and `structlog`;
metrics are attributes of one `Metrics` object with its own registry, made by whoever starts the program. Label values
come from short fixed lists (never from a client's text), so that the number of series stays bounded.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from structlog.typing import EventDict, Processor, WrappedLogger

from trading_engine.config import Config

HIDDEN = "[hidden]"
HANDLER = "paper-exchange"
"""Name of our handler at the root logger; configuring again replaces it and leaves everybody else's."""

_SECRET_NAME = re.compile(r"pass(word|wd)?|secret|token|authorization|cookie|api_?key|signature", re.IGNORECASE)
# Line breaks forge log lines; the other control characters (ESC above all) steer a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logging(config: Config, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (stderr) in the configured format and level."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets(config.secrets),
        one_line_values,
    ]
    output = stream or sys.stderr
    renderer: Processor = structlog.processors.JSONRenderer(ensure_ascii=False)
    if config.log_format == "console":
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=plain)
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                hide_secrets(config.secrets),  # once more: an exception's text is there only now
                renderer,
            ],
        )
    )
    handler.set_name(HANDLER)
    root = logging.getLogger()
    for earlier in [other for other in root.handlers if other.get_name() == HANDLER]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(config.log_level.upper())
    for chatty in ("alembic", "urllib3"):
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def hide_secrets(secrets: Sequence[str]) -> Processor:
    """Make a processor that hides values under secret-sounding names, and the given texts wherever they occur."""

    def hide(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        for name, value in event.items():
            if _SECRET_NAME.search(name):
                event[name] = HIDDEN
            elif isinstance(value, str):
                event[name] = _without(value, secrets)
            elif secrets and not name.startswith("_") and name != "exc_info":
                shown = repr(value)
                if any(secret in shown for secret in secrets):
                    event[name] = _without(shown, secrets)
        return event

    return hide


def one_line_values(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Write control characters in texts as escapes: a client's text cannot begin a log line of its own."""
    for name, value in event.items():
        if isinstance(value, str) and _CONTROL.search(value):
            event[name] = _CONTROL.sub(lambda found: repr(found.group())[1:-1], value)
    return event


def _without(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    return text


class Metrics:
    """Every metric of the process, in a registry of its own. Seconds are `_seconds`, counters end in `_total`."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.orders = Counter(
            "paper_orders",
            "Order requests by result: accepted, repeated or the refusal's code.",
            ["result"],
            registry=registry,
        )
        self.open_orders = Gauge("paper_open_orders", "Orders that can still fill.", registry=registry)
        self.commit_seconds = Histogram(
            "paper_commit_seconds",
            "Time one transaction of the journal took, sync included.",
            buckets=(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 5),
            registry=registry,
        )
        self.commit_batches = Histogram(
            "paper_commit_batches",
            "Batches that shared one transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self.commit_failures = Counter("paper_commit_failures", "Transactions that failed.", registry=registry)
        self.http_requests = Counter(
            "paper_http_requests",
            "HTTP requests by endpoint (route, not path) and status.",
            ["endpoint", "status"],
            registry=registry,
        )
        self.threads_dead = Gauge("paper_threads_dead", "Threads that ended though they should run.", registry=registry)

    def watch_feed(self, counts: Callable[[], FeedCounts | None], ages_s: Callable[[], Mapping[str, float]]) -> None:
        """Report the feed's counts and the age of each configured symbol's book whenever metrics are asked for."""
        self.registry.register(_FeedCollector(counts, ages_s))

    def exposition(self) -> tuple[bytes, str]:
        """Return the metrics as Prometheus text and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    def committed(self, batches: int, seconds: float) -> None:
        """Note one transaction of the journal."""
        self.commit_seconds.observe(seconds)
        self.commit_batches.observe(batches)


class FeedCounts(Protocol):
    """What a feed counts from its start."""

    @property
    def frames(self) -> int:
        """Frames received."""

    @property
    def malformed(self) -> int:
        """Frames that could not be used."""

    @property
    def gaps(self) -> int:
        """Times a book lost its place."""

    @property
    def reconnects(self) -> int:
        """Connections lost."""

    @property
    def missed_prints(self) -> int:
        """Public trades the stream left out."""

    @property
    def backfilled(self) -> int:
        """Of these, those fetched by REST."""

    @property
    def backfills_failed(self) -> int:
        """Holes in the trades that could not be filled."""


class _FeedCollector(Collector):
    """Reads the feed when it is scraped: it keeps its own counts, on its own thread."""

    def __init__(self, counts: Callable[[], FeedCounts | None], ages_s: Callable[[], Mapping[str, float]]) -> None:
        self._counts = counts
        self._ages_s = ages_s

    def collect(self) -> Iterable[Metric]:
        counts = self._counts()
        for name, text in (
            ("frames", "Frames received from the venue."),
            ("malformed", "Frames we could not use."),
            ("gaps", "Times a book lost its place and was rebuilt."),
            ("reconnects", "Connections to the venue lost."),
            ("missed_prints", "Public trades the stream left out."),
            ("backfilled", "Public trades fetched by REST since the stream left them out."),
            ("backfills_failed", "Holes in the public trades that could not be filled."),
        ):
            value = 0 if counts is None else getattr(counts, name)
            yield CounterMetricFamily(f"paper_feed_{name}", text, value=value)
        ages = GaugeMetricFamily(
            "paper_feed_age_seconds", "Age of the last book change of a configured symbol.", labels=["symbol"]
        )
        for symbol, age_s in self._ages_s().items():
            ages.add_metric([symbol], age_s)
        yield ages
