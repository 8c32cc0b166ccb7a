"""The application: what a request passes through, from the outside in. Reads like a table of contents.

`create_app` wires and starts nothing; whoever serves it starts the runtime (`serve`, `wsgi`).
"""

import functools
import gzip
import io
from collections.abc import Iterable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from wsgiref.headers import Headers

from flask import Flask
from whitenoise import WhiteNoise
from whitenoise.responders import Response

from trading_engine import cli
from trading_engine.api import EXTENSION, accounts, markets, openapi, ops, orders, previews, problems, receipts, stream
from trading_engine.api.auth import Application, Environ, Gate, StartResponse
from trading_engine.config import Config
from trading_engine.exchange.money import use_exact_arithmetic
from trading_engine.runtime import Runtime

FRONTEND = Path(__file__).resolve().parent.parent / "frontend"

VENDOR_MAX_AGE_S = 3600
"""Third-party files change rarely; our own are asked for again each time, and mostly answered 304."""

NOT_SERVED = ("/.", "/package", "/node_modules/")
"""What lies in the folder for the tools and is no part of the page."""


PACKED = frozenset({".css", ".html", ".js", ".svg"})
"""Kinds of files that are sent compressed, to those who can read that."""


def create_app(config: Config | None = None, *, runtime: Runtime | None = None) -> Flask:
    """Make the application; without `config` from the environment, which must then be right."""
    use_exact_arithmetic()
    config = config or Config.from_environment()
    runtime = runtime or Runtime(config)
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = problems.MAX_BODY_BYTES
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.url_map.converters["id"] = orders.IdConverter
    app.extensions[EXTENSION] = runtime
    for module in (orders, previews, receipts, accounts, markets, stream, ops, openapi):
        app.register_blueprint(module.blueprint)
    problems.install(app)
    ops.count_requests(app)
    cli.install(app)
    runtime.broadcaster.attach(stream.StreamNews(runtime))
    app.wsgi_app = Gate(  # type: ignore[method-assign]  # how Flask's documentation wraps an application
        _with_page(app.wsgi_app, live=app.debug),
        allowed_hosts=config.allowed_hosts,
        password=config.access_password,
    )
    return app


def _with_page(application: Application, *, live: bool) -> Application:
    """Serve the page's files at `/`, everything else by the application; `live`: look for changed files each time."""
    page = WhiteNoise(
        application,
        root=FRONTEND,
        index_file=True,
        autorefresh=live,
        max_age=None,
        allow_all_origins=False,
        add_headers_function=_cache,
    )
    for url in [url for url in page.files if url.startswith(NOT_SERVED)]:
        del page.files[url]
    for path in () if live else FRONTEND.rglob("*"):
        url = f"/{path.relative_to(FRONTEND).as_posix()}".removesuffix("index.html")
        has_twin = path.with_name(f"{path.name}.gz").exists()
        if path.suffix in PACKED and url in page.files and not has_twin:
            page.files[url] = _Packed(page.files[url], _twin(path, path.stat().st_mtime_ns))

    def serve(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        reads = environ["REQUEST_METHOD"] in {"GET", "HEAD"}
        answer: Iterable[bytes] = (page if reads else application)(environ, start_response)
        return answer

    return serve


def _cache(headers: Headers, _path: str, url: str) -> None:
    headers["Cache-Control"] = (
        f"private, max-age={VENDOR_MAX_AGE_S}" if url.startswith("/vendor/") else "private, no-cache"
    )
    headers["Vary"] = "Accept-Encoding"


class _Packed:
    """A file with its compressed twin in memory, made at the start: on disk it could be older than the file."""

    def __init__(self, plain: Any, twin: bytes) -> None:
        self._plain = plain
        self._twin = twin

    def get_response(self, method: str, environ: Environ) -> Any:
        """Answer as WhiteNoise's own files do; what is asked for in part, or known already, is its business."""
        response = self._plain.get_response(method, environ)
        if response.status != HTTPStatus.OK or "gzip" not in environ.get("HTTP_ACCEPT_ENCODING", ""):
            return response
        headers = [(name, value) for name, value in response.headers if name != "Content-Length"]
        headers += [("Content-Encoding", "gzip"), ("Content-Length", str(len(self._twin)))]
        if response.file is None:
            return Response(HTTPStatus.OK, headers, None)
        response.file.close()
        return Response(HTTPStatus.OK, headers, io.BytesIO(self._twin))


@functools.lru_cache(maxsize=256)
def _twin(path: Path, _changed_ns: int) -> bytes:
    return gzip.compress(path.read_bytes(), mtime=0)
