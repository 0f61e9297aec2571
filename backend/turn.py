"""One turn: the loop of rounds, from the user's query to the end of the answer.

It asks the model, announces and runs the tool calls that the model wants, feeds their
outputs back, and yields what the client is to see. It knows nothing of HTTP, SSE, Groq
or SQL, and it does not end the stream: `running` does, when everything is stored.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, assert_never

from backend.completion import ChatModel, CompletionRequest, Finish, Text
from backend.conversation import Message, ToolCall, Usage, as_json
from backend.errors import TooManyRounds, UpstreamGarbled
from backend.events import Chunk, Event, ToolCalled, ToolOutput, ToolUse
from backend.history import CHARACTERS_PER_TOKEN, characters, characters_per_token, fitted
from backend.tools.arguments import shown
from backend.tools.desk import Desk
from backend.tools.registry import Toolbox, ToolResult

INTERRUPTED = {"error": {"code": "interrupted", "message": "The turn ended before the result."}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """What all turns share."""

    model: ChatModel
    toolbox: Toolbox
    max_rounds: int = 8
    history_tokens: int = 16_000
    flush_seconds: float = 0.025


class Stopwatch:
    """How long the blocks that it is entered for take, added up."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._begun


class Turn:
    """One conversation with the model.

    What it leaves behind is true in every ending: `messages` holds what was shown and
    done, and no tool call in it lacks its output.
    """

    def __init__(
        self,
        assistant: Assistant,
        *,
        desk: Desk,
        prompt: str,
        query: str,
    ) -> None:
        self.history_tokens = assistant.history_tokens
        self._assistant = assistant
        self._desk = desk
        self._prompt = prompt
        self._history: Sequence[Message] = ()
        self._question = Message.user(query)
        self.characters_per_token = CHARACTERS_PER_TOKEN
        self.messages: list[Message] = []
        """What the turn adds to the history, after the user's message."""
        self.unshown: list[Event] = []
        """Outputs that came, or will never come, after the turn was interrupted."""
        self._announced: set[str] = set()
        self._silent_models: set[str] = set()
        self.usage = Usage()
        self.rounds = 0
        self.model: str | None = None
        self.on_upstream = Stopwatch()
        """With every retry, and with the pauses between two chunks."""
        self.on_tools = Stopwatch()

    async def run(
        self,
        history: Sequence[Message] = (),
        *,
        characters_per_token: float = CHARACTERS_PER_TOKEN,
    ) -> AsyncGenerator[Event, None]:
        """Yield the events of the turn, except its `end`. `history` is what was said before.

        Raises:
            UpstreamError: the model failed; what it said before stays said.
            TooManyRounds: the model asked for tools once more than it may.
        """
        self._history = history
        self.characters_per_token = characters_per_token
        calls: tuple[ToolCall, ...] | None = None
        try:
            while calls is None or calls:
                if self.rounds == self._assistant.max_rounds:
                    raise TooManyRounds
                self.rounds += 1
                with self.on_upstream:
                    async with aclosing(self._ask()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                calls = self.messages[-1].tool_calls
                with self.on_tools:
                    async with aclosing(self._run_tools(calls)) as events:
                        async for event in events:
                            yield event
        finally:
            self._answer_the_rest()

    async def _ask(self) -> AsyncGenerator[Event, None]:
        """One completion: yields its text, and leaves an assistant message behind."""
        request = self._request()
        shown: list[str] = []
        calls: list[ToolCall] = []
        is_whole = False
        try:
            async with aclosing(self._assistant.model.complete(request)) as deltas:
                async for delta in deltas:
                    match delta:
                        case Text(text):
                            shown.append(text)
                            yield Chunk(text)
                            # Nothing is read while we wait, so the next read brings all
                            # that came meanwhile: the cost is per flush, not per token.
                            await asyncio.sleep(self._assistant.flush_seconds)
                        case ToolCall():
                            calls.append(delta)
                        case Finish():
                            is_whole = True
                            self._account(request, delta)
                        case _:
                            assert_never(delta)
        finally:
            self._remember("".join(shown), calls if is_whole else [])
        if not shown and not calls and not self._has_spoken:
            raise UpstreamGarbled("The assistant gave an empty answer.")

    def _request(self) -> CompletionRequest:
        assistant = self._assistant
        messages = fitted(
            self._history,
            [self._question, *self.messages],
            budget_characters=self.history_tokens * self.characters_per_token - len(self._prompt),
        )
        return CompletionRequest(
            prompt=self._prompt,
            messages=messages,
            tools=assistant.toolbox.specs,
            silent=self._silent_models,
        )

    def _account(self, request: CompletionRequest, finish: Finish) -> None:
        self.usage += finish.usage
        self.model = finish.model
        sent = len(request.prompt) + characters(request.messages)
        ratio = characters_per_token(sent, finish.usage.input_tokens)
        self.characters_per_token = ratio or self.characters_per_token

    def _remember(self, text: str, calls: Sequence[ToolCall]) -> None:
        if text or calls:
            self.messages.append(Message.assistant(text, calls))

    @property
    def _has_spoken(self) -> bool:
        return any(message.content for message in self.messages if not message.tool_call_id)

    async def _run_tools(self, calls: Sequence[ToolCall]) -> AsyncGenerator[Event, None]:
        """Announce the calls, run them side by side, yield each output as it comes."""
        pending: dict[asyncio.Task[ToolResult], ToolCall] = {}
        try:
            for call in calls:
                self._announced.add(call.id)
                yield ToolUse(call.name)
                yield ToolCalled(call.id, call.name, shown(call.arguments))
            toolbox, desk = self._assistant.toolbox, self._desk
            pending = {asyncio.create_task(toolbox.run(call, desk)): call for call in calls}
            while pending:
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield self._answer(pending.pop(task), task.result().output)
        finally:
            try:
                await self._settle(pending)
            finally:
                for task, call in pending.items():
                    if task.done() and not task.cancelled():
                        self.unshown.append(self._answer(call, task.result().output))

    def _answer_the_rest(self) -> None:
        """Whatever interrupted the turn: no call in its messages stays without an output."""
        unanswered: dict[str, ToolCall] = {}
        for message in self.messages:
            unanswered |= {call.id: call for call in message.tool_calls}
            unanswered.pop(message.tool_call_id or "", None)
        for call in unanswered.values():
            output = self._answer(call, INTERRUPTED)
            if call.id in self._announced:
                self.unshown.append(output)

    def _answer(self, call: ToolCall, output: dict[str, Any]) -> ToolOutput:
        self.messages.append(Message.tool(call, as_json(output)))
        return ToolOutput(name=call.name, output=output, id=call.id)

    async def _settle(self, pending: dict[asyncio.Task[ToolResult], ToolCall]) -> None:
        """Bring what still runs to its end: a booking by waiting for it, the rest by cancelling."""
        for task, call in pending.items():
            if not self._assistant.toolbox.is_lasting(call.name):
                task.cancel()
        await _outlast(pending)


async def _outlast(tasks: Collection[asyncio.Task[ToolResult]]) -> None:
    """Wait until all have ended, also through further cancellations, and then pass these on."""
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
