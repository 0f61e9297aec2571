"""Long versions of upstream tests. `make soak` runs them in some minutes."""

import pytest

from infrastructure.groq_standin import Standin
from tests.live.test_faults import assert_spared
from tests.live.test_llm import asked, assert_nothing_left_behind

pytestmark = pytest.mark.timeout(1800)


async def test_twenty_thousand_cancelled_calls_leave_nothing_behind() -> None:
    async with Standin.serve() as standin, asked(standin, max_connections=20) as model:
        await assert_nothing_left_behind(standin, model, rounds=1000)


async def test_a_thousand_turns_beside_a_model_that_fails_for_good() -> None:
    await assert_spared(clients=50, turns=20)
