"""Shared logs in Redis Streams: one stream per turn, and one per worker for nudges.

The id of an entry is the position of its last event. So Redis refuses a second write of the same
entry, and XREAD resumes after any position.

A node of a cluster refuses an XREAD over streams of several slots. So there the streams share a few
slots, and each of these has a blocking read of its own.
"""

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, TypeVar
from zlib import crc32

from redis.exceptions import RedisError, ResponseError

from backend.aio.tasks import cancel_and_wait
from backend.domain.errors import StorageError
from backend.storage.ports.shared_logs import Received, SharedBatch
from backend.storage.redis.connection import opener
from backend.storage.redis.errors import fault_of
from backend.storage.redis.node import ANSWER_SECONDS, Command, Node, RedisConnection
from backend.storage.redis.slots import even_tags

T = TypeVar("T")

BLOCK_SECONDS = 1.0
"""How long a read waits for new entries. A nudge to this worker ends the wait."""

NUDGES_KEPT_SECONDS = 60

STREAM_TAGS = even_tags(8)
"""The tags of all streams in a cluster. A worker has as many blocking reads at most."""

CHECKED = "check"
"""Used as a turn id and a worker id by `check`. Real ids have digits, so it clashes with none."""


class RedisLogs:
    """One connection writes. Another one blocks in XREAD; in a cluster, one for each slot."""

    def __init__(self, url: str, *, kept_seconds: float) -> None:
        self._kept_seconds = round(kept_seconds)
        connection = opener(url, legacy_responses=False)
        self._writer = connection(socket_timeout=ANSWER_SECONDS)
        self._writing = asyncio.Lock()
        self._groups = [
            _Group(tag, connection(socket_timeout=BLOCK_SECONDS + ANSWER_SECONDS))
            for tag in (STREAM_TAGS if self._writer.is_cluster else ("",))
        ]
        self._failed_read: StorageError | None = None

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        commands: list[Command] = []
        for batch in batches:
            key = self._group_of(batch.turn_id).of_turn(batch.turn_id)
            entry = ("after", batch.after, "events", batch.events)
            commands.append(Command(("XADD", key, f"{batch.last}-0", *entry), key))
            commands.append(_expiring(key, self._kept_seconds))
        for worker in nudged:
            commands += _nudge(self._group_of(worker).of_worker(worker))
        for turn in forgotten:
            key = self._group_of(turn).of_turn(turn)
            commands.append(Command(("UNLINK", key), key))
        await self._run(commands)

    async def check(self) -> None:
        await translated(self._writer.reach())
        commands: list[Command] = []
        for tag in self._writer.probe_tags():
            group = _Group(tag, self._writer)
            for key in (group.of_turn(CHECKED), group.of_worker(CHECKED)):
                commands += _nudge(key)
                # From the start of the stream, which has an entry, so this read never blocks.
                commands.append(Command(("XREAD", "STREAMS", key, "0-0"), key))
                commands.append(Command(("UNLINK", key), key))
        await self._run(commands)

    async def _run(self, commands: Sequence[Command]) -> None:
        async with self._writing:
            replies = await translated(self._writer.run(commands))
        for reply in replies:
            if isinstance(reply, Exception) and not _is_known(reply):
                raise StorageError(fault_of(reply)) from reply

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        if (failed := self._failed_read) is not None:
            self._failed_read = None
            raise failed
        wanted: dict[_Group, dict[str, int]] = {self._group_of(worker): {}}
        for turn, last in after.items():
            wanted.setdefault(self._group_of(turn), {})[turn] = last
        # A read that is running, for other turns, would end after a second. End it now.
        if outdated := [group for group, turns in wanted.items() if group.lacks(turns)]:
            await self._run([part for each in outdated for part in _nudge(each.of_worker(worker))])
        reading = [group.read(worker, turns) for group, turns in wanted.items()]
        await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        found = [group.take(turns) for group, turns in wanted.items()]
        received = [each for each in found if isinstance(each, Received)]
        for each in found:
            if isinstance(each, StorageError):
                self._failed_read = each
        if not received and (failed := self._failed_read) is not None:
            self._failed_read = None
            raise failed
        return Received(
            [batch for each in received for batch in each.batches],
            is_nudged=any(each.is_nudged for each in received),
        )

    async def close(self) -> None:
        for group in self._groups:
            await group.close()
        await self._writer.aclose()

    def _group_of(self, id_: str) -> "_Group":
        return self._groups[crc32(id_.encode()) % len(self._groups)]


class _Group:
    """The streams that one XREAD can read: those of a slot in a cluster, and otherwise all.

    A read may outlast the call that has begun it, if another group was faster.
    """

    def __init__(self, tag: str, connection: RedisConnection) -> None:
        self._slot = connection.slot(tag)
        self._connection = connection
        self._asked: Mapping[str, int] = {}
        self._nudges = ""
        # From the beginning: a nudge may have come before the first read.
        self._last_nudge: bytes | str = "0-0"
        self._reading: asyncio.Task[dict[bytes, Any] | StorageError] | None = None

    def of_turn(self, turn_id: str) -> str:
        return f"lex:turn:{self._slot}{turn_id}"

    def of_worker(self, worker: str) -> str:
        return f"lex:worker:{self._slot}{worker}"

    def lacks(self, turns: Mapping[str, int]) -> bool:
        """Whether a read is running that would miss some events after these positions."""
        return (
            self._reading is not None
            and not self._reading.done()
            and any(turn not in self._asked or self._asked[turn] > turns[turn] for turn in turns)
        )

    def read(self, worker: str, after: Mapping[str, int]) -> asyncio.Task[Any]:
        """Begin a read, or return the one that is running."""
        if self._reading is None:
            self._asked, self._nudges = after, self.of_worker(worker)
            self._reading = asyncio.create_task(self._read(), name="read of shared logs")
        return self._reading

    async def _read(self) -> dict[bytes, Any] | StorageError:
        streams = {self.of_turn(turn): f"{last}-0" for turn, last in self._asked.items()}
        places = (*streams.values(), self._last_nudge)
        block = ("BLOCK", round(BLOCK_SECONDS * 1000))
        arguments = ("XREAD", *block, "STREAMS", *streams, self._nudges, *places)
        try:
            (found,) = await translated(
                self._connection.run([Command(arguments, key=self._nudges)])
            )
        except StorageError as error:
            return error
        if isinstance(found, Exception):
            return StorageError(fault_of(found))
        return dict(found or {})

    def take(self, after: Mapping[str, int]) -> Received | StorageError | None:
        """Take the result of a read that has ended, for the turns it has read from there on."""
        if self._reading is None or not self._reading.done():
            return None
        found, self._reading = self._reading.result(), None
        if isinstance(found, StorageError):
            return found
        if nudged := found.get(self._nudges.encode()):
            self._last_nudge = nudged[-1][0]
        batches = [
            _batch(turn, id_, entry)
            for turn, last in after.items()
            if self._asked.get(turn, last + 1) <= last
            for id_, entry in found.get(self.of_turn(turn).encode(), ())
        ]
        return Received(batches, is_nudged=bool(nudged))

    async def close(self) -> None:
        if self._reading is not None:
            await cancel_and_wait([self._reading])
        await self._connection.aclose()


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> Node:
    """Return a client with one connection, which it opens on first use. The caller closes it."""
    return Node.at(url, socket_timeout=answer_seconds, legacy_responses=False)


def _expiring(key: str, seconds: int) -> Command:
    return Command(("EXPIRE", key, seconds), key)


def _nudge(key: str) -> Sequence[Command]:
    # All nudges mean the same, so the newest is enough.
    return [
        Command(("XADD", key, "MAXLEN", 1, "*", "", ""), key),
        _expiring(key, NUDGES_KEPT_SECONDS),
    ]


def _batch(turn_id: str, id_: bytes, entry: Mapping[bytes, bytes]) -> SharedBatch:
    """Read one entry. An unknown entry, from another version of Lex, becomes a batch that its
    reader cannot decode, and the batches of other turns still arrive.
    """
    last = int(id_.partition(b"-")[0])
    return SharedBatch(turn_id, int(entry.get(b"after", 0)), last, entry.get(b"events", b""))


def _is_known(error: Exception) -> bool:
    """Whether Redis refused an entry because it already has it."""
    return isinstance(error, ResponseError) and "equal or smaller" in str(error)


async def translated(answer: Awaitable[T]) -> T:
    """Raises: StorageError, for any failure of Redis."""
    try:
        return await answer
    except (RedisError, OSError) as error:
        raise StorageError(fault_of(error)) from error
