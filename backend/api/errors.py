"""Refusals as problem details (RFC 9457). Nothing here runs once a stream has begun."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from backend.errors import BodyTooLarge, InvalidField, Refusal, ServiceError
from backend.models import InvalidFieldView, Problem

logger = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"

RETRY_SECONDS = 5
"""After a 503 that does not know better."""

_CODES = {404: "not_found", 405: "method_not_allowed", 413: BodyTooLarge.code}


def problem(
    status: int,
    *,
    code: str,
    detail: str,
    retry_after: float | None = None,
    errors: list[InvalidFieldView] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    seconds = None if retry_after is None else max(1, round(retry_after))
    body = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        retry_after=seconds,
        errors=errors,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status,
        headers={**(headers or {}), **({"Retry-After": str(seconds)} if seconds else {})},
        media_type=MEDIA_TYPE,
    )


def responses(*refusals: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """What a route may answer besides success, for its OpenAPI description."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    texts: dict[int, list[str]] = {}
    every: tuple[type[Refusal], ...] = (*refusals, InvalidField)
    for refusal in every:
        texts.setdefault(refusal.status, []).append(f"`{refusal.code}`: {refusal.message}")
    return {
        status: {"description": " ".join(lines), "content": content}
        for status, lines in texts.items()
    }


def install(app: FastAPI) -> None:
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(Exception, _unexpected)


async def _service_error(_request: Request, error: Exception) -> Response:
    error = cast(ServiceError, error)
    errors = None
    if isinstance(error, InvalidField):
        errors = [InvalidFieldView(field=error.field, message=str(error))]
    status = error.status if isinstance(error, Refusal) else 503
    return problem(
        status,
        code=error.code,
        detail=str(error),
        retry_after=error.retry_after or (RETRY_SECONDS if status == 503 else None),
        errors=errors,
    )


async def _invalid_request(_request: Request, error: Exception) -> Response:
    found = cast(RequestValidationError, error).errors()
    errors = [
        InvalidFieldView(field=_field(item["loc"]), message=_sentence(item["msg"]))
        for item in found
    ]
    detail = "; ".join(f"{item.field}: {item.message}" for item in errors)
    return problem(422, code=InvalidField.code, detail=detail, errors=errors)


def _field(location: tuple[int | str, ...]) -> str:
    """`("body", "query")` is the field `query`; a body that is no object is `body`."""
    names = [part for part in location[1:] if isinstance(part, str)]
    return ".".join(names) or str(location[0])


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


async def _http_exception(_request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    if error.status_code == HTTPStatus.BAD_REQUEST:
        # FastAPI's answer to a body that is not even text.
        unreadable = InvalidFieldView(field="body", message=error.detail)
        return problem(422, code=InvalidField.code, detail=error.detail, errors=[unreadable])
    return problem(
        error.status_code,
        code=_CODES.get(error.status_code, "refused"),
        detail=str(error.detail),
        headers=error.headers,
    )


async def _unexpected(_request: Request, error: Exception) -> Response:
    logger.error("request_broke", exc_info=error)
    return problem(500, code=ServiceError.code, detail=ServiceError.message)
