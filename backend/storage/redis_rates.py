"""The rates that workers use together, and the queue for each, in Redis.

All of a model's state changes in one script, `redis_rates.lua`, by the clock of Redis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from backend.domain.errors import StorageError
from backend.domain.rates import RateNews, RateReport
from backend.storage.redis import connect, translated
from backend.storage.redis_errors import fault_of

GONE_SECONDS = 5.0
"""After so long without a report, a worker's turns lose their places."""

_SCRIPT = (Path(__file__).parent / "redis_rates.lua").read_text()
_CHECK = "redis.call('TIME')"
_encode = msgspec.json.Encoder().encode


class RedisRates:
    """Uses one connection. An exchange is one round trip for all models."""

    def __init__(self, url: str, *, gone_seconds: float = GONE_SECONDS) -> None:
        self._redis = connect(url)
        self._gone_seconds = gone_seconds

    async def exchange(self, worker: str, reports: Sequence[RateReport]) -> Sequence[RateNews]:
        """Raises: StorageError."""
        pipeline = self._redis.pipeline(transaction=False)
        for report in reports:
            keys = [f"lex:rate:{report.model}:{part}" for part in ("state", "queue", "workers")]
            passing = f"lex:rate:{report.model}:passing:"
            keys.append(passing + worker)
            pipeline.eval(
                _SCRIPT, len(keys), *keys, worker, _encode(report), passing, str(self._gone_seconds)
            )
        return [_news(reply) for reply in await translated(pipeline.execute(raise_on_error=False))]

    async def check(self) -> None:
        """Try every command of the script on keys of no model. Raises: StorageError."""
        state, queue, passing = (f"lex:rate:check:{part}" for part in ("state", "queue", "passing"))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.eval(_CHECK, 0)
        pipeline.hset(state, "x", "1")
        pipeline.hget(state, "x")
        pipeline.hgetall(state)
        pipeline.hdel(state, "x")
        pipeline.zadd(queue, {"x": 1})
        pipeline.zrange(queue, 0, 0)
        pipeline.zrem(queue, "x")
        pipeline.zcard(queue)
        pipeline.lpush(passing, "x")
        pipeline.llen(passing)
        pipeline.lindex(passing, 0)
        pipeline.expire(passing, 1)
        pipeline.unlink(state, queue, passing)
        for reply in await translated(pipeline.execute(raise_on_error=False)):
            if isinstance(reply, Exception):
                raise StorageError(fault_of(reply, script=_CHECK)) from reply

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
