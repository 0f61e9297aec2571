"""Users on a bad network: they are cut, resume with `Last-Event-ID`, and must miss nothing."""

import random
import time
from collections.abc import Iterator

from locust import task

from loadtests.asked import Asked, answered
from loadtests.asking import HttpScenario, Reply, Timer, new_session
from loadtests.continuity import Continuity
from loadtests.sse import Frame, StreamFailed, whole


class Resuming(HttpScenario):
    """Resumes after each cut. Subclasses decide when to cut."""

    abstract = True

    def cutting(self, reply: Reply, frames: Iterator[Frame]) -> Iterator[Frame]:
        raise NotImplementedError

    def away_seconds(self) -> float:
        return random.uniform(0.0, 1.0)

    def read_on(self, asked: Asked) -> None:
        """Read one turn over several connections, then compare it with a replay."""
        self.session_id = new_session()
        with self.telling() as timer:
            read = Continuity()
            reply = self.ask(self.query(asked), resume=True)
            turn_id = reply.turn_id
            while not self._is_read(reply, read, timer):
                time.sleep(self.away_seconds())
                reply = self._back(turn_id, read)
            read.compare(whole(self.follow(turn_id).frames))

    def _is_read(self, reply: Reply, read: Continuity, timer: Timer) -> bool:
        try:
            for frame in self.cutting(reply, timer.heard(whole(reply.frames))):
                read.take(frame)
        except StreamFailed:
            if not reply.is_cut:
                raise
        # The cut may have come after the end had arrived.
        return read.is_over

    def _back(self, turn_id: str, read: Continuity) -> Reply:
        """Resume behind the last event. The entry `back` is the time to the opening frame."""
        began = time.perf_counter()
        reply = self.follow(turn_id, after=read.last_id)
        for opening in reply.frames:
            read.take(opening)
            break
        self.tell("back", time.perf_counter() - began)
        return reply


class Resume(Resuming):
    scenario = "resume"
    asked = answered("What should I know before a test drive?", tokens=80, per_second=25)
    first_chunk_seconds = asked.first_chunk_seconds

    @task
    def ask_on_a_bad_line(self) -> None:
        # A busy service sends few large chunks, so only the first is sure to have more behind it.
        self._events_until_cut = 1
        self.read_on(self.asked)

    def cutting(self, reply: Reply, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Cut after a few events, so about five times."""
        left, self._events_until_cut = self._events_until_cut, random.randint(1, 30)
        for frame in frames:
            yield frame
            left -= bool(frame.event)
            if left == 0 and frame.event != "end":
                reply.cut()
