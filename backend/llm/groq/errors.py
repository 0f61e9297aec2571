"""What Groq says went wrong, and what it says is left of our rates, in our words."""

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
"""`model_not_found`, `model_permission_blocked_org`, `model_terms_required` and their like: none of
them is about the request, so another model may take it.
"""


def error_of(body: object, status: int | None = None, *, may_retry: bool = True) -> UpstreamError:
    """What the upstream says went wrong, in our words.

    `body` is the inside of its `{"error": …}`: an object, or only a sentence. Without a
    status it came in the middle of a stream.
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
            return large  # no wait makes room for it
        case (None | 400 | 422, None | int()) if _TOO_LONG.search(message):
            return large
        case (429, _) | (_, "rate_limit_exceeded"):
            # What was used up for a day is not back when the next request happens to fit.
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
"""Groq, and other servers that speak this protocol, say it in a sentence and with no code."""

_NUMBER = r"[ :(]+(?:about )?(\d{1,9})\b"
_LIMIT = re.compile(
    rf"\b(?:limit|context (?:length|size|window)(?: is| of)?){_NUMBER}", re.IGNORECASE
)
_REQUESTED = re.compile(rf"\b(?:requested|total length){_NUMBER}", re.IGNORECASE)


def _too_large(message: str) -> RequestTooLarge:
    """With the figures of "Limit 8000, Requested 8569", "maximum context length is 8192 tokens.
    However, you requested 9000 tokens" and their like, as far as they are there.
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
    """What is left of our rates. Requests are counted per day, tokens per minute."""
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
"""No rate of Groq's takes longer to come back."""

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9}
_PART = r"(\d+(?:\.\d+)?)(h|ms|m|s|µs|us|ns)"
_DURATION = re.compile(rf"(?:{_PART})+")


def seconds_in(duration: str) -> float:
    """`1m26.4s`, `172.799999ms`: durations as Go prints them. Raises: ValueError."""
    if not _DURATION.fullmatch(duration):
        raise ValueError(f"not a duration: {duration!r}")
    parts = re.findall(_PART, duration)
    return min(DAY_SECONDS, sum(float(number) * _UNITS[unit] for number, unit in parts))


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """In seconds, and a day at most. None if it names no time: it is missing or unreadable, or has
    passed, as 0 has, which would otherwise mean to ask at once and for ever.
    """
    told = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", told):
        seconds: float | None = float(told)
    else:
        seconds = _seconds_until(told, headers.get("date", ""))
    return min(seconds, DAY_SECONDS) if seconds and seconds > 0 else None


def _seconds_until(date: str, now: str) -> float | None:
    """By the upstream's clock, which need not be ours."""
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
