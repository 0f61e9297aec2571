"""Budgets that all workers count in Redis, with the database behind it.

Redis answers before a turn starts. The database always gets what was settled, so it can take over
when Redis is lost, and tell a Redis that has forgotten.
"""

import asyncio
from collections.abc import Sequence

from backend.api.rate_limits.redis_pipeline import OutOfReach, RedisPipeline, Script
from backend.storage.ports.budgets import Amount, Budget, BudgetStore, Exhausted

# For each budget there are two keys: a hash with the window's start and what is used of it, and a
# sorted set of reservations by their expiry, each `turn:amount`. A window that Redis does not know
# needs a floor, the database's figure; without one the reply is empty. The first loop checks all
# budgets, the second one reserves.
_RESERVE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local turn, expires = ARGV[1], tonumber(ARGV[2])
local full = {}
for n = 1, #KEYS / 2 do
  local used_key, held_key = KEYS[2 * n - 1], KEYS[2 * n]
  local limit, length = tonumber(ARGV[4 * n - 1]), tonumber(ARGV[4 * n])
  local floor = tonumber(ARGV[4 * n + 2])
  local start = now - now % length
  local known = redis.call('HMGET', used_key, 'start', 'used')
  local used = known[1] and tonumber(known[1]) == start and tonumber(known[2])
  if not used and floor < 0 then return {} end
  if not used or floor > used then
    used = floor
    redis.call('HSET', used_key, 'start', string.format('%.0f', start))
    redis.call('HSET', used_key, 'used', string.format('%.0f', used))
    redis.call('EXPIRE', used_key, length)
  end
  redis.call('ZREMRANGEBYSCORE', held_key, '-inf', now)
  for _, member in ipairs(redis.call('ZRANGE', held_key, 0, -1)) do
    used = used + tonumber(string.match(member, ':(%d+)$'))
  end
  if used >= limit then
    full[#full + 1] = n
    full[#full + 1] = string.format('%.6f', start + length - now)
  end
end
if #full > 0 then return {0, unpack(full)} end
for n = 1, #KEYS / 2 do
  local held_key, amount = KEYS[2 * n], ARGV[4 * n + 1]
  redis.call('ZADD', held_key, now + expires, turn .. ':' .. amount)
  redis.call('EXPIRE', held_key, math.ceil(expires))
end
return {1}
"""

_SETTLE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local turn = ARGV[1]
for n = 1, #KEYS / 2 do
  local used_key, held_key = KEYS[2 * n - 1], KEYS[2 * n]
  local length, amount = tonumber(ARGV[2 * n]), ARGV[2 * n + 1]
  for _, member in ipairs(redis.call('ZRANGE', held_key, 0, -1)) do
    if string.match(member, '^(.*):%d+$') == turn then redis.call('ZREM', held_key, member) end
  end
  local start = redis.call('HGET', used_key, 'start')
  if start and tonumber(start) == now - now % length then
    redis.call('HINCRBY', used_key, 'used', amount)
  end
end
"""

_PROBED = ("lex:{budgets}:probe", "lex:{budgets}:probe:held")
PROBES = (
    Script(_RESERVE, _PROBED, ["", 1, 1, 86_400, 0, 0]),
    Script(_SETTLE, _PROBED, ["", 86_400, 0]),
    Script("redis.call('UNLINK', KEYS[1], KEYS[2])", _PROBED, []),
)
"""The scripts of this file with unused keys, for `RedisPipeline`. They leave nothing behind."""

UNKNOWN = -1


class SharedBudgets:
    """A `BudgetStore` over Redis and the database.

    One script reserves all budgets of a turn. In a cluster each budget has its own slot and script;
    if one is exhausted, the others get back what was reserved.
    """

    def __init__(self, pipeline: RedisPipeline, database: BudgetStore) -> None:
        self._pipeline = pipeline
        self._database = database
        self._missed: set[str] = set()
        """Keys whose newest amounts Redis may not know."""

    async def reserve(
        self, turn_id: str, amounts: Sequence[Amount], *, expires_seconds: float
    ) -> Sequence[Exhausted]:
        if not amounts:
            return []
        parts = self._parts(amounts)
        try:
            found = await asyncio.gather(
                *(self._reserve(turn_id, part, expires_seconds) for part in parts)
            )
        except OutOfReach:
            self._missed.update(each.budget.key for each in amounts)
            return await self._database.reserve(turn_id, amounts, expires_seconds=expires_seconds)
        full = [each for exhausted in found for each in exhausted]
        if full:
            for part, exhausted in zip(parts, found, strict=True):
                if not exhausted:
                    nothing = [Amount(each.budget, 0) for each in part]
                    self._pipeline.tell(self._settling(turn_id, nothing))
        return full

    async def _reserve(
        self, turn_id: str, amounts: Sequence[Amount], expires_seconds: float
    ) -> Sequence[Exhausted]:
        """Raises: OutOfReach."""
        floors = await self._floors(amounts)
        reply = await self._ask(turn_id, amounts, floors, expires_seconds)
        if not reply:
            floors = await self._database.used([each.budget for each in amounts])
            reply = await self._ask(turn_id, amounts, floors, expires_seconds)
        _, *full = reply
        return [
            Exhausted(amounts[int(number) - 1].budget, float(seconds))
            for number, seconds in zip(full[::2], full[1::2], strict=True)
        ]

    async def settle(self, turn_id: str, amounts: Sequence[Amount]) -> None:
        # The database first: if Redis asks for its figure in between, it counts too much for a
        # moment rather than too little for good.
        await self._database.settle(turn_id, amounts)
        scripts = [self._settling(turn_id, part) for part in self._parts(amounts)]
        try:
            await asyncio.gather(*map(self._pipeline.call, scripts))
        except OutOfReach:
            self._missed.update(each.budget.key for each in amounts)

    async def used(self, budgets: Sequence[Budget]) -> Sequence[int]:
        return await self._database.used(budgets)

    async def purge(self) -> None:
        self._missed.clear()
        await self._database.purge()

    async def _floors(self, amounts: Sequence[Amount]) -> Sequence[int]:
        """The database's figures for budgets of which Redis may have missed amounts."""
        keys = {each.budget.key for each in amounts}
        if not keys & self._missed or not self._pipeline.is_up:
            return [UNKNOWN] * len(amounts)
        floors = await self._database.used([each.budget for each in amounts])
        self._missed -= keys
        return floors

    async def _ask(
        self,
        turn_id: str,
        amounts: Sequence[Amount],
        floors: Sequence[int],
        expires_seconds: float,
    ) -> list[int | bytes]:
        """Raises: OutOfReach."""
        wanted = [
            number
            for each, floor in zip(amounts, floors, strict=True)
            for number in (each.budget.limit, each.budget.seconds, each.amount, floor)
        ]
        reply: list[int | bytes] = await self._pipeline.call(
            Script(
                _RESERVE, keys=self._keys(amounts), arguments=[turn_id, expires_seconds, *wanted]
            )
        )
        return reply

    def _settling(self, turn_id: str, amounts: Sequence[Amount]) -> Script:
        used = (n for each in amounts for n in (each.budget.seconds, each.amount))
        return Script(_SETTLE, keys=self._keys(amounts), arguments=[turn_id, *used])

    def _parts(self, amounts: Sequence[Amount]) -> Sequence[Sequence[Amount]]:
        """The amounts that one script can have."""
        return [[each] for each in amounts] if self._pipeline.is_cluster else [amounts]

    def _keys(self, amounts: Sequence[Amount]) -> list[str]:
        names = (f"{self._prefix(each.budget)}:{each.budget.key}" for each in amounts)
        return [key for name in names for key in (name, f"{name}:held")]

    def _prefix(self, budget: Budget) -> str:
        slot = self._pipeline.slot(budget.key).rstrip(":")
        return f"lex:budgets:{slot}" if slot else "lex:{budgets}"
