"""Open the rate limits and slots: in this worker's memory, and with Redis across all workers."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from pydantic import SecretStr

from backend.aio.periodic import repeating
from backend.api.budgets import shared as shared_budgets
from backend.api.budgets.budgets import Budgets
from backend.api.rate_limits import shared as rate_limits
from backend.api.rate_limits import stream_slots
from backend.api.rate_limits.admission import Admissions
from backend.api.rate_limits.client_slots import ClientSlots
from backend.api.rate_limits.clients import NETWORK_CLIENTS
from backend.api.rate_limits.local import LocalLimits
from backend.api.rate_limits.redis_pipeline import RedisPipeline, open_connection
from backend.api.rate_limits.shared import SharedLimits
from backend.api.rate_limits.stream_slots import (
    RENEW_SECONDS,
    LocalSlots,
    SharedSlots,
    Slots,
    network_kind,
)
from backend.api.rate_limits.tiers import TieredLimits
from backend.api.rate_limits.windows import Limits, quotas
from backend.domain.errors import UnusableSetting
from backend.telemetry import metrics


class UnusableRedis(UnusableSetting):
    setting: ClassVar[str] = "REDIS_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Queries of a session, queries of a client, and new sessions of a client."""

    per_session: str
    per_client: str
    new_sessions: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Most:
    """How many of each a client may have open at once."""

    streams: int
    sockets: int
    readers: int


@dataclass(frozen=True, slots=True)
class AdmissionControl:
    admissions: Admissions
    sockets: ClientSlots
    readers: ClientSlots


@asynccontextmanager
async def open_admission_control(
    *,
    redis_url: SecretStr | None,
    rates: Rates,
    most: Most,
    open_budgets: Callable[[RedisPipeline | None], Budgets],
) -> AsyncIterator[AdmissionControl]:
    """Open all limits. An unreachable Redis does not stop the start; it is found later.

    Raises: UnusableRedis, if Redis is of another kind than the URL says.
    """
    async with AsyncExitStack() as stack:
        pipeline = await _pipeline(redis_url.get_secret_value(), stack) if redis_url else None
        admissions = Admissions(
            limits=_limits(pipeline),
            slots=await _client_slots("streams", most.streams, pipeline, stack),
            session_quotas=quotas("session", rates.per_session),
            client_quotas=quotas("client", rates.per_client),
            new_session_quotas=quotas("sessions", rates.new_sessions),
            budgets=open_budgets(pipeline),
            shared_fault=lambda: pipeline.fault if pipeline else None,
        )
        sockets = await _client_slots("sockets", most.sockets, pipeline, stack)
        readers = await _client_slots("readers", most.readers, pipeline, stack)
        yield AdmissionControl(admissions, sockets, readers)


def _limits(pipeline: RedisPipeline | None) -> Limits:
    local = LocalLimits()
    return local if pipeline is None else TieredLimits(local, SharedLimits(pipeline))


async def _client_slots(
    kind: str, most: int, pipeline: RedisPipeline | None, stack: AsyncExitStack
) -> ClientSlots:
    of_clients = await _slots(kind, most, pipeline, stack)
    of_networks = await _slots(network_kind(kind), NETWORK_CLIENTS * most, pipeline, stack)
    return ClientSlots(kind, of_clients, of_networks)


async def _slots(
    kind: str, most: int, pipeline: RedisPipeline | None, stack: AsyncExitStack
) -> Slots:
    local = LocalSlots(most=most)
    if pipeline is None:
        return local
    shared = SharedSlots(local, pipeline, most=most, kind=kind)
    renewing = repeating(shared.renew, every_seconds=RENEW_SECONDS, name=f"renew_{kind}")
    await stack.enter_async_context(renewing)
    return shared


async def _pipeline(url: str, stack: AsyncExitStack) -> RedisPipeline:
    client = open_connection(url)
    stack.push_async_callback(client.aclose)
    pipeline = RedisPipeline(
        client,
        on_change=metrics.shared_limits_changed,
        probes=(*rate_limits.PROBES, *stream_slots.PROBES, *shared_budgets.PROBES),
    )
    await pipeline.open()
    stack.push_async_callback(pipeline.close)
    if pipeline.is_of_other_kind:
        raise UnusableRedis(f"{pipeline.fault}.")
    return pipeline
