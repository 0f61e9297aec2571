"""Shared logs in Redis Streams: one stream a turn, one a worker for nudges.

The id of an entry is the position of its last event, so writing it again is refused by
Redis itself, and reading on behind a position is what XREAD does. One Redis, not a cluster:
one XREAD asks for the streams of many turns.
"""

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from backend.domain.errors import StorageError
from backend.storage.ports.shared_logs import Received, SharedBatch
from backend.storage.redis_errors import fault_of

T = TypeVar("T")

BLOCK_SECONDS = 1.0
"""So long a read waits for something to come. A nudge to the own worker ends it."""

ANSWER_SECONDS = 1.0
"""After this a Redis that hangs counts as failed."""

NUDGES_KEPT_SECONDS = 60

CHECKED = "check"
"""A turn and a worker that nobody is: ids of ours have digits."""


class RedisLogs:
    """Two connections: one writes, one waits for what others write."""

    def __init__(self, url: str, *, kept_seconds: float) -> None:
        self._kept_seconds = round(kept_seconds)
        self._writer = _connect(url, answer_seconds=ANSWER_SECONDS)
        self._reader = _connect(url, answer_seconds=BLOCK_SECONDS + ANSWER_SECONDS)
        self._last_nudge: bytes | str = "0-0"

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        # One by one: an entry that is there already is refused, and those behind it are not.
        pipeline = self._writer.pipeline(transaction=False)
        for batch in batches:
            key = _of_turn(batch.turn_id)
            entry = {b"after": batch.after, b"events": batch.events}
            pipeline.xadd(key, cast(Any, entry), id=f"{batch.last}-0")
            pipeline.expire(key, self._kept_seconds)
        for worker in nudged:
            key = _of_worker(worker)
            pipeline.xadd(key, {b"": b""}, maxlen=1, approximate=False)
            pipeline.expire(key, NUDGES_KEPT_SECONDS)
        if forgotten:
            pipeline.unlink(*map(_of_turn, forgotten))
        await self._run(pipeline)

    async def check(self) -> None:
        pipeline = self._writer.pipeline(transaction=False)
        pipeline.ping()
        for key in (_of_turn(CHECKED), _of_worker(CHECKED)):
            pipeline.xadd(key, {b"": b""}, maxlen=1, approximate=False)
            pipeline.expire(key, NUDGES_KEPT_SECONDS)
            # From the beginning, where an entry is there already: this waits for nothing.
            pipeline.xread({key: "0-0"})
            pipeline.unlink(key)
        await self._run(pipeline)

    async def _run(self, pipeline: Pipeline) -> None:
        for result in await _translated(pipeline.execute(raise_on_error=False)):
            if isinstance(result, Exception) and not _is_known(result):
                raise StorageError(fault_of(result)) from result

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        nudges = _of_worker(worker)
        streams: dict[Any, Any] = {_of_turn(turn): f"{last}-0" for turn, last in after.items()}
        streams[nudges] = self._last_nudge
        reading = self._reader.xread(streams, block=round(BLOCK_SECONDS * 1000))
        found = dict(cast(Any, await _translated(cast(Awaitable[Any], reading))) or {})
        if nudged := found.pop(nudges.encode(), None):
            self._last_nudge = nudged[-1][0]
        batches = [
            _batch(turn, id_, entry)
            for turn in after
            for id_, entry in found.get(_of_turn(turn).encode(), ())
        ]
        return Received(batches, is_nudged=bool(nudged))

    async def close(self) -> None:
        await self._writer.aclose()
        await self._reader.aclose()


def _connect(url: str, *, answer_seconds: float) -> Redis:
    return Redis.from_url(
        url,
        max_connections=1,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=answer_seconds,
        # The caller must learn of a lost connection: its writes may be gone with it.
        retry=Retry(NoBackoff(), 0),
        legacy_responses=False,
    )


def _of_turn(turn_id: str) -> str:
    return f"lex:turn:{turn_id}"


def _of_worker(worker: str) -> str:
    return f"lex:worker:{worker}"


def _batch(turn_id: str, id_: bytes, entry: Mapping[bytes, bytes]) -> SharedBatch:
    """An entry of another version becomes a batch that cannot be decoded: it stops no other one."""
    last = int(id_.partition(b"-")[0])
    return SharedBatch(turn_id, int(entry.get(b"after", 0)), last, entry.get(b"events", b""))


def _is_known(error: Exception) -> bool:
    """An entry that is there already."""
    return isinstance(error, ResponseError) and "equal or smaller" in str(error)


async def _translated(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except (RedisError, OSError) as error:
        raise StorageError(fault_of(error)) from error
