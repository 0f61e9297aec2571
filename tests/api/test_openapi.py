"""The short form of tests/soak/test_openapi.py, and the content of the OpenAPI document."""

from pathlib import Path
from typing import Any, get_args

import pytest

from backend.domain.events import Event
from backend.llm.port import FinishReason
from tests.credentials import key_file, with_key_file
from tests.openapi import assert_answers_as_in_openapi
from tests.serving import Lex, lex

BEFORE_THE_PATH = {"400", "414", "431", "501", "505"}
"""Refusals of the server, before it knows which form the path has for errors."""
ALWAYS = {"408", "413", "500", *BEFORE_THE_PATH}


async def test_the_service_answers_as_in_its_openapi(service: Lex, tmp_path: Path) -> None:
    assert await assert_answers_as_in_openapi(service, tmp_path, examples=3) > 100


async def test_every_operation_names_its_refusals_in_the_openapi() -> None:
    keys: Any = {"auth": "none"}
    async with lex(**keys) as service:
        openapi = (await service.client.get("/openapi.json")).json()

    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            refusals = {status for status in operation["responses"] if status >= "400"}
            assert refusals >= ALWAYS, (method, path)
            for status in refusals - ({"503"} if path == "/readyz" else set()):
                content = operation["responses"][status]["content"]
                is_openai = path.startswith("/v1/") and status not in BEFORE_THE_PATH
                form = "application/json" if is_openai else "application/problem+json"
                assert list(content) == [form], (method, path, status)


@pytest.mark.parametrize("is_known", [True, False])
async def test_with_authentication_every_operation_says_so(tmp_path: Path, is_known: bool) -> None:
    async with lex(**with_key_file(key_file(tmp_path / "keys", secret="alice"))) as service:
        openapi = (await service.client.get("/openapi.json")).json()
        headers = {"Authorization": "Bearer secret"} if is_known else {}
        answer = await service.client.post("/sessions", headers=headers)

    assert str(answer.status_code) in openapi["paths"]["/sessions"]["post"]["responses"]
    assert answer.status_code == (201 if is_known else 401)


async def test_every_stream_is_in_the_openapi_with_its_events(service: Lex) -> None:
    paths = (await service.client.get("/openapi.json")).json()["paths"]

    streams = [
        operation["responses"]["200"]["description"]
        for path, operations in paths.items()
        for operation in operations.values()
        # The other protocols' events have no names, or other ones.
        if not path.startswith(("/v1/", "/api/chat", "/ag-ui"))
        and "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
    ]
    assert len(streams) == 4
    for event in get_args(Event):
        name = f"`{event.__struct_config__.tag}`"
        assert all(name in description for description in streams), name


async def test_the_description_says_how_long_a_text_may_be() -> None:
    async with lex(max_query_chars=123) as service:
        schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]

    assert schemas["QueryBody"]["properties"]["query"]["maxLength"] == 123
    assert schemas["MessageBody"]["properties"]["content"]["maxLength"] == 123


async def test_every_finish_reason_is_in_the_openapi(service: Lex) -> None:
    schemas = (await service.client.get("/openapi.json")).json()["components"]["schemas"]

    description = schemas["TurnView"]["properties"]["finish_reason"]["description"]

    assert all(f"`{reason}`" in description for reason in get_args(FinishReason))
