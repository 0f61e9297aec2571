"""Which answer a request gets."""

from collections.abc import Iterator
from typing import Any

import msgspec

from infrastructure.groq_standin import demo, faults, limits, refusals, script, stream, whole
from infrastructure.groq_standin.asked import NAME, Asked, RequestError, read
from infrastructure.groq_standin.completion import CHARS_PER_TOKEN, Completion
from infrastructure.groq_standin.connection import MAX_BODY_BYTES, Answer
from infrastructure.groq_standin.http import Headers, Request, request_id, sized
from infrastructure.groq_standin.script import Round, ScriptError
from infrastructure.groq_standin.scriptbook import ScriptBook
from infrastructure.groq_standin.stats import Stats
from infrastructure.groq_standin.steps import FOREVER, Ending, Step, Wait

REGION = "groq-standin"
MODELS = (NAME, "llama-3.3-70b-versatile", "openai/gpt-oss-120b", "openai/gpt-oss-20b")


class Routes:
    """Answers requests from the two minds: a script if there is one, else the demo."""

    def __init__(
        self, book: ScriptBook, stats: Stats, *, demo_tokens_per_second: float | None
    ) -> None:
        self._book = book
        self._stats = stats
        self._demo_pace = demo_tokens_per_second

    def answer(self, request: Request) -> Answer:
        headers: Headers = {"x-request-id": request_id(), "x-groq-region": REGION}
        if request.size > MAX_BODY_BYTES:
            return Answer(iter((refusals.too_large(headers), Ending.CLOSED)))
        match request.method, request.path:
            case "POST", "/openai/v1/chat/completions":
                self._stats.asked(request)
                return Answer(self._completion(request, headers), is_completion=True)
            case "GET", "/openai/v1/models":
                return _once(self._models(request, headers))
            case "GET", "/_standin/stats":
                return _once(refusals.json_answer(200, self._stats.as_dict(), headers))
            case "DELETE", "/_standin/stats":
                self._stats.forget()
                return _once(_no_content(headers))
            case "POST", "/_standin/script":
                return _once(self._push(request, headers))
            case "DELETE", "/_standin/script":
                self._book.forget()
                return _once(_no_content(headers))
            case method, path:
                return _once(refusals.unknown_url(method, path, headers))

    def _models(self, request: Request, headers: Headers) -> bytes:
        if not _has_key(request):
            return refusals.invalid_api_key(headers)
        return refusals.json_answer(200, {"object": "list", "data": _models()}, headers)

    def _push(self, request: Request, headers: Headers) -> bytes:
        try:
            pushed = self._book.push(script.decode(request.body))
        except ScriptError as error:
            return refusals.bad_request(str(error), headers, code="invalid_script")
        waiting = {"waiting": len(self._book), "answers": pushed.left}
        return refusals.json_answer(200, waiting, headers)

    def _completion(self, request: Request, headers: Headers) -> Iterator[Step]:
        if not _has_key(request):
            return _failed(refusals.invalid_api_key(headers))
        try:
            asked = read(request.body)
        except RequestError as error:
            return _failed(refusals.bad_request(str(error), headers))
        self._stats.asked_model(asked.model)
        try:
            played, fault = self._book.find(asked) or (self._demo(asked), None)
        except ScriptError as error:
            return _failed(refusals.bad_request(str(error), headers, code="invalid_script"))
        tokens = max(1, request.size // CHARS_PER_TOKEN)
        headers = {**headers, **limits.headers(tokens)}
        completion = Completion(
            asked, played, fault, request_id=str(headers["x-request-id"]), prompt_tokens=tokens
        )
        return _play(completion, headers)

    def _demo(self, asked: Asked) -> Round:
        thought = demo.think(asked)
        return msgspec.structs.replace(thought, tokens_per_second=self._demo_pace)


def _play(completion: Completion, headers: Headers) -> Iterator[Step]:
    """What comes instead of the answer, or the answer."""
    played, asked = completion.round, completion.asked
    match completion.fault:
        case faults.Silence(seconds=seconds):
            return _silent(completion, headers, FOREVER if seconds is None else Wait(seconds))
        case faults.Reset(after_tokens=None):
            return iter((Ending.RESET,))
        case faults.Close(after_tokens=None):
            return iter((Ending.CLOSED,))
        case faults.ToolUseFailed(after_tokens=None) as fault:
            error = refusals.tool_use_failed(fault)
            return _failed(refusals.refusal(400, error, {**headers, **played.headers}))
        case fault if isinstance(fault, faults.Refusal):
            return _failed(
                refusals.play(fault, model=asked.model, headers=headers, overrides=played.headers)
            )
        case None | faults.NullArguments() | faults.DuplicateToolIndex():
            return _whole_or_streamed(completion, headers)
        case fault if not asked.stream:
            message = f"the fault {type(fault).__name__} needs a stream"
            return _failed(refusals.bad_request(message, headers, code="invalid_script"))
    return _whole_or_streamed(completion, headers)


def _whole_or_streamed(completion: Completion, headers: Headers) -> Iterator[Step]:
    play = stream.steps if completion.asked.stream else whole.steps
    return play(completion, headers)


def _silent(completion: Completion, headers: Headers, wait: Wait) -> Iterator[Step]:
    yield wait
    completion.fault = None
    yield from _whole_or_streamed(completion, headers)


def _has_key(request: Request) -> bool:
    """Any key will do, except the one that says it is invalid."""
    given = request.header(b"authorization") or ""
    return given.removeprefix("Bearer ").strip() not in ("", "invalid")


def _once(data: bytes) -> Answer:
    return Answer(iter((data, Ending.COMPLETED)))


def _failed(data: bytes) -> Iterator[Step]:
    return iter((data, Ending.FAILED))


def _no_content(headers: Headers) -> bytes:
    return sized(204, headers, b"")


def _models() -> list[dict[str, Any]]:
    return [
        {
            "id": name,
            "object": "model",
            "created": 1733447754,
            "owned_by": NAME,
            "active": True,
            "context_window": 131072,
            "public_apps": None,
            "max_completion_tokens": 32768,
        }
        for name in MODELS
    ]
