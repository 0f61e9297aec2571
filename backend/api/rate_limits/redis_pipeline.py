"""One connection to Redis that all shared counts of a worker use; in a cluster, one to each node.

Calls that arrive during a round trip go out together in the next one. While Redis is down, calls
fail at once, and the pipeline probes in the background.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import structlog
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from backend.aio.tasks import cancel_and_wait
from backend.network.file_descriptors import exhaustion_of
from backend.storage.redis.connection import opener
from backend.storage.redis.errors import OF_OTHER_KIND, SILENCE, fault_of, is_of_one_key
from backend.storage.redis.node import Command, Node, RedisConnection

logger = structlog.get_logger()

T = TypeVar("T")

ANSWER_SECONDS = 0.125
"""The time-out of a round trip. A caller waits for two at most, the running one and its own: 250 ms
in all.
"""

CONNECT_SECONDS = 1.0
"""The time-out of a probe's first call, which connects. It is longer, because no caller waits."""

PROBE_SECONDS = 1.0

SLICES = 5
"""A wait consists of this many short ones. If our own event loop stalls, only one of them runs out,
and Redis is not blamed for it."""


class OutOfReach(Exception):
    """Redis is unreachable, too slow, or refuses the call. The message is the cause."""


@dataclass(frozen=True, slots=True)
class Script:
    """In a cluster, all keys must contain the same `RedisPipeline.slot`."""

    text: str
    keys: Sequence[str]
    arguments: Sequence[str | int | float]

    @property
    def command(self) -> Command:
        # EVAL, not EVALSHA: Redis caches the script either way, but forgets it at a restart.
        arguments = (*self.keys, *map(str, self.arguments))
        key = self.keys[0] if self.keys else ""
        return Command(("EVAL", self.text, len(self.keys), *arguments), key)

    def with_tag(self, tag: str) -> "Script":
        """Return the script for keys that have this hash tag and no other one."""
        keys = [f"{re.sub('[{}]', '', key)}:{{{tag}}}" for key in self.keys]
        return replace(self, keys=keys)


PROBE = Script("redis.call('SET', KEYS[1], '', 'PX', 1)", ["lex:probe"], [])
"""The default probe. It writes like all calls do: a full Redis or a replica still answers reads."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    script: Script
    reply: asyncio.Future[Any] = field(default_factory=asyncio.Future)


# Retry once, because an idle connection may have broken since its last use.
_OPTIONS: Mapping[str, Any] = {"max_connections": 2, "retry": Retry(NoBackoff(), 1)}


def connect(url: str) -> Node:
    """Return a client of one server, which connects on first use. The caller must close it."""
    return Node.at(url, **_OPTIONS)


def open_connection(url: str) -> RedisConnection:
    """The same for any `REDIS_URL`."""
    return opener(url, **_OPTIONS)()


class RedisPipeline:
    """Close it before the client. `on_change` is called when Redis is lost and when it is back.

    `probes` are the callers' scripts with unused keys: a Redis that refuses one counts as down.
    """

    def __init__(
        self,
        client: RedisConnection,
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
        """Why Redis is down; None while it is up."""

    @property
    def connection_pool(self) -> ConnectionPool | None:
        """The connections to a single server."""
        return self._client.connection_pool if isinstance(self._client, Node) else None

    @property
    def is_cluster(self) -> bool:
        return self._client.is_cluster

    @property
    def is_of_other_kind(self) -> bool:
        """Whether `REDIS_URL` must be written in another way, such as for a cluster."""
        return self.fault in OF_OTHER_KIND

    def slot(self, tag: str) -> str:
        """A part of a key, which keeps the keys of a tag together. Empty unless in a cluster."""
        return self._client.slot(tag)

    async def open(self) -> None:
        await self._probe()
        self._task = asyncio.create_task(self._run(), name="redis pipeline")

    async def close(self) -> None:
        """Send the waiting calls if Redis is up, and stop."""
        if self._task is not None:
            await cancel_and_wait([self._task])
        if self.is_up:
            await self._send()
        self._lose_all()

    async def call(self, script: Script) -> Any:
        """Run a script and return its reply. Calls keep their order. Raises: OutOfReach."""
        return await self._enqueue(script).reply

    def tell(self, script: Script) -> None:
        """Send a script without waiting. Its reply, and any failure, is ignored."""
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
            # Callers without a reply must not wait on, also when this task is cancelled.
            _lose(sent)

    async def _ask(self, scripts: Sequence[Script]) -> list[Any]:
        return await self._client.run([script.command for script in scripts])

    async def _probe(self) -> None:
        try:
            await self._answer(self._client.reach(), seconds=CONNECT_SECONDS)
            probes = self._probes_of_all_nodes()
            replies = await self._answer(self._ask(probes), seconds=self._answer_seconds)
            _raise_unless_of_one_key(probes, replies)
        except OutOfReach as error:
            self._lost(str(error))
        else:
            self._found()

    def _probes_of_all_nodes(self) -> Sequence[Script]:
        if not self._client.is_cluster:
            return self._probes
        tags = self._client.probe_tags()
        return [script.with_tag(tag) for tag in tags for script in self._probes]

    async def _answer(self, asking: Awaitable[T], *, seconds: float) -> T:
        """Await an answer of Redis. Raises: OutOfReach, with the cause."""
        task = asyncio.ensure_future(asking)
        try:
            for _ in range(SLICES):
                await asyncio.wait([task], timeout=seconds / SLICES)
                if task.done():
                    break
        finally:
            # If the answer is outstanding, this closes the connection: its next answer would be the
            # wrong one.
            await cancel_and_wait([task])
        if task.cancelled():
            raise OutOfReach(SILENCE)
        try:
            return task.result()
        except Exception as error:
            # Catch everything: if the pipeline's task ended, its callers would wait forever.
            raise OutOfReach(exhaustion_of(error) or fault_of(error)) from error

    def _lost(self, why: str) -> None:
        """Fail all callers. Log the cause once, and again when it changes."""
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
    """Raises: OutOfReach, if Redis refused a call for a reason that would affect all calls."""
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
