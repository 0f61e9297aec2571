"""Scripts: pushed or within the query, with several rounds, for some or all requests."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructure.groq_standin import Script, ScriptError, Standin, script, tokens

from .raw import COMPLETIONS, ask, body, exchange, request, user

ASSISTANT = {"role": "assistant", "content": "Yes?"}
CALL = {"name": "get_weather", "arguments": {"city": "Paris"}}


def called(times: int) -> list[dict[str, Any]]:
    """The messages of a turn after this many rounds."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rounds: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "{}"},
    ]
    return rounds * times


@given(text=st.text(max_size=200))
@settings(max_examples=300)
def test_the_tokens_of_a_text_join_to_the_text(text: str) -> None:
    pieces = tokens.pieces(text)

    assert "".join(pieces) == text
    assert all(pieces)


@given(text=st.text(max_size=200), size=st.integers(1, 300))
def test_the_tokens_may_have_so_many_characters_each(text: str, size: int) -> None:
    pieces = tokens.pieces(text, size)

    assert "".join(pieces) == text
    assert all(len(piece) == size for piece in pieces[:-1])


@given(text=st.text(max_size=200))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_text_arrives_as_it_was_scripted(text: str) -> None:
    async with Standin.serve() as standin:
        pushed = standin.push(script.decode(json.dumps({"rounds": [{"text": text}]})))

        answer = await ask(standin.url)

    assert answer.text == text
    assert pushed.left == 0


@pytest.mark.parametrize("count", [0, 1, 2, 100])
async def test_so_many_tokens_are_made_as_were_asked_for(standin: Standin, count: int) -> None:
    standin.script({"tokens": count})

    answer = await ask(standin.url)

    assert len(answer.chunks) == count + 2
    assert answer.chunks[-1]["usage"]["completion_tokens"] == count


async def test_a_script_in_the_query_serves_every_round_of_its_turn(standin: Standin) -> None:
    written = json.dumps({"rounds": [{"calls": [CALL, CALL]}, {"text": "]] 34°C"}]})
    query = user(f"Please [[script {written}]] do.")

    first = await ask(standin.url, user("Hi"), ASSISTANT, query)
    second = await ask(standin.url, user("Hi"), ASSISTANT, query, *called(1))

    assert [len(piece["choices"][0]["delta"].get("tool_calls", [])) for piece in first.chunks] == [
        0, 1, 1, 0,
    ]  # fmt: skip
    assert second.text == "]] 34°C"


async def test_past_its_end_a_script_plays_its_last_round_for_ever(standin: Standin) -> None:
    written = json.dumps({"rounds": [{"text": "once"}, {"calls": [CALL]}]})

    answers = [
        await ask(standin.url, user(f"[[script {written}]]"), *called(rounds))
        for rounds in range(4)
    ]

    reasons = [answer.chunks[-1]["choices"][0]["finish_reason"] for answer in answers]
    assert reasons == ["stop", "tool_calls", "tool_calls", "tool_calls"]


async def test_a_pushed_script_answers_once_for_each_of_its_rounds(standin: Standin) -> None:
    standin.script({"text": "one"}, {"text": "two"})
    standin.script({"text": "three"})

    answers = [
        await ask(standin.url, user("Hi")),
        await ask(standin.url, user("Hi"), *called(1)),
        await ask(standin.url, user("Hi"), *called(1)),
        await ask(standin.url, user("Hi")),
    ]

    texts = [answer.text for answer in answers]
    assert texts[:3] == ["one", "two", "three"]
    assert "stand-in" in texts[3]


async def test_a_script_without_a_limit_stays_until_it_is_forgotten(standin: Standin) -> None:
    standin.script({"text": "again"}, times=None)

    before = [(await ask(standin.url)).text for _ in range(3)]
    standin.forget_scripts()
    after = await ask(standin.url)

    assert before == ["again"] * 3
    assert after.text != "again"


async def test_a_script_is_only_for_the_requests_it_names(standin: Standin) -> None:
    standin.script({"text": "for gpt"}, model="openai/gpt-oss-120b", times=None)
    standin.script({"text": "for Paris"}, contains="Paris", times=None)

    gpt = await ask(standin.url, user("Paris"), model="openai/gpt-oss-120b")
    paris = await ask(standin.url, user("About Paris"))
    neither = await ask(standin.url, user("Rome"))

    assert gpt.text == "for gpt"
    assert paris.text == "for Paris"
    assert "stand-in" in neither.text


async def test_a_pushed_script_wins_over_one_in_the_query(standin: Standin) -> None:
    standin.script({"text": "pushed"})
    query = user('[[script {"rounds": [{"text": "written"}]}]]')

    texts = [(await ask(standin.url, query)).text for _ in range(2)]

    assert texts == ["pushed", "written"]


async def test_a_finish_reason_can_be_given(standin: Standin) -> None:
    standin.script({"text": "and then", "finish_reason": "length"})

    answer = await ask(standin.url)

    assert answer.chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_an_error_of_groq_can_be_in_the_last_chunk(standin: Standin) -> None:
    standin.script({"text": "and then", "x_groq_error": "over capacity"})

    answer = await ask(standin.url)

    assert answer.chunks[-1]["x_groq"]["error"] == "over capacity"


async def test_scripts_are_pushed_and_forgotten_over_http(standin: Standin) -> None:
    def control(method: str, value: Any = None) -> bytes:
        return request(value, method=method, path="/_standin/script", key=None)

    written = {"rounds": [{"text": "one"}, {"text": "two", "fault": {"kind": "reset", "times": 3}}]}
    pushed, again, forgotten = await exchange(
        standin.url, control("POST", written), control("POST", written), control("DELETE")
    )
    answer = await ask(standin.url)

    assert pushed.json == {"waiting": 1, "answers": 5}
    assert again.json["waiting"] == 2
    assert forgotten.status == 204
    assert "stand-in" in answer.text


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({}, "missing required field `rounds`"),
        ({"rounds": []}, "`$.rounds`"),
        ({"rounds": [{"txet": "x"}]}, "unknown field `txet`"),
        ({"rounds": [{"text": "x", "tokens": 2}]}, "not both"),
        ({"rounds": [{"tokens": -1}]}, "`$.rounds[0].tokens`"),
        ({"rounds": [{"fault": {"kind": "gremlin"}}]}, "'gremlin'"),
        ({"rounds": [{"fault": {"kind": "stall", "after": 2}}]}, "unknown field `after`"),
        ({"rounds": [{"headers": {"x": "a\r\nb: c"}}]}, "not a header"),
    ],
)
async def test_a_wrong_script_is_refused_with_the_place_and_the_reason(
    standin: Standin, written: dict[str, Any], reason: str
) -> None:
    in_query = f"[[script {json.dumps(written)}]]"

    pushed, asked = await exchange(
        standin.url,
        request(written, path="/_standin/script"),
        request(body(user(in_query)), path=COMPLETIONS),
    )

    for answer in (pushed, asked):
        assert answer.status == 400
        assert answer.json["error"]["code"] == "invalid_script"
        assert reason in answer.json["error"]["message"]
    with pytest.raises(ScriptError):
        script.convert(written)


@pytest.mark.parametrize(
    "query", ["[[script {", '[[script {"rounds": [{}]}', "[[script x]]", "[[script " + "[" * 99_999]
)
async def test_a_script_that_is_cut_off_is_refused(standin: Standin, query: str) -> None:
    answer = await ask(standin.url, user(query))

    assert answer.status == 400
    assert answer.json["error"]["code"] == "invalid_script"


def test_how_often_a_script_answers_can_be_told_from_it() -> None:
    def answers(**more: Any) -> int | None:
        return script.convert({"rounds": [{}, {}], **more}).answers

    assert answers() == 2
    assert answers(times=7) == 7
    assert answers(times=None) is None
    assert isinstance(script.convert({"rounds": [{}]}), Script)
