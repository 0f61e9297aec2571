"""Opens what admits queries: what counts in this worker, and with a Redis also in all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from pydantic import SecretStr

from backend.api.admission import Admissions
from backend.api.rate_limits.local import LocalLimits
from backend.api.rate_limits.shared import SharedLimits
from backend.api.rate_limits.tiers import TieredLimits
from backend.api.rate_limits.windows import quotas
from backend.api.redis_line import RedisLine, connect
from backend.api.stream_slots import RENEW_SECONDS, LocalSlots, SharedSlots
from backend.recurring import repeating
from backend.telemetry import metrics


@asynccontextmanager
async def open_admissions(
    *, redis_url: SecretStr | None, per_session: str, per_client: str, most_streams: int
) -> AsyncIterator[Admissions]:
    """A Redis that is not there does not stop the start: it is found later."""
    per_session_and_client = {
        "session_quotas": quotas("session", per_session),
        "client_quotas": quotas("client", per_client),
    }
    limits, slots = LocalLimits(), LocalSlots(most=most_streams)
    if redis_url is None:
        yield Admissions(limits=limits, slots=slots, **per_session_and_client)
        return
    async with AsyncExitStack() as stack:
        line = await _line(redis_url.get_secret_value(), stack)
        shared_slots = SharedSlots(slots, line, most=most_streams)
        tiered = TieredLimits(limits, SharedLimits(line))
        async with repeating(shared_slots.renew, every_seconds=RENEW_SECONDS, name="renew_slots"):
            yield Admissions(limits=tiered, slots=shared_slots, **per_session_and_client)


async def _line(url: str, stack: AsyncExitStack) -> RedisLine:
    client = connect(url)
    stack.push_async_callback(client.aclose)
    line = RedisLine(client, on_change=metrics.shared_limits_changed)
    await line.open()
    stack.push_async_callback(line.close)
    return line
