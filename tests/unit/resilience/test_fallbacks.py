"""The next model of the list."""

import pytest

from backend.completion import Text
from backend.errors import (
    ModelRetired,
    RequestTooLarge,
    UpstreamBusy,
    UpstreamError,
    UpstreamGarbled,
    UpstreamRefused,
    UpstreamUnavailable,
)
from backend.resilience.breaker import Breaker
from backend.resilience.fallbacks import Candidate, Fallbacks
from tests.fakes import Clock, Scripted, ScriptedModel, breaks, says
from tests.unit.resilience.conversing import (
    an_unawaited_request,
    deltas_of,
    heard_before_failing,
    said,
)


def a_list(*models: ScriptedModel, patience_seconds: float = 60) -> Fallbacks:
    candidates = [Candidate(model, Breaker()) for model in models]
    return Fallbacks(candidates, patience_seconds=patience_seconds)


def a_model(name: str, *script: Scripted) -> ScriptedModel:
    return ScriptedModel(script, name=name)


def names(models: Fallbacks) -> list[str]:
    return [candidate.name for candidate in models.in_use]


async def test_a_retired_model_is_passed_over_for_good_and_told_once() -> None:
    old, new = a_model("old", breaks(ModelRetired())), a_model("new", says("Hello."))
    told: list[str] = []
    models = Fallbacks(
        [Candidate(old, Breaker()), Candidate(new, Breaker())], on_retired=told.append
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


async def test_a_wait_beyond_its_patience_is_passed_on_to_the_client() -> None:
    first = a_model("first", breaks(UpstreamBusy(retry_after=1740)))
    second = a_model("second", breaks(UpstreamBusy(retry_after=90)))

    with pytest.raises(UpstreamBusy) as raised:
        await said(a_list(first, second, patience_seconds=60))

    assert raised.value.retry_after == 90
    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_what_nobody_waits_for_waits_for_no_rate() -> None:
    first = a_model("first", breaks(UpstreamBusy(retry_after=0.01)), says("First."))
    second = a_model("second", breaks(UpstreamBusy(retry_after=0.01)), says("Second."))

    with pytest.raises(UpstreamBusy):
        await deltas_of(a_list(first, second), an_unawaited_request())

    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_a_daily_limit_is_never_waited_for() -> None:
    only = a_model("only", breaks(UpstreamBusy(retry_after=0.43, is_passing=False)))

    with pytest.raises(UpstreamBusy) as raised:
        await said(a_list(only))

    assert raised.value.retry_after == 0.43
    assert len(only.requests) == 1


async def test_with_every_model_retired_there_is_a_clear_error() -> None:
    models = a_list(a_model("old", breaks(ModelRetired())))

    for _ in range(2):
        with pytest.raises(ModelRetired):
            await said(models)

    assert names(models) == []


def test_new_turns_are_refused_while_every_breaker_is_open() -> None:
    clock = Clock()
    breakers = [Breaker(least_calls=1, open_seconds=10, clock=clock) for _ in range(2)]
    models = Fallbacks([Candidate(a_model(str(n)), breaker) for n, breaker in enumerate(breakers)])
    breakers[0].begin().failed()
    models.check()
    clock.sleep(4)
    breakers[1].begin().failed()

    with pytest.raises(UpstreamUnavailable) as refused:
        models.check()
    clock.sleep(6)
    models.check()

    assert refused.value.retry_after == pytest.approx(6)
