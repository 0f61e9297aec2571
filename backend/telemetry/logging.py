"""One line an event: for people in a terminal, JSON everywhere else.

Whatever is in a line, it stays one line, and it belongs to a trace if there is one at hand.
What people say, who they are and how they prove it is in none of them, at no level: of an
exception the types and places are shown, and what it says only if it speaks of machines.
"""

import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Literal, TextIO

import structlog
from opentelemetry import trace
from structlog.types import EventDict, ExcInfo, Processor, WrappedLogger

from backend.telemetry.redaction import redacted

SILENCE_SECONDS = 60.0


def _in_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    at = trace.get_current_span().get_span_context()
    if at.is_valid:
        event["trace_id"] = f"{at.trace_id:032x}"
        event["span_id"] = f"{at.span_id:016x}"
    return event


class _Output:
    """Standard error, whoever has replaced it; a line at a time, whichever thread writes."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal may come in between, and be told of

    def write(self, text: str) -> None:
        with self._lock:
            sys.stderr.write(text)

    def flush(self) -> None:
        with self._lock:
            sys.stderr.flush()


class _Lines:
    """The end of our loggers. With a record of the standard library each line costs 109 µs
    in place of 29. As there, a line that cannot be written fails nobody.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):
            _output.write(f"{line}\n")  # with which standard error is flushed

    debug = info = warning = error = critical = write


_output = _Output()
_names = structlog.stdlib.LoggerFactory(ignore_frame_names=[__name__])

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _in_trace,
]

_secrets: list[str] = []
"""In no text that others have worded."""


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """For the lines of libraries. Ours name no secret."""
    event["event"] = redacted(str(event["event"]), _secrets)
    return event


# Loggers keep it, so it is the same list whatever is configured.
_OURS: list[Processor] = []


def _from(least: int) -> Processor:
    levels = logging.getLevelNamesMapping().items()
    below = {name.lower() for name, level in levels if level < least}

    def drop(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if method in below:
            raise structlog.DropEvent
        return event

    return drop


def configure_logging(
    *, level: str, style: Literal["auto", "json", "text"], secrets: Sequence[str] = ()
) -> None:
    """Send our lines and those of the libraries through one renderer, to standard error.

    `auto` is text in a terminal and JSON otherwise. Libraries and exceptions may quote `secrets`,
    and no line shows them. May be called more than once.
    """
    _secrets[:] = secrets
    is_text = sys.stderr.isatty() if style == "auto" else style == "text"
    least = logging.getLevelNamesMapping()[level]
    rendering = _as_text() if is_text else _as_json()
    _OURS[:] = [_from(least), *_SHARED, *rendering]
    structlog.configure(
        processors=_OURS,
        logger_factory=lambda *name: _Lines(_names(*name).name),
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_output)
    handler.addFilter(OncePerMinute("opentelemetry"))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_without_secrets, *_SHARED],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    # Libraries tell whole requests, frames and headers below that.
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    # Below, uvicorn tells the frames and the headers of WebSockets.
    _adopt_servers(max(least, logging.INFO))


def _as_json() -> list[Processor]:
    exceptions = structlog.processors.ExceptionRenderer(_text)
    # To look for circles is half of what it costs; what is logged has none.
    encode = json.JSONEncoder(default=repr, check_circular=False).encode
    rendered = structlog.processors.JSONRenderer(lambda event, **_: encode(event))
    return [exceptions, _in_order, rendered]


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When, how bad and what comes first: people read JSON, too."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}


def _as_text() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write)
    return [_escaped, renderer]


_ESCAPES = {
    number: repr(chr(number))[1:-1] for number in (*range(32), *range(127, 160), 0x2028, 0x2029)
}


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A line break in a value would begin a line that nobody wrote; JSON escapes it by itself."""
    return {
        name: value.translate(_ESCAPES) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _text(exc_info: ExcInfo) -> str:
    return "\n".join(_lines_of(exc_info[1]))


def _write(to: TextIO, exc_info: ExcInfo) -> None:
    """In a terminal, indented: no line of it looks like one of the log."""
    to.writelines(f"\n  {line.translate(_ESCAPES)}" for line in _lines_of(exc_info[1]))


def _lines_of(error: BaseException | None) -> Iterator[str]:
    """Where an exception was raised, and of what type it and its causes are."""
    if error is None:
        return
    hidden = None if error.__suppress_context__ else error.__context__
    if (cause := error.__cause__ or hidden) is not None:
        yield from _lines_of(cause)
        yield "which led to:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"{frame.filename}:{frame.lineno} in {frame.name}"
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    yield f"{kind}: {redacted(str(error), _secrets)}" if _speaks_of_machines(error) else kind
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield "in the group:"
            yield from _lines_of(each)


def _speaks_of_machines(error: BaseException) -> bool:
    """The message of any other exception may quote a person."""
    is_ours = type(error).__module__ == "backend.domain.errors"
    # Those of `requests` are of this kind, too, and quote addresses.
    is_of_the_system = isinstance(error, OSError) and type(error).__module__ in _SYSTEM
    return is_ours or is_of_the_system or type(error).__name__ == "OperationalError"


_SYSTEM = ("builtins", "socket", "ssl")


class OncePerMinute(logging.Filter):
    """A library that complains of the same again and again gets one line a minute."""

    def __init__(self, library: str) -> None:
        super().__init__(library)
        self._silent_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + SILENCE_SECONDS
        return True


def _is_no_access(record: logging.LogRecord) -> bool:
    """Of WebSockets uvicorn says who came and went, with paths, in its other log."""
    return not str(record.msg).startswith(('%s - "WebSocket', "connection "))


def _adopt_servers(level: int) -> None:
    """Give their lines to our renderer, except those of their access logs, which have in them what
    `GET /query` has in its address; there is one of our own.
    """
    for name in ("uvicorn", "uvicorn.error", "gunicorn.error"):
        logger = logging.getLogger(name)
        logger.propagate = True
        logger.handlers.clear()
        logger.setLevel(level)
    logging.getLogger("uvicorn.error").addFilter(_is_no_access)
    for name in ("uvicorn.access", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers.clear()
