"""Groq's chat completions on the wire: the request that is sent, the frames that come back.

Bytes and plain data only; the connection is `llm`'s. What the upstream really sends is
looser than its documentation: a stream that just ends, calls split over chunks, choices
that are empty. Everything that is not a whole completion raises.
"""

from collections.abc import Iterator, Sequence
from typing import Any, cast, get_args

import msgspec

from backend.alike import Alike
from backend.completion import (
    CompletionRequest,
    Delta,
    Finish,
    FinishReason,
    Text,
    ToolSpec,
)
from backend.conversation import Message, Role, ToolCall, Usage
from backend.errors import UpstreamError, UpstreamGarbled
from backend.wire_errors import error_of

MAX_NAME = 256
"""Characters of a name or an id. Real ones have some 40."""

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A frame is one line. Nothing that a model writes comes near this; a runaway does."""

MAX_SECONDS = 3600.0
"""What an upstream reports beyond it was not measured."""


_PARAMETERS: tuple[tuple[str, dict[str, Any]], ...] = (
    # Reasoning is never shown, and somebody waits for the first word.
    ("openai/gpt-oss-", {"reasoning_effort": "low"}),
    ("qwen/", {"reasoning_format": "hidden"}),
)


def parameters_of(model: str) -> dict[str, Any]:
    """What this model takes beside the common parameters; others would refuse it."""
    for family, parameters in _PARAMETERS:
        if model.startswith(family):
            return parameters
    return {}


def body_of(request: CompletionRequest) -> dict[str, Any]:
    """What is said and what may be called."""
    tools = tools_of(request.tools)
    return {"messages": messages_of(request), **({"tools": tools} if tools else {})}


def messages_of(request: CompletionRequest) -> list[dict[str, Any]]:
    return [
        {"role": "system", "content": request.prompt},
        *(_message(message) for message in request.messages),
    ]


def _message(message: Message) -> dict[str, Any]:
    body: dict[str, Any] = {"role": message.role.value, "content": message.content}
    if message.role is Role.TOOL:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": _sendable(call.arguments)},
            }
            for call in message.tool_calls
        ]
    return body


def _sendable(arguments: str) -> str:
    """The upstream refuses a history whose arguments are not JSON; the output says what was."""
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return "{}"
    return arguments


def tools_of(specs: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    return [
        {
            "type": "function",
            "function": {
                "name": spec.name,
                "description": spec.description,
                "parameters": spec.parameters,
            },
        }
        for spec in specs
    ]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallPart(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_CallPart] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # Of seconds nothing depends, so whatever stands there is no reason to give up an answer.
    queue_time: Any = None
    completion_time: Any = None


class _Groq(msgspec.Struct):
    usage: _Usage | None = None
    error: str | None = None


class _Frame(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    x_groq: _Groq | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Frame).decode


class Decoder:
    """The bytes of one completion, in any split, to its text and then to its ending."""

    def __init__(self) -> None:
        self.is_done = False
        """The upstream has said `[DONE]`."""
        self.has_begun = False
        """There was text, or a tool call."""
        self.failure: UpstreamError | None = None
        """Why there is nothing more to read; what came before it still counts."""
        self._rest = b""
        self._alike = Alike(_text_alone)
        self._alike_model = ""
        self._parts: dict[int, _CallPart] = {}
        self._newest: dict[int, int] = {}
        self._finish_reason: str | None = None
        self._usage = _Usage()
        self._model = self._id = ""

    def feed(self, data: bytes) -> str:
        """Take what one read brought; returns the visible text in it.

        Sets `failure` if this is not a stream of completion frames, or one in which the
        upstream reports a failure.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self.failure = UpstreamGarbled()
        texts: list[str] = []
        try:
            self._read(lines, texts)
        except UpstreamError as error:
            self.failure = error
        text = "".join(texts)
        self.has_begun = self.has_begun or bool(text or self._parts)
        return _clean(text)

    def _read(self, lines: Sequence[bytes], texts: list[str]) -> None:
        """The hot path: per token it does no more than this loop."""
        alike: list[bytes] = []
        before, behind = self._alike.before, self._alike.behind
        for line in lines:
            if line.startswith(before) and line.endswith(behind):
                alike.append(line)
            elif line:
                self._read_alike(alike, texts)
                alike = []
                texts.append(self._line(line))
                before, behind = self._alike.before, self._alike.behind
        self._read_alike(alike, texts)

    def _read_alike(self, lines: Sequence[bytes], texts: list[str]) -> None:
        if not lines:
            return
        found = self._alike.texts(lines)
        if found is None:
            for line in lines:
                texts.append(self._line(line))  # noqa: PERF401 - those before a broken one count
        else:
            texts += found
            self._model = self._alike_model

    def end(self) -> Iterator[Delta]:
        """What the end of the stream makes known: a last line that nothing terminated,
        the tool calls, and the finish.

        Raises:
            UpstreamGarbled: the stream stopped before the completion was whole.
            UpstreamError: what `failure` says.
        """
        if text := self.feed(b"\n"):
            yield Text(text)
        if self.failure is not None:
            raise self.failure
        if self._finish_reason not in get_args(FinishReason):
            raise UpstreamGarbled
        yield from self._calls()
        yield Finish(
            reason=cast(FinishReason, self._finish_reason),
            model=self._model,
            usage=Usage(_count(self._usage.prompt_tokens), _count(self._usage.completion_tokens)),
            id=self._id,
        )

    @property
    def queue_seconds(self) -> float | None:
        """How long the upstream says it let the request wait."""
        return _seconds(self._usage.queue_time)

    @property
    def writing_seconds(self) -> float | None:
        """How long the upstream says it wrote."""
        return _seconds(self._usage.completion_time)

    def _line(self, line: bytes) -> str:
        if not line.startswith(b"data:"):
            return ""  # `event: error` needs no look: its data says the same
        payload = line[5:].strip()
        if payload == b"[DONE]":
            self.is_done = True
            return ""
        try:
            text = self._frame(_decode(payload))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamGarbled from error
        if text and self._alike.learn(line):
            self._alike_model = self._model
        return text

    def _frame(self, frame: _Frame) -> str:
        if frame.error is not None:
            raise error_of(frame.error)
        self._model = _clean(frame.model or self._model)[:MAX_NAME]
        self._id = self._id or _clean(frame.id or "")[:MAX_NAME]
        if frame.x_groq is not None:
            if frame.x_groq.error is not None:
                raise UpstreamGarbled
            self._usage = frame.x_groq.usage or self._usage
        self._usage = frame.usage or self._usage
        return "".join([self._choice(choice) for choice in frame.choices or ()])

    def _choice(self, choice: _Choice) -> str:
        self._finish_reason = choice.finish_reason or self._finish_reason
        if choice.delta is None:
            return ""
        for part in choice.delta.tool_calls or ():
            self._add(part)
        return choice.delta.content or ""

    def _add(self, part: _CallPart) -> None:
        """Groq sends each call whole; servers that split the arguments repeat its index.
        An index that comes again under another id is another call.
        """
        index = self._newest.get(part.index, part.index)
        while (known := self._parts.get(index)) and part.id and known.id and known.id != part.id:
            index += 1000
        self._newest[part.index] = index
        known = self._parts.setdefault(index, _CallPart(function=_Function("", "")))
        known.id = known.id or part.id
        if part.function is not None and known.function is not None:
            known.function.name = known.function.name or part.function.name
            known.function.arguments = (known.function.arguments or "") + (
                part.function.arguments or ""
            )

    def _calls(self) -> Iterator[ToolCall]:
        """Ids are made unique: the outputs are matched by them."""
        seen: set[str] = set()
        for index, part in sorted(self._parts.items()):
            call_id = _clean(part.id or f"call_{index}")[:MAX_NAME]
            while call_id in seen:
                call_id += "_"
            seen.add(call_id)
            function = part.function or _Function()
            name, arguments = function.name or "", function.arguments or ""
            yield ToolCall(call_id, _clean(name)[:MAX_NAME], _clean(arguments))


def _text_alone(line: bytes) -> str | None:
    """Of a frame that brings a piece of text and nothing else that a decoder would keep."""
    try:
        frame = _decode(line.removeprefix(b"data:").strip())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    match frame:
        case _Frame(
            choices=[_Choice(delta=_Delta(content=text, tool_calls=None), finish_reason=None)],
            usage=None,
            x_groq=None,
            error=None,
        ):
            return text
    return None


def _clean(text: str) -> str:
    """No client, and not every database, takes a NUL in a text."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in text else text


def _count(reported: int) -> int:
    """A number of tokens that a database takes, whatever was reported."""
    return min(max(reported, 0), 2**31 - 1)


def _seconds(reported: Any) -> float | None:
    if isinstance(reported, int | float) and 0 <= reported <= MAX_SECONDS:
        return float(reported)
    return None
