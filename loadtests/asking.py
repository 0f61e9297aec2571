"""A user who asks Lex over HTTP, and the entries of what that user sees in Locust's statistics."""

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
    """Times what is heard of one turn, from the moment at which it is made."""

    def __init__(self, scenario: "Scenario") -> None:
        self._scenario = scenario
        self._asked_at = time.perf_counter()
        self._has_heard = False

    def heard(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames; first chunk and gaps are told. A gap never spans two connections."""
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
    """What one kind of user does. Its entries are called `<scenario>: <what>`."""

    abstract = True
    scenario: ClassVar[str]
    transport: ClassVar[str] = "SSE"
    first_chunk_seconds: ClassVar[float] = 0.0
    """What of the time to a first chunk is the script's."""

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
        """One entry for all of a block, failed if something in it was no good."""
        started, failure = time.perf_counter(), None
        try:
            yield Timer(self)
        except StreamFailed as failed:
            failure = failed
        self.tell(what, time.perf_counter() - started, failure)


class Reply:
    """An answer that has begun, and can be left."""

    def __init__(self, response: FastResponse) -> None:
        self._response = response
        self.is_cut = False
        self.frames = sse.frames(self._readline)
        """As they come. Raises StreamFailed, if the connection does not come to its own end."""

    @property
    def turn_id(self) -> str:
        return str(self.header("x-turn-id"))

    def header(self, name: str) -> str | None:
        value = self._response.headers.get(name) if self._response.headers else None
        return None if value is None else str(value)

    def _readline(self) -> bytes:
        # Not `iter_lines`, which waits for blocks to be full.
        with reading():
            return self._response.stream.readline(b"\n")

    def cut(self) -> None:
        """As if the line went dead, also under a reader who waits for more."""
        self.is_cut = True
        self._response.stream.release()


@contextmanager
def reading() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise StreamFailed("nothing came any more") from error
    except (OSError, HTTPException) as error:
        raise StreamFailed("it was cut before its end") from error


class Refused(StreamFailed):
    """What was asked was not begun."""

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
            code = "by something else than Lex"
        return cls(status, code, retry_after)


class HttpScenario(Scenario, FastHttpUser):
    abstract = True
    # Heartbeats come every 15 s.
    network_timeout = 60.0
    session_id: str

    def ask(self, query: str, **more: Any) -> Reply:
        """Raises: Refused, or StreamFailed if there is nobody to ask."""
        return self._begun(
            "POST", "/query", json={"query": query, "session_id": self.session_id, **more}
        )

    def follow(self, turn_id: str, after: str | None = None) -> Reply:
        """Raises: the same."""
        headers = {"Last-Event-ID": after} if after else {}
        return self._begun("GET", f"/turns/{turn_id}/events", headers=headers)

    def turn(self, turn_id: str) -> dict[str, Any]:
        response = self._request("GET", f"/turns/{turn_id}")
        if response.status_code != 200:
            raise StreamFailed(f"its turn cannot be looked up: {response.status_code}")
        read: dict[str, Any] = response.json()
        return read

    def read(self, asked: Asked) -> list[Frame]:
        """One turn of the user's session from its question to its end, with all of its entries.
        Nothing, if it failed.
        """
        with self.telling() as timer:
            return list(timer.heard(whole(self.ask(self.query(asked)).frames)))
        return []

    def _begun(self, method: str, path: str, **given: Any) -> Reply:
        response = self._request(method, path, stream=True, **given)
        if response.status_code == 200:
            return Reply(response)
        if response.status_code == 0:
            # Its own word for a timeout is that its retries, of which there are none, are exceeded.
            error = getattr(response.error, "original", response.error)
            raise StreamFailed(f"no answer: {type(error).__name__}")
        with reading():
            problem = response.content or b""
        raise Refused.of(response.status_code, problem, response.headers.get("retry-after"))

    def _request(self, method: str, path: str, **given: Any) -> Any:
        # Locust tells nothing by itself of a response that it may not catch and nobody entered:
        # what counts here is not when the head of an answer came.
        return self.client.request(method, path, catch_response=True, **given)


def new_session() -> str:
    return f"load-{uuid.uuid4().hex}"
