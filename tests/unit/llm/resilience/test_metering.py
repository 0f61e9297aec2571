"""What a call of a model has used, by the way in which it ended."""

import asyncio
import random

import pytest

from backend.domain.errors import (
    ConnectTimeout,
    FirstByteTimeout,
    GapTimeout,
    RequestTooLarge,
    ToolUseFailed,
    UpstreamBusy,
    UpstreamGarbled,
    UpstreamUnavailable,
)
from backend.domain.usage import Usage
from backend.llm.port import Meter
from backend.llm.resilience.metering import Metering, TokenRatio

REPORTED = Usage(100, 20, cached_input_tokens=50, reasoning_tokens=5)


@pytest.mark.parametrize(
    "error", [None, asyncio.CancelledError(), GapTimeout(), UpstreamGarbled()], ids=repr
)
def test_reported_usage_counts_however_the_call_ended(error: BaseException | None) -> None:
    meter = Meter(is_accepted=True, written_characters=80, usage=REPORTED)

    assert Metering().used(meter, 400, error) == (REPORTED, False)


@pytest.mark.parametrize(
    "error",
    [
        ConnectTimeout(),
        RequestTooLarge(),
        ToolUseFailed(""),
        UpstreamBusy(),
        UpstreamUnavailable(),
    ],
    ids=repr,
)
def test_a_call_that_was_refused_or_not_reached_cost_nothing(error: BaseException) -> None:
    assert Metering().used(Meter(), 400, error) is None


@pytest.mark.parametrize("error", [FirstByteTimeout(), None], ids=repr)
def test_a_call_that_was_given_up_before_its_response_cost_its_input(
    error: BaseException | None,
) -> None:
    """Without an error, the caller has left."""
    assert Metering().used(Meter(), 400, error) == (Usage(100, 0), True)


@pytest.mark.parametrize(
    "error", [None, GapTimeout(), ToolUseFailed(""), UpstreamGarbled()], ids=repr
)
def test_a_call_that_broke_off_cost_its_input_and_what_arrived(
    error: BaseException | None,
) -> None:
    meter = Meter(is_accepted=True, written_characters=80)

    assert Metering().used(meter, 400, error) == (Usage(100, 20), True)


def test_a_ratio_is_that_of_the_sums() -> None:
    ratio = TokenRatio()
    chance = random.Random(3)  # noqa: S311 - no secret
    for _ in range(300):
        tokens = chance.randrange(1, 1000)
        ratio.learn(round(tokens * chance.uniform(2.0, 6.0)), tokens)

    assert ratio.tokens(4000) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize(("characters", "tokens"), [(0, 10), (10, 0), (0, 0)])
def test_a_report_without_tokens_or_text_teaches_nothing(characters: int, tokens: int) -> None:
    ratio = TokenRatio()
    ratio.learn(characters, tokens)

    assert ratio.tokens(400) == 100


def test_input_and_output_are_learned_apart() -> None:
    metering = Metering()
    for _ in range(500):
        metering.used(
            Meter(is_accepted=True, written_characters=600, usage=Usage(1000, 100)), 2000, None
        )

    estimated = metering.used(Meter(is_accepted=True, written_characters=600), 2000, None)

    assert estimated is not None
    assert estimated[0].input_tokens == pytest.approx(1000, rel=0.01)
    assert estimated[0].output_tokens == pytest.approx(100, rel=0.01)
