"""A model that the upstream stops serving for a while, from the wire to `/readyz`."""

import asyncio
from contextlib import AsyncExitStack, aclosing

from backend.app.llm_providers import chosen
from backend.app.models import open_models
from backend.domain.conversation import Message
from backend.llm.port import CompletionRequest, Text
from backend.llm.prices import Prices
from backend.llm.resilience.fallback import Fallback
from backend.llm.resilience.shared_rates import LiveWorkers
from infrastructure.groq_standin import Standin
from tests.serving import settings
from tests.waiting import waiting

FIRST, SECOND = "llama-3.3-70b-versatile", "openai/gpt-oss-120b"
QUESTION = "Are you there?"


def opened(standin: Standin, stack: AsyncExitStack, *, ask_again_seconds: float) -> Fallback:
    given = settings(groq_base_url=standin.url, model_fallbacks=SECOND)
    return open_models(
        given,
        chosen(given),
        stack,
        prices=Prices(),
        worker="w",
        live_workers=LiveWorkers(),
        ask_again_seconds=ask_again_seconds,
    )


async def answer(models: Fallback) -> str:
    request = CompletionRequest(prompt="You are Lex.", messages=[Message.user("Hi")])
    async with aclosing(models.complete(request)) as deltas:
        return "".join([delta.text async for delta in deltas if isinstance(delta, Text)])


def is_due(models: Fallback) -> None:
    """Make the next try of a model due, as after its five minutes."""
    models.unserved._put(FIRST, "model_not_found", 0.0)


async def test_a_model_that_is_served_again_answers_again() -> None:
    async with Standin.serve() as standin, AsyncExitStack() as stack:
        models = opened(standin, stack, ask_again_seconds=0.01)
        standin.script({"fault": {"kind": "model_not_found"}}, model=FIRST)
        standin.script({"text": "Second."}, model=SECOND)
        replaced = await answer(models)

        is_due(models)
        await standin.stats.until(lambda stats: stats.requests == 3)
        await standin.stats.until(lambda stats: stats.open_streams == 0)
        async with waiting():
            while FIRST in models.unserved:
                await asyncio.sleep(0.01)
        standin.script({"text": "First."}, model=FIRST)
        again = await answer(models)

        question = standin.stats.last_requests[2].body
    assert (replaced, again) == ("Second.", "First.")
    assert question["messages"][-1]["content"] == QUESTION
    assert question["max_completion_tokens"] == 16


async def test_no_turn_waits_while_a_model_is_asked_again() -> None:
    async with Standin.serve() as standin, AsyncExitStack() as stack:
        models = opened(standin, stack, ask_again_seconds=60)
        silence = {"fault": {"kind": "silence"}}
        standin.script(silence, model=FIRST, contains=QUESTION, times=None)
        standin.script({"text": "Second."}, model=SECOND, times=None)
        is_due(models)
        asking = asyncio.create_task(models.ask_again())
        await standin.stats.until(lambda stats: stats.requests == 1)

        answers = [await answer(models) for _ in range(3)]

        asking.cancel()
        await asyncio.wait([asking])
        await standin.stats.until(lambda stats: stats.open_streams == 0)
    assert answers == ["Second."] * 3
    assert standin.stats.models == {FIRST: 1, SECOND: 3}
