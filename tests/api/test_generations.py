"""Text that a model wrote instead of a tool call leads to one good answer."""

import json
from typing import Any

import pytest

from tests.api.generations import GENERATIONS, SAMPLE, Generation
from tests.serving import Lex, lex, text_of

ANSWER = "It is mild."
MARKUP = ("<", "|>", "{", "```", "[TOOL", "to=", "get_weather(")

FAILED = {"kind": "tool_use_failed", "times": 1}


def refused(generation: Generation) -> dict[str, Any]:
    return {"text": ANSWER, "fault": {**FAILED, "failed_generation": generation.text}}


def failed_in_the_stream(generation: Generation) -> dict[str, Any]:
    return {"text": "unused", "fault": {**refused(generation)["fault"], "after_tokens": 0}}


def as_text(generation: Generation) -> dict[str, Any]:
    return {"text": generation.text}


def by_character(generation: Generation) -> dict[str, Any]:
    # Slow enough that each piece is a separate read.
    return {"text": generation.text, "characters_per_token": 1, "tokens_per_second": 2000}


async def replayed(service: Lex, played: dict[str, Any], session_id: str) -> list[tuple[str, str]]:
    service.standin.forget_scripts()
    service.standin.script(played, times=1)
    service.standin.script({"text": ANSWER}, times=None)
    return await service.ask("What is the weather?", session_id=session_id)


def cities(events: list[tuple[str, str]]) -> tuple[str, ...]:
    called = [json.loads(data) for event, data in events if event == "tool_call"]
    assert {call["name"] for call in called} <= {"get_weather"}
    return tuple(call["arguments"]["city"] for call in called)


def assert_one_good_answer(events: list[tuple[str, str]], generation: Generation) -> None:
    names = [event for event, _ in events]
    assert (names.count("error"), names.count("end"), names[-1]) == (0, 1, "end")
    assert names.count("tool_output") == len(generation.cities)
    assert cities(events) == generation.cities


async def assert_usable_and_clean(service: Lex, session_id: str) -> None:
    assert text_of(await service.ask("And now?", session_id=session_id)) == ANSWER
    stored = (await service.client.get(f"/sessions/{session_id}/messages")).json()["messages"]
    said = [message["content"] for message in stored if message["role"] == "assistant"]
    assert not any(mark in text for text in said for mark in MARKUP)


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda one: one.text[:48])
async def test_a_generation_comes_to_one_good_answer(generation: Generation) -> None:
    async with lex(model_fallbacks="none", chunk_flush_ms=0) as service:
        for session_id, arrival in (("refused", refused), ("stream", failed_in_the_stream)):
            events = await replayed(service, arrival(generation), session_id)

            assert_one_good_answer(events, generation)
            assert text_of(events) == ANSWER
            await assert_usable_and_clean(service, session_id)


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda one: one.text[:48])
async def test_so_it_does_as_the_text_of_an_answer(generation: Generation) -> None:
    async with lex(model_fallbacks="none") as service:
        events = await replayed(service, as_text(generation), "text")

        if generation.is_quoted:
            assert text_of(events) == generation.text
            return
        assert_one_good_answer(events, generation)
        assert text_of(events) == generation.said + ANSWER
        await assert_usable_and_clean(service, "text")


@pytest.mark.parametrize("generation", SAMPLE, ids=lambda one: one.text[:48])
async def test_and_character_by_character(generation: Generation) -> None:
    async with lex(model_fallbacks="none", chunk_flush_ms=0) as service:
        events = await replayed(service, by_character(generation), "slow")

        assert_one_good_answer(events, generation)
        assert text_of(events) == generation.said + ANSWER
        await assert_usable_and_clean(service, "slow")


async def test_a_call_that_two_models_cannot_write_is_one_clear_error() -> None:
    unread = {"text": "<tool_call>{broken</tool_call>"}
    async with lex(model_fallbacks="other") as service:
        service.standin.script(unread, times=None)

        events = await service.ask("What is the weather?")

        assert [event for event, _ in events] == ["error", "outcome", "end"]
        assert json.loads(events[0][1])["code"] == "upstream_tool_use_failed"
        assert service.standin.stats.requests == 4, "each of two models was asked twice"
        service.standin.forget_scripts()
        service.standin.script({"text": ANSWER}, times=None)
        await assert_usable_and_clean(service, "s1")


async def test_a_call_whose_name_has_an_artefact_is_the_tool_that_it_means() -> None:
    call = {"name": "functions.get_weather<|channel|>commentary", "arguments": {"city": "Paris"}}
    async with lex(model_fallbacks="none") as service:
        service.standin.script({"calls": [call]}, {"text": ANSWER})

        events = await service.ask("What is the weather?")

        assert [data for event, data in events if event == "tool_use"] == ["get_weather"]
        assert text_of(events) == ANSWER
