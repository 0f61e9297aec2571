"""Tool calls that the model wrote and the upstream could not read.

Groq answers `tool_use_failed` with the text as the model wrote it. In nearly every case
the call is in there, in one of a few dialects. What is rescued is validated like any
other call; what is not is told to the model, once.
"""

import json
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal
from uuid import uuid4

from backend.completion import CompletionRequest, Delta, Finish, Text
from backend.conversation import Message, ToolCall
from backend.errors import ToolUseFailed
from backend.resilience.guard import NamedModel

RescueOutcome = Literal["rescued", "text", "asked_again", "lost"]

_FUNCTION = re.compile(
    # <function=NAME>{json}</function> and its relatives: no bracket, `=` or `(` before the
    # arguments, a stray > before the closing tag, or no closing tag at all.
    r"<function\s*=\s*(?P<name>[\w.-]+)\s*(?P<rest>.*?)(?:</function>|(?=<function\s*=)|\Z)",
    re.DOTALL,
)


def calls_in(generation: str) -> list[ToolCall]:
    """The calls in a failed generation, in order; none if there is no dialect we know."""
    tagged = [
        _call(found["name"], _object_in(found["rest"])) for found in _FUNCTION.finditer(generation)
    ]
    return tagged or list(_json_calls(generation))


def _json_calls(generation: str) -> Iterator[ToolCall]:
    """`{"name": …, "arguments": …}`, alone or in a list."""
    try:
        value = json.loads(generation)
    except (ValueError, RecursionError):
        return
    for item in value if isinstance(value, list) else [value]:
        match item:
            case {"name": str(name), "arguments": arguments}:
                yield _call(name, arguments)
            case {"name": str(name), "parameters": arguments}:
                yield _call(name, arguments)


def _object_in(rest: str) -> Any:
    """The first JSON object in the text, or the text itself when it has a broken one."""
    start = rest.find("{")
    if start < 0:
        return {}
    try:
        return json.JSONDecoder().raw_decode(rest, start)[0]
    except (ValueError, RecursionError):
        return rest[start:].rstrip("> \n")


def _call(name: str, arguments: Any) -> ToolCall:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return ToolCall(id=f"call_{uuid4().hex[:12]}", name=name, arguments=text)


class Rescuing:
    def __init__(self, model: NamedModel, on_rescue: Callable[[RescueOutcome], None]) -> None:
        self.name = model.name
        self._model = model
        self._on_rescue = on_rescue

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        is_told = False
        while True:
            shown: list[str] = []
            try:
                async with aclosing(self._model.complete(request)) as deltas:
                    async for delta in deltas:
                        if isinstance(delta, Text):
                            shown.append(delta.text)
                        yield delta
                return
            except ToolUseFailed as error:
                failure = error
            rescued = self._rescued(request, failure.failed_generation, "".join(shown))
            if rescued:
                for delta in rescued:
                    yield delta
                return
            if failure.is_late or is_told:
                self._on_rescue("lost")
                raise failure
            self._on_rescue("asked_again")
            request, is_told = _told(request, failure), True

    def _rescued(self, request: CompletionRequest, generation: str, shown: str) -> list[Delta]:
        known = {spec.name for spec in request.tools}
        if calls := [call for call in calls_in(generation) if call.name in known]:
            self._on_rescue("rescued")
            return [*calls, Finish(reason="tool_calls", model=self.name)]
        if _is_prose(generation) and generation.startswith(shown):
            self._on_rescue("text")
            unsaid = generation.removeprefix(shown)
            finish = Finish(reason="stop", model=self.name)
            return [Text(unsaid), finish] if unsaid else [finish]
        return []


def _is_prose(generation: str) -> bool:
    """Something that a person may read: no attempt at a call, and not nothing."""
    text = generation.strip()
    return bool(text) and not text.startswith(("{", "[", "<")) and "<function" not in text


def _told(request: CompletionRequest, failure: ToolUseFailed) -> CompletionRequest:
    told = (
        "(The last request for a tool could not be read. "
        f"{failure.reason or 'It was not a valid tool call.'} "
        "Call the tool again with valid JSON arguments, or answer without it.)"
    )
    return replace(request, messages=[*request.messages, Message.user(told)])
