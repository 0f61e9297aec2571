"""The `/turns/{id}` routes: show a turn, follow its events, stop it."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from backend.api.asking import AskingDep
from backend.api.dependencies import CallerDep, SessionsDep, TurnsDep
from backend.api.last_event_id import LastEventId, place_of
from backend.api.openapi.problems import responses
from backend.api.openapi.streams import READ_TO_ITS_END, STREAMED
from backend.api.schemas import TurnView
from backend.domain.errors import InvalidField, LogGone, TooManyRequests, TurnNotFound
from backend.telemetry import identity

router = APIRouter(prefix="/turns", tags=["turns"])

TurnIdPath = Annotated[str, Path(max_length=64, pattern=r"^[^\x00]*$")]


@router.get("/{turn_id}", operation_id="show_turn", responses=responses(TurnNotFound))
async def show(turn_id: TurnIdPath, caller: CallerDep, sessions: SessionsDep) -> TurnView:
    """Show a turn: its outcome, its model, its token usage, and its times."""
    turn = await sessions.turn(caller.owner, turn_id)
    identity.note_session(turn.session_id)
    return TurnView.of(turn)


@router.get(
    "/{turn_id}/events",
    operation_id="follow_turn",
    response_model=None,
    responses=STREAMED | READ_TO_ITS_END | responses(TurnNotFound, LogGone, TooManyRequests),
)
async def events(
    turn_id: TurnIdPath,
    asking: AskingDep,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream the events after `Last-Event-ID`, or all of them, and then live ones."""
    if last_event_id is None:
        return await asking.follow(turn_id)
    if place_of(last_event_id).turn_id != turn_id:
        raise InvalidField("must be the id of an event of this turn", field="Last-Event-ID")
    return await asking.read_on(last_event_id)


@router.delete(
    "/{turn_id}", operation_id="stop_turn", status_code=204, responses=responses(TurnNotFound)
)
async def stop(turn_id: TurnIdPath, caller: CallerDep, turns: TurnsDep) -> None:
    """Stop a turn. Its streams end, its upstream request is closed, and its text so far is kept."""
    await turns.stop(caller, turn_id)
