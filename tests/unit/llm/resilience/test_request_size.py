"""Cutting requests to the size that a model accepts, so that long sessions go on."""

import random
from collections.abc import AsyncGenerator, Sequence

import pytest

from backend.domain.context_window import characters
from backend.domain.conversation import Message
from backend.domain.errors import RequestTooLarge
from backend.domain.usage import Usage
from backend.llm.port import Allowance, CompletionRequest, Delta, Finish, Text
from backend.llm.resilience.attempt import SingleAttempt
from backend.llm.resilience.circuit_breaker import CircuitBreaker
from backend.llm.resilience.rate_budget import RateBudget
from backend.llm.resilience.request_size import RequestSize, cut
from backend.llm.resilience.retry import ONCE
from tests.unit.llm.resilience.conversing import Retrying, deltas_of

ANSWER_TOKENS = 1000


class SmallModel:
    """Accepts a number of tokens, including the answer's, and refuses more with a given message.

    Callers do not know how many characters make a token.
    """

    name = "small"

    def __init__(
        self, limit_tokens: int, *, says: Sequence[str] = ("limit", "requested"), ratio: float = 4.0
    ) -> None:
        self.limit_tokens = limit_tokens
        self.says = says
        self.ratio = ratio
        self.asked: list[CompletionRequest] = []

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        prompt_tokens = int((len(request.prompt) + characters(request.messages)) / self.ratio)
        requested = prompt_tokens + (request.max_tokens or ANSWER_TOKENS)
        if requested > self.limit_tokens:
            raise RequestTooLarge(
                limit_tokens=self.limit_tokens if "limit" in self.says else None,
                requested_tokens=requested if "requested" in self.says else None,
            )
        yield Text("Yes.")
        yield Finish(reason="stop", model=self.name, usage=Usage(prompt_tokens, 2))


def fitted(model: SmallModel, size: RequestSize | None = None) -> Retrying:
    attempt = SingleAttempt(
        model,
        breaker=CircuitBreaker(),
        budget=RateBudget(),
        size=size or RequestSize(answer_tokens=ANSWER_TOKENS),
        on_attempt=lambda _: None,
    )
    return Retrying(attempt, ONCE)


def turns(count: int, *, characters_each: int = 400) -> list[Message]:
    half = characters_each // 2
    return [
        message
        for number in range(count)
        for message in (
            Message.user(f"{number} ".ljust(half, "q")),
            Message.assistant("a" * (characters_each - half)),
        )
    ]


def a_request(history: Sequence[Message], question: str = "And now?") -> CompletionRequest:
    return CompletionRequest(
        prompt="You are Lex.",
        messages=[*history, Message.user(question)],
        history_length=len(history),
    )


@pytest.mark.parametrize(
    "says",
    [("limit", "requested"), ("limit",), ("requested",), ()],
    ids=["both figures", "the limit", "the request", "no figure"],
)
@pytest.mark.parametrize("ratio", [2.5, 4.0, 6.0])
async def test_a_refused_request_is_asked_again_with_fewer_turns(
    says: tuple[str, ...], ratio: float
) -> None:
    model = SmallModel(3000, says=says, ratio=ratio)
    # Up to twice of what it takes.
    request = a_request(turns(int(2 * 2000 * ratio / 400)))

    deltas = await deltas_of(fitted(model), request)

    assert deltas[0] == Text("Yes.")
    assert len(model.asked) <= 3
    last = model.asked[-1].messages
    assert list(last) == list(request.messages)[-len(last) :], "the newest turns are kept"
    assert last[0].content[0].isdigit(), "they are whole"


async def test_the_next_request_is_cut_before_it_is_asked() -> None:
    model = SmallModel(3000)
    asked = fitted(model)
    await deltas_of(asked, a_request(turns(40)))
    calls = len(model.asked)

    await deltas_of(asked, a_request(turns(41)))

    assert len(model.asked) == calls + 1
    # And no more is left out than must be.
    assert characters(model.asked[-1].messages) > 0.8 * 2000 * model.ratio


async def test_the_rate_of_a_minute_is_the_most_of_a_request() -> None:
    model = SmallModel(3000)
    size = RequestSize(answer_tokens=ANSWER_TOKENS)
    size.allowed(Allowance(kind="requests", limit=10, remaining=5, reset_seconds=1))
    assert size.limit_tokens is None
    size.allowed(Allowance(kind="tokens", limit=3000, remaining=3000, reset_seconds=0))

    await deltas_of(fitted(model, size), a_request(turns(40)))

    assert len(model.asked) == 1


async def test_a_rate_that_was_raised_is_used() -> None:
    size = RequestSize(answer_tokens=ANSWER_TOKENS)
    size.allowed(Allowance(kind="tokens", limit=3000, remaining=0, reset_seconds=1))
    size.refused(a_request(turns(40)), RequestTooLarge(limit_tokens=3000, requested_tokens=5000))

    size.allowed(Allowance(kind="tokens", limit=30_000, remaining=0, reset_seconds=1))

    assert size.limit_tokens == 30_000


async def test_what_cannot_be_cut_is_refused_and_the_next_turn_works() -> None:
    model = SmallModel(3000)
    asked = fitted(model)

    with pytest.raises(RequestTooLarge):
        await deltas_of(asked, a_request(turns(5), question="?" * 10_000))
    assert [len(request.messages) for request in model.asked] == [11, 1]

    assert (await deltas_of(asked, a_request(turns(5))))[0] == Text("Yes.")


async def test_it_is_asked_again_twice_at_most() -> None:
    model = SmallModel(0, says=())

    with pytest.raises(RequestTooLarge):
        await deltas_of(fitted(model), a_request(turns(1000)))

    assert len(model.asked) == 3


async def test_the_finish_says_what_was_left_out() -> None:
    model = SmallModel(3000)
    request = a_request(turns(40))

    *_, finish = await deltas_of(fitted(model), request)

    assert isinstance(finish, Finish)
    sent = characters(model.asked[-1].messages)
    assert finish.left_out_characters == characters(request.messages) - sent > 0


async def test_no_turn_of_a_long_session_fails_for_its_size() -> None:
    """Run five hundred turns whose texts differ in characters per token."""
    chance = random.Random(7)  # noqa: S311 - no secret
    model = SmallModel(8000)
    asked = fitted(model)
    history: list[Message] = []

    for number in range(500):
        model.ratio = chance.uniform(2.0, 6.0)
        question = f"{number} ".ljust(chance.randrange(20, 2000), "q")
        deltas = await deltas_of(asked, a_request(history, question))
        assert deltas[0] == Text("Yes.")
        history += [Message.user(question), Message.assistant("a" * chance.randrange(20, 2000))]

    assert len(model.asked) < 1000


def test_a_history_is_cut_at_turns_and_the_current_one_never() -> None:
    history = [*turns(2, characters_each=100), Message.user("2"), Message.assistant("b" * 99)]
    request = a_request(history, question="?" * 100)

    assert cut(request, 400) is request
    assert list(cut(request, 399).messages) == list(request.messages)[2:]
    assert list(cut(request, 200).messages) == list(request.messages)[4:]
    assert cut(request, 200).history_length == 2
    assert list(cut(request, 0).messages) == list(request.messages)[6:]
    assert cut(request, 0).history_length == 0
    assert cut(cut(request, 0), 0) is not request
