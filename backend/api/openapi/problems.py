"""Describe the error responses of routes for OpenAPI."""

from typing import Any

from backend.api.problem_details import MEDIA_TYPE
from backend.domain.errors import (
    BodyTooLarge,
    InvalidField,
    Refusal,
    ServiceError,
    StorageError,
    WrongHost,
)


def responses(*refusals: type[Refusal]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may raise these refusals."""
    texts: dict[int, list[str]] = {}
    every: tuple[type[ServiceError], ...] = (*refusals, InvalidField, StorageError)
    for refusal in every:
        status = refusal.status if issubclass(refusal, Refusal) else 503
        texts.setdefault(status, []).append(f"`{refusal.code}`: {refusal.message}")
    return {status: _problem(" ".join(lines)) for status, lines in texts.items()}


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {MEDIA_TYPE: {"schema": schema}}}


ALWAYS: dict[int | str, dict[str, Any]] = {
    400: _problem("`bad_request`: The request is malformed."),
    408: _problem("`request_timeout`: The request took too long to arrive."),
    413: _problem(f"`{BodyTooLarge.code}`: {BodyTooLarge.message}"),
    414: _problem("`bad_request`: The URL is too long."),
    421: _problem(f"`{WrongHost.code}`: {WrongHost.message}"),
    431: _problem("`bad_request`: There are too many headers, or they are too large."),
    500: _problem(f"`{ServiceError.code}`: {ServiceError.message}"),
    501: _problem("`bad_request`: The body has a transfer coding other than `chunked`."),
    505: _problem("`bad_request`: The request is neither HTTP/1.1 nor HTTP/1.0."),
}
"""Responses that every route may give: refusals before the routing, and internal errors."""

NOT_ROUTED: dict[int | str, dict[str, Any]] = {
    404: _problem("`not_found`: The path has an encoded slash or backslash.")
}
"""For routes whose path takes any text, and that answer 404 for no other reason."""
