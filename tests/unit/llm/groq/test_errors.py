"""Translating Groq's errors and rate limits."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

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
from backend.llm.groq.errors import allowances, error_of, retry_after_of, seconds_in
from backend.llm.port import Allowance


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
        ({"code": "context_length_exceeded"}, 400, RequestTooLarge, None, False),
        ({"code": "context_length_exceeded"}, None, RequestTooLarge, None, False),
        ({"message": "Please reduce the length of …"}, 400, RequestTooLarge, None, False),
        ({"message": "reduce the length", "code": "unknown"}, 400, UpstreamRefused, None, False),
        ({"code": "model_decommissioned"}, 400, ModelRetired, None, False),
        ({"code": "model_decommissioned"}, None, ModelRetired, None, False),
        ({"code": "model_not_found"}, 404, ModelNotServed, None, False),
        ({"code": "model_not_found"}, None, ModelNotServed, None, False),
        ({"code": "model_permission_blocked_project"}, 403, ModelNotServed, None, False),
        ({"code": "model_permission_blocked_org"}, 403, ModelNotServed, None, False),
        ({"code": "model_permission_blocked"}, 401, ModelNotServed, None, False),
        ({"code": "model_terms_required"}, 400, ModelNotServed, None, False),
        ({"code": "model_terms_required", "status_code": 400}, None, ModelNotServed, None, False),
        ({"code": "model_not_active"}, 404, ModelNotServed, None, False),
        ({"code": "model_not_found"}, 503, UpstreamUnavailable, None, True),
        ({"code": "model_not_found"}, 429, UpstreamBusy, None, True),
        ({"code": "model_" + "x" * 99}, 400, UpstreamRefused, None, False),
        ({"code": "model_\nforged"}, 400, UpstreamRefused, None, False),
        ({"code": 404}, 404, UpstreamRefused, None, False),
        ({"code": "capacity_exceeded"}, 498, UpstreamBusy, None, True),
        ({"code": "capacity_exceeded", "status_code": 498}, None, UpstreamBusy, None, True),
        ({"code": "capacity_exceeded"}, None, UpstreamBusy, None, True),
        ({"message": "Please try again in 2s."}, 498, UpstreamBusy, 2.0, True),
        (None, 498, UpstreamBusy, None, True),
        (
            {"code": "output_parse_failed", "failed_generation": "?"},
            400,
            ToolUseFailed,
            None,
            False,
        ),
        ({"code": "output_parse_failed", "status_code": 400}, None, ToolUseFailed, None, False),
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


@pytest.mark.parametrize("code", ["tool_use_failed", "output_parse_failed"])
@pytest.mark.parametrize(("status", "more"), [(400, {}), (None, {"status_code": 400})])
def test_what_the_model_wrote_is_kept_with_the_reason(
    code: str, status: int | None, more: dict[str, int]
) -> None:
    told = {"code": code, "message": "Parsing failed.", "failed_generation": "<|call|>", **more}

    raised = error_of(told, status)

    assert isinstance(raised, ToolUseFailed)
    assert (raised.failed_generation, raised.reason) == ("<|call|>", "Parsing failed.")


@pytest.mark.parametrize(
    ("code", "is_final"), [("model_decommissioned", True), ("model_terms_required", False)]
)
def test_why_a_model_is_not_served_is_kept(code: str, is_final: bool) -> None:
    raised = error_of({"code": code}, 400)

    assert isinstance(raised, ModelNotServed)
    assert (raised.reason, raised.is_final) == (code, is_final)


NOW = "Thu, 26 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("35", 35),
        ("0.43", 0.43),
        (" 7 ", 7),
        ("0", None),
        ("0.0", None),
        ("", None),
        ("-1", None),
        ("-0", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("²", None),
        ("soon", None),
        ("86400", 86_400),
        ("99999999999", 86_400),
        ("9" * 5000, 86_400),
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30),
        ("Thu, 26 Nov 2026 13:00:30 +0100", 30),
        ("Thu, 26 Nov 2026 12:00:30 -0000", 30),
        ("Thu, 26 Nov 2026 12:00:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 86_400),
        ("Wed, 99 Oct 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
    ],
)
def test_a_retry_after_is_a_time_to_come_or_nothing(told: str, seconds: float | None) -> None:
    assert retry_after_of({"retry-after": told, "date": NOW}) == seconds


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_without_a_clock_of_the_upstreams_a_date_is_compared_with_ours(date: str) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=60))

    seconds = retry_after_of({"retry-after": then, "date": date})

    assert seconds == pytest.approx(60, abs=2)


def test_no_retry_after_is_none() -> None:
    assert retry_after_of({}) is None


@pytest.mark.parametrize(
    ("message", "status", "limit", "requested"),
    [
        (
            "Request too large for model `m` on tokens per minute (TPM): Limit 8000, Requested "
            "8569, please reduce your message size and try again.",
            413,
            8000,
            8569,
        ),
        ("Rate limit reached for model `m`: Limit 8000, Used 0, Requested 8569.", 429, 8000, 8569),
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 "
            "tokens (8000 in the messages, 1000 in the completion). Please reduce the length of "
            "the messages or completion.",
            400,
            8192,
            9000,
        ),
        ("Please reduce the length of the messages or completion.", 400, None, None),
        ("The request exceeds the available context size (4096 tokens).", 400, 4096, None),
        (
            "The prompt (total length 5000) is too long to fit into the model (context length "
            "4096).",
            400,
            4096,
            5000,
        ),
    ],
)
def test_a_request_that_is_too_large_is_told_with_its_figures(
    message: str, status: int, limit: int | None, requested: int | None
) -> None:
    error = error_of({"message": message, "code": None}, status)

    assert isinstance(error, RequestTooLarge)
    assert (error.limit_tokens, error.requested_tokens) == (limit, requested)


def test_a_rate_that_has_room_again_is_waited_for() -> None:
    message = "Rate limit reached: Limit 8000, Used 7900, Requested 569. Please try again in 3s."

    assert isinstance(error_of({"message": message}, 429), UpstreamBusy)
    assert isinstance(error_of({"message": message}, 429, may_retry=False), RequestTooLarge)
