"""Retrying with less reasoning after an answer that was cut before its first word."""

import pytest

from backend.domain.errors import AnswerCut, UpstreamGarbled
from backend.llm.groq.request_body import parameters_of
from backend.llm.port import Finish, Text
from backend.llm.resilience.retry import ANSWER_AT_ONCE, Schedule
from tests.fakes import breaks, says, scripted
from tests.unit.llm.resilience.conversing import Retrying, an_unawaited_request, deltas_of, said

AT_ONCE = Schedule(base_seconds=0)


async def test_it_is_asked_for_once_more_with_less_reasoning() -> None:
    model = scripted(breaks(AnswerCut()), says("Here it is."))

    assert await said(Retrying(model, AT_ONCE)) == "Here it is."

    first, second = model.requests
    assert (first.thinks_least, second.thinks_least) == (False, True)
    assert second.prompt == first.prompt + ANSWER_AT_ONCE


async def test_a_second_one_that_is_cut_is_an_error_that_is_not_retried() -> None:
    model = scripted(breaks(AnswerCut()))

    with pytest.raises(AnswerCut):
        await said(Retrying(model, AT_ONCE))

    assert len(model.requests) == 2


async def test_nobody_is_asked_again_if_nobody_waits() -> None:
    model = scripted(breaks(AnswerCut()), says("Too late."))

    with pytest.raises(AnswerCut):
        await deltas_of(Retrying(model, AT_ONCE), an_unawaited_request())

    assert len(model.requests) == 1


async def test_other_answers_pass_through() -> None:
    model = scripted(says("Fine."), breaks(UpstreamGarbled(), Text("Half")))
    asked = Retrying(model, AT_ONCE)

    text, finish = await deltas_of(asked)

    assert text == Text("Fine.")
    assert isinstance(finish, Finish)
    with pytest.raises(UpstreamGarbled):
        await said(asked)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("openai/gpt-oss-120b", {"reasoning_effort": "low"}),
        ("qwen/qwen3-32b", {"reasoning_format": "hidden", "reasoning_effort": "none"}),
        ("llama-3.3-70b-versatile", {}),
    ],
)
def test_a_model_is_sent_its_lowest_effort(model: str, parameters: dict[str, str]) -> None:
    assert parameters_of(model, thinks_least=True) == parameters
