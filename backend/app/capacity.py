"""The limits of a worker: on turns and connections by its file descriptors, and on each client."""

from contextlib import AsyncExitStack
from functools import partial

import structlog

from backend.api.budgets.budgets import Budgets
from backend.api.budgets.quotas import budgets
from backend.api.budgets.shared import SharedBudgets
from backend.api.rate_limits.bootstrap import AdmissionControl, Most, Rates, open_admission_control
from backend.api.rate_limits.redis_pipeline import RedisPipeline
from backend.domain.usage import ModelCall, Usage
from backend.llm.prices import Prices
from backend.network import file_descriptors
from backend.settings import Settings
from backend.storage.ports.budgets import BudgetStore
from backend.storage.ports.stores import Stores
from backend.storage.redis.connection import more_descriptors
from backend.tools.open_meteo import MAX_CONNECTIONS

logger = structlog.get_logger()


def within_descriptors(settings: Settings) -> tuple[Settings, int]:
    """Raise the process's descriptor limit, and lower `max_streams` to what still does not fit.

    Returns the settings, and the number of client connections that there are descriptors for.
    """
    file_descriptors.raise_limit()
    others = MAX_CONNECTIONS if settings.weather_provider == "open-meteo" else 0
    others += max(0, settings.database_pool_size - file_descriptors.TO_STORE)
    if settings.redis_url is not None:
        others += more_descriptors(settings.redis_url.get_secret_value())
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


async def open_admission(
    settings: Settings,
    stores: Stores,
    prices: Prices,
    stack: AsyncExitStack,
    *,
    typical_input_tokens: int,
) -> AdmissionControl:
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
    opening = open_admission_control(
        redis_url=settings.redis_url,
        rates=rates,
        most=most,
        open_budgets=partial(_budgets, settings, stores.budgets, prices, typical_input_tokens),
    )
    return await stack.enter_async_context(opening)


ANONYMOUS_TOKENS = "2000000/day"
"""The budget of an anonymous client on another machine, if none is set: some 600 turns a day."""


TYPICAL_ANSWER_TOKENS = 100


def _budgets(
    settings: Settings,
    database: BudgetStore,
    prices: Prices,
    typical_input_tokens: int,
    pipeline: RedisPipeline | None,
) -> Budgets:
    per_client = settings.token_budget_client
    usage = Usage(typical_input_tokens, TYPICAL_ANSWER_TOKENS)
    return Budgets(
        database if pipeline is None else SharedBudgets(pipeline, database),
        (
            *budgets("session_tokens", settings.token_budget_session),
            *budgets("client_tokens", per_client or ""),
            *budgets("client_cost", settings.cost_budget_client),
        ),
        anonymous=budgets("client_tokens", ANONYMOUS_TOKENS) if per_client is None else (),
        # Longer than any turn, for those whose worker was killed.
        expires_seconds=settings.turn_timeout_seconds + 60,
        cost_of=lambda call: prices.highest(call.usage) if call.cost is None else call.cost,
        typical=ModelCall(model=settings.model_name, purpose="turn", usage=usage),
    )
