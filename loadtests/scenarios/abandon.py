"""Users who leave in the middle of an answer. The turn must stop soon."""

import time

from locust import task

from loadtests.asked import answered
from loadtests.asking import HttpScenario, new_session
from loadtests.sse import StreamFailed

CHUNKS = 5
"""Chunks after which they leave."""

SECONDS = 5.0
"""Time in which the turn must stop."""


class Abandon(HttpScenario):
    scenario = "abandon"
    asked = answered("Tell me everything about all cars.", tokens=600, per_second=20)
    first_chunk_seconds = asked.first_chunk_seconds

    @task
    def leave(self) -> None:
        self.session_id = new_session()
        turn_id = None
        with self.telling("until left") as timer:
            reply = self.ask(self.query(self.asked))
            chunks = 0
            for frame in timer.heard(reply.frames):
                chunks += frame.event == "chunk"
                if chunks == CHUNKS or frame.event == "end":
                    break
            if chunks < CHUNKS and not self.options.real_model:
                raise StreamFailed("the answer ended before the user left")
            reply.cut()
            turn_id = reply.turn_id
        if turn_id is not None:
            with self.telling("stopped"):
                self.until_stopped(turn_id)

    def until_stopped(self, turn_id: str) -> None:
        deadline = time.monotonic() + SECONDS
        while (outcome := self.turn(turn_id)["outcome"]) is None:
            if time.monotonic() > deadline:
                raise StreamFailed("the turn went on without a reader")
            time.sleep(0.1)
        if outcome != "disconnected" and not self.options.real_model:
            raise StreamFailed(f"the turn ended as {outcome}")
