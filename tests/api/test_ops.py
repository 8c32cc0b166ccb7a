"""Health, readiness and metrics."""

import pytest
from flask.testing import FlaskClient

from tests.api.conftest import Floor, said
from trading_engine.exchange.market import FeedState


def test_a_working_exchange_is_healthy_and_ready(client: FlaskClient) -> None:
    health = client.get("/health")
    assert (health.status_code, said(health)["status"]) == (200, "ok")
    assert client.get("/ready").status_code == 200
    assert client.head("/health").status_code == 200


def test_a_venue_that_is_down_is_no_fault_of_ours(client: FlaskClient, floor: Floor) -> None:
    floor.become(FeedState.DOWN)
    health = client.get("/health")
    assert (health.status_code, said(health)["feed"]["symbols"]["BTCUSDT"]["state"]) == (200, "down")
    assert client.get("/ready").status_code == 503


@pytest.mark.parametrize(
    ("role", "health", "ready"), (("standby", 200, 503), ("starting", 503, 503), ("halted", 503, 503))
)
def test_only_the_process_with_the_engine_is_ready(
    client: FlaskClient, floor: Floor, role: str, health: int, ready: int
) -> None:
    floor.role = role
    assert client.get("/health").status_code == health
    assert client.get("/ready").status_code == ready


def test_requests_are_counted_by_route_and_status(client: FlaskClient) -> None:
    client.get("/api/v1/orders/17")
    client.get("/no/such/page")
    client.get("/api/v1/orders?limit=0")
    text = client.get("/metrics").text
    assert 'paper_http_requests_total{endpoint="orders.get_order",status="404"} 1.0' in text
    assert 'paper_http_requests_total{endpoint="none",status="404"} 1.0' in text
    assert 'paper_http_requests_total{endpoint="orders.list_orders",status="422"} 1.0' in text
    assert "no/such/page" not in text
