"""The stand-in plays the scripts that load tests send with their questions."""

from infrastructure.groq_standin.script import in_query
from loadtests.asked import Asked, answered, call

ASKED = Asked(
    "Weather?",
    (
        {"calls": [call("get_weather", city="Paris")], "first_token_after": 0.1},
        {"text": "Sunny.", "first_token_after": 0.2},
    ),
)


def test_the_stand_in_reads_the_script_of_a_question() -> None:
    script = in_query(ASKED.query(is_real=False))

    assert script is not None
    assert [call.name for call in script.rounds[0].calls] == ["get_weather"]
    assert script.rounds[1].text == "Sunny."


def test_a_real_model_is_asked_the_plain_question() -> None:
    assert ASKED.query(is_real=True) == "Weather?"


def test_the_first_chunk_comes_after_all_that_the_rounds_wait() -> None:
    assert round(ASKED.first_chunk_seconds, 3) == 0.3
    assert answered("Hello?", tokens=3, per_second=10, after=0.5).first_chunk_seconds == 0.5
