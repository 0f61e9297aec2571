"""The stored history of a thread, and its comparison with the messages that a client sends."""

from collections.abc import Sequence
from itertools import takewhile

from backend.api.doors.ag_ui.events import Json, message_of, user_message
from backend.api.doors.ag_ui.run_input import SentMessage
from backend.api.message_ids import is_message_id
from backend.domain.conversation import Role
from backend.domain.errors import InvalidField
from backend.domain.text import clean
from backend.domain.turn_keys import is_given
from backend.storage.ports.sessions import StoredMessage


def turn_of(message_id: str) -> str:
    """The turn of a message that has an id of Lex. For other ids, the text means nothing."""
    return message_id.rpartition("-")[0]


class Thread:
    """The messages of a session with their ids. Without `stored`, there is no such session."""

    def __init__(self, stored: Sequence[StoredMessage] | None) -> None:
        self.exists = stored is not None
        self._messages: dict[str, Json] = {}
        self._given: dict[str, str] = {}
        """The texts that the client gave as the assistant's, and their ids."""
        self._unfinished: set[str] = set()
        """Turns without a stored answer: they run, or their worker was lost."""
        parent = ""
        for each in stored or ():
            message = each.message
            if message.role is Role.ASSISTANT:
                parent = each.id
                if is_given(each.turn_id):
                    self._given[message.content] = each.id
            self._messages[each.id] = message_of(each.id, message, parent)
            has_answer = message.role is Role.ASSISTANT and not message.tool_calls
            (self._unfinished.discard if has_answer else self._unfinished.add)(each.turn_id)

    def claims_question(self, message_id: str) -> bool:
        """Whether the id says that the question is in the history, or was until it was replaced."""
        if (message := self._messages.get(message_id)) is not None:
            return bool(message["role"] == "user")
        return self.exists and is_message_id(message_id)

    def has(self, turn_id: str) -> bool:
        return f"{turn_id}-1" in self._messages

    def question_of(self, turn_id: str) -> str:
        """The text of a turn's question; empty if the turn is not stored."""
        return str(self._messages.get(f"{turn_id}-1", {}).get("content", ""))

    @property
    def messages(self) -> list[Json]:
        return list(self._messages.values())

    def begins_before(self, turn_id: str) -> bool:
        first = next(iter(self._messages), None)
        return first is not None and turn_of(first) != turn_id

    def before(self, turn_id: str, *, question: str, replaced: str | None = None) -> list[Json]:
        """The messages before a turn, and its question.

        The turn may not be stored yet. If it has `replaced` another one, it comes in its place.
        """
        places = (turn_id, replaced)
        before = takewhile(lambda item: turn_of(item[0]) not in places, self._messages.items())
        return [*(message for _, message in before), user_message(f"{turn_id}-1", question)]

    def check(self, sent: Sequence[SentMessage]) -> bool:
        """Return whether the client shows the newest answers as they are stored.

        Raises: InvalidField, if it shows an answer or a tool's output that is not in the history.
        """
        if not self.exists:
            return True  # what the client shows may become the history
        shown: set[str] = set()
        for message in sent:
            if message.role in ("assistant", "tool"):
                shown |= self._check(message)
        answers = [id_ for id_, each in self._messages.items() if each["role"] != "user"]
        return not answers or answers[-1] in shown

    def _check(self, sent: SentMessage) -> set[str]:
        """Return the id of the stored message that the client shows in full, if there is one."""
        stored = self._messages.get(sent.id)
        if stored is not None:
            if stored["role"] == sent.role and _is_part(sent, stored):
                return {sent.id} if sent.text == stored.get("content", "") else set()
        elif turn_of(sent.id) in self._unfinished:
            return set()
        elif clean(sent.text) in self._given:
            return {self._given[clean(sent.text)]}
        elif self._given and (sent.role == "tool" or not sent.text):
            return set()  # came with the given texts, but Lex stored nothing else of them
        raise InvalidField(
            f"must not contain {sent.id!r}, which is not in the history of this thread: load the "
            "history by a run without messages",
            field="messages",
        )


def _is_part(sent: SentMessage, stored: Json) -> bool:
    """Whether this is the stored message, or the beginning of it, as after a broken connection."""
    calls = {call["id"]: call["function"] for call in stored.get("toolCalls", ())}
    return stored.get("content", "").startswith(sent.text) and all(
        calls.get(call.id) == call.function.model_dump() for call in sent.tool_calls or ()
    )
