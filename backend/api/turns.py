"""What became of a turn."""

from typing import Annotated

from fastapi import APIRouter, Path

from backend.api.dependencies import CallerDep, SessionsDep
from backend.api.errors import responses
from backend.errors import TurnNotFound
from backend.models import TurnView

router = APIRouter(prefix="/turns", tags=["turns"])


TurnIdPath = Annotated[str, Path(max_length=64)]


@router.get("/{turn_id}", responses=responses(TurnNotFound))
async def show(turn_id: TurnIdPath, caller: CallerDep, sessions: SessionsDep) -> TurnView:
    return TurnView.of(await sessions.turn(caller.owner, turn_id))
