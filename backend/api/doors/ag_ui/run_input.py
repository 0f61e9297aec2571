"""The request of an AG-UI client: a thread as the client shows it, and the run that it wants."""

from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError, field_validator

from backend.api.message_ids import is_message_id
from backend.api.schemas import QueryText
from backend.domain.conversation import Message
from backend.domain.errors import InvalidField
from backend.domain.text import is_encodable


def _nothing(value: Any) -> None:
    if value:
        raise ValueError("is not supported: Lex has its own tools, and never interrupts a run")


def _encodable(id_: str) -> str:
    if not is_encodable(id_):
        raise ValueError("must not contain an unpaired surrogate (\\ud800 to \\udfff)")
    return id_


Id = Annotated[str, Field(min_length=1), AfterValidator(_encodable)]
Nothing = Annotated[Any, AfterValidator(_nothing), Field(json_schema_extra={"maxItems": 0})]


class Function(BaseModel):
    name: str
    arguments: str


class ToolCallSent(BaseModel):
    id: str
    function: Function


class SentMessage(BaseModel):
    """A message as a client sends it back. Lex answers from its own history."""

    id: str
    role: Literal["user", "assistant", "tool", "system", "developer", "reasoning", "activity"]
    content: Any = None
    tool_calls: list[ToolCallSent] | None = Field(default=None, alias="toolCalls")

    @property
    def text(self) -> str:
        """The text of the content, without anything else that may be in it."""
        if isinstance(self.content, list):
            return "\n".join(str(part["text"]) for part in self.content if _is_text(part))
        return self.content if isinstance(self.content, str) else ""


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and "text" in part


class Question(NamedTuple):
    message_id: str
    text: str


class RunInput(BaseModel):
    """Unknown fields are ignored, and so are `context`, `state` and `parentRunId`."""

    thread_id: Id = Field(alias="threadId", description="The session. Any text is one.")
    run_id: Id = Field(
        alias="runId",
        description="The idempotency key: a repeated run joins or replays the first one.",
    )
    protocol_version: str | None = Field(default=None, alias="protocolVersion")
    messages: list[SentMessage] = Field(
        description="The thread, or its end. If the last message is the user's, it is the "
        "question. Otherwise the run brings the client up to date, and asks nothing."
    )
    tools: Nothing = None
    resume: Nothing = None
    forwarded_props: Any = Field(
        default=None,
        alias="forwardedProps",
        description='With `{"resume": true}` the turn goes on when the connection is cut.',
    )

    @field_validator("messages")
    @classmethod
    def _refuse_prompts(cls, messages: list[SentMessage]) -> list[SentMessage]:
        if any(each.role in ("system", "developer") for each in messages):
            raise ValueError("must not have the role system or developer: the prompt is Lex's")
        return messages

    @property
    def is_resumable(self) -> bool:
        return isinstance(self.forwarded_props, dict) and self.forwarded_props.get("resume") is True

    @property
    def knows_cancelled(self) -> bool:
        """Whether the client knows cancelled runs. Clients before protocol 1.0 do not."""
        return self.protocol_version is not None

    @property
    def last(self) -> SentMessage | None:
        """The last message of the user, the assistant or a tool."""
        talk = [each for each in self.messages if each.role in ("user", "assistant", "tool")]
        return talk[-1] if talk else None

    @property
    def question(self) -> Question | None:
        """The question, if the run asks one. Raises: InvalidField, if it is not text."""
        last = self.last
        if last is None or last.role != "user":
            return None
        parts = last.content if isinstance(last.content, list) else [last.content]
        if not isinstance(last.content, str) and not all(map(_is_text, parts)):
            raise InvalidField("must be text in a question", field=_CONTENT)
        return Question(last.id, _spoken(last.text))

    @property
    def is_question_alone(self) -> bool:
        """Whether the client only sends a new question."""
        return len(self.messages) == 1 and not is_message_id(self.messages[0].id)

    @property
    def given(self) -> list[Message]:
        """The texts before the question, without outputs of tools: Lex believes only its own.

        Raises: InvalidField, if it cannot be stored.
        """
        speak = {"user": Message.user, "assistant": Message.assistant}
        question = self.last
        return [
            speak[each.role](_spoken(each.text))
            for each in self.messages
            if each is not question and each.role in speak and each.text.strip()
        ]


_CONTENT = "messages.content"
_TEXT = TypeAdapter[str](QueryText)


def _spoken(text: str) -> str:
    try:
        return _TEXT.validate_python(text)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidField(message, field=_CONTENT) from error
