"""The shared tier: the moving windows of `limits.aio`, kept in Redis for all workers."""

from collections.abc import Sequence

from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from backend.api.rate_limits.redis_pipeline import RedisPipeline, Script
from backend.api.rate_limits.windows import Standing, Verdict, Window

# A key is a list of request times, newest first. A window is full if the entry at index limit - 1
# is still inside it. The first loop checks all windows, the second one counts: only if all have
# room. A binary search then finds the number of requests in each window and the oldest of them.
_ALL_OR_NONE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local is_granted = 1
for number, key in ipairs(KEYS) do
  local limit, length = tonumber(ARGV[2 * number - 1]), tonumber(ARGV[2 * number])
  local entry = redis.call('LINDEX', key, limit - 1)
  if entry and tonumber(entry) > now - length then is_granted = 0 end
end
local reply = {is_granted}
for number, key in ipairs(KEYS) do
  local limit, length = tonumber(ARGV[2 * number - 1]), tonumber(ARGV[2 * number])
  if is_granted == 1 then
    redis.call('LPUSH', key, string.format('%.6f', now))
    redis.call('EXPIRE', key, length)
  end
  local used, oldest = 0, now
  local low, high = 0, redis.call('LLEN', key) - 1
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local entry = tonumber(redis.call('LINDEX', key, middle))
    if entry > now - length then
      used, oldest, low = middle + 1, entry, middle + 1
    else
      high = middle - 1
    end
  end
  if is_granted == 1 then redis.call('LTRIM', key, 0, used - 1) end
  reply[#reply + 1] = limit - used
  reply[#reply + 1] = string.format('%.6f', oldest + length - now)
end
return reply
"""


_PREFIX = "lex:limits"

PROBES = (
    # A window of zero seconds: its entries expire at once.
    Script(_ALL_OR_NONE, [f"{_PREFIX}:probe"], [1, 0]),
)
"""The scripts of this file with unused keys, for `RedisPipeline`."""


class SharedLimits(MovingWindowRateLimiter):
    """Counts in several windows atomically, all or none, in one round trip.

    The library counts in one window after another, so a full window has already charged those
    before it. The entries keep the library's format. Time is that of Redis. A key holds the
    requests in its window, and expires with the last one.

    In a cluster, all windows of a request share the slot of the last one: its client's, or that of
    the client's network. So a session that several addresses use has a count for each of them.
    """

    storage: RedisStorage

    def __init__(self, pipeline: RedisPipeline) -> None:
        super().__init__(
            RedisStorage(
                "async+redis://",
                implementation="redispy",
                key_prefix=_PREFIX,
                # For the library's own methods, which nothing calls in a cluster. It annotates its
                # options as plain values.
                connection_pool=pipeline.connection_pool,  # type: ignore[arg-type]
            )
        )
        self._pipeline = pipeline

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        """Count one request in all windows or none.

        Raises: OutOfReach; the request may or may not have been counted then.
        """
        items = [(window.quota.item, window.key) for window in windows]
        prefix = f"{_PREFIX}:{self._pipeline.slot(windows[-1].key)}"
        script = Script(
            _ALL_OR_NONE,
            keys=[prefix + item.key_for(key) for item, key in items],
            arguments=[n for item, _ in items for n in (item.amount, item.get_expiry())],
        )
        is_granted, *counted = await self._pipeline.call(script)
        return Verdict(
            bool(is_granted),
            [
                Standing(window.quota, int(remaining), float(seconds))
                for window, remaining, seconds in zip(
                    windows, counted[::2], counted[1::2], strict=True
                )
            ],
        )
