"""The restart tests of `tests/deploy` with many more streams."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from infrastructure.groq_standin import Standin
from tests.deploy.restarts import assert_a_reload_loses_nothing, assert_a_successor_takes_over
from tests.deploy.servers import GUNICORN, PLAIN


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


async def test_a_reload_under_two_hundred_streams(standin: Standin, tmp_path: Path) -> None:
    await assert_a_reload_loses_nothing(standin, tmp_path, streams=200, seconds=10)


@pytest.mark.parametrize("command", [GUNICORN, PLAIN], ids=["gunicorn", "plain"])
async def test_a_server_leaves_under_two_hundred_streams(
    command: Sequence[str], standin: Standin, tmp_path: Path
) -> None:
    await assert_a_successor_takes_over(command, standin, tmp_path, streams=200, seconds=10)
