"""Answers that are an error from the start: a status and `{"error": …}` as Groq words it."""

from typing import Any, assert_never

from infrastructure.groq_standin import faults
from infrastructure.groq_standin.encoding import encode
from infrastructure.groq_standin.http import Headers, sized

_JSON: Headers = {
    "content-type": "application/json",
    "cache-control": "private, max-age=0, no-store, no-cache, must-revalidate",
    "vary": "Origin",
}
_INVALID = "invalid_request_error"
_ORGANIZATION = "org_01jstandin0standin0standin00"


def error(message: str, *, kind: str = _INVALID, **more: Any) -> dict[str, Any]:
    """The inner object. Fields keep the order in which they are given; `None` is left out."""
    more = {name: value for name, value in more.items() if value is not None}
    return {"message": message, "type": kind, **more}


def refusal(status: int, error: dict[str, Any], headers: Headers) -> bytes:
    return json_answer(status, {"error": error}, headers)


def json_answer(status: int, body: Any, headers: Headers) -> bytes:
    # Groq ends its JSON with a newline.
    return sized(status, {**_JSON, **headers}, encode(body) + b"\n")


def invalid_api_key(headers: Headers) -> bytes:
    return refusal(401, error("Invalid API Key", code="invalid_api_key"), headers)


def unknown_url(method: str, path: str, headers: Headers) -> bytes:
    message = (
        f"Unknown request URL: {method} {path}. Please check the URL for typos, "
        "or see the docs at https://console.groq.com/docs/"
    )
    return refusal(404, error(message, code="unknown_url"), headers)


def bad_request(message: str, headers: Headers, *, code: str | None = None) -> bytes:
    return refusal(400, error(message, code=code), headers)


def too_large(headers: Headers) -> bytes:
    return refusal(413, error("Request Entity Too Large", code="request_too_large"), headers)


def tool_use_failed(fault: faults.ToolUseFailed) -> dict[str, Any]:
    return error(fault.message, code=fault.code, failed_generation=fault.failed_generation)


_OVER_CAPACITY = error("Flex tier capacity exceeded.", kind="capacity", code="capacity_exceeded")


def play(fault: faults.Refusal, *, model: str, headers: Headers, overrides: Headers) -> bytes:
    """The whole answer of a fault that comes instead of a completion."""
    match fault:
        case faults.Status():
            return _status(fault, {**headers, **fault.headers, **overrides})
        case faults.RateLimit():
            return _rate_limit(fault, model, headers, overrides)
        case faults.Html():
            page: Headers = {**headers, "content-type": "text/html; charset=utf-8", **overrides}
            return sized(200, page, fault.body.encode())
        case faults.TooLarge():
            after = None if fault.retry_after is None else str(fault.retry_after)
            headers = {**headers, "retry-after": after, **overrides}
            return refusal(413, _exceeded(_request_too_large(model)), headers)
        case faults.InvalidApiKey():
            return invalid_api_key({**headers, **overrides})
        case faults.ModelNotFound():
            message = f"The model `{model}` does not exist or you do not have access to it."
            return refusal(404, error(message, code="model_not_found"), {**headers, **overrides})
        case faults.ModelDecommissioned():
            return bad_request(
                _decommissioned(model), {**headers, **overrides}, code="model_decommissioned"
            )
        case faults.ModelPermissionBlocked(level=level):
            return refusal(403, _blocked(model, level), {**headers, **overrides})
        case faults.ModelTermsRequired():
            message = f"The model `{model}` requires terms acceptance."
            return bad_request(message, {**headers, **overrides}, code="model_terms_required")
        case faults.FlexCapacityExceeded(retry_after=retry_after):
            return refusal(
                498, _OVER_CAPACITY, {**headers, "retry-after": retry_after, **overrides}
            )
        case faults.JsonValidateFailed():
            failed = error(
                "Failed to generate JSON. Please adjust your prompt. "
                "See 'failed_generation' for more details.",
                code="json_validate_failed",
                failed_generation=fault.failed_generation,
            )
            return refusal(400, failed, {**headers, **overrides})
        case faults.ContextOverflow():
            overflow = error(
                "Please reduce the length of the messages or completion.", param="messages"
            )
            return refusal(400, overflow, {**headers, **overrides})
    assert_never(fault)


def _status(fault: faults.Status, headers: Headers) -> bytes:
    if fault.html:
        page = fault.body or f"<html><body><h1>{fault.status} {fault.message}</h1></body></html>"
        return sized(fault.status, {"content-type": "text/html", **headers}, page.encode())
    if fault.body is not None:
        plain: Headers = {"content-type": "application/json", **headers}
        return sized(fault.status, plain, fault.body.encode())
    return refusal(fault.status, error(fault.message, kind=fault.type, code=fault.code), headers)


def _rate_limit(fault: faults.RateLimit, model: str, headers: Headers, overrides: Headers) -> bytes:
    headers = {
        **headers,
        f"x-ratelimit-remaining-{fault.type}": "0",
        f"x-ratelimit-reset-{fault.type}": fault.wait,
        "retry-after": None if fault.retry_after is None else str(fault.retry_after),
    }
    if fault.x_should_retry is not None:
        headers["x-should-retry"] = "true" if fault.x_should_retry else "false"
    limited = "requests per day (RPD)" if fault.type == "requests" else "tokens per minute (TPM)"
    message = (
        f"Rate limit reached for model `{model}` in organization `{_ORGANIZATION}` service tier "
        f"`on_demand` on {limited}: Limit 1000, Used 1000, Requested 1. Please try again in "
        f"{fault.wait}. Need more tokens? Upgrade to Dev Tier today at "
        "https://console.groq.com/settings/billing"
    )
    return refusal(429, _exceeded(message, kind=fault.type), {**headers, **overrides})


def _exceeded(message: str, *, kind: str = "tokens") -> dict[str, Any]:
    return error(message, kind=kind, code="rate_limit_exceeded")


def _request_too_large(model: str) -> str:
    return (
        f"Request too large for model `{model}` in organization `{_ORGANIZATION}` service tier "
        "`on_demand` on tokens per minute (TPM): Limit 8000, Requested 11881, please reduce your "
        "message size and try again. Need more tokens? Upgrade to Dev Tier today at "
        "https://console.groq.com/settings/billing"
    )


def _blocked(model: str, level: str) -> dict[str, Any]:
    whole = {"project": "project", "org": "organization"}[level]
    message = f"The model `{model}` is blocked at the {whole} level."
    return error(message, kind="permissions_error", code=f"model_permission_blocked_{level}")


def _decommissioned(model: str) -> str:
    return (
        f"The model `{model}` has been decommissioned and is no longer supported. Please refer to "
        "https://console.groq.com/docs/deprecations for a recommendation on which model to use "
        "instead."
    )
