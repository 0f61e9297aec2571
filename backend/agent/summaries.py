"""Writes summaries of sessions that are idle or about to be cut, in the background.

No user waits for them, so they never compete with turns: only a few run at once, and only on a
model with plenty of its rate left. Each one adds the turns since the last summary to that summary.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path

import structlog

from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import Message, Role
from backend.domain.errors import ServiceError, StorageError, UpstreamError, UpstreamGarbled
from backend.domain.usage import ModelCall
from backend.llm.port import ChatModel, CompletionRequest, Text
from backend.storage.ports.summaries import IdleSession, SummaryStore
from backend.telemetry import identity, tracing

logger = structlog.get_logger()

AT_ONCE = 2
"""How many summaries one worker writes concurrently."""

MOST_TOKENS = 400
"""The token limit of a summary. Five sentences take about 150; the rest is for reasoning."""

LEFT_OUT = "\n[…]\n"
"""Stands for the middle of a transcript that is too long."""

UNCHECKED = "(unchecked) "
"""Marks the lines that are the caller's word, also those of Lex."""

TIMEOUT_SECONDS = 60.0
CLAIM_SECONDS = 1.5 * TIMEOUT_SECONDS
"""How long a claim lasts. If a worker is killed, another may summarize its session after this."""

FIRST_WAIT_SECONDS = 60.0
MOST_FAILURES = 6
"""The wait of a session grows fourfold: 1 minute, 4, 16, … After this many failures, about six
hours in, it is not tried again before its next turn."""

FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 300.0
"""The pause of all summaries after a failure. It doubles from the first to the longest."""


class Summaries:
    """Writes the summaries that are due. `summarize_due` may run several times concurrently."""

    def __init__(
        self,
        *,
        store: SummaryStore,
        model: ChatModel,
        prompt: str,
        idle_seconds: float,
        budget_tokens: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._model = model
        self._prompt = prompt
        self._idle_seconds = idle_seconds
        self._budget_tokens = budget_tokens
        self._clock = clock
        self._failures = 0
        self._resting_until = 0.0

    async def summarize_due(self) -> None:
        """Summarize one session after the other, until none is due or one fails.

        When cancelled, it closes the upstream's connection and releases its session.
        """
        while self._clock() >= self._resting_until:
            idle = await self._store.claim(
                idle_seconds=self._idle_seconds,
                claim_seconds=CLAIM_SECONDS,
                history_tokens=self._room_tokens,
            )
            if idle is None:
                return
            if idle.history:
                await self._summarize(idle)
            else:  # the summary knows all its messages already
                await self._store.postpone(idle, seconds=None, failures=idle.failures)

    async def _summarize(self, idle: IdleSession) -> None:
        calls: list[ModelCall] = []
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                summary = await self._ask(idle, calls)
            is_stored = await self._store.store(idle, summary, calls=calls)
        except asyncio.CancelledError:
            with suppress(StorageError):  # if this fails, the claim expires instead
                await self._store.postpone(idle, seconds=0, failures=idle.failures, calls=calls)
            raise
        except Exception as error:
            # One session that breaks the model or the store must not end the summaries of others.
            if not isinstance(error, ServiceError | TimeoutError):
                logger.exception("summary_broke", **_named(idle))
            await self._put_off(idle, error, calls)
        else:
            self._failures = 0
            logger.info("session_summarized", is_stored=is_stored, **_named(idle))

    async def _ask(self, idle: IdleSession, calls: list[ModelCall]) -> str:
        request = CompletionRequest(
            prompt=self._prompt,
            messages=[Message.user(self._shortened(transcript(idle)))],
            max_tokens=MOST_TOKENS,
            is_awaited=False,
            purpose="summary",
            calls=calls,
        )
        with tracing.about(idle.session_id):
            return await self._answer(request)

    async def _answer(self, request: CompletionRequest) -> str:
        async with aclosing(self._model.complete(request)) as deltas:
            texts = [delta.text async for delta in deltas if isinstance(delta, Text)]
        if summary := "".join(texts).strip():
            return summary
        raise UpstreamGarbled("The model's summary was empty.")

    @property
    def _room_tokens(self) -> int:
        """The budget without the prompt, the previous summary and the answer."""
        beside = len(self._prompt) / CHARACTERS_PER_TOKEN + 2 * MOST_TOKENS
        return max(0, self._budget_tokens() - round(beside))

    def _shortened(self, text: str) -> str:
        """Leave out the middle of a text that is too long: a turn that exceeds the budget alone."""
        most = int(self._room_tokens * CHARACTERS_PER_TOKEN)
        if len(text) <= most:
            return text
        return f"{text[: most // 2]}{LEFT_OUT}{text[-(most // 2) :]}"

    async def _put_off(
        self, idle: IdleSession, error: Exception, calls: Sequence[ModelCall]
    ) -> None:
        """Postpone this session, and pause all summaries; longer after each failure in a row."""
        was_asked = not isinstance(error, UpstreamError) or error.was_asked
        failures = idle.failures + int(was_asked)
        rest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        self._resting_until = self._clock() + rest
        wait = FIRST_WAIT_SECONDS * 4**idle.failures if was_asked else rest
        code = error.code if isinstance(error, ServiceError) else type(error).__name__
        logger.warning(
            "session_not_summarized",
            error=code,
            failures=failures,
            rest_seconds=rest,
            **_named(idle),
        )
        await self._store.postpone(
            idle,
            seconds=wait if failures < MOST_FAILURES else None,
            failures=failures,
            calls=calls,
        )


def _named(idle: IdleSession) -> dict[str, str]:
    return {identity.SESSION_HASH: identity.hash_of_session(idle.session_id)}


def load_prompt() -> str:
    return Path(__file__).with_name("summary.md").read_text(encoding="utf-8")


def transcript(idle: IdleSession) -> str:
    """The conversation as one text. As messages, the model would try to continue it."""
    before = [f"Earlier summary: {idle.summary}"] if idle.summary else []
    lines = [
        (UNCHECKED if number < idle.given_turns else "") + line
        for number, turn in enumerate(idle.history)
        for message in turn
        for line in _lines(message)
    ]
    return "\n".join([*before, *lines])


def _lines(message: Message) -> Iterator[str]:
    match message.role:
        case Role.USER:
            yield f"Customer: {message.content}"
        case Role.ASSISTANT:
            if message.content:
                yield f"Lex: {message.content}"
            for call in message.tool_calls:
                yield f"Lex calls {call.name}: {call.arguments}"
        case Role.TOOL:
            yield f"{message.tool_name} returns: {message.content}"
