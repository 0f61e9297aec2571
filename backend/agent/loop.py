"""One turn: the loop of rounds, from the user's query to the end of the answer.

It asks the model, announces and runs the tool calls that the model wants, feeds their
outputs back, and emits what the client is to see. It knows nothing of HTTP, SSE, Groq
or SQL, and it does not end the stream: `TurnTask` does, when everything is stored.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, assert_never

from backend.domain.context_window import (
    CHARACTERS_PER_TOKEN,
    characters,
    characters_per_token,
    fitted,
)
from backend.domain.conversation import (
    INTERRUPTED,
    History,
    Message,
    ToolCall,
    Usage,
    as_json,
    unanswered,
)
from backend.domain.errors import TooManyRounds, UpstreamGarbled
from backend.domain.events import Chunk, Event, ToolCalled, ToolOutput, ToolUse
from backend.llm.port import ChatModel, CompletionRequest, Finish, FinishReason, Text
from backend.storage.ports.side_effects import SideEffect
from backend.tools.arguments import shown
from backend.tools.context import ToolContext
from backend.tools.registry import Toolbox, ToolResult

Emit = Callable[[Event], None]


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
        context: ToolContext,
        prompt: str,
        query: str,
    ) -> None:
        self.history_tokens = assistant.history_tokens
        self._assistant = assistant
        self._context = context
        self._prompt = prompt
        self._emit: Emit = lambda _: None
        self._history: History = ()
        self._turn_id: str | None = None
        self._question = Message.user(query)
        self.characters_per_token = CHARACTERS_PER_TOKEN
        self.messages: list[Message] = []
        """What the turn adds to the history, after the user's message."""
        self._announced: set[str] = set()
        self._silent_models: set[str] = set()
        self.usage = Usage()
        self.rounds = 0
        self.model: str | None = None
        self.finish_reason: FinishReason | None = None
        """Of the last completion; None if that one was not whole, or there was none. `length` or
        `content_filter` if it was cut.
        """
        self.on_upstream = Stopwatch()
        """With every retry, and with the pauses between two chunks."""
        self.on_tools = Stopwatch()

    async def run(
        self,
        emit: Emit,
        history: History = (),
        *,
        turn_id: str | None = None,
        characters_per_token: float = CHARACTERS_PER_TOKEN,
    ) -> None:
        """Emit the events of the turn, except its `outcome` and `end`.

        Tools change the world for `turn_id`, and only while that turn holds its session. To stop
        the turn, cancel this: it still waits for a booking that has begun, and emits its output.

        Raises:
            UpstreamError: the model failed; what it said before stays said.
            TooManyRounds: the model asked for tools once more than it may.
        """
        self._emit = emit
        self._history = history
        self._turn_id = turn_id
        self.characters_per_token = characters_per_token
        is_over = False
        try:
            while not is_over:
                if self.rounds == self._assistant.max_rounds:
                    raise TooManyRounds
                self.rounds += 1
                self._announced.clear()  # ids of calls may come again in each round
                with self.on_upstream:
                    calls = await self._ask()
                with self.on_tools:
                    await self._run_tools(calls)
                is_over = not calls
        finally:
            self._answer_the_rest()
            self._emit = lambda _: None  # it refers to who made this turn, and would keep both

    async def _ask(self) -> Sequence[ToolCall]:
        """One completion: emits its text, leaves an assistant message behind, returns its calls."""
        request = self._request()
        self.finish_reason = None
        shown: list[str] = []
        calls: list[ToolCall] = []
        is_whole = False
        try:
            async with aclosing(self._assistant.model.complete(request)) as deltas:
                async for delta in deltas:
                    match delta:
                        case Text(text):
                            shown.append(text)
                            self.model = delta.model or self.model
                            self._emit(Chunk(text))
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
            # A cancellation may come while the upstream's connection closes. Then the completion
            # was whole: the history has its calls, which nobody has seen, and `run` answers them.
            self._remember("".join(shown), calls if is_whole else [])
        if not is_whole:  # the port promises an error instead, and a call in part may not be run
            raise UpstreamGarbled
        if not shown and not calls and not self._has_spoken:
            raise UpstreamGarbled("The assistant gave an empty answer.")
        return calls

    def _request(self) -> CompletionRequest:
        assistant = self._assistant
        current = [self._question, *self.messages]
        messages = fitted(
            self._history,
            current,
            budget_characters=self.history_tokens * self.characters_per_token - len(self._prompt),
        )
        return CompletionRequest(
            prompt=self._prompt,
            messages=messages,
            history_length=len(messages) - len(current),
            tools=assistant.toolbox.specs,
            silent=self._silent_models,
        )

    def _account(self, request: CompletionRequest, finish: Finish) -> None:
        self.usage += finish.usage
        self.model = finish.model
        self.finish_reason = finish.reason
        sent = len(request.prompt) + characters(request.messages) - finish.left_out_characters
        ratio = characters_per_token(sent, finish.usage.input_tokens)
        self.characters_per_token = ratio or self.characters_per_token

    def _remember(self, text: str, calls: Sequence[ToolCall]) -> None:
        if text or calls:
            self.messages.append(Message.assistant(text, calls))

    @property
    def _has_spoken(self) -> bool:
        return any(message.content for message in self.messages if not message.tool_call_id)

    async def _run_tools(self, calls: Sequence[ToolCall]) -> None:
        """Announce the calls, run them side by side, emit each output as it comes."""
        # Nothing waits between the announcements and the start of the tools, so a turn that is
        # stopped has announced all of its calls or none.
        for call in calls:
            self._announced.add(call.id)
            self._emit(ToolUse(call.name))
            self._emit(ToolCalled(call.id, call.name, shown(call.arguments)))
        run = self._assistant.toolbox.run
        pending = {asyncio.create_task(run(call, self._context_of(call))): call for call in calls}
        try:
            while pending:
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._answer(pending.pop(task), task.result().output)
        finally:
            try:
                await self._end_pending(pending)
            finally:
                # A booking that was made must be in the history even if its turn was stopped.
                for task, call in pending.items():
                    if task.done() and not task.cancelled():
                        self._answer(call, task.result().output)

    def _context_of(self, call: ToolCall) -> ToolContext:
        if self._turn_id is None or not self._assistant.toolbox.has_side_effects(call.name):
            return self._context
        messages = tuple(self.messages)
        side_effect = SideEffect(turn_id=self._turn_id, call=call, messages=messages)
        return replace(self._context, call=side_effect)

    def _answer_the_rest(self) -> None:
        """Whatever interrupted the turn: no call in its messages stays without an output."""
        for call in unanswered(self.messages):
            self._answer(call, INTERRUPTED)

    def _answer(self, call: ToolCall, output: dict[str, Any]) -> None:
        self.messages.append(Message.tool(call, as_json(output)))
        if call.id in self._announced:
            self._emit(ToolOutput(name=call.name, output=output, id=call.id))

    async def _end_pending(self, pending: dict[asyncio.Task[ToolResult], ToolCall]) -> None:
        """Bring what still runs to its end: a booking by waiting for it, the rest by cancelling."""
        for task, call in pending.items():
            if not self._assistant.toolbox.has_side_effects(call.name):
                task.cancel()
        await _outlast(pending)


async def _outlast(tasks: Collection[asyncio.Task[ToolResult]]) -> None:
    """Wait until all have ended, also through further cancellations, and then pass these on."""
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            # A stop, the time limit and the end of the process may cancel one after the other.
            cancelled = error
    if cancelled is not None:
        raise cancelled
