"""The gate before everything: whose names we answer to, who may come in, which pages may write, what browsers may do.

A WSGI middleware, because the page's files do not pass through Flask. `Host` must be one of ours (DNS rebinding), the
password must be right where one is set, a write or a stream with an `Origin` must come from our own page; every answer
gets the security headers. `/health` and `/ready` are for the platform, which knows neither our name nor the password.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.http import HTTP_STATUS_CODES

from trading_engine.api.problems import Problem

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

OPEN_PATHS = frozenset({"/health", "/ready"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
STREAM_PATH = "/api/v1/stream"

_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
SECURITY_HEADERS = (
    ("Content-Security-Policy", _CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
NO_STORE = ("Cache-Control", "no-store")


class Gate:
    """Lets requests in, or answers them itself."""

    def __init__(self, application: Application, *, allowed_hosts: Iterable[str], password: str | None) -> None:
        self._application = application
        self._hosts = frozenset(allowed_hosts)
        self._password = password.encode() if password else None

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            headers.extend(SECURITY_HEADERS)
            if not any(name.lower() == "cache-control" for name, _ in headers):
                headers.append(NO_STORE)
            return start_response(status, headers, *exc_info)

        problem = None if environ["PATH_INFO"] in OPEN_PATHS else self._objection(environ)
        if problem is None:
            return self._application(environ, start)
        body = problem.body()
        status = f"{problem.status} {HTTP_STATUS_CODES[problem.status]}"
        start(status, [*problem.header_list(), ("Content-Length", str(len(body)))])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _objection(self, environ: Environ) -> Problem | None:
        host = environ.get("HTTP_HOST", "")
        if host_name(host) not in self._hosts:
            return Problem(
                "host_not_allowed", "This server does not answer to that name; ALLOWED_HOSTS lists its names."
            )
        if self._password is not None and not self._knows_password(environ.get("HTTP_AUTHORIZATION", "")):
            ask = {"WWW-Authenticate": 'Basic realm="paper-exchange", charset="UTF-8"'}
            return Problem("unauthorized", "Any user name with the server's ACCESS_PASSWORD.", headers=ask)
        origin = environ.get("HTTP_ORIGIN")
        guarded = environ["REQUEST_METHOD"] not in SAFE_METHODS or environ["PATH_INFO"] == STREAM_PATH
        if origin is not None and guarded and origin.partition("://")[2].lower() != host.lower():
            return Problem("origin_not_allowed", "Only this server's own page may do that.")
        return None

    def _knows_password(self, authorization: str) -> bool:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "basic" or self._password is None:
            return False
        try:
            _, _, given = base64.b64decode(credentials.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(given, self._password)


def host_name(host: str) -> str:
    """Return the name in a `Host` header: lower case, without the port, IPv6 in its brackets."""
    name = host.lower()
    if not name.startswith("["):
        return name.partition(":")[0]
    address, bracket, port = name.partition("]")
    return address + bracket if not port or port.startswith(":") else name
