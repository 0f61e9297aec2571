"""Users with streams that stay open for minutes, with a token every ten seconds and heartbeats."""

import time
from collections.abc import Iterable, Iterator

from locust import task

from loadtests.asked import Asked, answered
from loadtests.asking import HttpScenario, new_session
from loadtests.sse import Frame, whole

TOKEN_SECONDS = 10.0


def held(seconds: float) -> Asked:
    """A question that is answered over so many seconds."""
    tokens = 1 + max(1, round(seconds / TOKEN_SECONDS))
    return answered(
        "Think about it for as long as you like.",
        tokens=tokens,
        per_second=(tokens - 1) / seconds,
    )


class Hold(HttpScenario):
    scenario = "hold"
    first_chunk_seconds = held(1.0).first_chunk_seconds

    @task
    def hold(self) -> None:
        self.session_id = new_session()
        with self.telling() as timer:
            reply = self.ask(self.query(held(self.options.hold_seconds)))
            for _ in timer.heard(whole(self.beating(reply.frames))):
                pass

    def beating(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the same frames, and report the time between heartbeats."""
        last = time.perf_counter()
        for frame in frames:
            if frame.is_heartbeat:
                now = time.perf_counter()
                self.tell("heartbeat", now - last)
                last = now
            yield frame
