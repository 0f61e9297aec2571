"""The pipeline to a Redis that is down or silent: no caller waits for it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from backend.api.rate_limits.redis_pipeline import OutOfReach, RedisPipeline, Script, connect
from infrastructure.ports import free_port
from tests.listening import listening

ANYTHING = Script("return 1", [], [])


@asynccontextmanager
async def pipeline_to(
    port: int, changes: list[bool], *, answer_seconds: float = 0.125, probe_seconds: float
) -> AsyncIterator[RedisPipeline]:
    client = connect(f"redis://127.0.0.1:{port}/0")
    pipeline = RedisPipeline(
        client,
        on_change=changes.append,
        answer_seconds=answer_seconds,
        probe_seconds=probe_seconds,
    )
    await pipeline.open()
    try:
        yield pipeline
    finally:
        await pipeline.close()
        await client.aclose()


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """Run a server that accepts connections and data, but never answers."""

    async def swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    async with listening(swallow) as port:
        yield port


async def test_without_a_redis_the_line_opens_and_every_call_fails_at_once() -> None:
    changes: list[bool] = []
    with capture_logs() as logged:
        async with pipeline_to(free_port(), changes, probe_seconds=60) as pipeline:
            for _ in range(3):
                with pytest.raises(OutOfReach):
                    await pipeline.call(ANYTHING)
            pipeline.tell(ANYTHING)

    assert changes == [False]
    assert [entry["event"] for entry in logged] == ["shared_limits_unavailable"]


async def test_a_silent_redis_holds_up_the_start_for_a_moment_only() -> None:
    changes: list[bool] = []
    async with silent_server() as port:
        begun = time.monotonic()
        async with pipeline_to(port, changes, answer_seconds=0.1, probe_seconds=60) as pipeline:
            opened = time.monotonic()

            assert not pipeline.is_up

    assert changes == [False]
    assert opened - begun < 5


async def test_a_cancelled_caller_takes_nobody_else_along() -> None:
    changes: list[bool] = []
    async with silent_server() as port, pipeline_to(port, changes, probe_seconds=60) as pipeline:
        pipeline.is_up = True
        cancelled = asyncio.create_task(pipeline.call(ANYTHING))
        other = asyncio.create_task(pipeline.call(ANYTHING))
        await asyncio.sleep(0)
        cancelled.cancel()

        with pytest.raises(OutOfReach):
            await other
        with pytest.raises(asyncio.CancelledError):
            await cancelled
