"""Every error answer: RFC 9457 `application/problem+json`, whoever gives it (view, framework, middleware or worker).

`PROBLEMS` names the codes of HTTP itself; refusals of the engine bring theirs from `exchange.messages.REFUSALS`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec
from flask import Flask, Response
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException

from trading_engine.exchange.messages import REFUSALS, Refusal, Refused

MAX_BODY_BYTES = 64 * 1024
"""Largest request body; an order needs less than one kilobyte."""

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
"""What a 503 asks the client to wait: start-up, a stale book and a failed commit are over in about a second."""

PROBLEMS: Mapping[str, Refusal] = MappingProxyType(
    {
        "bad_request": Refusal(status=400, title="Bad request"),
        "malformed_json": Refusal(status=400, title="The body is not acceptable JSON"),
        "host_not_allowed": Refusal(status=400, title="Host not allowed"),
        "unauthorized": Refusal(status=401, title="Password required"),
        "origin_not_allowed": Refusal(status=403, title="Origin not allowed"),
        "forbidden": Refusal(status=403, title="Forbidden"),
        "not_found": Refusal(status=404, title="Not found"),
        "fill_not_found": Refusal(status=404, title="Fill not found"),
        "method_not_allowed": Refusal(status=405, title="Method not allowed"),
        "request_timeout": Refusal(status=408, title="The request did not arrive in time"),
        "body_too_large": Refusal(status=413, title="Body too large"),
        "uri_too_long": Refusal(status=414, title="Request line too long"),
        "unsupported_media_type": Refusal(status=415, title="Unsupported media type"),
        "expectation_failed": Refusal(status=417, title="Expectation failed"),
        "validation_failed": Refusal(status=422, title="Input not valid"),
        "headers_too_large": Refusal(status=431, title="Header fields too large"),
        "internal_error": Refusal(status=500, title="Internal error"),
        "not_implemented": Refusal(status=501, title="Not implemented"),
        "too_many_streams": Refusal(status=503, title="Too many streams"),
        "unavailable": Refusal(status=503, title="Unavailable"),
    }
)
"""Codes that do not come from the engine."""

_CODE_OF_STATUS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    417: "expectation_failed",
    422: "validation_failed",
    431: "headers_too_large",
    501: "not_implemented",
    503: "unavailable",
}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Problem(Exception):
    """An error answer. `errors` says what is wrong with which field; `headers` are added to the answer's."""

    code: str
    detail: str
    errors: Mapping[str, Sequence[str]] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return entry(self.code).status

    def body(self) -> bytes:
        """Return the answer's JSON."""
        known = entry(self.code)
        members: dict[str, object] = {
            "type": f"/api/v1/docs#{self.code}",
            "title": known.title,
            "status": known.status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors is not None:
            members["errors"] = self.errors
        return msgspec.json.encode(members)

    def header_list(self) -> list[tuple[str, str]]:
        """Return the answer's header fields but for its length."""
        fields = [("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store"), *self.headers.items()]
        if self.status == 503:
            fields.append(("Retry-After", str(RETRY_AFTER_S)))
        return fields


def entry(code: str) -> Refusal:
    """Return status and title of a code; a KeyError is our own fault."""
    return PROBLEMS.get(code) or REFUSALS[code]


def of_refusal(refused: Refused) -> Problem:
    """Say an engine's refusal in HTTP."""
    errors = {refused.field: [refused.detail]} if refused.field else None
    return Problem(refused.code, refused.detail, errors)


def respond(problem: Problem) -> Response:
    """Make the response of a problem."""
    return Response(problem.body(), status=problem.status, headers=problem.header_list())


def install(app: Flask) -> None:
    """Answer every error of the application with a problem."""
    app.register_error_handler(Problem, respond)
    app.register_error_handler(Refused, lambda refused: respond(of_refusal(refused)))
    app.register_error_handler(HTTPException, _of_framework)
    # A body sent in chunks is taken apart only while a view reads it.
    app.register_error_handler(
        ParseException, lambda error: respond(Problem("bad_request", f"The body is cut wrongly: {error}."))
    )
    app.register_error_handler(Exception, _of_our_fault)


def _of_framework(error: HTTPException) -> Response:
    code = _CODE_OF_STATUS.get(error.code or 500, "bad_request" if (error.code or 500) < 500 else "internal_error")
    details = {
        "not_found": "Nothing is here; /api/v1/docs lists what is.",
        "method_not_allowed": "This address does not answer that method.",
        "body_too_large": f"A body may have at most {MAX_BODY_BYTES} bytes.",
    }
    allowed = getattr(error, "valid_methods", None)
    headers = {"Allow": ", ".join(sorted(allowed))} if allowed else {}
    return respond(Problem(code, details.get(code) or error.description or entry(code).title, headers=headers))


def _of_our_fault(error: Exception) -> Response:
    _log.error("a request failed by our own fault", exc_info=error)
    return respond(
        Problem("internal_error", "The fault is ours and has been logged; nothing is known to have changed.")
    )
