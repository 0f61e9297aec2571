"""Users whose streams are all cut at the same moment, as by a restarted proxy, and who resume.

`shapes/reconnect_storm.py` decides when.
"""

import random
from collections.abc import Iterator
from typing import Any

from locust import events, task
from locust.env import Environment
from locust.runners import MasterRunner

from loadtests.asking import Reply
from loadtests.hooks import on
from loadtests.scenarios.hold import held
from loadtests.scenarios.resume import Resuming
from loadtests.sse import Frame

CUT = "cut"
"""The message to workers that cuts all streams."""

_reading: set[Reply] = set()
"""The open streams of this process."""


class Storm(Resuming):
    scenario = "storm"
    first_chunk_seconds = held(1.0).first_chunk_seconds

    @task
    def hold(self) -> None:
        self.read_on(held(self.options.hold_seconds))

    def cutting(self, reply: Reply, frames: Iterator[Frame]) -> Iterator[Frame]:
        _reading.add(reply)
        try:
            yield from frames
        finally:
            _reading.discard(reply)

    def away_seconds(self) -> float:
        return random.uniform(0.0, self.options.back_seconds)


def cut_all(**_: Any) -> None:
    for reply in list(_reading):
        reply.cut()


@on(events.init)
def _listen(environment: Environment, **_: Any) -> None:
    if environment.runner is not None and not isinstance(environment.runner, MasterRunner):
        environment.runner.register_message(CUT, cut_all)
