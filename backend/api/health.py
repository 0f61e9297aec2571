"""Whether this process lives, and whether it should be sent anything."""

import asyncio
from typing import Literal

from fastapi import APIRouter, Response

from backend import __version__
from backend.api.dependencies import StateDep, StoresDep, TurnsDep
from backend.errors import StorageError
from backend.models import Health, ModelView, Readiness
from backend.sharing import Sharing
from backend.storage.ports.stores import Stores

router = APIRouter(tags=["health"])

PING_SECONDS = 1.0


@router.get("/health")
@router.get("/livez")
async def live() -> Health:
    return Health()


@router.get("/readyz")
async def ready(
    state: StateDep, stores: StoresDep, turns: TurnsDep, response: Response
) -> Readiness:
    """Ready from the end of the start-up until the server is about to leave: then 503.

    The store, Redis, the models in use and the free slots are told and do not count: what all
    pods share must not turn all of them away at once.
    """
    if turns.is_draining:
        response.status_code = 503
    return Readiness(
        status="draining" if turns.is_draining else "ready",
        version=__version__,
        upstream=state["upstream"],
        models=[
            ModelView(name=candidate.name, breaker=candidate.breaker.state.name.lower())
            for candidate in state["models"].in_use
        ],
        store="up" if await _answers(stores) else "down",
        redis=_redis(state["sharing"]),
        free_slots=turns.free_slots,
    )


async def _answers(stores: Stores) -> bool:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await stores.ping()
    except (StorageError, TimeoutError):
        return False
    return True


def _redis(sharing: Sharing | None) -> Literal["up", "down", "none"]:
    if sharing is None:
        return "none"
    return "up" if sharing.is_up else "down"
