"""During a rolling update, this version follows a turn through Redis that the next one writes."""

from pathlib import Path

import pytest

from backend.storage.redis.logs import RedisLogs
from tests.later_version import EVENTS, KNOWN, SESSION_ID, TURN_ID, batch, later_worker
from tests.redis_server import RedisServer
from tests.serving import lex
from tests.transports import ServerSentEvents, Transport, WebSockets


@pytest.mark.parametrize("transport", [ServerSentEvents(), WebSockets()], ids=["sse", "websocket"])
@pytest.mark.parametrize("after", range(len(EVENTS)))
@pytest.mark.parametrize("written_at", [1, 2, 3])
async def test_a_shared_log_is_read_from_any_position_without_the_event_that_nobody_knows(
    redis: RedisServer, tmp_path: Path, transport: Transport, after: int, written_at: int
) -> None:
    """The log's batches are split before, at and after that event."""
    url = f"sqlite:///{tmp_path}/lex.db"
    logs = RedisLogs(redis.url, kept_seconds=60)
    async with later_worker(url) as worker, lex(database_url=url, redis_url=redis.url) as service:
        await logs.write([batch(0, written_at)])

        async with transport.resume(service, f"{TURN_ID}-{after}", SESSION_ID) as reader:
            await logs.write([batch(written_at, len(EVENTS))])
            events = await reader.rest()
        still_running = (await service.client.get(f"/turns/{TURN_ID}")).json()
        await worker.finish()

    assert events == [event for position, event in KNOWN if position > after]
    assert reader.last_id == f"{TURN_ID}-{len(EVENTS)}"
    assert still_running["outcome"] is None, "the end came from the store and not from Redis"
    await logs.close()
