"""Refusals in OpenAI's form."""

import json

import pytest
from starlette.datastructures import MutableHeaders

from backend.api.doors.openai.errors import form, limit_headers
from backend.api.schemas import InvalidFieldView, Problem


@pytest.mark.parametrize(
    ("status", "code", "kind", "theirs"),
    [
        (401, "not_authenticated", "authentication_error", "invalid_api_key"),
        (404, "model_not_found", "invalid_request_error", "model_not_found"),
        (409, "session_busy", "invalid_request_error", "session_busy"),
        (429, "too_many_requests", "rate_limit_error", "rate_limit_exceeded"),
        (429, "budget_exhausted", "rate_limit_error", "insufficient_quota"),
        (503, "overloaded", "server_error", "overloaded"),
    ],
)
def test_a_status_has_a_type_and_a_code(status: int, code: str, kind: str, theirs: str) -> None:
    problem = Problem(title="Title", status=status, detail="Why.", code=code)

    error = json.loads(form(problem, MutableHeaders()))["error"]

    assert list(error) == ["message", "type", "param", "code"]
    assert (error["message"], error["type"], error["code"]) == ("Why.", kind, theirs)


def test_the_first_refused_field_is_the_param() -> None:
    fields = [InvalidFieldView(field=name, message="is wrong") for name in ("n", "tools")]
    problem = Problem(
        title="Title", status=422, detail="n: is wrong", code="invalid_field", errors=fields
    )

    assert json.loads(form(problem, MutableHeaders()))["error"]["param"] == "n"


def test_limits_are_those_of_the_window_with_the_fewest_requests_left() -> None:
    fields = {
        "RateLimit-Policy": '"session-minute";q=20;w=60, "client-day";q=2000;w=86400',
        "RateLimit": '"session-minute";r=3;t=41, "client-day";r=1200;t=80000',
    }

    assert limit_headers(fields) == {
        "x-ratelimit-limit-requests": "20",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "41s",
    }
    assert limit_headers({}) == {}
