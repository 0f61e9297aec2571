"""Errors in OpenAI's form, and the rate limits in its headers."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import MutableHeaders

from backend.api.schemas import Problem
from backend.domain.errors import (
    BodyTooLarge,
    BudgetExhausted,
    Draining,
    InvalidField,
    ModelNotFound,
    NotAuthenticated,
    Overloaded,
    Refusal,
    ServiceError,
    SessionBusy,
    TooManyRequests,
    WrongHost,
)

_CODES = {
    NotAuthenticated.code: "invalid_api_key",
    TooManyRequests.code: "rate_limit_exceeded",
    BudgetExhausted.code: "insufficient_quota",
}
"""The codes that programs compare. All others are Lex's own."""


class ErrorView(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """`param` names the field that is refused."""

    error: ErrorView


def error_body(*, status: int, code: str, message: str, param: str | None = None) -> ErrorBody:
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(status)
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    view = ErrorView(message=message, type=kind, param=param, code=_CODES.get(code, code))
    return ErrorBody(error=view)


def form(problem: Problem, headers: MutableHeaders) -> bytes:
    """Return a refusal in OpenAI's form, and add the limits to its headers."""
    headers.update(limit_headers(headers))
    param = problem.errors[0].field if problem.errors else None
    if problem.code == ModelNotFound.code:
        param = "model"
    body = error_body(status=problem.status, code=problem.code, message=problem.detail, param=param)
    return body.model_dump_json().encode()


def limit_headers(fields: Mapping[str, str]) -> dict[str, str]:
    """Say by OpenAI's headers how many requests are left, in the window with the fewest."""
    left = {
        name: (int(remaining), seconds)
        for name, remaining, seconds in re.findall(
            r'"([^"]+)";r=(\d+);t=(\d+)', fields.get("RateLimit", "")
        )
    }
    quotas = dict(re.findall(r'"([^"]+)";q=(\d+)', fields.get("RateLimit-Policy", "")))
    known = [name for name in left if name in quotas]
    if not known:
        return {}
    name = min(known, key=lambda each: left[each][0])
    return {
        "x-ratelimit-limit-requests": quotas[name],
        "x-ratelimit-remaining-requests": str(left[name][0]),
        "x-ratelimit-reset-requests": f"{left[name][1]}s",
    }


def responses(*refusals: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals of a route for OpenAPI."""
    texts = {408: "`request_timeout`: The request took too long to arrive."}
    everywhere: tuple[type[ServiceError], ...] = (
        NotAuthenticated,
        BodyTooLarge,
        WrongHost,
        InvalidField,
        Overloaded,
        ServiceError,
    )
    for refusal in (*everywhere, *refusals):
        status = refusal.status if issubclass(refusal, Refusal) else 500
        code = _CODES.get(refusal.code, refusal.code)
        line = f"`{code}`: {refusal.message}"
        texts[status] = f"{texts[status]} {line}" if status in texts else line
    return {status: {"model": ErrorBody, "description": text} for status, text in texts.items()}


ASKING = (ModelNotFound, SessionBusy, TooManyRequests, BudgetExhausted, Draining)
"""The refusals of a question, beside those of every route."""
