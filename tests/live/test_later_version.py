"""During a rolling update this version reads what the next one has written."""

from pathlib import Path

import pytest

from tests.later_version import EVENTS, KNOWN, SESSION_ID, TURN_ID, later_worker
from tests.serving import ids_of, lex, parse, without_ids
from tests.transports import ServerSentEvents, Transport, WebSockets


@pytest.mark.parametrize("transport", [ServerSentEvents(), WebSockets()], ids=["sse", "websocket"])
@pytest.mark.parametrize("after", range(len(EVENTS)))
async def test_a_stored_log_is_read_from_any_position_without_the_event_that_nobody_knows(
    tmp_path: Path, transport: Transport, after: int
) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    async with later_worker(url) as worker, lex(database_url=url) as service:
        await worker.finish()

        async with transport.resume(service, f"{TURN_ID}-{after}", SESSION_ID) as reader:
            events = await reader.rest()

    assert events == [event for position, event in KNOWN if position > after]
    assert reader.last_id == f"{TURN_ID}-{len(EVENTS)}"


async def test_the_ids_of_a_replay_leave_out_the_event_that_nobody_knows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    async with later_worker(url) as worker, lex(database_url=url) as service:
        await worker.finish()

        replay = await service.client.get(f"/turns/{TURN_ID}/events")
        read = {"Last-Event-ID": ids_of(replay.text)[-1]}
        again = await service.client.get("/query", params={"query": "Hi"}, headers=read)

    assert ids_of(replay.text)[1:] == [f"{TURN_ID}-{position}" for position, _ in KNOWN]
    assert parse(without_ids(replay.text)) == [event for _, event in KNOWN]
    assert again.status_code == 204
