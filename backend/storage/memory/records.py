"""The stored form of sessions and turns, and how a turn opens and closes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import LastTurn, Message, Outcome, Role, Session, TurnRecord
from backend.domain.errors import NothingToReplace
from backend.domain.titles import title_of
from backend.domain.usage import ModelCall, spent_by
from backend.storage.history import (
    Cut,
    Summary,
    Window,
    oldest_that_fit,
    window,
    without_later,
)
from backend.storage.ports.sessions import WORKER_LOST, Ending, Holder, NewTurn, StoredMessage
from backend.storage.turn_journal import closed
from backend.telemetry import lost_turns


@dataclass(slots=True)
class KeptTurn:
    record: TurnRecord
    worker: str
    query: str
    log: bytes | None = None
    idempotency_key: str | None = None
    traceparent: str | None = None
    stop_as: Outcome | None = None
    journal: tuple[Message, ...] = ()
    is_unfollowed: bool = False
    followed_at: float | None = None

    @property
    def holder(self) -> Holder:
        return Holder(self.record.id, self.worker, self.traceparent)


@dataclass(slots=True)
class Untold:
    """The session has turns that no summary covers.

    `since` and `not_before` are times of the store's clock, in seconds. `claim_id` is the claim of
    the worker that writes the summary.
    """

    since: float
    not_before: float = 0.0
    claim_id: str | None = None
    failures: int = 0
    is_wanted: bool = False
    """Whether the summary is due now, because the history is about to be cut."""

    def again(self, since: float, *, is_wanted: bool) -> "Untold":
        """The state after a turn began or ended, which voids a claim unless it is wanted."""
        if self.is_wanted:
            return replace(self, since=since, is_wanted=is_wanted)
        return Untold(since, is_wanted=is_wanted)


@dataclass(slots=True)
class KeptSession:
    session: Session
    untold: Untold | None = None
    cut: Cut = field(default_factory=Cut)
    summarized_until: int = 0
    characters_per_token: float = CHARACTERS_PER_TOKEN
    current: KeptTurn | None = None
    turns: list[KeptTurn] = field(default_factory=list)
    messages: list[StoredMessage] = field(default_factory=list)

    @property
    def shown(self) -> Session:
        if not self.turns:
            return self.session
        last = self.turns[-1].record
        return replace(
            self.session,
            last_turn=LastTurn(last.id, last.outcome, last.finish_reason),
            running_turn_id=None if self.current is None else self.current.record.id,
            title=self.session.title or title_of(self._first_question),
        )

    @property
    def _first_question(self) -> str | None:
        questions = (each.message for each in self.messages if each.message.role is Role.USER)
        return next((question.content for question in questions), None)

    def store(self, turn_id: str, messages: Sequence[Message]) -> None:
        for message in messages:
            last = self.messages[-1] if self.messages else None
            number = last.number + 1 if last and last.turn_id == turn_id else 1
            self.messages.append(StoredMessage(len(self.messages) + 1, turn_id, message, number))

    def window(self, room_characters: float) -> Window:
        """Look back from the last message, and keep the cut."""
        found = window(
            reversed(self.messages[self.cut.start - 1 :]),
            self.cut,
            Summary(self.session.summary, self.summarized_until),
            behind=len(self.messages),
            room_characters=room_characters,
        )
        self.cut = found.cut
        return found

    def take_back(self, first: int) -> None:
        """Remove the messages from this position on, and what tells of them."""
        behind = first - 1
        del self.messages[behind:]
        newest = Summary(self.session.summary, self.summarized_until)
        self.cut, newest = without_later(self.cut, newest, behind=behind)
        self.session = replace(self.session, summary=newest.text)
        self.summarized_until = newest.until

    def first_of(self, turn_id: str) -> int:
        """The position of the first message of a turn. Raises: NothingToReplace."""
        for stored in self.messages:
            if stored.turn_id == turn_id:
                return stored.position
        raise NothingToReplace

    def untold_turns(self, room_characters: float) -> list[list[StoredMessage]]:
        """The oldest turns that the summary does not know of."""
        is_wanted = self.untold is not None and self.untold.is_wanted
        running = self.current.record.id if self.current and is_wanted else None
        untold = self.messages[self.summarized_until :]
        return oldest_that_fit(
            (stored for stored in untold if stored.turn_id != running), room_characters
        )

    def turn_with_key(self, key: str) -> KeptTurn | None:
        return next((turn for turn in self.turns if turn.idempotency_key == key), None)

    def open(self, turn: NewTurn, at: datetime) -> None:
        record = TurnRecord(id=turn.id, session_id=turn.session_id, started_at=at)
        self.current = KeptTurn(
            record,
            turn.worker,
            turn.query,
            idempotency_key=turn.idempotency_key,
            traceparent=turn.traceparent,
        )
        self.turns.append(self.current)
        self.session = replace(self.session, turns=len(self.turns), last_turn_at=at)
        self.store(turn.id, [Message.user(turn.query)])

    def close(self, turn: KeptTurn, ending: Ending, at: datetime) -> None:
        turn.record = _closed(turn.record, ending, at)
        turn.log = ending.log
        usage = self.session.usage + ending.usage
        self.session = replace(self.session, usage=usage, last_turn_at=at)
        self.spend(ending.calls)
        self.store(ending.turn_id, ending.messages or closed(turn.journal))
        self.characters_per_token = ending.characters_per_token or self.characters_per_token
        self.current = None

    def spend(self, calls: Sequence[ModelCall]) -> None:
        self.session = replace(self.session, spent=self.session.spent + spent_by(calls))

    def close_lost(self, turn: KeptTurn, at: datetime) -> bool:
        """Close the turn as failed. Returns whether its journal added messages to the history."""
        turn.record = replace(
            turn.record, outcome=Outcome.FAILED, error_code=WORKER_LOST, finished_at=at
        )
        done = closed(turn.journal)
        self.store(turn.record.id, done)
        self.current = None
        lost_turns.report(
            turn.record.id, session_id=turn.record.session_id, traceparent=turn.traceparent
        )
        return bool(done)


def _closed(record: TurnRecord, ending: Ending, at: datetime) -> TurnRecord:
    return replace(
        record,
        finished_at=at,
        outcome=ending.outcome,
        error_code=ending.error_code,
        finish_reason=ending.finish_reason,
        model=ending.model,
        rounds=ending.rounds,
        usage=ending.usage,
        calls=tuple(ending.calls),
        first_chunk_seconds=ending.first_chunk_seconds,
    )
