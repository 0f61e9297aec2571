"""Repairs tool calls that the upstream could not parse.

In that case Groq answers `tool_use_failed` with the model's raw text, or it leaves the call in the
text of the answer. Nearly always the text contains a call in a dialect that `dialects` can read. A
repaired call is validated like any other. Text that cannot be repaired is never shown: the model
gets one more chance with an explanation, and then the next model is asked.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Literal

from backend.domain.conversation import Message
from backend.domain.errors import ToolUseFailed, UpstreamError
from backend.llm.dialects.calls import calls_in, has_markup
from backend.llm.dialects.known_tools import KnownTools
from backend.llm.groq.completion_reader import CompletionReader, called
from backend.llm.port import CompletionRequest, Delta, Finish, NamedModel, Text

RepairOutcome = Literal["rescued", "text", "asked_again", "lost"]


class ToolCallRepair:
    def __init__(self, model: NamedModel, on_repair: Callable[[RepairOutcome], None]) -> None:
        self.name = model.name
        self._model = model
        self._on_repair = on_repair
        self._tools = KnownTools(())

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        if self._tools.specs != request.tools:  # in practice the tools never change
            self._tools = KnownTools(request.tools)
        tools = self._tools
        may_ask_again = request.is_awaited
        while True:
            reader = CompletionReader(tools)
            try:
                async with aclosing(self._model.complete(request)) as deltas:
                    async for delta in deltas:
                        if not isinstance(delta, Text):
                            reader.take(delta)
                        elif text := reader.text(delta.text):
                            # Usually nothing was held back, and the delta goes on without a copy.
                            yield delta if text is delta.text else replace(delta, text=text)
                for delta in reader.rest():
                    yield delta
                if reader.has_repaired:
                    self._on_repair("rescued")
                return
            except UpstreamError as error:
                reader.judge(error)
                failure = error
            if isinstance(failure, ToolUseFailed):
                if repaired := self._repaired(failure, tools, reader.shown):
                    for delta in repaired:
                        yield delta
                    return
                if may_ask_again and not failure.is_late:
                    self._on_repair("asked_again")
                    request, may_ask_again = _told(request, failure), False
                    continue
                self._on_repair("lost")
            if failure.is_late:
                for delta in reader.held_text():
                    yield delta
            raise failure

    def _repaired(self, failure: ToolUseFailed, tools: KnownTools, shown: str) -> Sequence[Delta]:
        generation = _printable(failure.failed_generation)
        if written := calls_in(generation, tools):
            self._on_repair("rescued")
            return [*map(called, written), Finish(reason="tool_calls", model=self.name)]
        is_prose = bool(generation.strip()) and not has_markup(generation, tools)
        if is_prose and generation.startswith(shown):
            self._on_repair("text")
            unsaid = generation.removeprefix(shown)
            finish = Finish(reason="stop", model=self.name)
            return [Text(unsaid), finish] if unsaid else [finish]
        return []


def _printable(generation: str) -> str:
    """Replace NUL characters and lone surrogates, which clients cannot handle."""
    return generation.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _told(request: CompletionRequest, failure: ToolUseFailed) -> CompletionRequest:
    told = (
        "(The last request for a tool could not be read. "
        f"{failure.reason or 'It was not a valid tool call.'} "
        "Call the tool again with valid JSON arguments, or answer without it.)"
    )
    return replace(request, messages=[*request.messages, Message.user(told)])
