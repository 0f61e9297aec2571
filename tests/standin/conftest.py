from collections.abc import AsyncIterator

import httpx
import pytest
from groq import AsyncGroq

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
        http_client=httpx.AsyncClient(verify=NO_TLS, timeout=60),
    ) as client:
        yield client
