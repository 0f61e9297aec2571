from collections.abc import AsyncIterator

import pytest

from infrastructure.groq_standin import Standin
from tests.deploy.servers import GUNICORN, PLAIN


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


@pytest.fixture(params=[GUNICORN, PLAIN], ids=["gunicorn", "plain"])
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The command that runs the service, once for each way to run it."""
    given: tuple[str, ...] = request.param
    return given
