"""The rates that workers use together, and the queue for each, in Redis.

All of a model's state changes in one script, `rates.lua`, by the clock of Redis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from backend.domain.errors import StorageError
from backend.domain.rates import RateNews, RateReport
from backend.storage.redis.connection import opener
from backend.storage.redis.errors import fault_of
from backend.storage.redis.logs import translated
from backend.storage.redis.node import ANSWER_SECONDS, Command

GONE_SECONDS = 5.0
"""After so long without a report, a worker's turns lose their places."""

_SCRIPT = (Path(__file__).parent / "rates.lua").read_text()
_CHECK = "redis.call('TIME')"
_encode = msgspec.json.Encoder().encode


class RedisRates:
    """An exchange is one round trip for all models. In a cluster, each model has its own slot."""

    def __init__(self, url: str, *, gone_seconds: float = GONE_SECONDS) -> None:
        self._redis = opener(url, socket_timeout=ANSWER_SECONDS, legacy_responses=False)()
        self._gone_seconds = gone_seconds

    async def exchange(self, worker: str, reports: Sequence[RateReport]) -> Sequence[RateNews]:
        """Raises: StorageError."""
        commands = []
        for report in reports:
            model = f"lex:rate:{self._redis.slot(report.model)}{report.model}"
            keys = [f"{model}:{part}" for part in ("state", "queue", "workers")]
            passing = f"{model}:passing:"
            keys.append(passing + worker)
            arguments = (worker, _encode(report), passing, str(self._gone_seconds))
            commands.append(Command(("EVAL", _SCRIPT, len(keys), *keys, *arguments), keys[0]))
        return [_news(reply) for reply in await translated(self._redis.run(commands))]

    async def check(self) -> None:
        """Try every command of the script on keys of no model. Raises: StorageError."""
        await translated(self._redis.reach())
        commands = [each for tag in self._redis.probe_tags() for each in self._probes(tag)]
        for reply in await translated(self._redis.run(commands)):
            if isinstance(reply, Exception):
                raise StorageError(fault_of(reply, script=_CHECK)) from reply

    def _probes(self, tag: str) -> Sequence[Command]:
        prefix = f"lex:rate:{self._redis.slot(tag)}check"
        state, queue, passing = (f"{prefix}:{part}" for part in ("state", "queue", "passing"))
        tried: Sequence[tuple[Any, ...]] = (
            ("EVAL", _CHECK, 1, state),
            ("HSET", state, "x", "1"),
            ("HGET", state, "x"),
            ("HGETALL", state),
            ("HDEL", state, "x"),
            ("ZADD", queue, 1, "x"),
            ("ZRANGE", queue, 0, 0),
            ("ZREM", queue, "x"),
            ("ZCARD", queue),
            ("LPUSH", passing, "x"),
            ("LLEN", passing),
            ("LINDEX", passing, 0),
            ("EXPIRE", passing, 1),
            ("UNLINK", state, queue, passing),
        )
        return [Command(arguments, key=state) for arguments in tried]

    async def close(self) -> None:
        await self._redis.aclose()


def _news(reply: Any) -> RateNews:
    if isinstance(reply, Exception):
        raise StorageError(fault_of(reply, script=_SCRIPT)) from reply
    # Lua has one kind of table, and an empty one becomes an object.
    told = msgspec.json.decode(reply)
    for name in ("figures", "passed"):
        told[name] = told[name] or []
    return msgspec.convert(told, RateNews)
