"""Everything that can go wrong, as one tree.

ServiceError          has a code; its message is safe to show to a client
├── Refusal           before the stream, with a status
│   ├── NotAuthenticated 401, IdentityUnavailable 503, WrongHost 421
│   ├── SessionNotFound 404, TurnNotFound 404, SessionBusy 409
│   ├── LogGone 410, BodyTooLarge 413, InvalidField 422, TooManyRequests 429
│   └── Overloaded 503, Draining 503
├── UpstreamError     in the stream
│   ├── UpstreamUnavailable, UpstreamBusy, OutOfDescriptors
│   ├── UpstreamTimeout   ConnectTimeout, FirstByteTimeout, GapTimeout
│   ├── UpstreamRefused   RequestTooLarge, ModelNotServed (ModelRetired)
│   └── UpstreamGarbled   ToolUseFailed, AnswerCut
├── TurnError         in the stream
│   └── TooManyRounds, TurnTimedOut, TurnInterrupted, ServerDraining, WorkerLost
└── StorageError      a 503 before the stream, an event in it
    ├── StoreAway         it passes: nothing is wrong with what was asked of the store
    └── NotStorable       the store works, and cannot hold this

ToolError             worded for the model, so that it can try another way
├── UnknownTool
├── InvalidArguments
├── ToolRefused       the tool understood, and said no
├── ToolTimedOut
└── ToolFailed
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar


class ServiceError(Exception):
    """A failure that a client may be told about.

    `code` is part of the API and stays. `retry_after` is in seconds.
    """

    code: ClassVar[str] = "internal_error"
    message: ClassVar[str] = "Something went wrong on our side."
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message or self.message)
        self.retry_after = retry_after

    @property
    def retry_after_seconds(self) -> int | None:
        """Whole seconds, and never too few."""
        return None if self.retry_after is None else max(1, math.ceil(self.retry_after))


class Refusal(ServiceError):
    """Said before the stream, as an HTTP status."""

    status: ClassVar[int] = 400


class NotAuthenticated(Refusal):
    """It never says why: whoever tries credentials learns nothing from trying."""

    status, code = 401, "not_authenticated"
    message = "This needs a valid credential."


class IdentityUnavailable(Refusal):
    status, code, retryable = 503, "identity_unavailable", True
    message = "Credentials cannot be checked at the moment."


class WrongHost(Refusal):
    status, code = 421, "wrong_host"
    message = "This service does not answer to this host: ALLOWED_HOSTS says to which it does."


class SessionNotFound(Refusal):
    status, code = 404, "session_not_found"
    message = "There is no such session."


class TurnNotFound(Refusal):
    status, code = 404, "turn_not_found"
    message = "There is no such turn."


class SessionBusy(Refusal):
    status, code, retryable = 409, "session_busy", True
    message = "Another turn of this session has not ended yet."


class LogGone(Refusal):
    status, code = 410, "log_gone"
    message = "What was said in this turn can no longer be replayed; its session has it."


class BodyTooLarge(Refusal):
    status, code = 413, "body_too_large"
    message = "The request body is too large."


class InvalidField(Refusal):
    """`field` is the name by which the client sent it."""

    status, code = 422, "invalid_field"
    message = "The request has a field that cannot be used."

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class KeyReused(InvalidField):
    def __init__(self) -> None:
        super().__init__("was used for another question", field="Idempotency-Key")


class PastTheEnd(InvalidField):
    """Nobody was ever sent this id: the turn has not come so far, or ended before."""

    def __init__(self) -> None:
        super().__init__("is not the id of an event of this turn", field="Last-Event-ID")


class TooManyRequests(Refusal):
    """`fields` are the response fields that tell how full the limits are."""

    status, code, retryable = 429, "too_many_requests", True
    message = "There were too many requests in too short a time."

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.fields = dict(fields or {})


class Overloaded(Refusal):
    status, code, retryable = 503, "overloaded", True
    message = "Every place is taken at the moment."


class Draining(Refusal):
    status, code, retryable = 503, "draining", True
    message = "This server is about to stop."


class UpstreamError(ServiceError):
    """The model could not be asked, or its answer cannot be used.

    `is_passing`: the same model may do better when it is asked again.
    `concerns_model`: another model may do better.
    `was_asked`: the upstream said so; otherwise we knew without asking.
    `is_silence`: it took all the time that one waits; another model is worth more than another try.
    `is_late`: it came after the first delta with text or a tool call, so nobody is asked again.
    """

    code = "upstream_unavailable"
    message = "The assistant cannot be reached at the moment."
    concerns_model: ClassVar[bool] = True
    is_silence: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        is_passing: bool | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.is_passing = self.retryable if is_passing is None else is_passing
        self.is_late = False
        self.was_asked = True


class UpstreamUnavailable(UpstreamError):
    retryable = True


class OutOfDescriptors(UpstreamError):
    """This process or machine has none left for a connection, which says nothing of the model."""

    code, retryable = "overloaded", True
    message = "This server has no room for another connection at the moment."
    concerns_model = False


class UpstreamBusy(UpstreamError):
    code, retryable = "upstream_busy", True
    message = "The assistant has too much to do at the moment."


class UpstreamTimeout(UpstreamError):
    code, retryable = "upstream_timeout", True
    message = "The assistant did not answer in time."


class ConnectTimeout(UpstreamTimeout):
    code = "upstream_connect_timeout"


class FirstByteTimeout(UpstreamTimeout):
    code = "upstream_first_byte_timeout"
    is_silence = True


class GapTimeout(UpstreamTimeout):
    code = "upstream_gap_timeout"
    is_silence = True
    message = "The assistant fell silent in the middle of its answer."


class UpstreamRefused(UpstreamError):
    code = "upstream_refused"
    message = "The assistant could not take this request."
    concerns_model = False


class ModelNotServed(UpstreamRefused):
    """The upstream does not serve this model to us, for the `reason` that is its code.

    Unless `is_final` it may do so again: an unknown model may be known a moment later, a blocked
    one unblocked, and terms accepted.
    """

    concerns_model = True
    is_final: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, reason: str = "model_not_found") -> None:
        super().__init__(message)
        self.reason = reason


class ModelRetired(ModelNotServed):
    """It will never serve this model again."""

    is_final = True

    def __init__(self, message: str | None = None, *, reason: str = "model_decommissioned") -> None:
        super().__init__(message, reason=reason)


class RequestTooLarge(UpstreamRefused):
    """The request exceeds this model's context, or its limit of tokens a minute.

    `limit_tokens` and `requested_tokens` are the upstream's figures, if it gave them. Both may
    count the tokens that are reserved for the answer. `can_be_cut`: the next attempt will leave
    out earlier turns.
    """

    code = "upstream_request_too_large"
    message = "The conversation is too long for the assistant."
    concerns_model = True

    def __init__(
        self,
        message: str | None = None,
        *,
        limit_tokens: int | None = None,
        requested_tokens: int | None = None,
    ) -> None:
        super().__init__(message)
        self.limit_tokens = limit_tokens
        self.requested_tokens = requested_tokens
        self.can_be_cut = False


class UpstreamGarbled(UpstreamError):
    code, retryable = "upstream_garbled", True
    message = "The assistant's answer broke off."


class ToolUseFailed(UpstreamGarbled):
    """The upstream could not read what the model wrote, and gave its text instead."""

    code = "upstream_tool_use_failed"
    message = "The assistant could not put its request for a tool into words."

    def __init__(self, failed_generation: str = "", *, reason: str = "") -> None:
        super().__init__(is_passing=False)
        self.failed_generation = failed_generation
        self.reason = reason


class AnswerCut(UpstreamGarbled):
    """The model used up its tokens before it said anything: most likely it was still thinking."""

    message = "The assistant ran out of room before it could answer."

    def __init__(self) -> None:
        super().__init__(is_passing=False)


class TurnError(ServiceError):
    """The turn itself reached a bound."""


class TooManyRounds(TurnError):
    code = "too_many_rounds"
    message = "The assistant kept looking things up without coming to an answer."


class TurnTimedOut(TurnError):
    code, retryable = "turn_timed_out", True
    message = "The answer took too long."


class TurnInterrupted(TurnError):
    code, retryable = "interrupted", True
    message = "The answer was broken off, since nobody was reading it."


class WorkerLost(TurnError):
    code, retryable = "worker_lost", True
    message = "The server that wrote this answer was lost."


class ServerDraining(TurnError):
    code, retryable = "server_draining", True
    message = "This server had to stop before the answer was complete."


class StorageError(ServiceError):
    """`reason` is for operators: it names no host, user, password or file."""

    code, retryable = "storage_unavailable", True
    message = "Conversations cannot be stored at the moment."

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def explanation(self) -> str:
        """One line for operators, with the cause if that is all there is to tell."""
        if self.reason:
            return self.reason
        cause = str(self.__cause__ or "").partition("\n")[0]
        return " ".join(f"{self} {cause}".split())


class StoreAway(StorageError):
    """The store cannot be reached, is starting or stopping, or has too many clients."""


class NotStorable(StorageError):
    """The store answered, and cannot hold what it was given: the same again would fail again."""


class ToolError(Exception):
    """Told to the model. `details` are further fields of the output's `error`."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.details = {"code": code or self.code, "message": message, **details}


class UnknownTool(ToolError):
    code = "unknown_tool"


class InvalidArguments(ToolError):
    code = "invalid_arguments"


class ToolRefused(ToolError):
    """Raised by a tool, with a code of its own."""

    code = "refused"


class ToolTimedOut(ToolError):
    code = "timed_out"


class ToolFailed(ToolError):
    """The tool broke; what it said is in our log and not for the model."""
