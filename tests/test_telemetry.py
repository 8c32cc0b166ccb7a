"""What is logged is one line a record, and never a secret; metrics have the names dashboards know."""

import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog

from trading_engine.config import Config
from trading_engine.telemetry import HANDLER, Metrics, configure_logging


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Configure the log into a buffer, and undo it."""
    stream = io.StringIO()
    level = logging.getLogger().level
    config = Config(access_password="hunter2", database_url="postgresql://u:s3cret@h/db", log_level="info")
    configure_logging(config, stream)
    yield stream
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if handler.get_name() == HANDLER]:
        root.removeHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_logger_write_the_same_lines(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("ours").info("venue", name="binance", host="x")
    logging.getLogger("theirs").warning("retry %d", 3)
    first, second = lines(stream)
    assert (first["event"], first["level"], first["logger"], first["name"]) == ("venue", "info", "ours", "binance")
    assert (second["event"], second["level"], second["logger"]) == ("retry 3", "warning", "theirs")
    assert str(first["timestamp"]).endswith("Z")


def test_a_level_below_the_configured_one_is_not_written(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("ours").debug("frame")
    assert stream.getvalue() == ""


def test_secrets_are_hidden_by_name_and_by_value_wherever_they_turn_up(stream: io.StringIO) -> None:
    log = structlog.stdlib.get_logger("ours")
    log.info("login with hunter2", password="abc", headers={"Authorization": "Basic hunter2"}, url="//u:s3cret@h/db")
    logging.getLogger("theirs").error("cannot reach %s", "postgresql://u:s3cret@h/db")
    log.error("failed", exc_info=RuntimeError("no route to postgresql://u:s3cret@h/db"))
    text = stream.getvalue()
    assert "hunter2" not in text
    assert "s3cret" not in text
    assert "abc" not in text
    assert text.count("[hidden]") >= 4


def test_a_clients_text_cannot_begin_a_line_or_steer_a_terminal(stream: io.StringIO) -> None:
    structlog.stdlib.get_logger("ours").info("order", client="x\r\n2026-01-01 [info] forged\x1b[2J\u2028")
    (line,) = lines(stream)
    assert line["client"] == r"x\r\n2026-01-01 [info] forged\x1b[2J\u2028"


def test_configuring_again_replaces_our_handler_and_leaves_others(stream: io.StringIO) -> None:
    before = [handler for handler in logging.getLogger().handlers if handler.get_name() != HANDLER]
    again = io.StringIO()
    configure_logging(Config(), again)
    logging.getLogger("theirs").warning("once")
    assert stream.getvalue() == ""
    assert len(lines(again)) == 1
    assert [handler for handler in logging.getLogger().handlers if handler.get_name() != HANDLER] == before


def test_metrics_are_prometheus_text_with_stable_names() -> None:
    metrics = Metrics()
    metrics.orders.labels("accepted").inc()
    metrics.committed(3, 0.001)
    counts = SimpleNamespace(
        frames=7, malformed=1, gaps=2, reconnects=3, missed_prints=6, backfilled=5, backfills_failed=4
    )
    metrics.watch_feed(lambda: counts, lambda: {"BTCUSDT": 0.25})
    text, content_type = metrics.exposition()
    assert content_type.startswith("text/plain")
    for line in (
        'paper_orders_total{result="accepted"} 1.0',
        "paper_commit_seconds_count 1.0",
        'paper_commit_batches_bucket{le="4.0"} 1.0',
        "paper_feed_frames_total 7.0",
        "paper_feed_malformed_total 1.0",
        "paper_feed_gaps_total 2.0",
        "paper_feed_reconnects_total 3.0",
        "paper_feed_missed_prints_total 6.0",
        "paper_feed_backfilled_total 5.0",
        "paper_feed_backfills_failed_total 4.0",
        'paper_feed_age_seconds{symbol="BTCUSDT"} 0.25',
        "paper_open_orders 0.0",
    ):
        assert line in text.decode().splitlines()


def test_two_runtimes_have_metrics_of_their_own() -> None:
    first, second = Metrics(), Metrics()
    first.commit_failures.inc()
    assert b"paper_commit_failures_total 0.0" in second.exposition()[0]
