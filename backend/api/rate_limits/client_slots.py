"""The slots of clients and their networks, for one kind: streams, sockets or readers."""

import secrets
from functools import partial

from backend.api.rate_limits.clients import Client
from backend.api.rate_limits.stream_slots import Slots
from backend.domain.errors import TooManyRequests
from backend.telemetry import metrics
from backend.turns.event_log import Follower

SLOT_RETRY_SECONDS = 5
"""A guess: a slot becomes free whenever the client closes a stream, a socket or a reader."""


class ClientSlots:
    """`kind` is named in refusals and metrics."""

    def __init__(self, kind: str, slots: Slots, network_slots: Slots | None = None) -> None:
        self._kind = kind
        self._slots = slots
        self._network_slots = network_slots

    async def take(self, client: Client, holder: str) -> None:
        """Raises: TooManyRequests; no slot is taken then."""
        if not await self._slots.take(client.key, holder):
            raise self._refusal()
        try:
            is_free = await self._take_of_network(client, holder)
        except BaseException:  # also release the client's slot when the caller is cancelled
            self.release(client, holder)
            raise
        if not is_free:
            self.release(client, holder)
            raise self._refusal()

    async def _take_of_network(self, client: Client, holder: str) -> bool:
        if client.network is None or self._network_slots is None:
            return True
        return await self._network_slots.take(client.network, holder)

    def release(self, client: Client, holder: str) -> None:
        """Release the holder's slots. Does nothing if it has none."""
        self._slots.release(client.key, holder)
        if client.network is not None and self._network_slots is not None:
            self._network_slots.release(client.network, holder)

    def _refusal(self) -> TooManyRequests:
        metrics.rate_limited(self._kind)
        message = f"You have too many {self._kind} open. Close one, or try again later."
        return TooManyRequests(message, retry_after=SLOT_RETRY_SECONDS, limit=self._kind)


async def hold_reader_slot(follower: Follower, readers: ClientSlots, client: Client) -> None:
    """Take a reader slot until the follower leaves.

    Raises: TooManyRequests, after making the follower leave.
    """
    reader = secrets.token_hex(8)
    try:
        await readers.take(client, reader)
    except BaseException:  # includes cancellation: a follower counts as a reader until it leaves
        follower.leave()
        raise
    follower.when_left(partial(readers.release, client, reader))
