"""Read a turn to its end for a client that wants the answer in one piece."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

from starlette.types import Receive

from backend.api.delivery_metrics import Delivery
from backend.domain.events import Event, Transport
from backend.telemetry import tracing
from backend.turns.event_log import Follower


async def read_to_the_end(
    follower: Follower, receive: Receive, *, transport: Transport
) -> Sequence[Event]:
    """Return all events; only some of them if the client leaves, which ends a plain turn.

    The follower leaves in any case. The body of the request must have been read: `receive` then
    waits for the disconnect.
    """
    events: list[Event] = []
    watching = asyncio.create_task(_leave_with_the_client(follower, receive))
    with Delivery(follower, transport=transport, is_asker=True) as delivery:
        try:
            async with aclosing(follower.batches()) as batches:
                async for batch in batches:
                    events += batch.events
        finally:
            watching.cancel()
            follower.leave()
        tracing.stream_ended("read" if follower.is_at_end else "disconnected")
        delivery.sent(events)
    return events


async def _leave_with_the_client(follower: Follower, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    follower.leave()
