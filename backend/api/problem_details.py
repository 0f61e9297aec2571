"""Answer refusals with problem details (RFC 9457), and those of WebSockets with a close code.

After a stream has started, errors are events instead.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match
from starlette.types import ExceptionHandler, Receive, Scope, Send

from backend.api.refusals import OTHER_CODE, limit_of, refused_for, request_refused, status_of
from backend.api.schemas import InvalidFieldView, Problem
from backend.domain.errors import (
    BodyTooLarge,
    InvalidField,
    NotAuthenticated,
    Refusal,
    ServiceError,
    StorageError,
    TooManyRequests,
    UpstreamUnavailable,
)
from backend.network.reason_phrases import phrase_of
from backend.telemetry import metrics

logger = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

NOT_ALLOWED, TRY_LATER = 1008, 1013
"""WebSocket close codes: policy violation, and try again later."""

RETRY_SECONDS = 5
"""The `Retry-After` of a 503 whose error gives none."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: BodyTooLarge.code,
}


def codes() -> set[str]:
    """Return the codes of all errors that can be answered instead of a stream."""
    refusals: list[type[ServiceError]] = [StorageError, UpstreamUnavailable, ServiceError]
    refusals += _below(Refusal)
    return {refusal.code for refusal in refusals} | {*_CODES.values(), OTHER_CODE}


def _below(error: type[ServiceError]) -> list[type[ServiceError]]:
    found: list[type[ServiceError]] = []
    for each in error.__subclasses__():
        found += [each, *_below(each)]
    return found


Form = Callable[[Problem, MutableHeaders], bytes]
"""Writes a problem as JSON in the form of another protocol, and may add headers."""


class ProblemResponse(Response):
    """Problem details, or the form that the path of the request has for errors."""

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        body = problem.model_dump_json(exclude_none=True)
        super().__init__(body, problem.status, headers, MEDIA_TYPE)
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (form := _form_of(scope)) is not None:
            self.body = form(self._problem, self.headers)
            self.headers["Content-Type"] = "application/json"
            self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def _form_of(scope: Scope) -> Form | None:
    app, path = scope.get("app"), scope.get("path", "")
    forms: Mapping[str, Form] = getattr(app.state, "problem_forms", {}) if app else {}
    return next((form for prefix, form in forms.items() if path.startswith(prefix)), None)


def problem(
    status: int,
    *,
    code: str,
    detail: str,
    limit: str | None = None,
    retry_after: int | None = None,
    errors: list[InvalidFieldView] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    request_refused(code, status=status, limit=limit)
    body = Problem(
        title=phrase_of(status),
        status=status,
        detail=detail,
        code=code,
        retry_after=retry_after,
        errors=errors,
    )
    retry = {"Retry-After": str(retry_after)} if retry_after else {}
    return ProblemResponse(body, {**(headers or {}), **retry})


def install(app: FastAPI, *, forms: Mapping[str, Form]) -> None:
    """Answer errors with problem details, and below these prefixes of paths in other forms."""
    app.state.problem_forms = forms
    app.add_exception_handler(ServiceError, cast(ExceptionHandler, _service_error))
    metrics.prepare_refusals(codes())
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)


async def _service_error(connection: Request | WebSocket, error: Exception) -> Response | None:
    error = cast(ServiceError, error)
    if isinstance(connection, WebSocket):
        await _refuse(connection, error)
        return None
    return _problem_of(error)


async def _refuse(socket: WebSocket, error: ServiceError) -> None:
    """Accept the WebSocket, and close it with a code.

    Pages only see the close code of a connection that was accepted. Sockets above the limit are the
    exception: they get a status, because accepting them would cost what the limit saves.
    """
    if isinstance(error, TooManyRequests) and can_deny(socket.scope):
        await socket.send_denial_response(_problem_of(error))
        return
    refused_for(error)
    await socket.accept()
    await socket.close(TRY_LATER if error.retryable else NOT_ALLOWED)


def can_deny(scope: Scope) -> bool:
    """Whether the server can answer a WebSocket handshake with an HTTP response of ours."""
    return "websocket.http.response" in (scope.get("extensions") or {})


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
    status = status_of(error)
    return problem(
        status,
        code=error.code,
        limit=limit_of(error),
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
        message = "must be a JSON object, sent with the header Content-Type: application/json"
    if item["type"] == "json_invalid":
        message = f"is not valid JSON: {item['ctx']['error']}"
    return InvalidFieldView(field=_field(item["loc"]), message=message)


def _field(location: tuple[int | str, ...]) -> str:
    """Name a field: `("body", "query")` is `query`, and a body that is not an object is `body`."""
    names = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(names) or str(location[0])


async def _http_exception(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # Starlette only lists the methods of the first route that matches the path.
        error.headers = {"Allow": ", ".join(_methods(request))}
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI raises this for a body that it cannot parse, for example one that is not UTF-8.
        return _invalid([InvalidFieldView(field="body", message=error.detail)])
    return problem(
        error.status_code,
        code=_CODES.get(error.status_code, OTHER_CODE),
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
