"""Users whose questions need tools: two at once, then another one, then an answer."""

import json
from collections import Counter

from locust import task

from loadtests.asked import Asked, call
from loadtests.asking import HttpScenario, new_session
from loadtests.sse import Frame, StreamFailed, whole

AFTER = {"first_token_after": 0.1}
TOOLS = Counter(get_weather=2, get_dealership_address=1)


class Tools(HttpScenario):
    scenario = "tools"
    asked = Asked(
        "What is the weather in Paris and in Tokyo, and where is the dealership in London?",
        (
            {"calls": [call("get_weather", city="Paris"), call("get_weather", city="Tokyo")]}
            | AFTER,
            {"calls": [call("get_dealership_address", dealership_id="london")]} | AFTER,
            {"text": "Sunny here, rain there, and London is on Park Lane."} | AFTER,
        ),
    )
    first_chunk_seconds = asked.first_chunk_seconds

    @task
    def look_up(self) -> None:
        self.session_id = new_session()
        with self.telling() as timer:
            reply = self.ask(self.query(self.asked))
            frames = list(timer.heard(whole(reply.frames)))
            check(frames, None if self.options.real_model else TOOLS)


def check(frames: list[Frame], expected: Counter[str] | None) -> None:
    """Raises StreamFailed if a call has no output, or if other tools were used than expected."""
    used = Counter(frame.data for frame in frames if frame.event == "tool_use")
    calls = [json.loads(frame.data)["id"] for frame in frames if frame.event == "tool_call"]
    outputs = [json.loads(frame.data)["id"] for frame in frames if frame.event == "tool_output"]
    if expected is not None and used != expected:
        raise StreamFailed("other tools were used")
    if used.total() != len(calls) or sorted(calls) != sorted(outputs):
        raise StreamFailed("a tool has no output")
