"""The limits of a worker: on turns and connections by its file descriptors, and on each client."""

from contextlib import AsyncExitStack

import structlog

from backend.api.rate_limits.bootstrap import AdmissionControl, Most, Rates, open_admission_control
from backend.network import file_descriptors
from backend.settings import Settings
from backend.tools.open_meteo import MAX_CONNECTIONS

logger = structlog.get_logger()


def within_descriptors(settings: Settings) -> tuple[Settings, int]:
    """Raise the process's descriptor limit, and lower `max_streams` to what still does not fit.

    Returns the settings, and the number of client connections that there are descriptors for.
    """
    file_descriptors.raise_limit()
    others = MAX_CONNECTIONS if settings.weather_provider == "open-meteo" else 0
    limit, wanted = file_descriptors.limit(), settings.max_streams
    budget = file_descriptors.budget(limit, max_streams=wanted, others=others)
    if budget.streams < wanted:
        logger.warning(
            "descriptors_too_few",
            limit=limit,
            needed=file_descriptors.needed(wanted, others=others),
            max_streams=wanted,
            streams=budget.streams,
        )
    return settings.model_copy(update={"max_streams": budget.streams}), budget.connections


async def open_admission(settings: Settings, stack: AsyncExitStack) -> AdmissionControl:
    rates = Rates(
        per_session=settings.rate_limit_session,
        per_client=settings.rate_limit_client,
        new_sessions=settings.rate_limit_sessions,
    )
    most = Most(
        streams=settings.max_streams_per_client,
        sockets=settings.max_sockets_per_client,
        readers=settings.max_readers_per_client,
    )
    opening = open_admission_control(redis_url=settings.redis_url, rates=rates, most=most)
    return await stack.enter_async_context(opening)
