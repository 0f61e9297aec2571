"""Users who ask Lex over HTTP, and their entries in Locust's statistics."""

import json
import random
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import Any, ClassVar

from locust import FastHttpUser, User
from locust.contrib.fasthttp import FastResponse

from loadtests import sse
from loadtests.asked import Asked
from loadtests.hooks import options
from loadtests.objectives import FIRST_CHUNK
from loadtests.sse import Frame, StreamFailed, whole


class Timer:
    """Measures one turn, from the creation of the timer."""

    def __init__(self, scenario: "Scenario") -> None:
        self._scenario = scenario
        self._asked_at = time.perf_counter()
        self._has_heard = False

    def heard(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the same frames, and report the first chunk and gaps.

        A gap never spans two connections.
        """
        last = 0.0
        for frame in frames:
            if frame.event == "chunk":
                now = time.perf_counter()
                if not self._has_heard:
                    self._scenario.tell(FIRST_CHUNK, now - self._asked_at)
                elif last:
                    self._scenario.tell("gap", now - last)
                self._has_heard, last = True, now
            yield frame


class Scenario(User):
    """One type of user. Its entries are named `<scenario>: <what>`."""

    abstract = True
    scenario: ClassVar[str]
    transport: ClassVar[str] = "SSE"
    first_chunk_seconds: ClassVar[float] = 0.0
    """The delay of the script before the first chunk."""

    def wait_time(self) -> float:
        return float(self.options.think_seconds * random.uniform(0.5, 1.5))

    @property
    def options(self) -> Any:
        return options(self.environment)

    def query(self, asked: Asked) -> str:
        return asked.query(is_real=self.options.real_model)

    def tell(self, what: str, seconds: float, failure: StreamFailed | None = None) -> None:
        self.environment.events.request.fire(
            request_type=self.transport,
            name=f"{self.scenario}: {what}",
            response_time=seconds * 1000,
            response_length=0,
            exception=failure,
            context={},
        )

    @contextmanager
    def telling(self, what: str = "stream") -> Iterator[Timer]:
        """Report the block as one entry, which fails if the block raises StreamFailed."""
        started, failure = time.perf_counter(), None
        try:
            yield Timer(self)
        except StreamFailed as failed:
            failure = failed
        self.tell(what, time.perf_counter() - started, failure)


class Reply:
    """An answer that has started."""

    def __init__(self, response: FastResponse) -> None:
        self._response = response
        self.is_cut = False
        self.frames = sse.frames(self._readline)
        """The frames as they arrive. Raises StreamFailed if the connection breaks."""

    @property
    def turn_id(self) -> str:
        return str(self.header("x-turn-id"))

    def header(self, name: str) -> str | None:
        value = self._response.headers.get(name) if self._response.headers else None
        return None if value is None else str(value)

    def _readline(self) -> bytes:
        # Not `iter_lines`, which waits for full blocks.
        with reading():
            return self._response.stream.readline(b"\n")

    def cut(self) -> None:
        """Break the connection, also while a reader waits for more."""
        self.is_cut = True
        self._response.stream.release()


@contextmanager
def reading() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise StreamFailed("the stream fell silent") from error
    except (OSError, HTTPException) as error:
        raise StreamFailed("the stream was cut before its end") from error


class Refused(StreamFailed):
    """Lex refused the request."""

    def __init__(self, status: int, code: str, retry_after: str | None) -> None:
        super().__init__(f"refused: {status} {code}")
        self.status = status
        self.code = code
        self.retry_after = retry_after

    @classmethod
    def of(cls, status: int, body: bytes, retry_after: str | None) -> "Refused":
        try:
            code = json.loads(body)["code"]
        except (ValueError, TypeError, KeyError):
            code = "not from Lex"
        return cls(status, code, retry_after)


class HttpScenario(Scenario, FastHttpUser):
    abstract = True
    # Heartbeats come every 15 s.
    network_timeout = 60.0
    session_id: str

    def ask(self, query: str, **more: Any) -> Reply:
        """Ask in the user's session.

        Raises:
            Refused: Lex refused the query.
            StreamFailed: there was no answer.
        """
        return self._begun(
            "POST", "/query", json={"query": query, "session_id": self.session_id, **more}
        )

    def follow(self, turn_id: str, after: str | None = None) -> Reply:
        """Read a turn on behind `after`. Raises like `ask`."""
        headers = {"Last-Event-ID": after} if after else {}
        return self._begun("GET", f"/turns/{turn_id}/events", headers=headers)

    def turn(self, turn_id: str) -> dict[str, Any]:
        response = self._request("GET", f"/turns/{turn_id}")
        if response.status_code != 200:
            raise StreamFailed(f"GET /turns/{{id}} answered {response.status_code}")
        read: dict[str, Any] = response.json()
        return read

    def read(self, asked: Asked) -> list[Frame]:
        """One turn of the user's session, with all its entries. Empty if it failed."""
        with self.telling() as timer:
            return list(timer.heard(whole(self.ask(self.query(asked)).frames)))
        return []

    def _begun(self, method: str, path: str, **given: Any) -> Reply:
        response = self._request(method, path, stream=True, **given)
        if response.status_code == 200:
            return Reply(response)
        if response.status_code == 0:
            # Locust reports a time-out as exceeded retries; the original error is more exact.
            error = getattr(response.error, "original", response.error)
            raise StreamFailed(f"no answer: {type(error).__name__}")
        with reading():
            problem = response.content or b""
        raise Refused.of(response.status_code, problem, response.headers.get("retry-after"))

    def _request(self, method: str, path: str, **given: Any) -> Any:
        # With `catch_response`, and without entering the context, Locust reports nothing: the
        # arrival of the response headers is not what counts here.
        return self.client.request(method, path, catch_response=True, **given)


def new_session() -> str:
    return f"load-{uuid.uuid4().hex}"
