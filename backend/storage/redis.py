"""Shared logs in Redis Streams: one stream per turn, and one per worker for nudges.

The id of an entry is the position of its last event. So Redis refuses a second write of the same
entry, and XREAD resumes after any position. A Redis Cluster does not work, because one XREAD reads
the streams of many turns.
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
"""How long a read waits for new entries. A nudge to this worker ends the wait."""

ANSWER_SECONDS = 1.0
"""Time-out for connecting, and for each reply. After it, Redis counts as failed."""

NUDGES_KEPT_SECONDS = 60

CHECKED = "check"
"""Used as a turn id and a worker id by `check`. Real ids have digits, so it clashes with none."""


class RedisLogs:
    """Uses two connections: one writes, the other blocks in XREAD."""

    def __init__(self, url: str, *, kept_seconds: float) -> None:
        self._kept_seconds = round(kept_seconds)
        self._writer = connect(url)
        self._reader = connect(url, answer_seconds=BLOCK_SECONDS + ANSWER_SECONDS)
        # From the beginning: a nudge may have come before the first read.
        self._last_nudge: bytes | str = "0-0"

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        # Without MULTI: if Redis refuses an entry that it already has, the others still go in.
        pipeline = self._writer.pipeline(transaction=False)
        for batch in batches:
            key = _of_turn(batch.turn_id)
            entry = {b"after": batch.after, b"events": batch.events}
            pipeline.xadd(key, cast(Any, entry), id=f"{batch.last}-0")
            pipeline.expire(key, self._kept_seconds)
        for worker in nudged:
            key = _of_worker(worker)
            # All nudges mean the same, so the newest is enough.
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
            # From the start of the stream, which has an entry, so this read never blocks.
            pipeline.xread({key: "0-0"})
            pipeline.unlink(key)
        await self._run(pipeline)

    async def _run(self, pipeline: Pipeline) -> None:
        for result in await translated(pipeline.execute(raise_on_error=False)):
            if isinstance(result, Exception) and not _is_known(result):
                raise StorageError(fault_of(result)) from result

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        nudges = _of_worker(worker)
        streams: dict[Any, Any] = {_of_turn(turn): f"{last}-0" for turn, last in after.items()}
        streams[nudges] = self._last_nudge
        reading = self._reader.xread(streams, block=round(BLOCK_SECONDS * 1000))
        found = dict(cast(Any, await translated(cast(Awaitable[Any], reading))) or {})
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


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """Return a client with one connection, which it opens on first use. The caller closes it."""
    return Redis.from_url(
        url,
        max_connections=1,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=answer_seconds,
        # No retries in the client: a lost connection may have lost writes, and the caller must
        # learn of it to send them again.
        retry=Retry(NoBackoff(), 0),
        legacy_responses=False,
    )


def _of_turn(turn_id: str) -> str:
    return f"lex:turn:{turn_id}"


def _of_worker(worker: str) -> str:
    return f"lex:worker:{worker}"


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
