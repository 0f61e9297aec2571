"""Checks the service against its OpenAPI description with thousands of requests."""

from pathlib import Path

import pytest

from tests.credentials import key_file, with_key_file
from tests.openapi import assert_answers_as_in_openapi
from tests.serving import lex

MANY = pytest.mark.timeout(900)


@MANY
async def test_it_answers_as_it_is_described(tmp_path: Path) -> None:
    async with lex(database_url=f"sqlite:///{tmp_path}/lex.db") as service:
        assert await assert_answers_as_in_openapi(service, tmp_path, examples=150) >= 2000


@MANY
async def test_it_does_so_with_authentication(tmp_path: Path) -> None:
    keys = with_key_file(key_file(tmp_path / "keys", secret="alice"))
    headers = {"Authorization": "Bearer secret"}
    async with lex(**keys, database_url=f"sqlite:///{tmp_path}/lex.db") as service:
        cases = await assert_answers_as_in_openapi(service, tmp_path, examples=150, headers=headers)

    assert cases >= 2000
