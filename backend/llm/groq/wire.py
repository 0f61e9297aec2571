"""Decodes the frames of Groq's chat completions.

This module handles bytes and plain data; `client` owns the connection, `request_body` writes what
is sent. Real servers deviate from the documentation, so `frame_lines` and `frame_shapes` read
leniently. `partial_completion` adds the frames up. Anything but a complete completion raises.
"""

from collections.abc import Iterator, Sequence

from backend.domain.errors import UpstreamError, UpstreamGarbled
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.finish_reasons import reason_in
from backend.llm.groq.frame_lines import DataLines, FrameLines
from backend.llm.groq.frame_shapes import Choice, Frame, FrameDelta, NotAFrame, decode
from backend.llm.groq.frame_template import NOTHING, FrameTemplate
from backend.llm.groq.partial_completion import TOO_LONG, PartialCompletion
from backend.llm.groq.reported_usage import ReportedUsage
from backend.llm.port import Delta, Text


class Decoder:
    """Decodes the bytes of one completion, in any split: first its text, then its ending."""

    def __init__(self, bounds: CompletionBounds | None = None) -> None:
        bounds = bounds or CompletionBounds()
        self.is_done = False
        """The upstream has sent `[DONE]`: there is nothing more to read."""
        self.failure: UpstreamError | None = None
        """Why reading must stop. Text from before the failure still counts."""
        self._completion = PartialCompletion(bounds)
        self._lines = FrameLines(bounds.max_line_bytes)
        self._event = DataLines(bounds.max_line_bytes)
        self._event_lines = self._event.lines
        self._template = FrameTemplate(_text_alone)
        self._template_model = ""

    @property
    def model(self) -> str:
        """The upstream's name of the model; empty before the first frame."""
        return self._completion.model

    @property
    def has_begun(self) -> bool:
        """Whether there was text or a tool call."""
        return self._completion.has_begun

    @property
    def has_delta(self) -> bool:
        """Whether there was text, a tool call or reasoning."""
        return self._completion.has_delta

    @property
    def is_finished(self) -> bool:
        """Whether the answer is complete. Only its usage may still come."""
        return self._completion.is_finished

    @property
    def written_bytes(self) -> int:
        """The size of text, reasoning and tool calls so far."""
        return self._completion.written_bytes

    @property
    def reported(self) -> ReportedUsage:
        return self._completion.reported

    def feed(self, data: bytes) -> str:
        """Take the bytes of one read, and return the visible text in them.

        Sets `failure` if the bytes are not completion frames, exceed a size limit, or report a
        failure.
        """
        texts: list[str] = []
        try:
            self._read(self._lines.feed(data), texts)
            if self._lines.is_overlong:
                self._give_up(UpstreamGarbled(TOO_LONG))
        except UpstreamError as error:
            self.failure = error
        text = self._completion.say("".join(texts))
        if self._completion.is_overlong:
            self.failure = UpstreamGarbled(TOO_LONG)
        return text

    def _read(self, lines: Sequence[bytes], texts: list[str]) -> None:
        """The hot path. Per token, only this loop runs."""
        fitting: list[bytes] = []
        event, template = self._event_lines, self._template
        before, behind = template.before, template.behind
        # Lines within an event of several lines, or after the end, must not match the template.
        if event or self.is_done:
            before = NOTHING
        for line in lines:
            if line.startswith(before) and line.endswith(behind):
                fitting.append(line)
            elif line or event:
                self._read_fitting(fitting, texts)
                fitting = []
                texts.append(self._line(line))
                is_plain = not event and not self.is_done
                # Look again: the template may have learned from this line.
                before, behind = template.before if is_plain else NOTHING, template.behind
        self._read_fitting(fitting, texts)

    def _read_fitting(self, lines: Sequence[bytes], texts: list[str]) -> None:
        if not lines:
            return
        found = self._template.texts(lines)
        if found is None:
            # One line is broken, or contains more than text. Decode each in full and in order,
            # because the lines before a broken one still count.
            for line in lines:
                texts.append(self._line(line))
                texts.append(self._line(b""))
        else:
            texts += found
            self._completion.go_on(self._template_model)

    def end(self) -> Iterator[Delta]:
        """Yield the rest at the end of the stream: text in an unterminated last line, the tool
        calls, and the finish.

        Raises:
            UpstreamError: `failure`, or the completion is incomplete.
        """
        if text := self.feed(b"\n\n") + self._completion.last_half():
            yield Text(text, self.model)
        if self.failure is not None:
            raise self.failure
        yield from self._completion.ending()

    def _line(self, line: bytes) -> str:
        if not line:
            return self._end_event()
        if self.is_done or not line.startswith(b"data:"):
            return ""  # `event:` lines add nothing: an error is in the data as well
        payload = line[5:].strip()
        if self._event.lines:
            return self._hold(payload)
        if not payload:
            return ""
        # `[DONE]`, even in quotes or in lower case.
        if payload[:1] in b'["' and payload.strip(b'[] "').upper() == b"DONE":
            self.is_done = True
            return ""
        try:
            frame = decode(payload)
        except NotAFrame:
            return self._hold(payload)
        text = self._completion.add(frame)
        if text and self._template.learn(line):
            self._template_model = self._completion.model
        return text

    def _hold(self, payload: bytes) -> str:
        """Keep a payload that is not a frame: it may be one of several lines of an event."""
        self._event.add(payload)
        if self._event.is_overlong:
            self._give_up(UpstreamGarbled(TOO_LONG))
        return ""

    def _end_event(self) -> str:
        if not self._event.lines:
            return ""
        try:
            return self._completion.add(decode(self._event.taken()))
        except NotAFrame as error:
            if self.is_finished:
                return ""
            raise UpstreamGarbled from error

    def _give_up(self, failure: UpstreamError) -> None:
        """Stop reading. Raises the failure unless the answer is already finished."""
        if not self.is_finished:
            raise failure
        self.is_done = True


def _text_alone(line: bytes) -> str | None:
    """Return the text of a frame that has nothing else of interest; None for other frames."""
    try:
        frame = decode(line.removeprefix(b"data:").strip())
    except NotAFrame:
        return None
    match frame:
        case Frame(choices=[Choice(delta=FrameDelta(content=text) as delta, usage=None) as choice]):
            is_alone = not (frame.usage or frame.x_groq or frame.error or delta.brings_more)
            return text if is_alone and reason_in(choice.finish_reason) is None else None
    return None
