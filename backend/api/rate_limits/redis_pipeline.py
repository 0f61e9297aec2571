"""The pipeline to Redis that all shared counts use: many callers, one connection.

Calls that come while an answer is outstanding go out together. While Redis is silent nobody waits
for it: each caller does without, and the pipeline asks in the background until it is back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from backend.aio.tasks import cancel_and_wait
from backend.network.file_descriptors import exhaustion_of
from backend.storage.redis_errors import SILENCE, fault_of, is_of_one_key

logger = structlog.get_logger()

T = TypeVar("T")

ANSWER_SECONDS = 0.125
"""For one answer. A caller waits for that of those before it, and for its own: 250 ms."""

CONNECT_SECONDS = 1.0
"""To connect takes several answers; a probe has this long for it, since nobody waits."""

PROBE_SECONDS = 1.0

SLICES = 5
"""A wait is so many short ones. If our own loop stalls, one of them is over, and not Redis late."""


class OutOfReach(Exception):
    """Redis is not there, does not answer in time, or refuses. The message is the cause."""


@dataclass(frozen=True, slots=True)
class Script:
    """Lua, for one call with its keys and arguments."""

    text: str
    keys: Sequence[str]
    arguments: Sequence[str | int | float]


PROBE = Script("redis.call('SET', KEYS[1], '', 'PX', 1)", ["lex:probe"], [])
"""It writes, as all that is asked for does: one that is full, or a replica, only answers.

For a pipeline whose callers have not said what they ask for.
"""


@dataclass(frozen=True, slots=True)
class _Waiting:
    script: Script
    reply: asyncio.Future[Any] = field(default_factory=asyncio.Future)


def connect(url: str) -> Redis:
    """Opens nothing yet; the caller closes it."""
    # A connection that broke since it was last used is made anew, once.
    return Redis.from_url(url, max_connections=2, retry=Retry(NoBackoff(), 1))


class RedisPipeline:
    """`on_change` hears when Redis is lost and when it is back. Close it before the client.

    `probes` are what callers will ask for, on keys that nobody has: a Redis that would refuse one
    of them is not there.
    """

    def __init__(
        self,
        client: Redis,
        *,
        on_change: Callable[[bool], None],
        probes: Sequence[Script] = (PROBE,),
        answer_seconds: float = ANSWER_SECONDS,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._client = client
        self._on_change = on_change
        self._probes = probes
        self._answer_seconds = answer_seconds
        self._probe_seconds = probe_seconds
        self._waiting: list[_Waiting] = []
        self._has_waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.is_up = False
        self.fault: str | None = None
        """Why it is not up."""

    @property
    def connection_pool(self) -> ConnectionPool:
        return self._client.connection_pool

    async def open(self) -> None:
        await self._probe()
        self._task = asyncio.create_task(self._run(), name="redis pipeline")

    async def close(self) -> None:
        """Send the calls that still wait, if Redis answers."""
        if self._task is not None:
            await cancel_and_wait([self._task])
        if self.is_up:
            await self._send()
        self._lose_all()

    async def call(self, script: Script) -> Any:
        """Calls are run in the order in which they were made. Raises: OutOfReach."""
        return await self._enqueue(script).reply

    def tell(self, script: Script) -> None:
        """Whatever becomes of it."""
        with suppress(OutOfReach):
            self._enqueue(script).reply.add_done_callback(_seen)

    def _enqueue(self, script: Script) -> _Waiting:
        if not self.is_up:
            raise OutOfReach
        waiting = _Waiting(script)
        self._waiting.append(waiting)
        self._has_waiting.set()
        return waiting

    async def _run(self) -> None:
        while True:
            if self.is_up:
                await self._has_waiting.wait()
                await self._send()
            else:
                await asyncio.sleep(self._probe_seconds)
                await self._probe()

    async def _send(self) -> None:
        self._has_waiting.clear()
        sent, self._waiting = self._waiting, []
        try:
            scripts = [waiting.script for waiting in sent]
            replies = await self._answer(self._ask(scripts), seconds=self._answer_seconds)
            _raise_unless_of_one_key(scripts, replies)
            for waiting, reply in zip(sent, replies, strict=True):
                _reply(waiting, reply)
        except OutOfReach as error:
            self._lost(str(error))
        finally:
            _lose(sent)

    async def _ask(self, scripts: Sequence[Script]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for script in scripts:
            # As text: Redis knows it by its hash all the same, and may have been restarted.
            pipeline.eval(script.text, len(script.keys), *script.keys, *map(str, script.arguments))
        return await pipeline.execute(raise_on_error=False)

    async def _probe(self) -> None:
        try:
            await self._answer(self._client.ping(), seconds=CONNECT_SECONDS)
            replies = await self._answer(self._ask(self._probes), seconds=self._answer_seconds)
            _raise_unless_of_one_key(self._probes, replies)
        except OutOfReach as error:
            self._lost(str(error))
        else:
            self._found()

    async def _answer(self, asking: Awaitable[T], *, seconds: float) -> T:
        """Raises: OutOfReach, with the name of what went wrong."""
        task = asyncio.ensure_future(asking)
        try:
            for _ in range(SLICES):
                await asyncio.wait([task], timeout=seconds / SLICES)
                if task.done():
                    break
        finally:
            # Closes the connection, if it owes us an answer.
            await cancel_and_wait([task])
        if task.cancelled():
            raise OutOfReach(SILENCE)
        try:
            return task.result()
        except Exception as error:
            # Also a defect: nobody may wait for ever for a pipeline that has ended.
            raise OutOfReach(exhaustion_of(error) or fault_of(error)) from error

    def _lost(self, why: str) -> None:
        """Said once, and once more when the cause is another one."""
        was_up, known = self.is_up, self.fault
        self.is_up, self.fault = False, why
        self._lose_all()
        if was_up or known is None:
            self._on_change(self.is_up)
        if was_up or why != known:
            logger.warning("shared_limits_unavailable", error=why)

    def _found(self) -> None:
        self.is_up, self.fault = True, None
        self._on_change(self.is_up)
        logger.info("shared_limits_available")

    def _lose_all(self) -> None:
        lost, self._waiting = self._waiting, []
        _lose(lost)


def _raise_unless_of_one_key(scripts: Sequence[Script], replies: Sequence[Any]) -> None:
    """Raises: OutOfReach, if what Redis refused to one it would refuse to all."""
    for script, reply in zip(scripts, replies, strict=True):
        if isinstance(reply, Exception) and not is_of_one_key(reply):
            raise OutOfReach(fault_of(reply, script=script.text)) from reply


def _reply(waiting: _Waiting, reply: Any) -> None:
    if waiting.reply.done():
        return
    if isinstance(reply, Exception):
        waiting.reply.set_exception(OutOfReach(fault_of(reply)))
    else:
        waiting.reply.set_result(reply)


def _lose(callers: Sequence[_Waiting]) -> None:
    for waiting in callers:
        if not waiting.reply.done():
            waiting.reply.set_exception(OutOfReach())


def _seen(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()
