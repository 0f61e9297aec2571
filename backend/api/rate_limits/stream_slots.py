"""The slots that limit a client's streams, sockets and readers. An id holds each slot.

A slot in Redis expires unless its worker renews it, so that a killed worker's slots become free.
"""

from collections.abc import Mapping
from typing import Protocol

from backend.api.rate_limits.redis_pipeline import OutOfReach, RedisPipeline, Script

SLOT_SECONDS = 60.0
"""How long a slot in Redis lasts without a renewal."""

RENEW_SECONDS = SLOT_SECONDS / 3

# The score of a holder is the time at which its slot expires, by the clock of Redis in ms.
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


KINDS = ("streams", "sockets", "readers")


def network_kind(kind: str) -> str:
    """Return the kind of a network's slots, for a kind of client slots."""
    return f"{kind}-of-networks"


def _key(kind: str, client: str) -> str:
    return f"lex:{kind}:{client}"


def _probes(key: str) -> tuple[Script, ...]:
    return (
        Script(_TAKE, [key], [1, 1000, "probe"]),
        Script(_RENEW, [key], [1000, "probe"]),
        Script(_RELEASE, [key], ["probe"]),
    )


PROBES = tuple(
    probe
    for kind in KINDS
    for each in (kind, network_kind(kind))
    for probe in _probes(_key(each, "probe"))
)
"""The scripts of this file with unused keys, for `RedisPipeline`. All kinds are probed, because a
Redis user may have access to some keys only. The last probe of a key deletes it."""


class Slots(Protocol):
    """The port to slots. Releasing a holder without a slot does nothing."""

    async def take(self, client: str, holder: str) -> bool:
        """Take a slot. Return False, and take nothing, if the client has no free one."""
        ...

    def release(self, client: str, holder: str) -> None: ...


class LocalSlots:
    def __init__(self, *, most: int) -> None:
        self._most = most
        self._held: dict[str, set[str]] = {}

    @property
    def held(self) -> Mapping[str, set[str]]:
        """The holders by client."""
        return self._held

    async def take(self, client: str, holder: str) -> bool:
        return self.take_now(client, holder)

    def take_now(self, client: str, holder: str) -> bool:
        if len(self._held.get(client, ())) >= self._most:
            return False
        self._held.setdefault(client, set()).add(holder)
        return True

    def release(self, client: str, holder: str) -> None:
        holders = self._held.get(client, set())
        holders.discard(holder)
        if not holders:
            self._held.pop(client, None)


class SharedSlots:
    """Slots across workers, in a sorted set per client. Without Redis only local ones count."""

    def __init__(
        self,
        local: LocalSlots,
        pipeline: RedisPipeline,
        *,
        most: int,
        kind: str = "streams",
        seconds: float = SLOT_SECONDS,
    ) -> None:
        self._local = local
        self._kind = kind
        self._pipeline = pipeline
        self._most = most
        self._kept_ms = int(seconds * 1000)

    async def take(self, client: str, holder: str) -> bool:
        if not self._local.take_now(client, holder):
            return False
        try:
            is_free = await self._pipeline.call(
                Script(_TAKE, [self._key(client)], [self._most, self._kept_ms, holder])
            )
        except OutOfReach:
            return True
        except BaseException:  # cancelled: Redis may still take the slot, so release it
            self.release(client, holder)
            raise
        if not is_free:
            # In Redis as well: `renew` may have added the holder before the answer came.
            self.release(client, holder)
        return bool(is_free)

    def release(self, client: str, holder: str) -> None:
        self._local.release(client, holder)
        # If this call is lost, the slot expires.
        self._pipeline.tell(Script(_RELEASE, [self._key(client)], [holder]))

    async def renew(self) -> None:
        """Renew all slots in Redis. That also adds those that Redis missed or lost."""
        for client, holders in self._local.held.items():
            self._pipeline.tell(Script(_RENEW, [self._key(client)], [self._kept_ms, *holders]))

    def _key(self, client: str) -> str:
        return _key(self._kind, client)
