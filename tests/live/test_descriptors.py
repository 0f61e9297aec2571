"""A worker without free file descriptors says so, and blames neither model nor store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection
from structlog.testing import capture_logs

from backend.domain.conversation import Message
from backend.domain.errors import OutOfDescriptors, StorageError
from backend.llm.groq.client import open_client
from backend.llm.groq.model import GroqModel
from backend.llm.port import CompletionRequest
from backend.llm.resilience.attempt import is_outage
from backend.network.file_descriptors import watch
from backend.storage.sql.database import Database
from infrastructure.groq_standin import Standin
from tests.exhaustion import no_descriptors_left
from tests.waiting import waiting


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_upstream_that_was_not_asked_is_not_called_unreachable(host: str) -> None:
    async with Standin.serve() as standin, model_at(standin.url, host) as warm:
        await consumed(warm)  # triggers lazy imports, which need descriptors
        async with model_at(standin.url, host) as model:
            with (
                capture_logs() as logs,
                no_descriptors_left(),
                pytest.raises(OutOfDescriptors) as refused,
            ):
                await consumed(model)

    assert refused.value.code == "overloaded"
    assert not is_outage(refused.value)
    told = [line for line in logs if line["event"] == "upstream_not_asked"]
    assert [line["cause"].partition(":")[0] for line in told] == ["EMFILE"]


@asynccontextmanager
async def model_at(url: str, host: str) -> AsyncIterator[GroqModel]:
    client = open_client(
        api_key=SecretStr("test"),
        base_url=url.replace("127.0.0.1", host),
        connect_seconds=5,
        max_connections=10,
    )
    yield GroqModel(client, "m", max_completion_tokens=10, first_byte_seconds=5, gap_seconds=5)
    await client.close()


async def consumed(model: GroqModel) -> None:
    async for _ in model.complete(CompletionRequest(prompt="", messages=[Message.user("Hello")])):
        pass


def nothing(_: Connection) -> None:
    pass


def test_a_store_that_cannot_be_opened_for_it_says_so(tmp_path: Path) -> None:
    database, other = (Database(f"sqlite:///{tmp_path}/{name}.db") for name in ("lex", "other"))
    other.transact(nothing)
    other.dispose()

    with capture_logs() as logs, no_descriptors_left(), pytest.raises(StorageError) as failed:
        database.transact(nothing)
    database.dispose()

    assert str(failed.value) == OutOfDescriptors.message
    (line,) = logs
    assert line["event"] == "store_not_reached"
    assert line["cause"].startswith("EMFILE: ")


async def test_the_log_says_once_that_there_is_none() -> None:
    watching = asyncio.create_task(watch(look_seconds=0.01))
    with capture_logs() as logs, no_descriptors_left():
        async with waiting():
            while not logs:
                await asyncio.sleep(0.01)
        for _ in range(5):
            await asyncio.sleep(0.01)
    watching.cancel()

    (line,) = logs
    assert (line["event"], line["log_level"]) == ("descriptors_used_up", "error")
    assert line["cause"].startswith("EMFILE: ")
