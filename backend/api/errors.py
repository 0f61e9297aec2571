"""Refusals as problem details (RFC 9457), and a WebSocket's as the code it is closed with.

Nothing here runs once a stream has begun.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from backend.errors import (
    BodyTooLarge,
    InvalidField,
    NotAuthenticated,
    Refusal,
    ServiceError,
    StorageError,
    TooManyRequests,
    UpstreamUnavailable,
)
from backend.models import InvalidFieldView, Problem
from backend.telemetry import metrics

logger = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

NOT_ALLOWED, TRY_LATER = 1008, 1013
"""Close codes of WebSockets."""

RETRY_SECONDS = 5
"""After a 503 that does not know better."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: BodyTooLarge.code,
}
_OTHER_CODE = "refused"


def codes() -> set[str]:
    """Of everything that can be said instead of a stream."""
    refusals: list[type[ServiceError]] = [StorageError, UpstreamUnavailable, ServiceError]
    refusals += Refusal.__subclasses__()
    return {refusal.code for refusal in refusals} | {*_CODES.values(), _OTHER_CODE}


def problem(
    status: int,
    *,
    code: str,
    detail: str,
    retry_after: int | None = None,
    errors: list[InvalidFieldView] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    metrics.refused(code)
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        retry_after=retry_after,
        errors=errors,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status,
        headers={**(headers or {}), **({"Retry-After": str(retry_after)} if retry_after else {})},
        media_type=MEDIA_TYPE,
    )


def responses(*refusals: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides success, for its OpenAPI description."""
    texts: dict[int, list[str]] = {}
    every: tuple[type[ServiceError], ...] = (*refusals, InvalidField, StorageError)
    for refusal in every:
        status = refusal.status if issubclass(refusal, Refusal) else 503
        texts.setdefault(status, []).append(f"`{refusal.code}`: {refusal.message}")
    return {status: _described(" ".join(lines)) for status, lines in texts.items()}


def _described(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}}


ALWAYS: dict[int | str, dict[str, Any]] = {
    400: _described("`bad_request`: The request cannot be read."),
    408: _described("`request_timeout`: The request took too long to come."),
    413: _described(f"`{BodyTooLarge.code}`: {BodyTooLarge.message}"),
    414: _described("`bad_request`: The address is too long."),
    431: _described("`bad_request`: There are too many headers, or they are too large."),
    500: _described(f"`{ServiceError.code}`: {ServiceError.message}"),
}
"""What any route may answer: what comes before a route is even known, and defects."""


def install(app: FastAPI) -> None:
    _describe_problems(app)
    app.add_exception_handler(ServiceError, cast(ExceptionHandler, _service_error))
    metrics.prepare_refusals(codes())
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(LastResort)


def _describe_problems(app: FastAPI) -> None:
    """FastAPI knows the schemas of routes alone."""
    describe = app.openapi

    def describe_all() -> dict[str, Any]:
        described = describe()
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        known = described.setdefault("components", {}).setdefault("schemas", {})
        known.update({**problem.pop("$defs"), "Problem": problem})
        return described

    cast(Any, app).openapi = describe_all


async def _service_error(connection: Request | WebSocket, error: Exception) -> Response | None:
    error = cast(ServiceError, error)
    if isinstance(connection, WebSocket):
        await _refuse(connection, error)
        return None
    return _problem_of(error)


async def _refuse(socket: WebSocket, error: ServiceError) -> None:
    """A browser is told the code only of a connection that was accepted."""
    metrics.refused(error.code)
    await socket.accept()
    await socket.close(TRY_LATER if error.retryable else NOT_ALLOWED)


def _fields(error: ServiceError) -> Mapping[str, str] | None:
    match error:
        case NotAuthenticated():
            return {"WWW-Authenticate": "Bearer"}
        case TooManyRequests():
            return error.fields
        case _:
            return None


def _problem_of(error: ServiceError) -> Response:
    if isinstance(error, InvalidField):
        return _invalid([InvalidFieldView(field=error.field, message=str(error))])
    status = error.status if isinstance(error, Refusal) else 503
    return problem(
        status,
        code=error.code,
        detail=str(error),
        retry_after=error.retry_after_seconds or (RETRY_SECONDS if status == 503 else None),
        headers=_fields(error),
    )


async def _invalid_request(_request: Request, error: Exception) -> Response:
    found = cast(RequestValidationError, error).errors()
    return _invalid([_view(item) for item in found])


def _invalid(errors: list[InvalidFieldView]) -> Response:
    detail = "; ".join(f"{item.field}: {item.message}" for item in errors)
    return problem(422, code=InvalidField.code, detail=detail, errors=errors)


def _view(item: Mapping[str, Any]) -> InvalidFieldView:
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "model_attributes_type":
        message = "must be a JSON object, with the header Content-Type: application/json"
    if item["type"] == "json_invalid":
        message = f"is not valid JSON: {item['ctx']['error']}"
    return InvalidFieldView(field=_field(item["loc"]), message=message)


def _field(location: tuple[int | str, ...]) -> str:
    """`("body", "query")` is the field `query`; a body that is no object is `body`."""
    names = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(names) or str(location[0])


async def _http_exception(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names the methods of one route only, and the address may have several.
        error.headers = {"Allow": ", ".join(_methods(request))}
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's answer to a body that is not even text.
        return _invalid([InvalidFieldView(field="body", message=error.detail)])
    return problem(
        error.status_code,
        code=_CODES.get(error.status_code, _OTHER_CODE),
        detail=str(error.detail),
        headers=error.headers,
    )


def _methods(request: Request) -> list[str]:
    routes: list[BaseRoute] = request.app.router.routes
    return [
        method
        for method in METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


class LastResort:
    """Plain ASGI. A defect of ours before the response began is a problem like any other.

    Starlette's own handler for these stands outside of all middleware, and its answers lack
    the headers that these add.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noticed)
        except Exception as error:
            if scope["type"] != "http" or has_begun:
                raise
            logger.exception("request_broke", error=type(error).__name__)
            answer = problem(500, code=ServiceError.code, detail=ServiceError.message)
            await answer(scope, receive, send)
