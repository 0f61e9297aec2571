"""Adds up the frames of one completion."""

from collections.abc import Iterator

from backend.domain.errors import AnswerCut, UpstreamGarbled, UpstreamRefused
from backend.domain.text import clean, is_half, size_of
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.errors import error_of
from backend.llm.groq.finish_reasons import FAILED, reason_in
from backend.llm.groq.frame_shapes import CallPart, Choice, Frame, FrameDelta
from backend.llm.groq.reported_usage import ReportedUsage
from backend.llm.groq.tool_call_parts import MAX_NAME, ToolCallParts, is_complete
from backend.llm.port import CUT, Delta, Finish, FinishReason

TOO_LONG = "The assistant's answer is too long."


class PartialCompletion:
    """The state of a completion whose frames are still arriving.

    After its `finish_reason` a completion is valid. Later frames are bookkeeping, and no error in
    them can spoil the answer.
    """

    def __init__(self, bounds: CompletionBounds) -> None:
        self.has_spoken = False
        self.reported = ReportedUsage()
        self.model = ""
        self._id = ""
        self._bytes_allowed = self._bytes_left = bounds.max_completion_bytes
        self._calls = ToolCallParts(bounds)
        self._choice_index: int | None = None
        self._has_reasoned = False
        self._half = ""
        """A high surrogate at the end of a frame. Its other half may be in the next frame."""
        self._finish_reason: FinishReason | None = None
        self._trails_off = False
        """Whether the last frame had only an empty finish reason."""

    @property
    def written_bytes(self) -> int:
        """The size of text, reasoning and tool calls so far."""
        return self._bytes_allowed - self._bytes_left

    @property
    def has_begun(self) -> bool:
        """Whether there was text or a tool call."""
        return self.has_spoken or bool(self._calls)

    @property
    def has_delta(self) -> bool:
        """Whether there was text, a tool call or reasoning."""
        return self.has_begun or self._has_reasoned

    @property
    def is_finished(self) -> bool:
        return self._finish_reason is not None

    @property
    def is_overlong(self) -> bool:
        """Whether the completion exceeds `max_completion_bytes`."""
        return self._bytes_left < 0

    def add(self, frame: Frame) -> str:
        """Take one frame, and return its text. Pass the text to `say`, which counts its bytes.

        Raises:
            UpstreamGarbled: the completion exceeds a size limit.
            UpstreamError: the frame reports a failure.
        """
        if frame.usage is not None or frame.x_groq is not None or frame.error is not None:
            self._note(frame)
        if frame.model and frame.model != self.model:
            self.model = clean(frame.model)[:MAX_NAME]
        if frame.id and not self._id:
            self._id = clean(frame.id)[:MAX_NAME]
        match frame.choices:
            case [choice]:
                return self._choice(choice)
            case choices:
                return "".join([self._choice(choice) for choice in choices or ()])

    def go_on(self, model: str) -> None:
        """Note that frames with only text came; the template has read them."""
        self.model = model
        self._trails_off = False

    def say(self, text: str) -> str:
        """Return the text as it may be shown, and count its bytes.

        Half a surrogate pair at its end waits for the other half. Text beyond the size limit is cut
        off.
        """
        if self._half:
            text, self._half = self._half + text, ""
        try:
            # Python knows without a scan whether text is ASCII, and most answers are. For the
            # others, encoding also finds half surrogate pairs.
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError:
            text = self._without_half(text)
            size = size_of(text)
        if "\x00" in text:
            text = clean(text)
        if size > self._bytes_left:
            text = text.encode()[: max(0, self._bytes_left)].decode(errors="ignore")
        self._bytes_left -= size
        if text:
            self.has_spoken = True
        return text

    def _without_half(self, text: str) -> str:
        if is_half(text[-1]):
            text, self._half = text[:-1], text[-1]
        return clean(text)

    def last_half(self) -> str:
        """Return the replacement for half a surrogate pair whose other half never came."""
        text, self._half = clean(self._half), ""
        self.has_spoken = self.has_spoken or bool(text)
        return text

    def ending(self) -> Iterator[Delta]:
        """Yield the tool calls, and then the finish.

        Raises:
            UpstreamGarbled: the stream ended before the completion was complete.
            AnswerCut: the model ran out of tokens before its first word or call.
            UpstreamRefused: a content filter withheld the whole answer.
        """
        reason = self._finish_reason or ("other" if self._trails_off and self.has_begun else None)
        if reason is None:
            raise UpstreamGarbled
        calls = self._calls.calls()
        if reason in CUT:
            calls = [call for call in calls if is_complete(call)]
        if not self.has_spoken and not calls:
            _refuse_nothing(reason)
        yield from calls
        yield Finish(reason=reason, model=self.model, usage=self.reported.usage, id=self._id)

    def _note(self, frame: Frame) -> None:
        """Note the usage. Raises: UpstreamError, if the frame reports a failure."""
        error, x_groq = frame.error, frame.x_groq
        if isinstance(x_groq, dict):
            self.reported.note(x_groq.get("usage"))
            if x_groq.get("error") and not self.is_finished:
                raise UpstreamGarbled
        if error and not self.is_finished:
            raise error_of(error)
        if frame.usage is not None:
            self.reported.note(frame.usage)

    def _choice(self, choice: Choice) -> str:
        """Take the first choice only. A second one would be another answer to the same query."""
        if choice.index is not None and choice.index != self._choice_index:
            if self._choice_index is not None:
                return ""
            self._choice_index = choice.index
        if choice.usage is not None:
            self.reported.note(choice.usage)
        delta = choice.delta
        text = "" if delta is None else self._delta(delta)
        if choice.finish_reason is None:
            self._trails_off = False
        else:
            self._finish(choice.finish_reason, brings_nothing=delta is None or not delta.brings)
        return text

    def _delta(self, delta: FrameDelta) -> str:
        if reasoning := delta.reasoning or delta.reasoning_content:
            self._has_reasoned = True
            self._spend(size_of(reasoning) if isinstance(reasoning, str) else 0)
        for part in delta.tool_calls or ():
            self._spend(self._calls.add(part))
        if delta.function_call is not None:
            self._spend(self._calls.add(CallPart(index=0, function=delta.function_call)))
        text = delta.content or ""
        return text + delta.refusal if delta.refusal else text

    def _finish(self, told: str, *, brings_nothing: bool) -> None:
        if told == FAILED:
            raise UpstreamGarbled
        reason = reason_in(told)
        if reason is not None:
            self._finish_reason = reason
        else:
            self._trails_off = brings_nothing

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self.is_overlong:
            raise UpstreamGarbled(TOO_LONG)


def _refuse_nothing(reason: FinishReason) -> None:
    """Raise for an empty answer. After a plain `stop` the turn decides, so nothing is raised."""
    match reason:
        case "length":
            raise AnswerCut
        case "content_filter":
            raise UpstreamRefused("The assistant's answer was withheld by a content filter.")
        case "other":
            raise UpstreamGarbled
