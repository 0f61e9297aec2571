"""A completion as an event stream, and what can go wrong in the middle of it."""

from collections.abc import Iterator
from itertools import chain, islice

from infrastructure.groq_standin import faults
from infrastructure.groq_standin.completion import Completion
from infrastructure.groq_standin.encoding import encode
from infrastructure.groq_standin.http import LAST_CHUNK, Headers, chunk, head
from infrastructure.groq_standin.refusals import tool_use_failed
from infrastructure.groq_standin.steps import FOREVER, Ending, Step, Wait
from infrastructure.groq_standin.wire import DONE, error_event

HEADERS: Headers = {
    "content-type": "text/event-stream",
    "transfer-encoding": "chunked",
    "cache-control": "no-cache",
    "vary": "Origin",
}

SETTLE = Wait(0.02)
"""Before a reset: it would overtake what was written just before."""


def steps(completion: Completion, headers: Headers) -> Iterator[Step]:
    """The whole stream, with its fault if it has one."""
    return _Stream(completion, headers).play()


class _Stream:
    """The parts of a stream. The frames are made once, in order, while they are played."""

    def __init__(self, completion: Completion, headers: Headers) -> None:
        self._completion = completion
        self._round = completion.round
        self._wire = completion.wire()
        self._frames = completion.frames(self._wire)
        self._headers: Headers = {**HEADERS, **headers, **self._round.headers}
        self._pause = Wait(1 / (self._round.tokens_per_second or 1))
        self._is_first = True

    def play(self) -> Iterator[Step]:
        match self._completion.fault:
            case faults.Stall(after_tokens=count, seconds=seconds):
                pause = FOREVER if seconds is None else Wait(seconds)
                return self._interrupted(count, pause)
            case faults.InvalidUtf8(after_tokens=count):
                return self._interrupted(count, *self._odd(b'" \xff\xfe\xc3"'))
            case faults.HugeFrame(after_tokens=count, bytes=size):
                return self._interrupted(count, *self._odd(b'"' + b"x" * size + b'"'))
            case faults.EmptyChoices(after_tokens=count):
                return self._interrupted(count, chunk(self._wire.without_choices()))
            case faults.BadJson(after_tokens=count):
                return self._interrupted(count, chunk(b'data: {"id":"chatcmpl-\n\n'))
            case faults.Raw() as fault:
                return self._raw(fault)
            case faults.SplitMultibyte(seconds=seconds):
                return chain(self._split_multibyte(Wait(seconds)), self._ending())
            case None | faults.DuplicateToolIndex() | faults.NullArguments():
                return chain(self._opening(), self._paced(self._frames), self._ending())
            case fault:
                return chain(self._until(_after(fault)), self._broken(fault))

    def _raw(self, fault: faults.Raw) -> Iterator[Step]:
        size = fault.piece_bytes or len(fault.body) or 1
        yield head(200, self._headers)
        for start in range(0, len(fault.body), size):
            if start:
                yield Wait(fault.seconds)
            yield chunk(fault.body[start : start + size])
        match fault.ending:
            case "silence":
                yield FOREVER
            case "reset":
                yield from (SETTLE, Ending.RESET)
            case "end":
                yield from (LAST_CHUNK, Ending.COMPLETED)

    def _opening(self) -> Iterator[Step]:
        # Groq sends nothing, not even the status line, before it has something to say.
        if self._round.first_token_after:
            yield Wait(self._round.first_token_after)
        first = self._wire.first(has_text=self._completion.has_text)
        yield head(200, self._headers) + chunk(first)

    def _paced(self, frames: Iterator[bytes]) -> Iterator[Step]:
        if self._round.tokens_per_second is None:
            yield from map(chunk, frames)
            return
        for frame in frames:
            if self._is_first:
                self._is_first = False
            else:
                yield self._pause
            yield chunk(frame)

    def _until(self, count: int | None) -> Iterator[Step]:
        """The stream up to its first so many frames."""
        return chain(self._opening(), self._paced(islice(self._frames, count)))

    def _interrupted(self, count: int, *odd: Step) -> Iterator[Step]:
        return chain(self._until(count), odd, self._paced(self._frames), self._ending())

    def _closing(self) -> Iterator[bytes]:
        usage = self._completion.usage
        yield self._wire.finish(
            self._completion.finish_reason, usage, error=self._round.x_groq_error
        )
        if self._completion.asked.wants_usage:
            yield self._wire.usage(usage)
        yield DONE

    def _ending(self) -> Iterator[Step]:
        yield from map(chunk, self._closing())
        yield LAST_CHUNK
        yield Ending.COMPLETED

    def _odd(self, token: bytes) -> Iterator[bytes]:
        return map(chunk, self._wire.texts([token]))

    def _broken(self, fault: faults.AnyFault) -> Iterator[Step]:
        """What follows instead of the rest of a stream that will not be whole."""
        match fault:
            case faults.Reset():
                yield from (SETTLE, Ending.RESET)
            case faults.Close(terminated=terminated):
                yield from (LAST_CHUNK if terminated else b"", Ending.CLOSED)
            case faults.CutJson():
                frame = next(self._frames, self._wire.first(has_text=True))
                yield from _failed(frame[: len(frame) // 2])
            case faults.ToolUseFailed():
                error = {**tool_use_failed(fault), "status_code": 400}
                yield from _failed(error_event(fault.message if fault.error_is_string else error))
            case faults.XGroqError(message=message):
                yield from _failed(self._wire.stopped(message), DONE)
            case faults.NoFinishReason(done=done):
                yield from _failed(*([DONE] if done else []))
            case faults.LastFrameUnterminated(frame=last):
                written = list(self._closing())
                until = 1 if last == "finish" else len(written)
                yield from _failed(*written[: until - 1], written[until - 1].rstrip(b"\n"))
            case _:
                raise NotImplementedError(fault)

    def _split_multibyte(self, pause: Wait) -> Iterator[Step]:
        yield from self._opening()
        extra = self._wire.texts([encode(" 🏁")])
        frames = self._frames
        if self._completion.text.isascii():
            frames = chain(frames, extra)
        is_split = False
        for step in self._paced(frames):
            if is_split or not isinstance(step, bytes) or step.isascii():
                yield step
                continue
            is_split = True
            cut = next(at for at, byte in enumerate(step) if byte > 127) + 1
            yield from (step[:cut], pause, step[cut:])


def _after(fault: faults.AnyFault) -> int | None:
    """After how many frames it breaks; none is after all of them."""
    after: int | None = getattr(fault, "after_tokens", None)
    return after


def _failed(*frames: bytes) -> Iterator[Step]:
    yield from map(chunk, frames)
    yield LAST_CHUNK
    yield Ending.FAILED
