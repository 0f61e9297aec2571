"""`POST /ag-ui`: the runs of `HttpAgent` and other clients of AG-UI."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from backend.api.asking import Asking, AskingDep
from backend.api.dependencies import CallerDep, SessionsDep
from backend.api.doors.ag_ui.events import frame, run_finished, run_started, snapshot
from backend.api.doors.ag_ui.framing import RunEvents
from backend.api.doors.ag_ui.run_input import Question, RunInput
from backend.api.doors.ag_ui.thread import Thread, turn_of
from backend.api.doors.thread_ids import session_id_of
from backend.api.openapi.problems import responses
from backend.api.openapi.streams import STREAM_REFUSALS
from backend.api.stream_protocol import Framing, OpenFraming
from backend.api.strict_json import StrictRoute
from backend.domain.conversation import Caller, Message, Session
from backend.domain.errors import (
    InvalidField,
    KeyReused,
    LogGone,
    NothingToReplace,
    SessionNotFound,
)
from backend.domain.text import clean
from backend.storage.ports.sessions import SessionStore
from backend.telemetry.turn_clock import NO_TURN
from backend.turns.event_log import Follower

_RUN: dict[int | str, dict[str, Any]] = {
    200: {"description": "The events of the run.", "content": {Framing.media_type: {}}}
}

router = APIRouter(tags=["ag-ui"], route_class=StrictRoute)


@dataclass(frozen=True, slots=True)
class Door:
    """Answers one run."""

    asking: Asking
    sessions: SessionStore
    caller: Caller
    run: RunInput
    session_id: str

    async def answer(self) -> Response:
        question = self.run.question
        if question is not None and self.run.is_question_alone:
            return await self._ask_alone(question)
        thread = await self._thread()
        is_current = thread.check(self.run.messages)
        if question is None:
            return await self._catch_up()
        if not thread.claims_question(question.message_id):
            given = () if thread.exists else self.run.given
            before = None if is_current else partial(thread.before, question=question.text)
            framing = partial(RunEvents, run=self.run, messages_before=before)
            return await self._ask(question, framing, given=given)
        replaced = turn_of(question.message_id)
        # An edited question is another one: it replaces the running turn, or is refused.
        is_same = thread.question_of(replaced) == clean(question.text)
        if is_same and await self._is_running(replaced):
            return await self._catch_up()
        before = partial(thread.before, question=question.text, replaced=replaced)
        framing = partial(RunEvents, run=self.run, messages_before=before)
        return await self._ask(question, framing, replaces=question.message_id)

    async def _ask_alone(self, question: Question) -> Response:
        """Ask before reading the history, because a new thread has none.

        If it has one, the client lacks it, so read it then.
        """
        opened: list[tuple[Follower, RunEvents]] = []

        def open_framing(follower: Follower) -> RunEvents:
            framing = RunEvents(follower, run=self.run)
            opened.append((follower, framing))
            return framing

        stream = await self._ask(question, open_framing)
        ((follower, framing),) = opened
        if not follower.begins_session:
            try:
                thread = await self._thread()
            except BaseException:  # includes a cancellation: nobody will read the stream
                follower.leave()
                raise
            if thread.begins_before(follower.turn_id):
                framing.messages_before = partial(thread.before, question=question.text)
        return stream

    async def _thread(self) -> Thread:
        try:
            return Thread(await self.sessions.messages(self.caller.owner, self.session_id))
        except SessionNotFound:
            return Thread(None)

    async def _ask(
        self,
        question: Question,
        framing: OpenFraming,
        *,
        replaces: str | None = None,
        given: Sequence[Message] = (),
    ) -> Response:
        opened: list[Follower] = []

        def open_framing(follower: Follower) -> Framing:
            opened.append(follower)
            return framing(follower)

        try:
            stream = await self.asking.with_key(self.run.run_id).ask(
                field="messages.content",
                query=question.text,
                session_id=self.session_id,
                creates=True,
                resume=self.run.is_resumable,
                transport="ag_ui",
                framing=open_framing,
                replaces=replaces,
                given=given,
            )
        except KeyReused as error:
            raise InvalidField("was used for another question", field="runId") from error
        except NothingToReplace as error:
            raise InvalidField("was replaced meanwhile", field="messages.id") from error
        (follower,) = opened
        return await self._catch_up() if await self._is_replaced(follower) else stream

    async def _is_replaced(self, follower: Follower) -> bool:
        """Whether this run is the repeat of one whose turn was replaced. Its follower then leaves.

        Only turns that run here have a clock. They are in the history.
        """
        if follower.clock is not NO_TURN:
            return False
        try:
            is_replaced = not (await self._thread()).has(follower.turn_id)
        except BaseException:  # includes a cancellation: nobody will read the stream
            follower.leave()
            raise
        if is_replaced:
            follower.leave()
        return is_replaced

    async def _catch_up(self) -> Response:
        """Send the thread, and the running turn, or the last one if the client has a part of it."""
        turn_id = await self._turn_to_follow()
        thread = await self._thread()
        if turn_id is not None:
            before = partial(thread.before, question=thread.question_of(turn_id))
            try:
                return await self.asking.follow(
                    turn_id,
                    session_id=self.session_id,
                    transport="ag_ui",
                    framing=partial(RunEvents, run=self.run, messages_before=before),
                )
            except LogGone:
                pass  # the history has what it said
        events = [
            run_started(self.run, session_id=self.session_id),
            *(snapshot(thread.messages) if thread.exists else []),
            run_finished(self.run),
        ]
        body = b"".join(map(frame, events))
        return Response(body, media_type=Framing.media_type)

    async def _turn_to_follow(self) -> str | None:
        session, last = await self._session(), self.run.last
        if session is None or session.last_turn is None:
            return None
        turn_id = session.last_turn.id
        is_within = last is not None and turn_of(last.id) == turn_id
        return turn_id if is_within else session.running_turn_id

    async def _is_running(self, turn_id: str) -> bool:
        session = await self._session()
        return session is not None and session.running_turn_id == turn_id

    async def _session(self) -> Session | None:
        try:
            return await self.sessions.get(self.caller.owner, self.session_id)
        except SessionNotFound:
            return None


@router.post(
    "/ag-ui",
    response_model=None,
    responses=_RUN | responses(*STREAM_REFUSALS),
)
async def run(
    body: RunInput, asking: AskingDep, sessions: SessionsDep, caller: CallerDep
) -> Response:
    """Run Lex on a thread. The answer is a stream of AG-UI events."""
    door = Door(asking, sessions, caller, body, session_id_of(body.thread_id))
    return await door.answer()
