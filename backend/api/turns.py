"""A turn by its id: what became of it, its events, its end."""

from typing import Annotated

from fastapi import APIRouter, Path

from backend.api.dependencies import CallerDep, SessionsDep, TurnsDep
from backend.api.errors import responses
from backend.api.last_event_id import LastEventId, place_of
from backend.api.query import STREAMED, AskingDep
from backend.errors import InvalidField, LogGone, TurnNotFound
from backend.models import TurnView
from backend.stream import EventStream

router = APIRouter(prefix="/turns", tags=["turns"])

TurnIdPath = Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")]


@router.get("/{turn_id}", operation_id="show_turn", responses=responses(TurnNotFound))
async def show(turn_id: TurnIdPath, caller: CallerDep, sessions: SessionsDep) -> TurnView:
    return TurnView.of(await sessions.turn(caller.owner, turn_id))


@router.get(
    "/{turn_id}/events",
    operation_id="follow_turn",
    response_model=None,
    responses=STREAMED | responses(TurnNotFound, LogGone),
)
async def events(
    turn_id: TurnIdPath,
    asking: AskingDep,
    last_event_id: LastEventId = None,
) -> EventStream:
    """What was missed, then live; from the beginning without `Last-Event-ID`."""
    after = 0
    if last_event_id is not None:
        place = place_of(last_event_id)
        if place.turn_id != turn_id:
            raise InvalidField("is the id of another turn's event", field="Last-Event-ID")
        after = place.after
    return await asking.follow(turn_id, after=after)


@router.delete(
    "/{turn_id}", operation_id="stop_turn", status_code=204, responses=responses(TurnNotFound)
)
async def stop(turn_id: TurnIdPath, caller: CallerDep, turns: TurnsDep) -> None:
    """Stop it: the upstream call is closed, what was said is kept, its streams end."""
    await turns.stop(caller, turn_id)
