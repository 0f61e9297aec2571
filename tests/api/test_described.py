"""The short form of tests/soak/test_described.py, and what the description has."""

from pathlib import Path
from typing import Any

import pytest

from tests.credentials import key_file, with_key_file
from tests.described import assert_answers_as_described
from tests.serving import Lex, lex


async def test_the_service_answers_as_it_is_described(service: Lex, tmp_path: Path) -> None:
    assert await assert_answers_as_described(service, tmp_path, examples=3) > 100


async def test_every_operation_describes_its_refusals() -> None:
    keys: Any = {"auth": "none"}
    async with lex(**keys) as service:
        described = (await service.client.get("/openapi.json")).json()

    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            refusals = {status for status in operation["responses"] if status >= "400"}
            assert {"400", "408", "413", "414", "431", "500"} <= refusals, (method, path)
            for status in refusals - ({"503"} if path == "/readyz" else set()):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], (method, path, status)


@pytest.mark.parametrize("is_known", [True, False])
async def test_with_authentication_every_operation_says_so(tmp_path: Path, is_known: bool) -> None:
    async with lex(**with_key_file(key_file(tmp_path / "keys", secret="alice"))) as service:
        described = (await service.client.get("/openapi.json")).json()
        headers = {"Authorization": "Bearer secret"} if is_known else {}
        answer = await service.client.post("/sessions", headers=headers)

    assert str(answer.status_code) in described["paths"]["/sessions"]["post"]["responses"]
    assert answer.status_code == (201 if is_known else 401)


async def test_the_description_says_how_long_a_text_may_be() -> None:
    async with lex(max_query_chars=123) as service:
        schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]

    assert schemas["QueryBody"]["properties"]["query"]["maxLength"] == 123
    assert schemas["MessageBody"]["properties"]["content"]["maxLength"] == 123
