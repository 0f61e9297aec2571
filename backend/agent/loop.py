"""One turn: the loop of rounds, from the user's query to the end of the answer.

In each round the loop asks the model, runs the tool calls that it requests, and feeds their outputs
back. It emits the events for the client, but not the last ones: `TurnTask` ends the stream when
everything is stored. The loop knows nothing of HTTP, SSE, Groq or SQL.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from backend.agent.flush_pace import FlushPace
from backend.agent.prompt import told
from backend.domain.context_window import (
    CHARACTERS_PER_TOKEN,
    FULL,
    characters,
    characters_per_token,
    without_oldest,
)
from backend.domain.conversation import (
    INTERRUPTED,
    Caller,
    History,
    Message,
    ToolCall,
    as_json,
    unanswered,
)
from backend.domain.errors import TooManyRounds, UpstreamGarbled
from backend.domain.events import Chunk, Event, ToolCalled, ToolOutput, ToolUse
from backend.domain.turn_keys import TurnKey
from backend.domain.usage import ModelCall, Purpose, Usage
from backend.llm.port import ChatModel, CompletionRequest, Finish, FinishReason, Text
from backend.storage.ports.sessions import Earlier
from backend.storage.ports.side_effects import SideEffect
from backend.telemetry import turn_clock
from backend.telemetry.turn_clock import Part
from backend.tools.arguments import shown
from backend.tools.context import ToolContext
from backend.tools.registry import Toolbox, ToolResult

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """The model, tools and settings that all turns share.

    `history_tokens` bounds prompt and messages of a request. `input_limit_tokens` returns what the
    first model accepts, as far as that is known, and the smaller number counts.
    """

    model: ChatModel
    toolbox: Toolbox
    max_rounds: int = 8
    history_tokens: int = 16_000
    input_limit_tokens: Callable[[], int | None] = lambda: None
    pace: FlushPace = field(default_factory=lambda: FlushPace(0.025))
    purpose: Purpose = "turn"

    @property
    def budget_tokens(self) -> int:
        limit = self.input_limit_tokens()
        return self.history_tokens if limit is None else min(limit, self.history_tokens)


class Turn:
    """One turn, from the query to the last word of the answer.

    However the turn ends, `messages` tells what the client saw and what the tools did, and every
    tool call in it has an output.
    """

    def __init__(
        self,
        assistant: Assistant,
        *,
        context: ToolContext,
        prompt: str,
        query: str,
    ) -> None:
        self.history_tokens = int(assistant.budget_tokens * FULL)
        """The tokens that prompt, history and query may have when the turn begins."""
        self._assistant = assistant
        self._context = context
        self._prompt = prompt
        self._emit: Emit = lambda _: None
        self._history: History = ()
        self._key: TurnKey | None = None
        self._question = Message.user(query)
        self.characters_per_token = CHARACTERS_PER_TOKEN
        self.messages: list[Message] = []
        """The messages that the turn adds to the history, after the user's message."""
        self._announced: set[str] = set()
        self._silent_models: set[str] = set()
        self.usage = Usage()
        """As reported for the answer, so without calls that failed or were abandoned."""
        self.calls: list[ModelCall] = []
        """All calls of models, with reported or estimated usage."""
        self.rounds = 0
        self.model: str | None = None
        self.finish_reason: FinishReason | None = None
        """The last completion's; None if there was none, or it is incomplete."""

    @property
    def caller(self) -> Caller:
        return self._context.caller

    @property
    def purpose(self) -> Purpose:
        return self._assistant.purpose

    @property
    def question(self) -> Message:
        return self._question

    @property
    def characters_beside(self) -> int:
        """The size of everything in the first request that is not history."""
        return len(self._prompt) + self._question.characters

    async def run(
        self,
        emit: Emit,
        history: History = (),
        *,
        earlier: Earlier = Earlier(),  # noqa: B008 - it is immutable
        key: TurnKey | None = None,
        characters_per_token: float = CHARACTERS_PER_TOKEN,
    ) -> None:
        """Emit the events of the turn, except its `outcome` and `end`.

        The model reads of what was cut from the history in `earlier`.
        Tools with side effects act for the turn `key`, and only while it holds its session. To
        stop the turn, cancel this coroutine. It still waits for a booking that has begun, and emits
        its output.

        Raises:
            UpstreamError: the model failed. The text that was already emitted stays valid.
            TooManyRounds: the model still asks for tools after `max_rounds`.
        """
        self._emit = emit
        self._history = history
        self._prompt += told(earlier)
        self._key = key
        self.characters_per_token = characters_per_token
        is_over = False
        try:
            while not is_over:
                if self.rounds == self._assistant.max_rounds:
                    raise TooManyRounds
                self.rounds += 1
                self._announced.clear()  # call ids are only unique within a round
                calls = await self._ask()
                await self._run_tools(calls)
                is_over = not calls
        finally:
            self._answer_the_rest()
            self._emit = lambda _: None  # breaks the reference cycle with the turn's owner

    async def _ask(self) -> Sequence[ToolCall]:
        """Run one completion: emit its text, append the assistant message, return the calls."""
        with turn_clock.part(Part.LEX):
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
                            with turn_clock.part(Part.LEX):
                                self._emit(Chunk(text, self.rounds))
                            # Do not read for a moment. The next read then brings all the text that
                            # came meanwhile, so the cost is per flush and not per token.
                            await asyncio.sleep(self._assistant.pace.seconds)
                        case ToolCall():
                            calls.append(delta)
                        case Finish():
                            is_whole = True
                            self._account(request, delta)
                        case _:
                            assert_never(delta)
        finally:
            # A cancellation may come after the `Finish`, while the connection closes. Then the
            # history has the calls, which were never announced, and `run` adds their outputs.
            self._remember("".join(shown), calls if is_whole else [])
        if not is_whole:  # a model that breaks the port's promise; never run its partial calls
            raise UpstreamGarbled
        if not shown and not calls and not self._has_spoken:
            raise UpstreamGarbled("The assistant's answer was empty.")
        return calls

    def _request(self) -> CompletionRequest:
        current = [self._question, *self.messages]
        beside = len(self._prompt) + characters(current)
        room = self._assistant.budget_tokens * self.characters_per_token - beside
        # Later rounds keep what is cut now, so that they begin with the same bytes.
        self._history = without_oldest(self._history, room)
        history = [message for turn in self._history for message in turn]
        return CompletionRequest(
            prompt=self._prompt,
            messages=[*history, *current],
            history_length=len(history),
            tools=self._assistant.toolbox.specs,
            silent=self._silent_models,
            purpose=self.purpose,
            calls=self.calls,
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
        """Announce the calls, and run them concurrently."""
        # No `await` between the announcements and the start of the tools: a turn that is stopped
        # has announced all calls of the round or none.
        with turn_clock.part(Part.LEX):
            for call in calls:
                self._announced.add(call.id)
                self._emit(ToolUse(call.name, self.rounds))
                self._emit(ToolCalled(call.id, call.name, shown(call.arguments), self.rounds))
            pending = {asyncio.create_task(self._run_tool(call)): call for call in calls}
        with turn_clock.part(Part.TOOLS):
            await self._answer_each(pending)

    async def _run_tool(self, call: ToolCall) -> ToolResult:
        with turn_clock.current().tool():
            return await self._assistant.toolbox.run(call, self._context_of(call))

    async def _answer_each(self, pending: dict[asyncio.Task[ToolResult], ToolCall]) -> None:
        """Emit each output as it comes."""
        try:
            while pending:
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._answer(pending.pop(task), task.result().output)
        finally:
            try:
                await self._end_pending(pending)
            finally:
                # The history must know of a booking even if its turn was stopped.
                for task, call in pending.items():
                    if task.done() and not task.cancelled():
                        self._answer(call, task.result().output)

    def _context_of(self, call: ToolCall) -> ToolContext:
        if self._key is None or not self._assistant.toolbox.has_side_effects(call.name):
            return self._context
        messages = tuple(self.messages)
        side_effect = SideEffect(turn=self._key, call=call, messages=messages)
        return replace(self._context, call=side_effect)

    def _answer_the_rest(self) -> None:
        """Add an output to every call without one. A history with unanswered calls is invalid."""
        for call in unanswered(self.messages):
            self._answer(call, INTERRUPTED)

    def _answer(self, call: ToolCall, output: dict[str, Any]) -> None:
        self.messages.append(Message.tool(call, as_json(output)))
        if call.id in self._announced:
            self._emit(ToolOutput(call.name, output, call.id, self.rounds))

    async def _end_pending(self, pending: dict[asyncio.Task[ToolResult], ToolCall]) -> None:
        """Cancel the running tools, except those with side effects: wait for these."""
        for task, call in pending.items():
            if not self._assistant.toolbox.has_side_effects(call.name):
                task.cancel()
        await _outlast(pending)


async def _outlast(tasks: Collection[asyncio.Task[ToolResult]]) -> None:
    """Wait until all tasks have ended. A cancellation meanwhile is raised afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            # A stop, the turn's time-out and a shutdown may each cancel, one after the other.
            cancelled = error
    if cancelled is not None:
        raise cancelled
