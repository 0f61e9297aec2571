"""Falling back to the next model in the list."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from backend.domain.errors import (
    FirstByteTimeout,
    ModelNotServed,
    ModelRetired,
    RequestTooLarge,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.llm.port import CompletionRequest, Delta, Text
from backend.llm.resilience.circuit_breaker import CircuitBreaker
from backend.llm.resilience.fallback import (
    Candidate,
    Failure,
    Fallback,
    GiveUp,
    Passes,
    Wait,
    decide,
)
from backend.llm.resilience.gate import Gate
from backend.llm.resilience.unserved_models import FIRST_WAIT_SECONDS, UnservedModels
from tests.fakes import Clock, Scripted, ScriptedModel, breaks, says
from tests.unit.llm.resilience.conversing import (
    an_unawaited_request,
    deltas_of,
    heard_before_failing,
    said,
)


def a_list(*models: ScriptedModel, longest_wait_seconds: float = 60) -> Fallback:
    candidates = [Candidate(model, CircuitBreaker()) for model in models]
    return Fallback(candidates, longest_wait_seconds=longest_wait_seconds)


def a_model(name: str, *script: Scripted) -> ScriptedModel:
    return ScriptedModel(script, name=name)


def names(models: Fallback) -> list[str]:
    return [candidate.name for candidate in models.in_use]


async def test_a_retired_model_is_passed_over_for_good_and_told_once() -> None:
    old, new = a_model("old", breaks(ModelRetired())), a_model("new", says("Hello."))
    told: list[str] = []
    models = Fallback(
        [Candidate(old, CircuitBreaker()), Candidate(new, CircuitBreaker())],
        unserved=UnservedModels(on_away=told.append),
    )

    answers = [await said(models), await said(models)]

    assert answers == ["Hello.", "Hello."]
    assert (len(old.requests), len(new.requests)) == (1, 2)
    assert names(models) == ["new"]
    assert told == ["old"]


@pytest.mark.parametrize(
    "error",
    [UpstreamUnavailable(), UpstreamBusy(retry_after=1740), UpstreamGarbled(), RequestTooLarge()],
)
async def test_one_that_fails_is_replaced_for_now_and_asked_first_again(
    error: UpstreamError,
) -> None:
    first = a_model("first", breaks(error), says("First."))
    second = a_model("second", says("Second."))
    models = a_list(first, second)

    answers = [await said(models), await said(models)]

    assert answers == ["Second.", "First."]
    assert names(models) == ["first", "second"]


async def test_what_a_model_could_not_word_another_may() -> None:
    first = a_model("first", breaks(ToolUseFailed("?")))
    second = a_model("second", says("Hello."))

    assert await said(a_list(first, second)) == "Hello."


async def test_a_request_that_is_wrong_is_wrong_for_every_model() -> None:
    first, second = a_model("first", breaks(UpstreamRefused())), a_model("second", says("Hi."))

    await heard_before_failing(a_list(first, second), UpstreamRefused)

    assert second.requests == []


async def test_nothing_is_said_twice() -> None:
    first = a_model("first", breaks(UpstreamUnavailable(), Text("Hel")))
    second = a_model("second", says("Hello."))

    heard = await heard_before_failing(a_list(first, second), UpstreamUnavailable)

    assert heard == [Text("Hel")]
    assert second.requests == []


async def test_when_all_are_busy_the_one_that_is_back_soonest_is_waited_for() -> None:
    first = a_model("first", breaks(UpstreamBusy(retry_after=1740)))
    second = a_model("second", breaks(UpstreamBusy(retry_after=0.05)), says("Hello."))

    assert await said(a_list(first, second)) == "Hello."

    assert (len(first.requests), len(second.requests)) == (2, 2)


@dataclass
class TimedModel:
    """A model that fails each call with an error from `fails`, and records when."""

    fails: Callable[[], UpstreamError]
    name: str = "timed"
    asked_at: list[float] = field(default_factory=list)
    requests: list[CompletionRequest] = field(default_factory=list)

    async def complete(self, request: CompletionRequest) -> AsyncGenerator[Delta, None]:
        self.asked_at.append(time.monotonic())
        self.requests.append(request)
        raise self.fails()
        yield  # makes it a generator


def without_asking() -> UpstreamError:
    refusal = UpstreamBusy(retry_after=0.01)
    refusal.was_asked = False
    return refusal


@pytest.mark.parametrize("retry_after", [None, 0.0, 0.001, 0.1])
@pytest.mark.parametrize("count", [1, 3])
async def test_a_list_that_stays_busy_is_gone_through_three_times_with_pauses(
    retry_after: float | None, count: int
) -> None:
    models = [TimedModel(lambda: UpstreamBusy(retry_after=retry_after)) for _ in range(count)]

    with pytest.raises(UpstreamBusy):
        await said(Fallback([Candidate(model, CircuitBreaker()) for model in models]))

    for model in models:
        assert len(model.asked_at) == 3
        assert all(later - earlier >= 0.25 for earlier, later in pairwise(model.asked_at))
        assert [request.is_again for request in model.requests] == [False, True, True]


async def test_one_that_may_come_back_is_waited_for_also_beside_one_that_does_not_say() -> None:
    busy = a_model("busy", breaks(UpstreamBusy()), says("Hello."))
    down = a_model("down", breaks(UpstreamUnavailable()))

    assert await said(a_list(busy, down)) == "Hello."


async def test_a_pass_in_which_nobody_was_asked_does_not_count() -> None:
    model = TimedModel(without_asking)

    with pytest.raises(UpstreamBusy):
        await said(
            Fallback(
                [Candidate(model, CircuitBreaker())], longest_wait_seconds=2, jitter=lambda _: 0
            )
        )

    assert 4 <= len(model.asked_at) <= 9


async def test_the_pause_between_passes_is_jittered_in_full() -> None:
    drawn: list[float] = []
    model = TimedModel(lambda: UpstreamBusy(retry_after=0.0))

    def jitter(most: float) -> float:
        drawn.append(most)
        return 0.0

    with pytest.raises(UpstreamBusy):
        await said(Fallback([Candidate(model, CircuitBreaker())], jitter=jitter))

    assert drawn == [0.5, 1.0]


async def test_turns_that_wait_for_a_rate_are_released_as_fast_as_it_refills() -> None:
    busy = [breaks(UpstreamBusy(retry_after=0.3)) for _ in range(10)]
    model = ScriptedModel([*busy, says("Hello.")], name="m")
    released_at: list[float] = []
    gate = Gate(lambda _: 0.05, on_release=lambda: released_at.append(time.monotonic()))
    models = Fallback([Candidate(model, CircuitBreaker(), gate)], jitter=lambda _: 0.0)

    await asyncio.gather(*(said(models) for _ in range(10)))

    assert len(model.requests) == 20
    assert len(released_at) == 10
    assert all(later - earlier >= 0.045 for earlier, later in pairwise(released_at))


async def test_a_newcomer_stands_behind_those_who_waited() -> None:
    busy = [breaks(UpstreamBusy(retry_after=0.01)) for _ in range(4)]
    model = ScriptedModel([*busy, says("Hello.")], name="m")
    gate = Gate(lambda _: 0.3)
    models = Fallback([Candidate(model, CircuitBreaker(), gate)], jitter=lambda _: 0.0)
    order: list[str] = []

    async def turn(name: str) -> None:
        await said(models)
        order.append(name)

    early = [asyncio.create_task(turn(f"early {n}")) for n in range(4)]
    while not order:
        await asyncio.sleep(0.01)
    await turn("late")
    await asyncio.gather(*early)

    assert order == ["early 0", "early 1", "early 2", "early 3", "late"]


async def test_a_line_that_is_too_long_is_told_to_the_client_at_once() -> None:
    model = a_model("m", breaks(UpstreamBusy(retry_after=0.0)))
    gate = Gate(lambda _: 20.0)
    models = Fallback([Candidate(model, CircuitBreaker(), gate)], longest_wait_seconds=60)
    line = [asyncio.create_task(gate.passed(0.0)) for _ in range(4)]
    await asyncio.sleep(0)

    with pytest.raises(UpstreamBusy) as raised:
        await said(models)

    for each in line:
        each.cancel()
    await asyncio.wait(line)
    assert raised.value.retry_after == pytest.approx(80.0)
    assert model.requests == []


async def test_a_wait_beyond_its_patience_is_passed_on_to_the_client() -> None:
    first = a_model("first", breaks(UpstreamBusy(retry_after=1740)))
    second = a_model("second", breaks(UpstreamBusy(retry_after=90)))

    with pytest.raises(UpstreamBusy) as raised:
        await said(a_list(first, second, longest_wait_seconds=60))

    assert raised.value.retry_after == 90
    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_what_nobody_waits_for_waits_for_no_rate() -> None:
    first = a_model("first", breaks(UpstreamBusy(retry_after=0.01)), says("First."))
    second = a_model("second", breaks(UpstreamBusy(retry_after=0.01)), says("Second."))

    with pytest.raises(UpstreamBusy):
        await deltas_of(a_list(first, second), an_unawaited_request())


@pytest.mark.parametrize("passing", [UpstreamBusy(retry_after=0.05), UpstreamUnavailable()])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_failure_that_passes_counts_more_than_a_limit_that_does_not(
    passing: UpstreamError, is_first: bool
) -> None:
    daily = a_model("daily", breaks(UpstreamBusy(retry_after=0.01, is_passing=False)))
    other = a_model("other", breaks(passing), says("Hello."))
    models = a_list(other, daily) if is_first else a_list(daily, other)

    if passing.retry_after is None:
        await heard_before_failing(models, UpstreamUnavailable)
    else:
        assert await said(models) == "Hello."


async def test_a_silent_model_is_asked_last_for_the_rest_of_the_turn() -> None:
    silent = a_model("silent", breaks(FirstByteTimeout()), says("Late."))
    other = a_model("other", says("Hello."), says("Again."), breaks(UpstreamUnavailable()))
    models = a_list(silent, other)
    turn = set[str]()

    answers = [await said(models, silent=turn) for _ in range(3)]
    next_turn = await said(models)

    assert answers == ["Hello.", "Again.", "Late."]
    assert next_turn == "Late."


@pytest.mark.parametrize("retired", [[], [breaks(ModelRetired())]])
async def test_a_silent_model_that_has_nobody_beside_it_is_asked_once_more(
    retired: list[Scripted],
) -> None:
    beside = [a_model("old", *retired)] if retired else []
    for answer in ("Hello.", None):
        rest = says(answer) if answer else breaks(FirstByteTimeout())
        silent = a_model("silent", breaks(FirstByteTimeout()), rest)
        models = a_list(*beside, silent)

        if answer:
            assert await said(models) == answer
        else:
            await heard_before_failing(models, FirstByteTimeout)

        assert len(silent.requests) == 2


async def test_two_silent_models_are_patience_enough() -> None:
    first, second = (a_model(name, breaks(FirstByteTimeout())) for name in ("first", "second"))

    await heard_before_failing(a_list(first, second), FirstByteTimeout)

    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_a_daily_limit_is_never_waited_for() -> None:
    only = a_model("only", breaks(UpstreamBusy(retry_after=0.43, is_passing=False)))

    with pytest.raises(UpstreamBusy) as raised:
        await said(a_list(only))

    assert raised.value.retry_after == 0.43
    assert len(only.requests) == 1


BUSY, SILENT = UpstreamBusy(retry_after=4), FirstByteTimeout()
DAILY = UpstreamBusy(retry_after=4, is_passing=False)
UNSURE = UpstreamUnavailable()


@pytest.mark.parametrize(
    ("errors", "count", "was_silent", "seconds"),
    [
        ([BUSY], 1, False, 4),
        ([UNSURE, BUSY], 1, False, 4),
        ([UpstreamBusy(), BUSY], 1, False, 0.25),
        ([SILENT], 1, False, 0.25),
        ([SILENT], 2, True, None),
        ([SILENT, SILENT], 1, False, None),
        ([UNSURE], 1, False, None),
        ([DAILY], 1, False, None),
        ([BUSY], 3, False, None),
    ],
    ids=str,
)
async def test_a_pass_of_failures_is_followed_by_a_wait_or_by_an_end(
    errors: list[UpstreamError], count: int, was_silent: bool, seconds: float | None
) -> None:
    failures = [Failure(Candidate(a_model("m"), CircuitBreaker()), error) for error in errors]
    passes = Passes(time.monotonic() + 60, count, was_silent)
    is_alone = len(errors) == 1

    step = decide(failures, passes, is_alone=is_alone, is_awaited=True)
    unawaited = decide(failures, passes, is_alone=is_alone, is_awaited=False)

    assert (step.seconds if isinstance(step, Wait) else None) == seconds
    assert isinstance(unawaited, GiveUp)


async def test_with_every_model_retired_there_is_a_clear_error() -> None:
    models = a_list(a_model("old", breaks(ModelRetired())))

    for _ in range(2):
        with pytest.raises(ModelRetired):
            await said(models)

    assert names(models) == []


async def test_with_no_model_left_new_turns_are_refused_until_one_is_asked_again() -> None:
    clock = Clock()
    gone = a_model("gone", breaks(ModelRetired()))
    missing = a_model("missing", breaks(ModelNotServed()), says("Here."), says("Hello."))
    models = Fallback(
        [Candidate(gone, CircuitBreaker()), Candidate(missing, CircuitBreaker())],
        unserved=UnservedModels(clock=clock),
    )
    await heard_before_failing(models, ModelNotServed)

    with pytest.raises(UpstreamUnavailable) as refused:
        models.check()
    with pytest.raises(ModelNotServed) as failed:
        await said(models)
    clock.sleep(FIRST_WAIT_SECONDS)
    await models.ask_again()
    models.check()
    answer = await said(models)

    assert refused.value.retry_after == FIRST_WAIT_SECONDS
    assert not failed.value.is_final
    assert answer == "Hello."
    assert names(models) == ["missing"]
    assert len(gone.requests) == 1


def test_new_turns_are_refused_while_every_breaker_is_open() -> None:
    clock = Clock()
    breakers = [CircuitBreaker(least_calls=1, open_seconds=10, clock=clock) for _ in range(2)]
    models = Fallback([Candidate(a_model(str(n)), breaker) for n, breaker in enumerate(breakers)])
    breakers[0].begin().failed()
    models.check()
    clock.sleep(4)
    breakers[1].begin().failed()

    with pytest.raises(UpstreamUnavailable) as refused:
        models.check()
    clock.sleep(6)
    models.check()

    assert refused.value.retry_after == pytest.approx(6)


@pytest.mark.parametrize(("left_seconds", "is_awaited"), [(1.5, True), (2.5, False), (10, False)])
def test_a_turn_waits_for_no_breaker_that_stays_open_for_long(
    left_seconds: float, is_awaited: bool
) -> None:
    candidate = Candidate(a_model("away"), CircuitBreaker())
    refusal = UpstreamUnavailable(retry_after=left_seconds)
    refusal.was_asked = False
    passes = Passes(time.monotonic() + 60)

    step = decide([Failure(candidate, refusal)], passes, is_alone=False, is_awaited=True)

    assert isinstance(step, Wait) is is_awaited
    if isinstance(step, GiveUp):
        assert step.retry_after == left_seconds
