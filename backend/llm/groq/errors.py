"""Translates Groq's error bodies into our errors, and its headers into rate limits."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import get_args

from backend.domain.errors import (
    ModelNotServed,
    ModelRetired,
    RequestTooLarge,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.llm.port import Allowance, AllowanceKind

_MODEL_CODE = re.compile(r"model_[a-z_]{1,50}")
"""`model_not_found`, `model_permission_blocked_org`, `model_terms_required` and similar.

They concern the model and not the request, so another model may accept the request.
"""


def error_of(body: object, status: int | None = None, *, may_retry: bool = True) -> UpstreamError:
    """Translate an error of the upstream.

    `body` is the value of `{"error": …}`: an object, or just a sentence. `status` is None for an
    error in the middle of a stream. `may_retry` is False if the upstream advises against a retry.
    """
    told = body if isinstance(body, dict) else {"message": body}
    message = str(told.get("message") or "")
    large = _too_large(message)
    match status or told.get("status_code"), told.get("code"):
        case _, "tool_use_failed" | "output_parse_failed":
            return ToolUseFailed(str(told.get("failed_generation") or ""), reason=message)
        case _, "model_decommissioned":
            return ModelRetired()
        case (413, _) | (_, "context_length_exceeded"):
            return large
        case (429, _) | (_, "rate_limit_exceeded") if not may_retry or _exceeds(large):
            return large  # a rate limit that no wait can satisfy
        case (None | 400 | 422, None | int()) if _TOO_LONG.search(message):
            return large
        case (429, _) | (_, "rate_limit_exceeded"):
            # Waiting briefly does not help against a daily limit.
            return UpstreamBusy(retry_after=_wait_in(message), is_passing="per day" not in message)
        case (498, _) | (_, "capacity_exceeded"):
            return UpstreamBusy(retry_after=_wait_in(message))
        case (None | 400 | 401 | 403 | 404 | 422, str(code)) if _MODEL_CODE.fullmatch(code):
            return ModelNotServed(reason=code)
        case (int(refused), _) if 400 <= refused < 500 and refused not in (408, 409):
            return UpstreamRefused()
        case _:
            return UpstreamUnavailable()


_TOO_LONG = re.compile(r"reduce the length|context (?:length|size|window)", re.IGNORECASE)
"""For servers that, like Groq at times, report a request's size in a sentence without a code."""

_NUMBER = r"[ :(]+(?:about )?(\d{1,9})\b"
_LIMIT = re.compile(
    rf"\b(?:limit|context (?:length|size|window)(?: is| of)?){_NUMBER}", re.IGNORECASE
)
_REQUESTED = re.compile(rf"\b(?:requested|total length){_NUMBER}", re.IGNORECASE)


def _too_large(message: str) -> RequestTooLarge:
    """Make the error, with the figures in the message if there are any.

    Examples: "Limit 8000, Requested 8569"; "maximum context length is 8192 tokens. However, you
    requested 9000 tokens".
    """
    limit, requested = _LIMIT.search(message), _REQUESTED.search(message)
    return RequestTooLarge(
        limit_tokens=int(limit[1]) if limit else None,
        requested_tokens=int(requested[1]) if requested else None,
    )


def _exceeds(error: RequestTooLarge) -> bool:
    limit, requested = error.limit_tokens, error.requested_tokens
    return limit is not None and requested is not None and requested > limit


def allowances(headers: Mapping[str, str]) -> Iterator[Allowance]:
    """Yield the rate limits in the headers. Groq counts requests per day and tokens per minute."""
    for kind in get_args(AllowanceKind):
        try:
            remaining = min(int(headers[f"x-ratelimit-remaining-{kind}"]), 2**53)
            reset = seconds_in(headers[f"x-ratelimit-reset-{kind}"])
        except (KeyError, ValueError):
            continue
        limit = re.fullmatch(r"[0-9]{1,15}", headers.get(f"x-ratelimit-limit-{kind}", ""))
        yield Allowance(
            kind=kind,
            remaining=remaining,
            reset_seconds=reset,
            limit=int(limit[0]) if limit else None,
        )


DAY_SECONDS = 86_400.0
"""Upper bound of all waits: no rate limit of Groq takes longer to reset."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(h|ms|m|s|µs|us|ns)"
_DURATION = re.compile(rf"(?:{_PART})+")


def seconds_in(duration: str) -> float:
    """Parse a duration as Go prints it: `1m26.4s`, `172.799999ms`. Raises: ValueError."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"not a duration: {duration!r}")
    parts = re.findall(_PART, duration)
    return min(DAY_SECONDS, sum(float(number) * _UNITS[unit] for number, unit in parts))


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Return the wait of the `Retry-After` header in seconds, a day at most.

    None if it is missing, unreadable, zero or in the past. Obeying a zero could mean retrying
    without a pause, forever.
    """
    told = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", told):
        seconds: float | None = float(told)
    else:
        seconds = _seconds_until(told, headers.get("date", ""))
    return min(seconds, DAY_SECONDS) if seconds and seconds > 0 else None


def _seconds_until(date: str, now: str) -> float | None:
    """The seconds from the response's own `Date`, because our clock may differ."""
    then = _date_in(date)
    return None if then is None else (then - (_date_in(now) or datetime.now(UTC))).total_seconds()


def _date_in(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _wait_in(message: str) -> float | None:
    found = re.search(rf"try again in ((?:{_PART})+)", message)
    return seconds_in(found[1]) if found else None
