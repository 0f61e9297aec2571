"""How many turns a client has at once: its slots, each held by the id of a turn.

A slot is given back when its turn ends. What other workers know of it expires by itself unless
this worker renews it, so the slots of a killed worker free themselves.
"""

from collections.abc import Mapping
from typing import Protocol

from backend.api.redis_line import OutOfReach, RedisLine, Script

SLOT_SECONDS = 60.0
"""That a slot is held elsewhere after it was last renewed."""

RENEW_SECONDS = SLOT_SECONDS / 3

_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local most, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= most then return 0 end
redis.call('ZADD', KEYS[1], now + kept, ARGV[3])
redis.call('PEXPIRE', KEYS[1], kept)
return 1
"""

_RENEW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = tonumber(ARGV[1])
for number = 2, #ARGV do redis.call('ZADD', KEYS[1], now + kept, ARGV[number]) end
redis.call('PEXPIRE', KEYS[1], kept)
"""

_RELEASE = "redis.call('ZREM', KEYS[1], ARGV[1])"


class Slots(Protocol):
    """The port. A turn that has ended, or never had a slot, may be released all the same."""

    async def take(self, client: str, turn_id: str) -> bool:
        """False, and nothing taken, if the client has as many as it may."""
        ...

    def release(self, client: str, turn_id: str) -> None: ...


class LocalSlots:
    """Those of this worker."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._held: dict[str, set[str]] = {}

    @property
    def held(self) -> Mapping[str, set[str]]:
        """The turns of each client that has any."""
        return self._held

    async def take(self, client: str, turn_id: str) -> bool:
        return self.take_now(client, turn_id)

    def take_now(self, client: str, turn_id: str) -> bool:
        if len(self._held.get(client, ())) >= self._most:
            return False
        self._held.setdefault(client, set()).add(turn_id)
        return True

    def release(self, client: str, turn_id: str) -> None:
        turns = self._held.get(client, set())
        turns.discard(turn_id)
        if not turns:
            self._held.pop(client, None)


class SharedSlots:
    """Those of all workers, in a sorted set for each client; while Redis is away, this one's."""

    def __init__(
        self, local: LocalSlots, line: RedisLine, *, most: int, seconds: float = SLOT_SECONDS
    ) -> None:
        self._local = local
        self._line = line
        self._most = most
        self._kept_ms = int(seconds * 1000)

    async def take(self, client: str, turn_id: str) -> bool:
        if not self._local.take_now(client, turn_id):
            return False
        try:
            is_free = await self._line.call(
                Script(_TAKE, [_key(client)], [self._most, self._kept_ms, turn_id])
            )
        except OutOfReach:
            return True
        except BaseException:  # a cancellation: what was asked for may come about all the same
            self.release(client, turn_id)
            raise
        if not is_free:
            # Elsewhere as well: it may have been renewed before the answer came.
            self.release(client, turn_id)
        return bool(is_free)

    def release(self, client: str, turn_id: str) -> None:
        self._local.release(client, turn_id)
        # If it gets lost, it expires.
        self._line.tell(Script(_RELEASE, [_key(client)], [turn_id]))

    async def renew(self) -> None:
        """Also brings those that were taken while Redis was away, or that it has lost."""
        for client, turns in self._local.held.items():
            self._line.tell(Script(_RENEW, [_key(client)], [self._kept_ms, *turns]))


def _key(client: str) -> str:
    return f"lex:streams:{client}"
