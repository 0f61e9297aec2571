from collections.abc import AsyncIterator

import pytest

from tests.serving import Lex, lex


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(max_query_chars=100, max_body_bytes=4096) as running:
        yield running
