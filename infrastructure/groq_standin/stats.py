"""What the stand-in has seen. At any moment
`requests == completed + failed + closed_early + open_streams`."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from infrastructure.groq_standin.http import Request
from infrastructure.groq_standin.steps import Ending

LAST_REQUESTS = 50
MAX_MODELS = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A completion that was asked for, as it came; parsed only when somebody looks."""

    request: Request

    @property
    def headers(self) -> dict[str, str]:
        return {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in self.request.headers
        }

    @property
    def body(self) -> Any:
        """The JSON of the body, or its text when it was none."""
        try:
            return msgspec.json.decode(self.request.body)
        except (msgspec.DecodeError, RecursionError):
            return self.request.body.decode(errors="replace")


class Stats:
    """Counters, and the last requests for completions."""

    def __init__(self) -> None:
        self.open_connections = 0
        self.open_streams = 0
        self._waiters: list[tuple[Callable[[Stats], bool], asyncio.Future[None]]] = []
        self.forget()

    def forget(self) -> None:
        """Zero what was counted; completions in progress count as asked just now."""
        self.requests = self.peak_streams = self.open_streams
        self.connections = self.completed = self.failed = 0
        self.closed_before_first_byte = self.closed_in_mid_stream = 0
        self.models: Counter[str] = Counter()
        self.last_requests: deque[Seen] = deque(maxlen=LAST_REQUESTS)

    @property
    def closed_early(self) -> int:
        """Connections that the client closed while a completion was in progress."""
        return self.closed_before_first_byte + self.closed_in_mid_stream

    def asked(self, request: Request) -> None:
        self.requests += 1
        self.open_streams += 1
        self.peak_streams = max(self.peak_streams, self.open_streams)
        self.last_requests.append(Seen(request))
        self._changed()

    def asked_model(self, model: str) -> None:
        if model in self.models or len(self.models) < MAX_MODELS:
            self.models[model] += 1

    def ended(self, ending: Ending) -> None:
        self.open_streams -= 1
        if ending is Ending.COMPLETED:
            self.completed += 1
        else:
            self.failed += 1
        self._changed()

    def left(self, *, has_started: bool) -> None:
        self.open_streams -= 1
        if has_started:
            self.closed_in_mid_stream += 1
        else:
            self.closed_before_first_byte += 1
        self._changed()

    def connection_opened(self) -> None:
        self.connections += 1
        self.open_connections += 1
        self._changed()

    def connection_closed(self) -> None:
        self.open_connections -= 1
        self._changed()

    async def until(self, holds: Callable[["Stats"], bool], *, seconds: float = 60.0) -> None:
        """Wait for a state, such as `lambda stats: stats.closed_early == 1`.

        Raises:
            TimeoutError: it did not come in time.
        """
        if holds(self):
            return
        waiter = (holds, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            await asyncio.wait_for(waiter[1], seconds)
        finally:
            self._waiters.remove(waiter)

    def as_dict(self) -> dict[str, Any]:
        counts = {
            name: getattr(self, name)
            for name in (
                "requests", "models", "connections", "open_connections", "open_streams",
                "peak_streams", "completed", "failed", "closed_early",
                "closed_before_first_byte", "closed_in_mid_stream",
            )
        }  # fmt: skip
        asked = [{"headers": _without_key(one.headers), "body": one.body}
                 for one in self.last_requests]  # fmt: skip
        return {**counts, "last_requests": asked}

    def _changed(self) -> None:
        for holds, arrived in self._waiters:
            if not arrived.done() and holds(self):
                arrived.set_result(None)


def _without_key(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "authorization": "***"} if "authorization" in headers else headers
