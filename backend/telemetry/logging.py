"""The log: one line per event, as text in a terminal and as JSON elsewhere.

Line breaks in values are escaped, so an event is always one line. (In a terminal, an exception
follows in indented lines.) A line carries the ids of the current trace, if there is one.

No line at any level contains questions, answers, ids of users or sessions, or credentials. It names
them by keyed hashes (see `identity`). Exceptions are logged
with their types and places in the code. Their messages are logged only if they describe machines
(see `_speaks_of_machines`), since others may quote a person.
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

from backend.telemetry import identity
from backend.telemetry.redaction import redacted

SILENCE_SECONDS = 60.0


def _in_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    at = trace.get_current_span().get_span_context()
    if at.is_valid:
        event["trace_id"] = f"{at.trace_id:032x}"
        event["span_id"] = f"{at.span_id:016x}"
    return event


class _Output:
    """The current `sys.stderr`, even if it is replaced later. Threads write one line at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may log while its thread holds the lock

    def write(self, text: str) -> None:
        with self._lock:
            sys.stderr.write(text)

    def flush(self) -> None:
        with self._lock:
            sys.stderr.flush()


class _Lines:
    """Writes the lines of our loggers. A line that cannot be written raises nothing.

    They bypass the standard library's records: a line costs 29 µs instead of 109.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, line: str) -> None:
        with suppress(OSError, ValueError):
            _output.write(f"{line}\n")  # standard error is line-buffered, so this flushes it

    debug = info = warning = error = critical = write


_output = _Output()
_names = structlog.stdlib.LoggerFactory(ignore_frame_names=[__name__])

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    identity.add_to_line,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _in_trace,
]

_secrets: list[str] = []
"""Hidden in every text that comes from libraries."""


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide secrets in the lines of libraries. Our own lines never contain one."""
    event["event"] = redacted(str(event["event"]), _secrets)
    return event


# Cached loggers keep a reference, so each configuration replaces the content, not the list.
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
    """Send our lines and those of libraries through one renderer to standard error.

    `auto` means text in a terminal and JSON otherwise. `secrets` are hidden where libraries or
    exceptions quote them. May be called more than once.
    """
    _secrets[:] = secrets
    is_text = sys.stderr.isatty() if style == "auto" else style == "text"
    rendering = _as_text() if is_text else _as_json()
    _OURS[:] = [_from(logging.NOTSET), *_SHARED, *rendering]
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
    logging.basicConfig(handlers=[handler], force=True)
    _adopt_servers()
    use_level(level)


def use_level(level: str) -> None:
    """Log nothing below this level from now on. Call `configure_logging` first."""
    least = logging.getLevelNamesMapping()[level]
    _OURS[0] = _from(least)
    # Below WARNING, libraries log whole requests, frames and headers.
    logging.getLogger().setLevel(max(least, logging.WARNING))
    # Below INFO, uvicorn logs frames and headers of WebSockets.
    for name in _SERVERS:
        logging.getLogger(name).setLevel(max(least, logging.INFO))


def _as_json() -> list[Processor]:
    exceptions = structlog.processors.ExceptionRenderer(_text)
    # The check for circular references would double the cost. Logged values have none.
    encode = json.JSONEncoder(default=repr, check_circular=False).encode
    rendered = structlog.processors.JSONRenderer(lambda event, **_: encode(event))
    return [exceptions, _in_order, rendered]


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put timestamp, level and event first, since people read the JSON lines as well."""
    first = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**first, **event}


def _as_text() -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write)
    return [_escaped, renderer]


_ESCAPES = {
    number: repr(chr(number))[1:-1] for number in (*range(32), *range(127, 160), 0x2028, 0x2029)
}


def _escaped(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters in values, so that no value can fake a log line."""
    return {
        name: value.translate(_ESCAPES) if isinstance(value, str) else value
        for name, value in event.items()
    }


def _text(exc_info: ExcInfo) -> str:
    return "\n".join(_lines_of(exc_info[1]))


def _write(to: TextIO, exc_info: ExcInfo) -> None:
    """Write an exception for a terminal, indented so that none of it looks like a log line."""
    to.writelines(f"\n  {line.translate(_ESCAPES)}" for line in _lines_of(exc_info[1]))


def _lines_of(error: BaseException | None) -> Iterator[str]:
    """The places and types of an exception and its causes, root cause first."""
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
    """Whether the message is safe to log: ours, the operating system's or the database's.

    Messages of other exceptions may quote a person.
    """
    is_ours = type(error).__module__ == "backend.domain.errors"
    # By module, since the exceptions of `requests` are OSErrors too, and quote URLs.
    is_of_the_system = isinstance(error, OSError) and type(error).__module__ in _SYSTEM
    return is_ours or is_of_the_system or type(error).__name__ == "OperationalError"


_SYSTEM = ("builtins", "socket", "ssl")


class OncePerMinute(logging.Filter):
    """Lets one line of `library` through per minute, since a failing exporter logs without end."""

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
    """False for uvicorn's lines about WebSockets that come and go.

    They are access log lines with paths, but uvicorn writes them to its error log.
    """
    return not str(record.msg).startswith(('%s - "WebSocket', "connection "))


_SERVERS = ("uvicorn", "uvicorn.error", "gunicorn.error")


def _adopt_servers() -> None:
    """Send the servers' lines through our renderer, and drop their access logs.

    Those would show the URLs of `GET /query`, which contain questions. Lex has an access log of
    its own.
    """
    for name in _SERVERS:
        logger = logging.getLogger(name)
        logger.propagate = True
        logger.handlers.clear()
    logging.getLogger("uvicorn.error").addFilter(_is_no_access)
    for name in ("uvicorn.access", "gunicorn.access"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.handlers.clear()
