"""How many turns, or sockets, or readers a client has at once: its slots, each held by an id.

A slot is given back when its holder ends. In Redis it expires unless this worker renews it, so the
slots of a killed worker free themselves.
"""

from collections.abc import Mapping
from typing import Protocol

from backend.api.rate_limits.redis_pipeline import OutOfReach, RedisPipeline, Script

SLOT_SECONDS = 60.0
"""How long other workers believe in a slot after it was last renewed."""

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


KINDS = ("streams", "sockets", "readers")


def network_kind(kind: str) -> str:
    """The kind of the slots that a client's network has, for those of a client."""
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
"""All that is asked for here, on keys that nobody has, since a user of Redis may have the right to
some kinds alone. Each key is gone with its last probe."""


class Slots(Protocol):
    """The port. A holder that has ended, or never had a slot, may be released all the same."""

    async def take(self, client: str, holder: str) -> bool:
        """False, and nothing taken, if the client has as many as it may."""
        ...

    def release(self, client: str, holder: str) -> None: ...


class LocalSlots:
    """Those of this worker."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._held: dict[str, set[str]] = {}

    @property
    def held(self) -> Mapping[str, set[str]]:
        """The holders of each client that has any."""
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
    """Those of all workers, in a sorted set for each client; while Redis is away, this one's."""

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
        except BaseException:  # a cancellation: what was asked for may come about all the same
            self.release(client, holder)
            raise
        if not is_free:
            # Elsewhere as well: it may have been renewed before the answer came.
            self.release(client, holder)
        return bool(is_free)

    def release(self, client: str, holder: str) -> None:
        self._local.release(client, holder)
        # If it gets lost, it expires.
        self._pipeline.tell(Script(_RELEASE, [self._key(client)], [holder]))

    async def renew(self) -> None:
        """Also brings those that were taken while Redis was away, or that it has lost."""
        for client, holders in self._local.held.items():
            self._pipeline.tell(Script(_RENEW, [self._key(client)], [self._kept_ms, *holders]))

    def _key(self, client: str) -> str:
        return _key(self._kind, client)
