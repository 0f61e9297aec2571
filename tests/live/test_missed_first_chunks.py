"""A client that gets no answer is in the objective for first chunks, on every transport."""

import asyncio

import pytest

from backend.turns.first_chunk import PROMISED_SECONDS
from tests.counting import Growth
from tests.live.test_disconnect import asking, outcome_of, script
from tests.serving import Lex, lex
from tests.transports import ServerSentEvents, Transport, WebSockets

SILENCE = script({"text": "late", "first_token_after": 60})
TRANSPORTS: tuple[Transport, ...] = (ServerSentEvents(), WebSockets())
MISSED = "lex_first_chunks_missed_total"
SENT = "lex_time_to_first_chunk_seconds_count"


async def leave(service: Lex, transport: Transport, session_id: str, *, after: float) -> None:
    async with transport.ask(service, SILENCE, session_id):
        # A query on a WebSocket may still be on its way.
        await service.standin.stats.until(lambda stats: stats.requests >= len(TRANSPORTS))
        await asyncio.sleep(after)  # the patience of this client


@pytest.mark.parametrize(
    ("patience", "missed"), [(PROMISED_SECONDS + 0.2, 1), (0.3, 0)], ids=["late", "soon"]
)
async def test_clients_that_give_up_are_counted_and_those_that_hardly_waited_are_not(
    patience: float, missed: int
) -> None:
    growth = Growth()
    async with lex(disconnect_grace_seconds=0.2) as service:
        async with asyncio.TaskGroup() as clients:
            for number, transport in enumerate(TRANSPORTS):
                clients.create_task(leave(service, transport, f"s{number}", after=patience))
        for number in range(len(TRANSPORTS)):
            assert await outcome_of(service, f"s{number}") == "disconnected"

    assert growth.of(MISSED, outcome="disconnected") == missed * len(TRANSPORTS)
    assert growth.of(MISSED, transport="websocket") == missed
    assert growth.of(SENT) == 0


async def test_a_turn_that_fails_after_a_long_silence_is_counted() -> None:
    growth = Growth()
    async with lex(turn_timeout_seconds=PROMISED_SECONDS + 0.2) as service:
        await service.ask(SILENCE)

    assert growth.of(MISSED, outcome="timed_out", transport="sse") == 1


async def test_a_client_that_comes_back_is_counted_when_it_has_its_chunk() -> None:
    growth = Growth()
    async with lex(disconnect_grace_seconds=30) as service:
        body = {"query": script({"text": "late", "first_token_after": 3}), "resume": True}
        async with service.client.stream("POST", "/query", json=body) as stream:
            turn_id = stream.headers["x-turn-id"]
            await asyncio.sleep(PROMISED_SECONDS + 0.2)  # the wait that counts
        rest = await service.client.get(f"/turns/{turn_id}/events")

    assert "late" in rest.text
    assert growth.of(SENT, transport="sse") == 1
    assert growth.of("lex_time_to_first_chunk_seconds_sum") > PROMISED_SECONDS
    assert growth.of(MISSED) == 0


async def test_a_client_that_leaves_a_plain_stream_by_its_socket_is_counted() -> None:
    growth = Growth()
    async with lex() as service:
        async with asking(service, SILENCE, "s1"):
            await asyncio.sleep(PROMISED_SECONDS + 0.2)  # the wait that counts
        assert await outcome_of(service, "s1") == "disconnected"

    assert growth.of(MISSED, outcome="disconnected", transport="sse") == 1
