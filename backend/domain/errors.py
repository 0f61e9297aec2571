"""Everything that can go wrong, as one tree.

ServiceError          has a code; its message is safe to show to a client
├── Refusal           before the stream, with a status
│   ├── NotAuthenticated 401, IdentityUnavailable 503, WrongHost 421
│   ├── SessionNotFound 404, TurnNotFound 404, ModelNotFound 404, SessionBusy 409
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
    ├── StoreAway         temporary: the store cannot be reached
    └── NotStorable       permanent: the store cannot hold this content

ToolError             worded for the model, so that it can try something else
├── UnknownTool
├── InvalidArguments
├── ToolRefused       the call is valid, and the tool declines it
├── ToolTimedOut
└── ToolFailed
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar


class ServiceError(Exception):
    """A failure with a message that is safe to show to clients.

    `code` is part of the API and must not change. `retry_after` is in seconds.
    """

    code: ClassVar[str] = "internal_error"
    message: ClassVar[str] = "Something went wrong on our side."
    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message or self.message)
        self.retry_after = retry_after

    @property
    def retry_after_seconds(self) -> int | None:
        """`retry_after` in whole seconds, rounded up. At least 1: 0 would invite a busy loop."""
        return None if self.retry_after is None else max(1, math.ceil(self.retry_after))


class Refusal(ServiceError):
    """An error before the stream starts, answered with an HTTP status."""

    status: ClassVar[int] = 400


class NotAuthenticated(Refusal):
    """Missing or invalid credentials. The reason is never disclosed: guessing teaches nothing."""

    status, code = 401, "not_authenticated"
    message = "This needs a valid credential."


class IdentityUnavailable(Refusal):
    status, code, retryable = 503, "identity_unavailable", True
    message = "Credentials cannot be checked at the moment."


class WrongHost(Refusal):
    status, code = 421, "wrong_host"
    message = "This service does not serve this host. ALLOWED_HOSTS lists the hosts that it serves."


class SessionNotFound(Refusal):
    status, code = 404, "session_not_found"
    message = "There is no such session."


class TurnNotFound(Refusal):
    status, code = 404, "turn_not_found"
    message = "There is no such turn."


class ModelNotFound(Refusal):
    """The client asks for a model that Lex does not play. It only knows one."""

    status, code = 404, "model_not_found"
    message = "There is no such model."


class SessionBusy(Refusal):
    status, code, retryable = 409, "session_busy", True
    message = "Another turn of this session has not ended yet."


class LogGone(Refusal):
    status, code = 410, "log_gone"
    message = "This turn can no longer be replayed. Its session still has the messages."


class BodyTooLarge(Refusal):
    status, code = 413, "body_too_large"
    message = "The request body is too large."


class InvalidField(Refusal):
    """A field of the request is invalid. `field` is its name as the client sent it."""

    status, code = 422, "invalid_field"
    message = "A field of the request is invalid."

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class KeyReused(InvalidField):
    def __init__(self) -> None:
        super().__init__("was used for another question", field="Idempotency-Key")


class NothingToReplace(InvalidField):
    """The session has no such message: it never had, or the message was replaced before."""

    def __init__(self) -> None:
        super().__init__("must be the id of a message of this session", field="replaces")


class PastTheEnd(InvalidField):
    """The id is beyond the turn's last event, so no client can have received it."""

    def __init__(self) -> None:
        super().__init__("is not the id of an event of this turn", field="Last-Event-ID")


class TooManyRequests(Refusal):
    """A limit is exceeded. `limit` is its name, and `fields` are headers that report the limits."""

    status, code, retryable = 429, "too_many_requests", True
    message = "There were too many requests in too short a time."

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float,
        limit: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit
        self.fields = dict(fields or {})


class BudgetExhausted(TooManyRequests):
    code = "budget_exhausted"
    message = "The budget is used up."


class Overloaded(Refusal):
    status, code, retryable = 503, "overloaded", True
    message = "This server is at capacity at the moment."


class Draining(Refusal):
    status, code, retryable = 503, "draining", True
    message = "This server is shutting down."


class UpstreamError(ServiceError):
    """The model could not be reached, or its answer is unusable.

    `is_passing`: a retry on the same model may succeed.
    `concerns_model`: another model may succeed.
    `was_asked`: the upstream was called. False if the breaker, a budget or the queue refused.
    `is_silence`: a time-out used up the wait, so try another model rather than this one again.
    `is_late`: the failure came after the first text or tool call, so there is no retry.
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
    """This process or machine is out of file descriptors. The model is not at fault."""

    code, retryable = "overloaded", True
    message = "This server cannot open another connection at the moment."
    concerns_model = False


class UpstreamBusy(UpstreamError):
    code, retryable = "upstream_busy", True
    message = "The assistant is too busy at the moment."


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
    message = "The assistant could not accept this request."
    concerns_model = False


class ModelNotServed(UpstreamRefused):
    """The upstream does not serve this model to us. `reason` is the upstream's error code.

    Unless `is_final`, that may change: a new model becomes known, an administrator unblocks it, or
    accepts its terms.
    """

    concerns_model = True
    is_final: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, reason: str = "model_not_found") -> None:
        super().__init__(message)
        self.reason = reason


class ModelRetired(ModelNotServed):
    """The upstream will never serve this model again."""

    is_final = True

    def __init__(self, message: str | None = None, *, reason: str = "model_decommissioned") -> None:
        super().__init__(message, reason=reason)


class RequestTooLarge(UpstreamRefused):
    """The request exceeds this model's context window, or its limit of tokens per minute.

    `limit_tokens` and `requested_tokens` are the upstream's figures, if it gave them. Both may
    include the tokens that are reserved for the answer. `can_be_cut` says that a retry will leave
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
    """The upstream could not parse the model's tool call. `failed_generation` is the raw text."""

    code = "upstream_tool_use_failed"
    message = "The assistant made a tool call that cannot be read."

    def __init__(self, failed_generation: str = "", *, reason: str = "") -> None:
        super().__init__(is_passing=False)
        self.failed_generation = failed_generation
        self.reason = reason


class AnswerCut(UpstreamGarbled):
    """The model used up its tokens before its first word, most likely on reasoning."""

    message = "The assistant used up its tokens before it could answer."

    def __init__(self) -> None:
        super().__init__(is_passing=False)


class TurnError(ServiceError):
    """The turn itself had to end: a limit, a shutdown, a lost worker, or no followers."""


class TooManyRounds(TurnError):
    code = "too_many_rounds"
    message = "The assistant kept looking things up without coming to an answer."


class TurnTimedOut(TurnError):
    code, retryable = "turn_timed_out", True
    message = "The answer took too long."


class TurnInterrupted(TurnError):
    code, retryable = "interrupted", True
    message = "The answer was stopped because nobody was reading it."


class WorkerLost(TurnError):
    code, retryable = "worker_lost", True
    message = "The server that was writing this answer failed."


class ServerDraining(TurnError):
    code, retryable = "server_draining", True
    message = "This server had to stop before the answer was complete."


class StorageError(ServiceError):
    """The store failed. `reason` is for operators, and names no host, user, password or file.

    `setting` is the variable with the URL of the store.
    """

    code, retryable = "storage_unavailable", True
    message = "Conversations cannot be stored at the moment."
    setting = "DATABASE_URL"

    def __init__(self, message: str | None = None, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason

    @property
    def explanation(self) -> str:
        """One line for operators: the `reason`, or else the message and its cause."""
        if self.reason:
            return self.reason
        cause = str(self.__cause__ or "").partition("\n")[0]
        return " ".join(f"{self} {cause}".split())


class StoreAway(StorageError):
    """The store cannot serve now: it is unreachable, starting or stopping, or too busy."""


class NotStorable(StorageError):
    """The store cannot hold this content. A retry would fail again."""

    retryable = False


class UnusableSetting(Exception):
    """A setting names something unusable, such as a file. `setting` is its variable."""

    setting: ClassVar[str]


class ToolError(Exception):
    """An error for the model. `details` are the fields of `error` in the tool's output."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.details = {"code": code or self.code, "message": message, **details}


class UnknownTool(ToolError):
    code = "unknown_tool"


class InvalidArguments(ToolError):
    code = "invalid_arguments"


class ToolRefused(ToolError):
    """A tool declines a valid call, usually with a `code` of its own. That is a normal answer.

    If a service behind the tool is at fault, raise `ToolFailed` or `ToolTimedOut`: alerts count
    these.
    """

    code = "refused"


class ToolTimedOut(ToolError):
    code = "timed_out"


class ToolFailed(ToolError):
    """The tool or a service behind it failed. The cause goes to the log and not to the model."""
