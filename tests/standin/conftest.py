from collections.abc import AsyncIterator

import pytest
from groq import AsyncGroq, DefaultAioHttpClient

from infrastructure.groq_standin import Standin
from tests.processes import NO_TLS


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as standin:
        yield standin


@pytest.fixture
async def groq(standin: Standin) -> AsyncIterator[AsyncGroq]:
    """The real SDK, connected to the stand-in."""
    async with AsyncGroq(
        api_key="key",
        base_url=standin.url,
        max_retries=0,
        http_client=DefaultAioHttpClient(verify=NO_TLS),
    ) as client:
        yield client
