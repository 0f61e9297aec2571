"""A Redis Cluster: each command goes to the master of its key, in one pipeline for each master.

redis-py's own client repeats commands whose connection broke, so that its caller never learns of a
lost write. Here only those are sent again that a node has refused because another one has the key.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError

from backend.storage.redis.address import Place
from backend.storage.redis.errors import CLUSTER_DOWN, CLUSTER_MOVES, Unusable
from backend.storage.redis.node import Command, Node, has_become_replica
from backend.storage.redis.slots import SlotMap

MOST_REDIRECTS = 5

MOVING_SECONDS = 0.02
"""The pause before a command is sent again whose keys are on two nodes, because they move."""

_ASKING = Command(["ASKING"], key="")
_TRIED = [(Command([name], key=""), False) for name in ("PING", "ASKING")]


class Cluster:
    """One connection to each master of which keys are used."""

    is_cluster = True

    def __init__(self, slots: SlotMap, **options: Any) -> None:
        self._slots = slots
        self._options = {**options, **slots.options}
        self._nodes: dict[Place, Node] = {}

    def slot(self, tag: str) -> str:
        return f"{{{tag}}}:"

    def probe_tags(self) -> Sequence[str]:
        return self._slots.tags()

    async def reach(self) -> None:
        await self._refresh()
        async with asyncio.TaskGroup() as tasks:
            answers = [
                tasks.create_task(self._send_to(each, _TRIED)) for each in self._slots.masters
            ]
        for reply in (each for answer in answers for each in answer.result()):
            if isinstance(reply, Exception):
                raise reply

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        await self._refresh()
        replies: list[Any] = [None] * len(commands)
        left: dict[int, Place | None] = dict.fromkeys(range(len(commands)))
        """The commands without a final reply, and the node to ask if it is not the key's master."""
        for _ in range(1 + MOST_REDIRECTS):
            answered = await self._send(commands, left)
            left = {}
            for number, reply in answered.items():
                replies[number] = reply
                if isinstance(reply, MovedError):
                    self._slots.move(reply.slot_id, Place(reply.host, reply.port))
                if isinstance(reply, MovedError | TryAgainError):
                    left[number] = None
                elif isinstance(reply, AskError):
                    left[number] = Place(reply.host, reply.port)
            if not left:
                break
            if any(isinstance(replies[number], TryAgainError) for number in left):
                await asyncio.sleep(MOVING_SECONDS)
        return [_in_words(reply) for reply in replies]

    async def aclose(self) -> None:
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.aclose()

    async def _refresh(self) -> None:
        if self._slots.is_stale:
            await self._slots.refresh()
        for place in self._nodes.keys() - set(self._slots.masters):
            await self._nodes.pop(place).aclose()

    async def _send(
        self, commands: Sequence[Command], places: Mapping[int, Place | None]
    ) -> dict[int, Any]:
        """Send some commands, to all nodes at once, and return the replies by their numbers."""
        groups: defaultdict[Place | None, list[int]] = defaultdict(list)
        for number, asked in places.items():
            groups[asked or self._slots.master_of(commands[number].key)].append(number)
        # A group of tasks, so that a caller who gives up closes all connections that wait.
        async with asyncio.TaskGroup() as tasks:
            sent = []
            for place, numbers in groups.items():
                parts = [(commands[number], places[number] is not None) for number in numbers]
                sent.append((numbers, tasks.create_task(self._send_to(place, parts))))
        return {
            number: reply
            for numbers, task in sent
            for number, reply in zip(numbers, task.result(), strict=True)
        }

    async def _send_to(
        self, place: Place | None, parts: Sequence[tuple[Command, bool]]
    ) -> Sequence[Any]:
        """Send commands to one node, and before some of them say that another node sent us."""
        if place is None:
            self._slots.is_stale = True
            return [Unusable(CLUSTER_DOWN)] * len(parts)
        lines: list[Command] = []
        for command, is_sent in parts:
            lines += [_ASKING, command] if is_sent else [command]
        try:
            replies = await self._node(place).run(lines)
        except (RedisError, OSError) as error:
            self._slots.is_stale = True
            return [error] * len(parts)
        except BaseException:  # the caller waits no longer: perhaps this node is gone
            self._slots.is_stale = True
            raise
        for reply in replies:
            if isinstance(reply, AskError) and not reply.host:  # the same host, another port
                reply.host = place.host
            if isinstance(reply, ClusterDownError) or has_become_replica(reply):
                self._slots.is_stale = True
        return [reply for line, reply in zip(lines, replies, strict=True) if line is not _ASKING]

    def _node(self, place: Place) -> Node:
        if place not in self._nodes:
            self._nodes[place] = Node.on(place, **self._options)
        return self._nodes[place]


def _in_words(reply: Any) -> Any:
    """Without this, an error would read as if the URL did not mention a cluster."""
    match reply:
        case AskError() | TryAgainError():
            return Unusable(CLUSTER_MOVES)
        case ClusterDownError():
            return Unusable(CLUSTER_DOWN)
    return reply
