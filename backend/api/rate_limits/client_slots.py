"""Slots of one kind (streams, sockets or readers) for each client, and for its network."""

import secrets
from functools import partial

from backend.api.rate_limits.clients import Client
from backend.api.rate_limits.stream_slots import Slots
from backend.domain.errors import TooManyRequests
from backend.telemetry import metrics
from backend.turns.event_log import Follower

SLOT_RETRY_SECONDS = 5
"""A guess: a slot is free as soon as the client closes a stream, a socket or a reader."""


class ClientSlots:
    """`kind` is the limit that a refusal names, in metrics and to the client."""

    def __init__(self, kind: str, slots: Slots, network_slots: Slots | None = None) -> None:
        self._kind = kind
        self._slots = slots
        self._network_slots = network_slots

    async def take(self, client: Client, holder: str) -> None:
        """Raises: TooManyRequests, and then nothing was taken."""
        if not await self._slots.take(client.key, holder):
            raise self._refusal()
        try:
            is_free = await self._take_of_network(client, holder)
        except BaseException:  # a cancellation, too, must not keep the client's own slot
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
        """A holder that has no slot may be released all the same."""
        self._slots.release(client.key, holder)
        if client.network is not None and self._network_slots is not None:
            self._network_slots.release(client.network, holder)

    def _refusal(self) -> TooManyRequests:
        metrics.rate_limited(self._kind)
        message = f"You have too many {self._kind} open."
        return TooManyRequests(message, retry_after=SLOT_RETRY_SECONDS)


async def hold_reader_slot(follower: Follower, readers: ClientSlots, client: Client) -> None:
    """Take a reader's slot for a follower, until it leaves. Without a free slot it leaves at once.

    Raises: TooManyRequests.
    """
    reader = secrets.token_hex(8)
    try:
        await readers.take(client, reader)
    except BaseException:  # a cancellation, too: a follower counts until it leaves
        follower.leave()
        raise
    follower.when_left(partial(readers.release, client, reader))
