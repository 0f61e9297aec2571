"""How `make smoke` judges a stream, and its cost."""

from datetime import date

import pytest

from infrastructure.smoke import table
from infrastructure.smoke.asking import Answer, events_in
from infrastructure.smoke.prices import most_it_cost
from infrastructure.smoke.questions import Question, open_day

WEATHER = Question("weather", "Weather?", "get_weather")

GOOD = """\
: heartbeat

event: tool_use
data: get_weather

event: tool_output
data: {"name": "get_weather", "output": {"temperature": "34°C"}, "id": "1"}

event: chunk
data: It is
data: warm.

event: outcome
data: {"outcome": "completed", "finish_reason": "stop", "model": "openai/gpt-oss-120b", \
"rounds": 2, "usage": {"prompt_tokens": 2000000, "completion_tokens": 1000000}}

event: end
data:\x20

"""


def answer(stream: str) -> Answer:
    return Answer(WEATHER, 1.0, list(events_in(stream)))


def test_a_whole_stream_is_no_fault_and_has_its_price() -> None:
    good = answer(GOOD)

    assert good.fault is None
    assert good.tokens == (2_000_000, 1_000_000)
    assert good.cost_usd == pytest.approx(2 * 0.15 + 0.60)
    assert ("chunk", "It is\nwarm.") in good.events


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("get_weather", "get_time", "get_weather was not called"),
        ('{"temperature": "34°C"}', '{"error": {"code": "x"}}', "a tool answered x"),
        ('"completed"', '"failed"', "the turn ended failed"),
        ('"stop"', '"length"', "the answer ended with length"),
        ("data: It is\ndata: warm.", "data:  ", "the answer has no text"),
        ("event: end\ndata: \n\n", "", "the stream has no end"),
        ("event: outcome", "event: chunk", "the turn ended without an outcome"),
        (
            "event: chunk\ndata: It is\ndata: warm.",
            'event: error\ndata: {"code": "upstream_busy", "message": "Wait."}',
            "upstream_busy: Wait.",
        ),
    ],
)
def test_what_is_missing_is_named(old: str, new: str, fault: str) -> None:
    assert answer(GOOD.replace(old, new)).fault == fault


def test_a_model_without_a_price_is_named_and_not_counted() -> None:
    unknown = answer(GOOD.replace("openai/gpt-oss-120b", "other"))

    told = list(table.summary([answer(GOOD), unknown]))

    assert most_it_cost("other", input_tokens=1, output_tokens=1) is None
    assert "at most $0.9000" in told[0]
    assert told[1] == "Not in this sum, because the price is unknown: other."


def test_the_day_is_a_wednesday_that_is_a_week_away() -> None:
    assert open_day(date(2026, 11, 26)) == "2026-12-09"
