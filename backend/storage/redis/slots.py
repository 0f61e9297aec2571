"""Which node of a Redis Cluster has which keys, as its nodes tell."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from redis.asyncio import SSLConnection
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from backend.aio.tasks import cancel_and_wait
from backend.storage.redis.address import OfCluster, Place
from backend.storage.redis.errors import CLUSTER_DOWN, SENTINEL, Unusable
from backend.storage.redis.node import Node, resolved

STAGGER_SECONDS = 0.05
"""The head start of a node that is asked for the slots, before the next one is asked as well."""


def even_tags(number: int) -> tuple[str, ...]:
    """Return hash tags whose slots are spread evenly, so that each master of a cluster has some."""
    found: dict[int, str] = {}
    for each in map(str, count()):
        found.setdefault(key_slot(each.encode()) * number // REDIS_CLUSTER_HASH_SLOTS, each)
        if len(found) == number:
            return tuple(found[part] for part in range(number))
    raise AssertionError  # the count has no end


class SlotMap:
    """The masters of the slots. Several clients of one cluster may share a map.

    A client that finds it wrong sets `is_stale`, and the next `refresh` asks the nodes.
    """

    def __init__(self, address: OfCluster) -> None:
        self.is_stale = True
        self.options: Mapping[str, Any] = address.options
        """Options for the connection to any node."""
        self._seeds = address.places
        self._masters: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._refreshing = asyncio.Lock()

    @property
    def masters(self) -> Sequence[Place]:
        return list(dict.fromkeys(each for each in self._masters if each is not None))

    def master_of(self, key: str) -> Place | None:
        """None if no node serves this key."""
        return self._masters[key_slot(key.encode())]

    def move(self, slot: int, master: Place) -> None:
        """Believe a node that has refused a command, until the next refresh."""
        self._masters[slot] = master
        self.is_stale = True

    def tags(self) -> Sequence[str]:
        """Return a hash tag for each master, whose keys it has."""
        masters = set(self.masters)
        found: dict[Place, str] = {}
        for number in count():
            if len(found) == len(masters):
                return list(found.values())
            master = self.master_of(str(number))
            if master is not None:
                found.setdefault(master, str(number))
        raise AssertionError  # the count has no end

    async def refresh(self) -> None:
        """Ask the nodes if the map is stale, one after another, and believe the first that answers.

        Raises: RedisError, OSError, if none does.
        """
        async with self._refreshing:
            if self.is_stale:
                self._masters = await self._first_answer()
                self.is_stale = False

    async def _first_answer(self) -> list[Place | None]:
        waiting = await self._candidates()
        asked: set[asyncio.Task[list[Place | None]]] = set()
        failure: BaseException = Unusable(CLUSTER_DOWN)
        try:
            while waiting or asked:
                if waiting:
                    asked.add(asyncio.create_task(self._ask(waiting.pop())))
                done, asked = await asyncio.wait(
                    asked,
                    timeout=STAGGER_SECONDS if waiting else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result()
                    failure = error
        finally:
            await cancel_and_wait(asked)
        raise failure

    async def _candidates(self) -> list[Place]:
        """The nodes in random order, the masters that are known at the end."""
        masters = list(self.masters)
        try:
            seeds = await self._addresses()
        except OSError:
            if not masters:
                raise
            seeds = []
        random.shuffle(seeds)
        random.shuffle(masters)
        return [*(each for each in seeds if each not in masters), *masters]

    async def _addresses(self) -> list[Place]:
        # With TLS a certificate is checked against the name, so the names are kept.
        if self.options.get("connection_class") is SSLConnection:
            return list(self._seeds)
        return await resolved(self._seeds)

    async def _ask(self, place: Place) -> list[Place | None]:
        node = Node.on(place, **self.options)
        try:
            ranges: Any = await node.ask("CLUSTER", "SLOTS")
        except ResponseError:
            if await node.mode() == "sentinel":
                raise Unusable(SENTINEL) from None
            raise
        finally:
            await node.aclose()
        masters: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            # A node that does not know its own address names none.
            master = Place(host.decode() if host else place.host, port)
            masters[first : last + 1] = [master] * (last + 1 - first)
        if not ranges:
            raise Unusable(CLUSTER_DOWN)
        return masters
