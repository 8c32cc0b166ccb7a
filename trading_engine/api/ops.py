"""What machines ask about the process: health, readiness, metrics. Never about the host name, never for a password."""

from typing import Any

from flask import Blueprint, Flask, Response, request

from trading_engine.api import current_runtime
from trading_engine.api.operations import KEPT_BACK_FOR, Answer, json_response, operation
from trading_engine.api.shapes import Health

blueprint = Blueprint("ops", __name__)

_EITHER = {200: [Answer(schema=Health)], 503: [Answer(schema=Health)]}


def count_requests(app: Flask) -> None:
    """Count every answer by route and status; what no route serves counts as `none`."""

    def count(response: Response) -> Response:
        answers = current_runtime().metrics.http_requests.labels(request.endpoint or "none", response.status_code)
        commit = request.environ.get(KEPT_BACK_FOR)
        if commit is None:
            answers.inc()
        else:
            commit.then(lambda refused: None if refused else answers.inc())
        return response

    app.after_request(count)


@operation(blueprint, "GET /health", answers=_EITHER)
def health() -> Response:
    """Say how the process is: 200 while it can store orders or stands by, whatever the venue does; else 503."""
    state = current_runtime().health()
    return json_response(state, 200 if state["status"] == "ok" else 503)


@operation(blueprint, "GET /ready", answers=_EITHER)
def ready() -> Response:
    """Say whether orders can be placed: 200 only with the engine claimed and every configured symbol live."""
    state: dict[str, Any] = current_runtime().health()
    is_ready = state["status"] == "ok" and state["engine"]["role"] == "active" and state["feed"]["state"] == "live"
    return json_response(state, 200 if is_ready else 503)


@operation(blueprint, "GET /metrics", answers={200: []}, media_type="text/plain")
def metrics() -> Response:
    """Return the metrics as Prometheus text."""
    text, content_type = current_runtime().metrics.exposition()
    return Response(text, content_type=content_type)
