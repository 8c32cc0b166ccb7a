"""How a view becomes an endpoint: input checked before it, its answer encoded after it, and both written down.

`@operation(...)` registers an `Operation` with a blueprint; the view behind it gets `query` and `body` as its schemas
loaded them, next to the path's values, and returns plain JSON values. The OpenAPI document is made of the same objects.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from flask import Blueprint, Response, request
from marshmallow import Schema, ValidationError

from trading_engine.api.numbers import parse_object
from trading_engine.api.problems import MAX_BODY_BYTES, Problem
from trading_engine.api.schemas import NoQuery
from trading_engine.exchange.door import Ticket

View = Callable[..., Any]

ANSWER_AFTER = "paper_exchange.answer_after"
"""WSGI environment: `answer_after(ticket)` lets the thread go on; the server sends the answer after the commit.

When the commit fails the server throws the answer away and asks once more, with the failure as `OUTCOME`.
"""

OUTCOME = "paper_exchange.outcome"
"""WSGI environment: the `Refused` that became of this request, which was carried out before."""

KEPT_BACK_FOR = "paper_exchange.kept_back_for"
"""WSGI environment: the ticket whose commit the answer waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an endpoint answers: a schema's object, or an object of them by symbol."""

    schema: type[Schema]
    by_symbol: bool = False


@dataclass(frozen=True, slots=True)
class Created:
    """A view's answer that is to go out with 201, once what it tells of is committed."""

    value: Any
    commit: Ticket | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path. `refusals` are the problem codes that are its own, besides those anything may answer."""

    view: View
    method: str
    path: str
    query: Schema
    body: Schema | None
    answers: Mapping[int, Sequence[Answer]]
    media_type: str
    refusals: tuple[str, ...]

    def __call__(self, **path: Any) -> Response:
        """Answer the current request."""
        refused = request.environ.get(OUTCOME)
        if refused is not None:
            raise refused
        if self.query.fields:
            path["query"] = _load(self.query, _query_values())
        elif request.query_string:
            _load(self.query, _query_values())
        if self.body is not None:
            path["body"] = _load(self.body, parse_object(_body()))
        answer = self.view(**path)
        if isinstance(answer, Response):
            return answer
        if isinstance(answer, Created):
            _keep_back_for(answer.commit)
            return json_response(answer.value, 201)
        return json_response(answer)


def operation(
    blueprint: Blueprint,
    rule: str,
    *,
    query: type[Schema] = NoQuery,
    body: type[Schema] | None = None,
    answers: Mapping[int, Sequence[Answer]] | type[Schema],
    media_type: str = "application/json",
    refusals: tuple[str, ...] = (),
) -> Callable[[View], View]:
    """Register a view for `rule`, such as `GET /orders`. `answers` by status; a schema alone is that of 200."""
    method, path = rule.split(" ")

    def register(view: View) -> View:
        made = Operation(
            view=view,
            method=method,
            path=path,
            query=query(),
            body=body() if body is not None else None,
            answers={200: [Answer(schema=answers)]} if isinstance(answers, type) else answers,
            media_type=media_type,
            refusals=refusals,
        )
        blueprint.add_url_rule(path, endpoint=view.__name__, view_func=made, methods=[method])
        return view

    return register


def _keep_back_for(commit: Ticket | None) -> None:
    """Have the server send the answer after this commit; where it cannot keep one back, wait here."""
    if commit is None:
        return
    answer_after = request.environ.get(ANSWER_AFTER)
    if answer_after is None:
        commit.wait()
    else:
        answer_after(commit)
        request.environ[KEPT_BACK_FOR] = commit


def json_response(value: Any, status: int = 200) -> Response:
    """Encode an answer."""
    return Response(msgspec.json.encode(value), status=status, content_type="application/json")


def _query_values() -> dict[str, str]:
    values: dict[str, str] = {}
    for name, given in request.args.lists():
        if len(given) > 1:
            raise Problem("validation_failed", f"{name[:64]}: is given twice.", {name[:64]: ["is given twice"]})
        values[name] = given[0]
    return values


def _body() -> bytes:
    """Return the body of a request that says it is JSON, as it is, in UTF-8."""
    environ = request.environ
    if environ.get("CONTENT_TYPE") != "application/json":
        _check_media_type()
    if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise Problem("unsupported_media_type", "Send the body without Content-Encoding.")
    length = environ.get("CONTENT_LENGTH", "")
    if not (length.isascii() and length.isdigit()):
        return request.get_data(cache=False)  # in chunks; bounded by MAX_CONTENT_LENGTH
    if int(length) > MAX_BODY_BYTES:
        raise Problem("body_too_large", f"A body may have at most {MAX_BODY_BYTES} bytes.")
    body: bytes = environ["wsgi.input"].read(int(length))
    return body


def _check_media_type() -> None:
    if request.mimetype != "application/json":
        raise Problem("unsupported_media_type", "The body must be JSON: send Content-Type: application/json.")
    if request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise Problem("unsupported_media_type", "JSON is UTF-8; there is no other charset.")


def _load(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values by a schema's fields, all at once.

    Does what `Schema.load` does, less the hooks and options that none of our schemas has: they cost two thirds of its
    time, on the way of every order.
    """
    loaded = {name: field.load_default for name, field in schema.load_fields.items() if not field.required}
    errors = {}
    for name, value in values.items():
        field = schema.load_fields.get(name)
        if field is None:
            errors[name] = ["is not known here"]
            continue
        try:
            loaded[name] = field.deserialize(value, name, values)
        except ValidationError as error:
            errors[name] = [str(message) for message in error.messages]
    for name, field in schema.load_fields.items():
        if field.required and name not in values:
            errors[name] = ["is required"]
    if errors:
        raise invalid(errors)
    return loaded


def invalid(errors: Mapping[str, Sequence[str]]) -> Problem:
    """Return the problem of fields that are not valid, the first of them in the sentence."""
    shown = {name[:64]: list(reasons) for name, reasons in errors.items()}
    name, reasons = next(iter(shown.items()))
    return Problem("validation_failed", f"{name}: {reasons[0]}", shown)
