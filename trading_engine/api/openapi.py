"""The API's own description: an OpenAPI 3.1 document made of the registered operations, and a page to read it on."""

import re
from collections.abc import Iterator, Sequence
from importlib import resources
from inspect import cleandoc
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from flask import Blueprint, Flask, Response, current_app, render_template

from trading_engine import __version__
from trading_engine.api import fields
from trading_engine.api.operations import Answer, Operation, operation
from trading_engine.api.problems import MEDIA_TYPE, PROBLEMS, entry
from trading_engine.api.shapes import ProblemAnswer
from trading_engine.exchange.messages import REFUSALS

blueprint = Blueprint("openapi", __name__, template_folder="pages")

_PATH_VALUE = re.compile(r"<(?:(\w+):)?(\w+)>")
_FIELD_TYPES = {
    fields.Text: "string",
    fields.Word: "string",
    fields.Switch: "boolean",
    fields.Whole: "integer",
    fields.Bips: "integer",
    fields.Balances: "object",
}
_DESCRIPTION = (
    "A paper exchange on live market data: orders are judged against the venue's real book, nobody's money moves. "
    "Prices, quantities and money are strings; numbers are accepted too and read exactly. Errors are problem details "
    "(RFC 9457) with a `code`."
)


@operation(blueprint, "GET /api/v1/openapi.json", answers={200: []})
def document() -> dict[str, Any]:
    """Return this document."""
    return describe(current_app)


@operation(blueprint, "GET /api/v1/docs", answers={200: []}, media_type="text/html")
def docs() -> Response:
    """Show this document as a page."""
    codes = {code: entry(code) for code in sorted({*PROBLEMS, *REFUSALS})}
    page = render_template("docs.html", document=describe(current_app), codes=codes)
    return Response(page, content_type="text/html; charset=utf-8")


@operation(blueprint, "GET /api/v1/docs.css", answers={200: []}, media_type="text/css")
def docs_style() -> Response:
    """Return the page's style sheet."""
    style = resources.files("trading_engine.api").joinpath("pages", "docs.css").read_bytes()
    return Response(style, content_type="text/css; charset=utf-8", headers={"Cache-Control": "max-age=300"})


def operations(app: Flask) -> Iterator[tuple[str, Operation]]:
    """Yield every operation of the application with its name."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if isinstance(view, Operation):
            yield rule.endpoint.rpartition(".")[2], view


def describe(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of an application; it is made once."""
    if "openapi" not in app.extensions:
        app.extensions["openapi"] = _Description(app).document
    document: dict[str, Any] = app.extensions["openapi"]
    return document


class _Description:
    """Builds the document of one application."""

    def __init__(self, app: Flask) -> None:
        plugin: Any = MarshmallowPlugin()  # what is called of it has no types
        spec = APISpec(
            "Paper Exchange",
            __version__,
            "3.1.0",
            plugins=[plugin],
            info={"description": _DESCRIPTION},
            servers=[{"url": "/"}],
        )
        self._schema_of = plugin.resolver.resolve_schema_dict
        for field, kind in _FIELD_TYPES.items():
            plugin.map_to_openapi_type(field, kind, None)
        plugin.converter.add_attribute_function(_request_field)
        for name, one in operations(app):
            path = _PATH_VALUE.sub(r"{\2}", one.path)
            spec.path(path=path, operations={one.method.lower(): self._operation(name, one)})
        self.document: dict[str, Any] = spec.to_dict()

    def _operation(self, name: str, one: Operation) -> dict[str, Any]:
        summary, _, description = cleandoc(one.view.__doc__ or "").partition("\n\n")
        described: dict[str, Any] = {
            "operationId": name,
            "summary": summary.removesuffix("."),
            "description": description,
            "parameters": [_path_value(kind, value) for kind, value in _PATH_VALUE.findall(one.path)],
            "responses": {str(status): self._response(one, answers) for status, answers in one.answers.items()},
        }
        if one.query.fields:
            described["parameters"].append({"in": "query", "schema": type(one.query)})
        if one.body is not None:
            content = {"application/json": {"schema": self._schema_of(type(one.body))}}
            described["requestBody"] = {"required": True, "content": content}
        own = f" Codes of its own: {', '.join(one.refusals)}." if one.refusals else ""
        described["responses"]["default"] = {
            "description": f"A problem.{own}",
            "content": {MEDIA_TYPE: {"schema": self._schema_of(ProblemAnswer)}},
        }
        return described

    def _response(self, one: Operation, answers: Sequence[Answer]) -> dict[str, Any]:
        shapes = [self._shape(answer) for answer in answers]
        schema: dict[str, Any] = {} if not shapes else shapes[0] if len(shapes) == 1 else {"oneOf": shapes}
        description = (
            " Or: ".join(cleandoc(answer.schema.__doc__ or "") for answer in answers) or "As the summary says."
        )
        return {"description": description, "content": {one.media_type: {"schema": schema}}}

    def _shape(self, answer: Answer) -> Any:
        schema = self._schema_of(answer.schema)
        return {"type": "object", "additionalProperties": schema} if answer.by_symbol else schema


def _request_field(_converter: Any, field: Any, **_options: Any) -> dict[str, Any]:
    """Say what apispec cannot know of our own fields."""
    if isinstance(field, fields.Amount):
        return {"type": ["string", "number", "null"] if field.allow_none else ["string", "number"]}
    if isinstance(field, fields.Text):
        return {"pattern": f"^{field.pattern.pattern}$"}
    if isinstance(field, fields.Balances):
        return {"additionalProperties": {"type": ["string", "number"]}, "maxProperties": fields.MAX_BALANCES}
    return {}


def _path_value(kind: str, name: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1} if kind == "id" else {"type": "string"}
    return {"in": "path", "name": name, "required": True, "schema": schema}
