"""Models that are left out, and when they are probed again."""

import pytest

from backend.domain.errors import (
    AnswerCut,
    FirstByteTimeout,
    ModelNotServed,
    ModelRetired,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnavailable,
)
from backend.llm.resilience.unserved_models import (
    FIRST_WAIT_SECONDS,
    LONGEST_WAIT_SECONDS,
    UnservedModels,
)
from tests.fakes import Clock, Scripted, ScriptedModel, breaks, says

MINUTE = 60


class World:
    """A registry with one model that was just left out."""

    def __init__(self, *script: Scripted, error: ModelNotServed | None = None) -> None:
        self.clock = Clock()
        self.model = ScriptedModel(script, name="m")
        self.away: list[str] = []
        self.back: list[str] = []
        self.unserved = UnservedModels(
            clock=self.clock, on_away=self.away.append, on_back=self.back.append
        )
        self.unserved.leave_out("m", error or ModelNotServed())

    async def pass_by(self, seconds: float) -> int:
        """Return how often the model has been probed by then."""
        self.clock.sleep(seconds)
        await self.unserved.ask_again([self.model])
        return len(self.model.requests)


async def test_it_is_asked_again_after_five_minutes_and_is_back_with_its_first_answer() -> None:
    world = World(says("Yes."))

    asked = [await world.pass_by(5 * MINUTE - 1), await world.pass_by(1), await world.pass_by(1e6)]

    assert asked == [0, 1, 1]
    assert "m" not in world.unserved
    assert (world.away, world.back) == (["m"], ["m"])


async def test_the_wait_doubles_up_to_an_hour() -> None:
    world = World(breaks(ModelNotServed()))
    waits: list[float] = []

    for _ in range(7):
        waits.append(world.unserved.seconds_left("m") or 0.0)
        await world.pass_by(waits[-1])

    assert waits == [seconds * MINUTE for seconds in (5, 10, 20, 40, 60, 60, 60)]
    assert waits[0] == FIRST_WAIT_SECONDS
    assert waits[-1] == LONGEST_WAIT_SECONDS
    assert world.away == ["m"]


async def test_the_question_is_short_and_nobody_waits_for_its_answer() -> None:
    world = World(says("Yes."))

    await world.pass_by(5 * MINUTE)

    (question,) = world.model.requests
    assert not question.is_awaited
    assert question.tools == ()
    assert (question.max_tokens or 0) <= 16


async def test_a_model_that_comes_and_goes_waits_five_minutes_anew() -> None:
    world = World(breaks(ModelNotServed()), says("Yes."))
    await world.pass_by(5 * MINUTE)
    await world.pass_by(10 * MINUTE)

    world.unserved.leave_out("m", ModelNotServed())

    assert world.unserved.seconds_left("m") == FIRST_WAIT_SECONDS
    assert (world.away, world.back) == (["m", "m"], ["m"])


async def test_a_retired_model_is_never_asked_again() -> None:
    world = World(says("Yes."), error=ModelRetired())

    asked = await world.pass_by(1e9)

    assert asked == 0
    assert world.unserved.reason_of("m") == "model_decommissioned"
    assert world.unserved.seconds_left("m") is None
    assert world.unserved.are_final


@pytest.mark.parametrize("is_asked", [True, False], ids=["by the question", "by a turn"])
async def test_a_model_that_turns_out_to_be_retired_is_left_out_for_good(is_asked: bool) -> None:
    world = World(breaks(ModelRetired()))

    if is_asked:
        await world.pass_by(5 * MINUTE)
    else:
        world.unserved.leave_out("m", ModelRetired())

    assert world.unserved.reason_of("m") == "model_decommissioned"
    assert world.unserved.seconds_left("m") is None
    assert world.away == ["m"]


async def test_turns_that_were_told_at_the_same_time_do_not_put_it_off() -> None:
    world = World(says("Yes."))
    world.clock.sleep(MINUTE)

    world.unserved.leave_out("m", ModelNotServed())

    assert world.unserved.seconds_left("m") == 4 * MINUTE
    assert world.away == ["m"]


async def test_one_that_is_busy_is_served() -> None:
    world = World(breaks(UpstreamBusy(retry_after=60)))

    await world.pass_by(5 * MINUTE)

    assert world.back == ["m"]


@pytest.mark.parametrize("error", [AnswerCut(), ToolUseFailed()])
async def test_one_that_thinks_for_longer_than_the_question_allows_is_served(
    error: UpstreamError,
) -> None:
    world = World(breaks(error))

    await world.pass_by(5 * MINUTE)

    assert world.back == ["m"]


def a_refusal_without_asking() -> UpstreamBusy:
    refusal = UpstreamBusy()
    refusal.was_asked = False
    return refusal


@pytest.mark.parametrize(
    "error", [UpstreamUnavailable(), FirstByteTimeout(), a_refusal_without_asking()]
)
async def test_an_upstream_that_cannot_be_asked_says_nothing_of_the_model(
    error: UpstreamError,
) -> None:
    world = World(breaks(error))

    await world.pass_by(5 * MINUTE)

    assert "m" in world.unserved
    assert world.unserved.seconds_left("m") == FIRST_WAIT_SECONDS


async def test_the_newest_reason_is_told() -> None:
    world = World(breaks(ModelNotServed(reason="model_permission_blocked_org")))

    await world.pass_by(5 * MINUTE)

    assert world.unserved.reason_of("m") == "model_permission_blocked_org"


def test_the_soonest_of_several_decides_how_long_there_is_none() -> None:
    clock = Clock()
    unserved = UnservedModels(clock=clock)
    unserved.leave_out("first", ModelNotServed())
    clock.sleep(MINUTE)
    unserved.leave_out("second", ModelNotServed())
    unserved.leave_out("third", ModelRetired())

    assert unserved.soonest_seconds == 4 * MINUTE
    assert not unserved.are_final
