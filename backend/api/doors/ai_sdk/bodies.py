"""The request of `useChat`: the conversation as the page shows it, and what to do with it."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, TypeAdapter, ValidationError

from backend.api.doors.ai_sdk.ui_message import UiMessage
from backend.api.schemas import QueryText
from backend.domain.errors import InvalidField


def _nothing(value: Any) -> None:
    if value:
        raise ValueError("is not supported: the prompt and the tools are Lex's own")


Nothing = Annotated[Any, AfterValidator(_nothing), Field(json_schema_extra={"maxProperties": 0})]


class ChatBody(BaseModel):
    """Unknown fields are ignored: pages add their own."""

    id: str = Field(min_length=1, description="The chat. It is created by its first question.")
    messages: list[UiMessage] = Field(
        min_length=1,
        description="The conversation, or only its last message, which is the question. The rest "
        "is compared with the stored history, which counts.",
    )
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = Field(
        default=None,
        alias="messageId",
        description="The question that is edited, or the answer that is asked for again.",
    )
    resume: bool = Field(
        default=True,
        strict=True,
        description="Whether the answer goes on when the connection is cut.",
    )
    tools: Nothing = None
    system: Nothing = None

    @property
    def is_again(self) -> bool:
        return self.message_id is not None or self.trigger == "regenerate-message"

    def question(self) -> UiMessage:
        """The last message. Raises: InvalidField, if it is not a question in text."""
        question = self.messages[-1]
        if question.role != "user":
            raise InvalidField("must be user in the last message", field="messages.role")
        for part in question.parts:
            match part:
                case {"type": "text", "text": str()}:
                    pass
                case {"type": str(kind)} if kind.startswith("data-"):
                    pass  # for the page itself
                case _:
                    message = f"must be text in the last message, not {part.get('type')!r}"
                    raise InvalidField(message, field="messages.parts.type")
        try:
            _TEXT.validate_python(question.text)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise InvalidField(message, field="messages.parts.text") from error
        return question


_TEXT = TypeAdapter[str](QueryText)
