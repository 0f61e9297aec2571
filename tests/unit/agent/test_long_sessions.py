"""A session of five hundred turns on a model that accepts few tokens."""

import random
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from os.path import commonprefix

from backend.agent.flush_pace import FlushPace
from backend.agent.loop import Assistant, Turn
from backend.agent.prompt import Prompt
from backend.agent.summaries import Summaries, load_prompt
from backend.domain.conversation import ToolCall, as_json
from backend.domain.errors import RequestTooLarge
from backend.domain.usage import Usage
from backend.llm.port import CompletionRequest, Delta, Finish, Text
from backend.llm.resilience.attempt import SingleAttempt
from backend.llm.resilience.circuit_breaker import CircuitBreaker
from backend.llm.resilience.fallback import Candidate, Fallback
from backend.llm.resilience.rate_budget import RateBudget
from backend.llm.resilience.request_size import RequestSize
from backend.storage.memory.stores import memory_stores
from backend.tools import TOOLS
from backend.tools.registry import Toolbox
from tests.contract.conversations import OWNER, ending, new_turn
from tests.fakes import NOW, SHOWROOM, a_context

TURNS = 500
LIMIT_TOKENS = 8_000
ANSWER_TOKENS = 2_048
FACTS = [f"fact number {number} of the customer" for number in range(20)]
SUMMARY = "The customer said many things."


class SmallModel:
    """Accepts `LIMIT_TOKENS` with those of the answer; no caller knows how it counts them."""

    name = "small"

    def __init__(self) -> None:
        self.chance = random.Random(11)  # noqa: S311 - no secret
        self.ratios: dict[str, float] = {}
        self.refused = 0
        self.requests: list[CompletionRequest] = []
        self.summary_inputs: list[str] = []
        self.booked = 0

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        used = self._tokens(request)
        if used + (request.max_tokens or ANSWER_TOKENS) > LIMIT_TOKENS:
            self.refused += 1
            raise RequestTooLarge(limit_tokens=LIMIT_TOKENS, requested_tokens=used + ANSWER_TOKENS)
        usage = Usage(used, 10)
        if not request.tools:
            self.summary_inputs.append(request.messages[0].content)
            yield Text(SUMMARY)
        else:
            self.requests.append(request)
            if request.messages[-1].content == "Book it":
                self.booked += 1
                yield ToolCall("call_1", "schedule_appointment", as_json(self._drive()))
                yield Finish(reason="tool_calls", model=self.name, usage=usage)
                return
            yield Text("a" * self.chance.randrange(20, 1200))
        yield Finish(reason="stop", model=self.name, usage=usage)

    def _tokens(self, request: CompletionRequest) -> int:
        texts = [as_json([spec.parameters for spec in request.tools]), request.prompt]
        texts += [
            as_json([m.content, *(c.arguments for c in m.tool_calls)]) for m in request.messages
        ]
        return sum(int(len(text) / self._ratio(text)) for text in texts)

    def _ratio(self, text: str) -> float:
        """The characters per token of a text: hidden, and different for each message."""
        if text not in self.ratios:
            self.ratios[text] = self.chance.uniform(2.0, 6.0)
        return self.ratios[text]

    def _drive(self) -> dict[str, str]:
        day = NOW.date() + timedelta(days=1 + 7 * (self.booked // 8))
        return {
            "user_id": "u1",
            "dealership_id": "manhattan",
            "date": str(day),
            "time": f"{9 + self.booked % 8:02}:00",
            "car_model": "Apex GT",
        }


def serialized(request: CompletionRequest) -> str:
    """The request in the order in which a provider reads it."""
    tools = [[spec.name, spec.description, spec.parameters] for spec in request.tools]
    messages = [
        [m.role, m.content, [[c.name, c.arguments] for c in m.tool_calls]] for m in request.messages
    ]
    return as_json([tools, request.prompt])[:-1] + as_json(messages)


def share_of_prefix(before: str, after: str) -> float:
    return len(commonprefix([before, after])) / len(after)  # noqa: RUF071 - of characters


async def test_a_session_of_five_hundred_turns_stays_whole_and_cached() -> None:
    model = SmallModel()
    size = RequestSize(answer_tokens=ANSWER_TOKENS)
    attempt = SingleAttempt(
        model,
        breaker=CircuitBreaker(),
        budget=RateBudget(),
        size=size,
        on_attempt=lambda _: None,
    )
    fallback = Fallback([Candidate(attempt, CircuitBreaker(), size=size)])
    assistant = Assistant(
        model=fallback,
        toolbox=Toolbox(TOOLS, timeout_seconds=5),
        input_limit_tokens=lambda: fallback.input_limit_tokens,
        pace=FlushPace(0),
    )
    stores = memory_stores(lease_seconds=1e9)
    summaries = Summaries(
        store=stores.summaries,
        model=fallback,
        prompt=load_prompt(),
        idle_seconds=1e9,
        budget_tokens=lambda: assistant.budget_tokens,
    )
    context = replace(a_context(), appointments=stores.appointments)
    prompt = Prompt.load().fill(SHOWROOM, NOW, context.caller)
    firsts: list[CompletionRequest] = []

    for number in range(TURNS):
        query = "Book it" if number % 50 == 30 else _query(model.chance, number)
        new = new_turn(query)
        turn = Turn(assistant, context=context, prompt=prompt, query=query)
        claim = await stores.sessions.claim(
            new, history_tokens=turn.history_tokens, beside_characters=turn.characters_beside
        )
        begun = len(model.requests)
        await turn.run(
            lambda _: None,
            claim.history,
            earlier=claim.earlier,
            key=new.key,
            characters_per_token=claim.characters_per_token,
        )
        firsts.append(model.requests[begun])
        stored = replace(
            ending(new, *turn.messages), characters_per_token=turn.characters_per_token
        )
        await stores.sessions.finish(stored)
        await summaries.summarize_due()

    texts = list(map(serialized, firsts))
    shares = [share_of_prefix(*pair) for pair in pairwise(texts)]
    assert sum(share >= 0.85 for share in shares) >= 0.8 * len(shares)
    assert model.refused <= 2

    bookings = await stores.appointments.of_user("u1")
    assert len(bookings) == model.booked == 10
    for booking in bookings:
        assert booking.confirmation_id in texts[-1]

    assert SUMMARY in firsts[-1].prompt
    for fact in FACTS:
        assert any(fact in text for text in model.summary_inputs)
    assert (await stores.sessions.get(OWNER, "s1")).turns == TURNS


def _query(chance: random.Random, number: int) -> str:
    fact = f" {FACTS[number - 5]}" if 5 <= number < 5 + len(FACTS) else ""
    return f"{number}{fact} ".ljust(chance.randrange(20, 800), "q")
