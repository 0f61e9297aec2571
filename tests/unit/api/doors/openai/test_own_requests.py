"""A front end's requests for itself are recognised, and a customer's questions are not."""

import json

import pytest

from backend.api.doors.openai.own_requests import _DATA, is_own_request, shortened

OPENINGS = [each["text"] for each in json.loads(_DATA.read_text())["openings"]]


@pytest.mark.parametrize("opening", OPENINGS)
def test_each_known_prompt_is_recognised(opening: str) -> None:
    assert is_own_request([f"\n{opening} and so on.\n### Chat History:\nUSER: Hi"])


def test_a_template_of_an_operator_is_recognised_by_the_copy_of_the_conversation() -> None:
    assert is_own_request(["Titre court, en français:\n<chat_history>\nUSER: Hi\n</chat_history>"])


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["Hi"],
        ["What does `### Task:\nGenerate a concise` mean?"],
        ["Hi", "Hello!", "Provide a concise, 5-word-or-less title for the conversation"],
        ["What is <chat_history>?"],
    ],
)
def test_a_customers_question_is_not(texts: list[str]) -> None:
    assert not is_own_request(texts)


@pytest.mark.parametrize("limit", [5, 20, 50, 99, 100, 101])
def test_a_long_prompt_keeps_its_beginning_and_its_end(limit: int) -> None:
    prompt = "".join(str(number % 10) for number in range(100))

    short = shortened(prompt, limit)

    assert len(short) == min(100, limit)
    if limit >= 20:
        assert short[:5] == prompt[:5]
        assert short[-3:] == prompt[-3:]
