"""What Groq says, in our words."""

import pytest

from backend.completion import Allowance
from backend.errors import (
    ModelRetired,
    RequestTooLarge,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.wire_errors import allowances, error_of, seconds_in


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("1ms", 0.001),
        ("172.799999ms", 0.172799999),
        ("2.81s", 2.81),
        ("1m26.4s", 86.4),
        ("9m38.016s", 578.016),
        ("29m", 1740),
        ("23h59m59s", 86399),
    ],
)
def test_durations_are_read_as_groq_prints_them(duration: str, seconds: float) -> None:
    assert seconds_in(duration) == pytest.approx(seconds)


@pytest.mark.parametrize("duration", ["", "5", "s", "-1s", "1s 2s", "1 s", "soon"])
def test_what_is_no_duration_is_refused(duration: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds_in(duration)


def test_headers_tell_what_is_left_and_strange_ones_tell_nothing() -> None:
    headers = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-remaining-tokens": "many",
        "x-ratelimit-reset-tokens": "7.66s",
    }

    assert list(allowances(headers)) == [
        Allowance(kind="requests", remaining=14370, reset_seconds=179.56, limit=14400)
    ]
    assert list(allowances({})) == []


@pytest.mark.parametrize("limit", ["", "-1", "many", "²", "9" * 5000])
def test_a_limit_that_is_no_number_is_not_known(limit: str) -> None:
    headers = {
        "x-ratelimit-limit-tokens": limit,
        "x-ratelimit-remaining-tokens": "5",
        "x-ratelimit-reset-tokens": "7.66s",
    }

    assert [allowance.limit for allowance in allowances(headers)] == [None]


MINUTE = (
    "Rate limit reached for model `m` on tokens per minute (TPM): Please try again in 34.1475s."
)
DAY = "Rate limit reached for model `m` on tokens per day (TPD): Please try again in 29m3.2s."


@pytest.mark.parametrize(
    ("body", "status", "error", "retry_after", "is_passing"),
    [
        ({"message": MINUTE, "code": "rate_limit_exceeded"}, 429, UpstreamBusy, 34.1475, True),
        ({"message": DAY, "code": "rate_limit_exceeded"}, 429, UpstreamBusy, 1743.2, False),
        ({"code": "rate_limit_exceeded"}, 413, RequestTooLarge, None, False),
        ({"code": "model_decommissioned"}, 400, ModelRetired, None, False),
        ({"code": "model_not_found"}, 404, ModelRetired, None, False),
        ({"code": "unknown_url"}, 404, UpstreamRefused, None, False),
        (None, 404, UpstreamRefused, None, False),
        ({"code": "tool_use_failed", "failed_generation": None}, 400, ToolUseFailed, None, False),
        ({"param": "messages", "message": "Please reduce"}, 400, UpstreamRefused, None, False),
        ({"code": "invalid_api_key"}, 401, UpstreamRefused, None, False),
        (None, 408, UpstreamUnavailable, None, True),
        (None, 500, UpstreamUnavailable, None, True),
        ("over capacity", None, UpstreamUnavailable, None, True),
        ({"message": 5}, None, UpstreamUnavailable, None, True),
        ({"status_code": 400, "message": "no"}, None, UpstreamRefused, None, False),
        (["strange"], None, UpstreamUnavailable, None, True),
    ],
)
def test_what_the_upstream_says_is_an_error_of_ours(
    body: object,
    status: int | None,
    error: type[UpstreamError],
    retry_after: float | None,
    is_passing: bool,
) -> None:
    raised = error_of(body, status)

    assert type(raised) is error
    assert raised.retry_after == retry_after
    assert raised.is_passing == is_passing
