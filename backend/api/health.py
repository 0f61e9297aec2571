"""The liveness and readiness probes: `/health`, `/livez` and `/readyz`."""

import asyncio
import math
from typing import Literal

from fastapi import APIRouter, Response

from backend import __version__
from backend.api.dependencies import LifespanStateDep, State
from backend.api.schemas import Health, ModelView, Readiness, Waiting
from backend.domain.errors import StorageError
from backend.llm.resilience.fallback import Candidate
from backend.llm.resilience.unserved_models import UnservedModels
from backend.storage.ports.stores import Stores

router = APIRouter(tags=["health"])

PING_SECONDS = 1.0


@router.head("/health", include_in_schema=False)
@router.head("/livez", include_in_schema=False)
@router.get("/health")
@router.get("/livez")
async def live() -> Health:
    """Liveness probe: answers 200 as long as the process serves requests."""
    return Health()


@router.head("/readyz", include_in_schema=False, response_model_exclude_none=True)
@router.get("/readyz", response_model_exclude_none=True)
async def ready(starting: LifespanStateDep, response: Response) -> Readiness | Waiting:
    """Readiness probe: answers 503 during start-up and while the server drains, otherwise 200.

    A server that waits for its store at start-up is not ready. Afterwards the store, Redis, the
    models and the free slots are reported, but do not change the status: a shared dependency that
    fails must not take all pods out of service at once.
    """
    state, config = starting.get("opened"), starting["config"]
    if state is None:
        response.status_code = 503
        return Waiting(
            version=__version__,
            upstream=config.upstream,
            store_error=starting["start"].reason or "",
            warnings=list(config.warnings) or None,
        )
    if state.turns.is_draining:
        response.status_code = 503
    return await _readiness(state)


async def _readiness(state: State) -> Readiness:
    store_error = await _store_error(state.stores)
    return Readiness(
        status="draining" if state.turns.is_draining else "ready",
        version=__version__,
        upstream=state.config.upstream,
        models=[_view(candidate, state.models.unserved) for candidate in state.models.candidates],
        store="down" if store_error else "up",
        store_error=store_error,
        redis=_redis(state),
        redis_reason=_redis_reason(state),
        free_slots=state.turns.free_slots,
        warnings=list(state.config.warnings) or None,
    )


def _view(candidate: Candidate, unserved: UnservedModels) -> ModelView:
    seconds = unserved.seconds_left(candidate.name)
    return ModelView(
        name=candidate.name,
        breaker=candidate.breaker.state.name.lower(),
        reason=unserved.reason_of(candidate.name),
        asked_again_in=None if seconds is None else math.ceil(seconds),
    )


async def _store_error(stores: Stores) -> str | None:
    """Why the store is down. Anyone may read it, so it names no host and no file."""
    try:
        async with asyncio.timeout(PING_SECONDS):
            await stores.ping()
    except StorageError as error:
        return error.reason or str(error)
    except TimeoutError:
        return f"The database did not answer within {PING_SECONDS:g} s."
    return None


def _redis(state: State) -> Literal["up", "down", "none"]:
    """Up only if the shared logs and the shared limits both work."""
    shared_logs, fault = state.shared_logs, state.admissions.shared_fault()
    if shared_logs is None:
        return "none"
    return "up" if shared_logs.is_up and fault is None else "down"


def _redis_reason(state: State) -> str | None:
    shared_logs = state.shared_logs
    return (shared_logs and shared_logs.fault) or state.admissions.shared_fault()
