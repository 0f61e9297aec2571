"""Reads one completion: its text without markup, and its tool calls, native or in the text."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

from backend.domain.conversation import ToolCall
from backend.domain.errors import ToolUseFailed, UpstreamError
from backend.llm.dialects.known_tools import KnownTools, WrittenCall, as_arguments
from backend.llm.dialects.names import cleaned
from backend.llm.dialects.text_reader import TextReader
from backend.llm.port import Delta, Finish, Text

WRITTEN_AS_TEXT = "It was written into the text, in a form that nothing can read."
ONLY_THOUGHTS = "There was neither a call nor an answer, only thoughts."


class CompletionReader:
    """Collects one completion.

    Text that is held back counts as not shown. So a failure before any other text is not late.
    """

    def __init__(self, tools: KnownTools) -> None:
        self.has_repaired = False
        """Whether a tool call was found in the text."""
        self._tools = tools
        self._reader = TextReader(tools)
        self._shown: list[str] = []
        self._calls: list[ToolCall] = []
        self._nameless = 0
        self._finish: Finish | None = None

    @property
    def shown(self) -> str:
        return "".join(self._shown)

    def text(self, text: str) -> str:
        """Take text, and return the text that may be shown now. Runs for every delta."""
        if text := self._reader.feed(text):
            self._shown.append(text)
        return text

    def take(self, delta: ToolCall | Finish) -> None:
        """Keep a call or the finish until the completion is complete."""
        if isinstance(delta, Finish):
            self._finish = delta
        elif name := self._tools.find(delta.name) or cleaned(delta.name):
            self._calls.append(delta if name == delta.name else replace(delta, name=name))
        else:
            self._nameless += 1

    def rest(self) -> Iterator[Delta]:
        """Yield the rest after a complete stream: held text, tool calls, the finish.

        Raises:
            ToolUseFailed: there is only reasoning, or calls that cannot be read.
        """
        yield from self.held_text()
        written = [one for one in self._reader.calls if not self._has(one)]
        self.has_repaired = bool(written)
        calls = [*self._calls, *map(called, written)]
        if not calls and (reason := self._reason()):
            raise self._failed(reason)
        yield from calls
        if self._finish is not None:
            yield replace(self._finish, reason="tool_calls") if written else self._finish

    def held_text(self) -> Iterator[Text]:
        """Yield the text that was held back as possible markup and turned out to be ordinary."""
        if text := self._reader.end():
            self._shown.append(text)
            yield Text(text)

    def judge(self, error: UpstreamError) -> None:
        """Clear `is_late` if no text was shown, although some has arrived."""
        if self._reader.has_begun and not self._shown:
            error.is_late = False

    def _reason(self) -> str | None:
        if self._reader.is_unread or self._nameless:
            return WRITTEN_AS_TEXT if self._reader.is_unread else "It had no name."
        return ONLY_THOUGHTS if self._reader.has_hidden and not self._shown else None

    def _failed(self, reason: str) -> ToolUseFailed:
        failure = ToolUseFailed(reason=reason)
        failure.is_late = bool(self._shown)
        return failure

    def _has(self, written: WrittenCall) -> bool:
        """Whether the call also came natively. Some servers send it both ways."""
        return any(
            call.name == written.name and as_arguments(call.arguments) == written.arguments
            for call in self._calls
        )


def called(written: WrittenCall) -> ToolCall:
    return ToolCall(f"call_{uuid4().hex[:12]}", written.name, written.arguments)
