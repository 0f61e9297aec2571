"""The next model of the list."""

import pytest

from backend.completion import Text
from backend.errors import (
    FirstByteTimeout,
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
