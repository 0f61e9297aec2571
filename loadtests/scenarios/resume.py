"""Users on a bad line: cut, back with `Last-Event-ID`, and missing nothing."""

import random
import time
from collections.abc import Iterator

from locust import task

from loadtests.asked import Asked, answered
from loadtests.asking import HttpScenario, Reply, Timer, new_session
from loadtests.continuity import Continuity
from loadtests.sse import Frame, StreamFailed, whole


class Resuming(HttpScenario):
    """Reads on after each cut; who cuts is up to whoever inherits it."""

    abstract = True

    def cutting(self, reply: Reply, frames: Iterator[Frame]) -> Iterator[Frame]:
        raise NotImplementedError

    def away_seconds(self) -> float:
        return random.uniform(0.0, 1.0)

    def read_on(self, asked: Asked) -> None:
        """One turn, over as many connections as it takes; at the end it is read again in one."""
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
        # The cut may have come behind the end, which was on this side of it already.
        return read.is_over

    def _back(self, turn_id: str, read: Continuity) -> Reply:
        """Where it was left; the time until it is known that one is there is an entry."""
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
        # A busy service sends few large chunks: only behind the first is a cut certain to come.
        self._events_until_cut = 1
        self.read_on(self.asked)

    def cutting(self, reply: Reply, frames: Iterator[Frame]) -> Iterator[Frame]:
        """A few events each time, so that it is cut about five times."""
        left, self._events_until_cut = self._events_until_cut, random.randint(1, 30)
        for frame in frames:
            yield frame
            left -= bool(frame.event)
            if left == 0 and frame.event != "end":
                reply.cut()
