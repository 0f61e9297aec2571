"""Every fault of the upstream, from the wire to the client.

Either the client notices nothing, or another model answers, or it gets one clear `error` and one
`end`. The history is sound in every case.
"""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.serving import Lex, lex, outcome_of, text_of, without_outcome
from tests.waiting import TIME_SCALE

ANSWER = "one two three"
WEATHER = {"name": "get_weather", "arguments": {"city": "Paris"}}
SPOKEN = '{"city": "Paris"}'
FIRST, SECOND = "llama-3.3-70b-versatile", "openai/gpt-oss-120b"


@dataclass(frozen=True)
class Case:
    """A fault of the upstream, forever or `times` times, and its expected result."""

    name: str
    fault: dict[str, Any]
    calls: int
    code: str | None = None
    text: str = ""
    times: int | None = None
    round: dict[str, Any] = field(default_factory=lambda: {"text": ANSWER})

    @property
    def script(self) -> dict[str, Any]:
        fault = self.fault if self.times is None else {**self.fault, "times": self.times}
        return {**self.round, "fault": fault} if fault else self.round


def fails(name: str, fault: dict[str, Any], code: str, *, calls: int, text: str = "") -> Case:
    return Case(name, fault, calls, code, text)


def unnoticed(name: str, fault: dict[str, Any], *, calls: int = 2, text: str = ANSWER) -> Case:
    return Case(name, fault, calls, text=text, times=1)


CASES = [
    # Before the first delta: retried, then one error.
    fails("500", {"kind": "status", "status": 500}, "upstream_unavailable", calls=3),
    fails("503", {"kind": "status", "status": 503}, "upstream_unavailable", calls=3),
    fails(
        "502 with HTML",
        {"kind": "status", "status": 502, "body": "<html>Bad gateway</html>", "html": True},
        "upstream_unavailable",
        calls=3,
    ),
    fails("reset", {"kind": "reset"}, "upstream_unavailable", calls=3),
    fails("early FIN", {"kind": "close"}, "upstream_unavailable", calls=3),
    fails("silence", {"kind": "silence"}, "upstream_first_byte_timeout", calls=2),
    fails("HTML instead of a stream", {"kind": "html_200"}, "upstream_garbled", calls=3),
    fails(
        "clean close before text", {"kind": "close", "after_tokens": 0}, "upstream_garbled", calls=3
    ),
    unnoticed("one 500", {"kind": "status", "status": 500}),
    unnoticed("one reset", {"kind": "reset"}),
    unnoticed("one silence", {"kind": "silence"}),
    unnoticed("one 429 with a short wait", {"kind": "rate_limit", "wait": "100ms"}),
    # A retry would not help.
    fails("invalid key", {"kind": "invalid_api_key"}, "upstream_refused", calls=1),
    fails("context overflow", {"kind": "context_overflow"}, "upstream_request_too_large", calls=1),
    fails("JSON mode", {"kind": "json_validate_failed"}, "upstream_refused", calls=1),
    fails("413", {"kind": "too_large_413"}, "upstream_request_too_large", calls=1),
    fails(
        "429 that should not be tried again",
        {"kind": "rate_limit", "x_should_retry": False},
        "upstream_request_too_large",
        calls=1,
    ),
    fails("429 for half an hour", {"kind": "rate_limit", "wait": "29m"}, "upstream_busy", calls=1),
    fails(
        "daily limit",
        {"kind": "rate_limit", "wait": "430ms", "type": "requests"},
        "upstream_busy",
        calls=1,
    ),
    fails("unknown model", {"kind": "model_not_found"}, "upstream_refused", calls=1),
    fails("retired model", {"kind": "model_decommissioned"}, "upstream_refused", calls=1),
    fails(
        "blocked model",
        {"kind": "model_permission_blocked", "level": "org"},
        "upstream_refused",
        calls=1,
    ),
    fails("model with terms", {"kind": "model_terms_required"}, "upstream_refused", calls=1),
    # In mid-stream: text that was sent is kept, and is not sent again.
    *(
        fails(name, {"kind": kind, "after_tokens": 1, **more}, code, calls=1, text="one")
        for name, kind, code, more in [
            ("reset in mid-stream", "reset", "upstream_unavailable", {}),
            ("clean close after text", "close", "upstream_garbled", {}),
            ("cut off", "close", "upstream_unavailable", {"terminated": False}),
            ("silence in mid-stream", "stall", "upstream_gap_timeout", {}),
            ("cut JSON", "cut_json", "upstream_garbled", {}),
            ("invalid UTF-8", "invalid_utf8", "upstream_garbled", {}),
            ("bad JSON", "bad_json", "upstream_garbled", {}),
            ("x_groq.error", "x_groq_error", "upstream_garbled", {}),
        ]
    ),
    fails(
        "no finish_reason", {"kind": "no_finish_reason"}, "upstream_garbled", calls=1, text=ANSWER
    ),
    # Unusual, but not a fault.
    unnoticed("empty choices", {"kind": "empty_choices"}, calls=1),
    unnoticed("split characters", {"kind": "split_multibyte"}, calls=1, text=f"{ANSWER} 🏁"),
    unnoticed("no blank line at the end", {"kind": "last_frame_unterminated"}, calls=1),
    Case(
        "finish_reason length",
        {},
        1,
        text=ANSWER,
        round={"text": ANSWER, "finish_reason": "length"},
    ),
    # Tool calls that the upstream could not parse.
    *(
        Case(
            f"rescued {'in the stream' if after else 'before it'}: {kind} {generation[:24]}",
            {"kind": kind, "failed_generation": generation, **after},
            2,
            text="It is mild." if not after else "oneIt is mild.",
            times=1,
            round={"text": "one two"} if after else {"text": "unused"},
        )
        for kind in ("tool_use_failed", "output_parse_failed")
        for after in ({}, {"after_tokens": 1})
        for generation in (
            json.dumps(WEATHER),
            f"<function=get_weather>{SPOKEN}</function>",
            f"<function=get_weather{SPOKEN}</function>",
            f"<function=get_weather={SPOKEN}</function>",
            f"<function=get_weather>{SPOKEN}></function>",
            f"<function=get_weather>{SPOKEN}",
        )
    ),
    fails("lost call", {"kind": "tool_use_failed"}, "upstream_tool_use_failed", calls=2),
    unnoticed("call told and asked again", {"kind": "tool_use_failed"}),
    fails("unread output", {"kind": "output_parse_failed"}, "upstream_tool_use_failed", calls=2),
    unnoticed("output told and asked again", {"kind": "output_parse_failed"}),
    Case(
        "plain text instead of a call",
        {"kind": "tool_use_failed", "failed_generation": "I do not know."},
        1,
        text="I do not know.",
        times=1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_fault_ends_in_one_of_three_ways(case: Case) -> None:
    async with lex(
        model_fallbacks="none",
        upstream_first_byte_seconds=TIME_SCALE,
        upstream_gap_seconds=TIME_SCALE,
        turn_timeout_seconds=20,
    ) as service:
        rescued = {"text": "It is mild."} if "rescued" in case.name else case.script
        service.standin.script(case.script, rescued, times=None)

        events = await service.ask("Hello")

        assert service.standin.stats.requests == case.calls
        assert_ended_well(case, events)
        await assert_sound(service, events)
        await service.standin.stats.until(lambda stats: stats.open_streams == 0)
        service.standin.forget_scripts()
        service.standin.script({"text": "Better."})
        if "model" not in case.name and case.fault.get("kind") != "rate_limit":
            assert text_of(await service.ask("Again", session_id="s2")) == "Better."


def assert_ended_well(case: Case, events: list[tuple[str, str]]) -> None:
    names = [event for event, _ in events]
    assert names.count("end") == 1
    assert names[-1] == "end"
    assert outcome_of(events)["outcome"] == ("failed" if case.code else "completed")
    assert text_of(events) == case.text
    errors = [json.loads(data) for event, data in events if event == "error"]
    assert [error["code"] for error in errors] == ([case.code] if case.code else [])


async def assert_sound(service: Lex, events: list[tuple[str, str]]) -> None:
    """Assert that the history equals the stream, and each tool call has its output."""
    messages = (await service.client.get("/sessions/s1/messages")).json()["messages"]
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    assert messages[0]["content"] == "Hello"
    assert "".join(said) == text_of(events)
    asked = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert sorted(asked) == sorted(answered)


@pytest.mark.parametrize("wait", ["34.1475s", "29m"])
async def test_a_rate_limit_beyond_our_patience_says_when_to_come_back(wait: str) -> None:
    async with lex(model_fallbacks="none", turn_timeout_seconds=20) as service:
        service.standin.script({"fault": {"kind": "rate_limit", "wait": wait}}, times=None)

        events = await service.ask("Hello")
        again = await service.ask("Hello", session_id="s2")

    seconds = {"34.1475s": 34, "29m": 1740}[wait]
    for stream in (events, again):
        error = json.loads(stream[0][1])
        assert (error["code"], error["retryable"]) == ("upstream_busy", True)
        assert abs(error["retry_after"] - seconds) <= 1
    assert service.standin.stats.requests == 1, "a budget that is used up is not asked for more"


NO_RATES: dict[str, str | None] = {
    f"x-ratelimit-{what}-{kind}": None
    for what in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
}


def refusing(status: int, **headers: str | None) -> dict[str, Any]:
    """A refused round with these headers, and no default rate limit headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "headers": {**NO_RATES, **named},
        "fault": {"kind": "status", "status": status, "message": "Come back later."},
    }


USED_UP = {
    "x_ratelimit_limit_tokens": "6000",
    "x_ratelimit_remaining_tokens": "0",
    "x_ratelimit_reset_tokens": "1ms",
}


@pytest.mark.parametrize(
    ("name", "round_", "most"),
    [
        ("0", refusing(429, retry_after="0"), 3),
        ("missing", refusing(429), 3),
        ("negative", refusing(429, retry_after="-5"), 3),
        ("fractional", refusing(429, retry_after="0.05"), 5),
        ("date in the past", refusing(429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), 3),
        ("date to come", refusing(429, retry_after="Wed, 21 Oct 2065 07:28:00 GMT"), 1),
        ("huge", refusing(429, retry_after="99999999999"), 1),
        ("no number", refusing(429, retry_after="soon"), 3),
        ("0 and resets of 1ms", refusing(429, retry_after="0", **USED_UP), 3),
        (
            "0 in the header and 1ms in the message",
            {"headers": {"retry-after": "0"}, "fault": {"kind": "rate_limit", "wait": "1ms"}},
            5,
        ),
        ("503 with 0", refusing(503, retry_after="0"), 3),
        ("503 with 1", refusing(503, retry_after="1"), 5),
        ("498", {"fault": {"kind": "capacity_exceeded_498"}}, 3),
        ("498 with 0", {"fault": {"kind": "capacity_exceeded_498", "retry_after": "0"}}, 3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("models", [1, 3])
async def test_no_retry_after_makes_a_turn_ask_in_a_loop(
    name: str, round_: dict[str, Any], most: int, models: int
) -> None:
    fallbacks = {1: "none", 3: f"{SECOND},third"}[models]
    async with lex(model_fallbacks=fallbacks, turn_timeout_seconds=20) as service:
        service.standin.script(round_, times=None)

        events = await service.ask("Hello")

        assert [event for event, _ in events] == ["error", "outcome", "end"]
        assert service.standin.stats.requests <= most * models, name


@pytest.mark.parametrize(
    ("refused", "spread_seconds"),
    [
        (refusing(429, retry_after="1"), 0.5),
        (
            refusing(
                429,
                retry_after="1",
                x_ratelimit_limit_requests="30",
                x_ratelimit_remaining_requests="0",
                x_ratelimit_reset_requests="1s",
            ),
            0.9,
        ),
    ],
    ids=["rate unknown", "30 in a second"],
)
async def test_turns_that_wait_for_the_same_rate_do_not_all_come_back_in_one_moment(
    refused: dict[str, Any], spread_seconds: float
) -> None:
    count = 30
    async with lex(model_fallbacks="none") as service:
        loop = asyncio.get_running_loop()
        answered: list[float] = []

        async def turn(number: int) -> None:
            assert (await service.ask("Hello", session_id=f"s{number}"))[-1][0] == "end"
            answered.append(loop.time())

        service.standin.script(refused, times=count)
        service.standin.script({"text": "Hello.", "headers": NO_RATES}, times=None)
        await asyncio.gather(*(turn(number) for number in range(count)))

        assert service.standin.stats.requests == 2 * count
    assert max(answered) - min(answered) >= spread_seconds


async def test_a_budget_whose_reset_is_near_is_waited_for() -> None:
    async with lex(model_fallbacks="none") as service:
        used_up = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "700ms"}
        service.standin.script({"text": "First.", "headers": used_up})
        await service.ask("Hello")
        loop = asyncio.get_running_loop()
        asked_at = loop.time()

        service.standin.script({"text": "Second."})
        events = await service.ask("Again", session_id="s2")

        assert text_of(events) == "Second."
        assert loop.time() - asked_at > 0.5
        assert service.standin.stats.requests == 2


async def test_a_budget_that_is_used_up_goes_to_the_next_model() -> None:
    async with lex() as service:
        used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "2h"}
        service.standin.script({"text": "First.", "headers": used_up})
        await service.ask("Hello")

        service.standin.script({"text": "Second."})
        events = await service.ask("Again", session_id="s2")

        assert text_of(events) == "Second."
        assert service.standin.stats.models["openai/gpt-oss-120b"] == 1


async def test_an_upstream_that_is_not_there_is_one_error() -> None:
    async with lex(model_fallbacks="none", turn_timeout_seconds=20) as service:
        await service.standin.stop()

        events = await service.ask("Hello")

    assert [event for event, _ in without_outcome(events)] == ["error", "end"]
    assert json.loads(events[0][1])["code"] == "upstream_unavailable"


async def test_endless_tool_rounds_are_stopped() -> None:
    async with lex(max_rounds=3) as service:
        service.standin.script({"calls": [WEATHER]}, times=None)

        events = await service.ask("Hello")

        assert service.standin.stats.requests == 3
        assert json.loads(without_outcome(events)[-2][1])["code"] == "too_many_rounds"
        outcome = outcome_of(events)
        assert (outcome["outcome"], outcome["finish_reason"]) == ("failed", "tool_calls")
        assert outcome["rounds"] == 3
        await assert_sound(service, events)


@pytest.mark.parametrize(
    ("round_", "codes"),
    [
        ({"calls": [{"name": "fly", "arguments": {}}]}, ["unknown_tool"]),
        ({"calls": [{"name": "get_weather", "arguments": "null"}]}, ["invalid_arguments"]),
        ({"calls": [{"name": "get_weather", "arguments": '{"city": "Par'}]}, ["invalid_arguments"]),
        ({"calls": [WEATHER], "split_arguments_into": 5}, [None]),
        ({"calls": [WEATHER, WEATHER], "fault": {"kind": "duplicate_tool_index"}}, [None, None]),
        ({"calls": [WEATHER], "fault": {"kind": "null_arguments"}}, ["invalid_arguments"]),
    ],
    ids=["unknown tool", "null", "cut", "split", "duplicate index", "null arguments"],
)
async def test_strange_calls_reach_the_model_as_outputs(
    round_: dict[str, Any], codes: list[str | None]
) -> None:
    async with lex(model_fallbacks="none") as service:
        service.standin.script(round_, {"text": "Well."}, times=None)

        events = await service.ask("Hello")

        outputs = [json.loads(data)["output"] for event, data in events if event == "tool_output"]
        assert [output.get("error", {}).get("code") for output in outputs] == codes
        assert text_of(events) == "Well."
        assert service.standin.stats.requests == 2
        await assert_sound(service, events)


async def test_a_call_that_broke_off_is_neither_run_nor_asked_for_again() -> None:
    async with lex(model_fallbacks="none") as service:
        service.standin.script(
            {"calls": [WEATHER], "fault": {"kind": "no_finish_reason"}}, times=None
        )

        events = await service.ask("Hello")

        assert [event for event, _ in without_outcome(events)] == ["error", "end"]
        assert outcome_of(events)["finish_reason"] is None
        assert service.standin.stats.requests == 1


async def test_while_a_model_fails_for_good_the_other_answers_and_the_breaker_spares_it() -> None:
    await assert_spared(clients=20, turns=10)


async def assert_spared(*, clients: int, turns: int) -> None:
    failing, healthy = "llama-3.3-70b-versatile", "openai/gpt-oss-120b"
    async with lex() as service:
        fault = {"fault": {"kind": "status", "status": 500}}
        service.standin.script(fault, model=failing, times=None)
        service.standin.script({"text": "Fine."}, model=healthy, times=None)
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def client(number: int) -> None:
            for turn in range(turns):
                events = await service.ask(f"Turn {turn}", session_id=f"s{number}")
                assert [event for event, _ in events] == ["chunk", "outcome", "end"]
                assert text_of(events) == "Fine."

        await asyncio.gather(*(client(number) for number in range(clients)))

        probes = (loop.time() - began) / 10 + 1
        asked = service.standin.stats.models[failing]
        readiness = (await service.client.get("/readyz")).json()
        metrics = (await service.client.get("/metrics")).text

    # Each client may have had one call open when the breaker opened, but no retry afterwards.
    assert asked <= 10 + clients + probes
    assert service.standin.stats.models[healthy] == clients * turns
    assert readiness["models"][0]["breaker"] in ("open", "half_open")
    assert readiness["models"][1] == {"name": healthy, "breaker": "closed"}
    assert f'lex_breaker_state{{gen_ai_request_model="{failing}"}} 0.0' not in metrics


async def test_with_every_breaker_open_new_turns_are_refused_at_once() -> None:
    async with lex(model_fallbacks="none", turn_timeout_seconds=4) as service:
        service.standin.script({"fault": {"kind": "status", "status": 500}}, times=None)
        for number in range(4):
            await service.ask("Hello", session_id=f"s{number}")
        asked = service.standin.stats.requests

        refused = await service.client.post("/query", json={"query": "Hello"})

        assert refused.status_code == 503
        assert refused.json()["code"] == "upstream_unavailable"
        assert 0 < int(refused.headers["retry-after"]) <= 10
        assert service.standin.stats.requests == asked


async def test_a_turn_waits_for_a_silent_model_once() -> None:
    async with lex(upstream_first_byte_seconds=0.5) as service:
        first, second = "llama-3.3-70b-versatile", "openai/gpt-oss-120b"
        service.standin.script({"fault": {"kind": "silence"}}, model=first, times=None)
        service.standin.script(
            {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
            {"text": "It is mild."},
            model=second,
        )

        events = await service.ask("Weather?")

        assert text_of(events) == "It is mild."
        assert service.standin.stats.requests == 3


@pytest.mark.parametrize("kind", ["tool_use_failed", "output_parse_failed"])
async def test_what_nobody_can_read_is_asked_again_once_and_then_of_the_next_model(
    kind: str,
) -> None:
    async with lex(model_fallbacks=SECOND) as service:
        service.standin.script({"fault": {"kind": kind}}, model=FIRST, times=None)
        service.standin.script({"text": "It is mild."}, model=SECOND)

        events = await service.ask("Weather?")

        assert text_of(events) == "It is mild."
        assert service.standin.stats.models == {FIRST: 2, SECOND: 1}
        assert service.standin.stats.last_requests[-1].body["messages"][-1]["content"] == "Weather?"


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "model_not_found"},
        {"kind": "model_decommissioned"},
        {"kind": "model_permission_blocked", "level": "project"},
        {"kind": "model_permission_blocked", "level": "org"},
        {"kind": "model_terms_required"},
    ],
    ids=lambda fault: "-".join(fault.values()),
)
async def test_a_model_that_is_not_served_is_replaced_at_once_and_remembered(
    fault: dict[str, Any],
) -> None:
    async with lex(model_fallbacks=SECOND) as service:
        service.standin.script({"fault": fault}, model=FIRST, times=None)
        service.standin.script({"text": "Hello."}, model=SECOND, times=None)

        answers = [text_of(await service.ask("Hi", session_id=f"s{n}")) for n in range(2)]

        assert answers == ["Hello."] * 2
        assert service.standin.stats.models == {FIRST: 1, SECOND: 2}


async def test_a_model_without_capacity_is_replaced_for_now() -> None:
    async with lex(model_fallbacks=SECOND) as service:
        service.standin.script({"fault": {"kind": "capacity_exceeded_498"}}, model=FIRST, times=1)
        service.standin.script({"text": "First."}, model=FIRST)
        service.standin.script({"text": "Second."}, model=SECOND)

        answers = [text_of(await service.ask("Hi", session_id=f"s{n}")) for n in range(2)]

        assert answers == ["Second.", "First."]
