"""Play exchanges as a client, over one transport at a time."""

import copy
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import yaml
from websockets.exceptions import WebSocketException

from tests.conformance.exchanges import Exchange, Expect, Step, Suite, Transport
from tests.conformance.rules import Breach, compare, judge
from tests.conformance.streams import HttpStream, SocketStream, Stream

UNTIL_SECONDS = 20.0


@dataclass(frozen=True)
class Profile:
    """The abilities of the server under test. README.md lists the fields and the stimuli."""

    stimuli: Mapping[str, Mapping[str, str]]
    questions_per_session: int = 0
    legacy: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> "Profile":
        return cls(**yaml.safe_load(file.read_text()))

    def lacks(self, exchange: Exchange) -> list[str]:
        """The needs of an exchange that this server lacks. If there are any, it is not played."""
        missing = sorted(exchange.stimuli - self.stimuli.keys())
        missing += [need for need in exchange.needs if not getattr(self, need)]
        is_changed = self.legacy and "legacy" not in exchange.needs
        return missing + (["CLIENT_PROFILE=default"] if is_changed else [])


class Player:
    """Plays one exchange over one transport."""

    def __init__(
        self,
        suite: Suite,
        profile: Profile,
        client: httpx.Client,
        exchange: Exchange,
        transport: Transport,
    ) -> None:
        self._suite = suite
        self._profile = profile
        self._client = client
        self._exchange = exchange
        self._transport = transport
        self._streams: dict[str, Stream] = {}
        self._before: dict[str, Stream] = {}
        """The streams of these sockets up to the client's last message."""
        self._open: list[Stream] = []
        self._values = {"key": uuid.uuid4().hex}
        for name, stimulus in profile.stimuli.items():
            self._values |= {f"{name}.{key}": text for key, text in stimulus.items()}

    def play(self) -> list[Breach]:
        breaches: list[Breach] = []
        try:
            self._values["session"], self._values["other_session"] = self._new(), self._new()
        except (httpx.HTTPError, ValueError) as error:
            return [Breach("?", f"POST /sessions: {error}")]
        try:
            for step in self._exchange.steps:
                breaches += self._step(step)
        finally:
            for stream in self._open:
                stream.close()
        return [breach for breach in breaches if breach.must not in self._exchange.waives]

    def _new(self) -> str:
        if self._transport.session == "chosen":
            return uuid.uuid4().hex
        created = self._client.post("/sessions", headers=dict(self._profile.headers))
        if "session_id" not in created.text:
            raise ValueError(f"no session, but {created.status_code} {created.text}")
        return str(created.json()["session_id"])

    def _step(self, step: Step) -> list[Breach]:
        transport = self._suite.transports[step.over] if step.over else self._transport
        expect, musts = self._expected(step, transport)
        try:
            stream = self._done(step, transport)
        except (httpx.HTTPError, WebSocketException, TimeoutError, OSError) as error:
            return [Breach(must, f"{type(error).__name__}: {error}") for must in musts or ["?"]]
        if step.stream:
            self._streams[step.stream] = stream
        if step.then == "cut" and (step.ask or step.request):
            stream.close()
        why = list(compare(expect, stream, {**self._streams, **self._before}))
        breaches = [Breach(must, each) for must in musts or ["?"] for each in why]
        return breaches + list(judge(self._suite, stream, is_refused=expect.refused is not None))

    def _done(self, step: Step, transport: Transport) -> Stream:
        if step.ask is not None:
            stream = self._asked(step, transport)
            left = self._profile.questions_per_session
            while step.repeat_until not in (None, stream.status) and left:
                stream, left = self._asked(step, transport), left - 1
            return stream
        if step.request is not None:
            return self._requested(step)
        name = step.go_on or step.tell or ""
        stream = self._streams[name]
        if isinstance(stream, SocketStream) and step.tell:
            self._before[name] = copy.copy(stream)
            stream.send(self._filled(step.message))
        stream.read(step.read)
        return stream

    def _asked(self, step: Step, transport: Transport) -> Stream:
        values = self._asking(step)
        if transport.socket is not None:
            url = str(self._client.base_url).rstrip("/").replace("http", "ws", 1)
            path = self._filled(transport.socket, values)
            stream: Stream = SocketStream(url + path, dict(self._profile.headers))
            self._open.append(stream)
            message = transport.resume if "last_event_id" in values else transport.ask
            assert isinstance(stream, SocketStream)
            stream.send(self._filled(message, values))
        else:
            last = values.get("last_event_id")
            resumes = {} if last is None else {"Last-Event-ID": last}
            request = {**transport.ask, "headers": {**step.headers, **resumes}}
            stream = self._opened(self._filled(request, values), has_ids=transport.ids)
        stream.read(step.read)
        return stream

    def _asking(self, step: Step) -> dict[str, str]:
        stimulus = self._profile.stimuli[step.ask or ""]
        question = stimulus["question"] if step.question is None else step.question
        session = self._values["session"] if step.session is None else self._filled(step.session)
        values = {**self._values, "question": question, "session": session}
        if step.resume is not None:
            values["last_event_id"] = self._streams[step.resume].last_id
        if step.last_event_id is not None:
            values["last_event_id"] = self._filled(step.last_event_id)
        return values

    def _requested(self, step: Step) -> Stream:
        limit = time.monotonic() + UNTIL_SECONDS
        while True:
            stream = self._opened(self._filled(step.request), has_ids=True)
            stream.read(step.read)
            waited = Expect(body=step.until)
            if not any(compare(waited, stream, {})) or time.monotonic() > limit:
                return stream
            time.sleep(0.02)  # between two looks at the same resource

    def _opened(self, request: Mapping[str, Any], *, has_ids: bool) -> Stream:
        built = self._client.build_request(
            request.get("method", "GET"),
            request["path"],
            params=request.get("params"),
            json=request.get("body"),
            headers={**self._profile.headers, **request.get("headers", {})},
        )
        response = self._client.send(built, stream=True)
        stream = HttpStream(response, has_ids=has_ids, json_events=self._suite.json_events)
        self._open.append(stream)
        return stream

    def _expected(self, step: Step, transport: Transport) -> tuple[Expect, Sequence[str]]:
        """Return the expectations of a step, with a refusal in the form of this transport."""
        stimulus = self._profile.stimuli.get(step.ask or "", {})
        values = {**self._values, **{f"stimulus.{key}": text for key, text in stimulus.items()}}
        expect = Expect(**self._filled(vars(step.expect), values))
        if expect.refused is None:
            return expect, step.shows
        form = dict(self._suite.refusals[transport.refusal])
        musts = [*step.shows, *form.pop("shows")]
        form = self._filled(form, dict(expect.refused))
        headers = {**form.pop("headers", {}), **expect.headers}
        data = dict(form.pop("data", {}))
        for name, wanted in expect.data.items():
            if name in data:
                data[name] = {**data[name], **wanted}
        return replace(expect, headers=headers, data=data, **form), musts

    def _filled(self, written: Any, values: Mapping[str, Any] | None = None) -> Any:
        """Put values in place of `$name` and `$stream.turn`. A whole `$name` keeps its type."""
        values = self._values if values is None else values
        match written:
            case dict():
                return {key: self._filled(value, values) for key, value in written.items()}
            case list() | tuple():
                return [self._filled(value, values) for value in written]
            case str() if (name := written.removeprefix("$")) in values and name != written:
                return values[name]
            case str():
                return re.sub(
                    r"\$([a-z_]+(?:\.[a-z_]+)?)",
                    lambda found: self._value(found, values),
                    written,
                )
        return written

    def _value(self, found: re.Match[str], values: Mapping[str, Any]) -> str:
        name, _, part = found[1].partition(".")
        if found[1] in values:
            return str(values[found[1]])
        if name in self._streams and part in ("turn", "last_id"):
            return str(getattr(self._streams[name], part))
        return found[0]
