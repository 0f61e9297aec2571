"""One line an event: for people in a terminal, JSON everywhere else.

What people said, who they are and how they prove it is in none of them, at no level.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any, Literal, TextIO

import structlog

_SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logging(*, level: str, style: Literal["auto", "json", "text"]) -> None:
    """Send our lines and those of the libraries through one renderer, to standard error.

    `auto` is text in a terminal and JSON otherwise. May be called more than once.
    """
    is_text = sys.stderr.isatty() if style == "auto" else style == "text"
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderer(is_text=is_text),
            ],
        )
    )
    least = logging.getLevelNamesMapping()[level]
    # Libraries tell whole requests, frames and headers below that.
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    logging.getLogger("backend").setLevel(least)
    _adopt_uvicorn(max(least, logging.INFO))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _renderer(*, is_text: bool) -> list[Any]:
    if is_text:
        return [
            _quote_controls,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=_print_traceback
            ),
        ]
    return [
        structlog.processors.ExceptionRenderer(_formatted),
        structlog.processors.JSONRenderer(),
    ]


def _quote_controls(_logger: Any, _name: str, event: Any) -> Any:
    """In a terminal a line break would begin a line that nobody wrote, and an escape could do
    anything. JSON has them quoted.
    """
    return {
        key: _quoted(value) if isinstance(value, str) else value for key, value in event.items()
    }


def _quoted(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]


def _print_traceback(file: TextIO, exc_info: Any) -> None:
    file.write("\n" + _formatted(exc_info))


def _formatted(exc_info: Any) -> str:
    """Where it happened and what it is. What an exception says may be what somebody said, so
    that is told only of kinds that speak of machines; of local variables nothing ever is.
    """
    return "\nfrom which came:\n".join(map(_told, _causes(exc_info[1])))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The first one first."""
    if error is None:
        return
    hidden = None if error.__suppress_context__ else error.__context__
    yield from _causes(error.__cause__ or hidden)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    yield error


def _told(error: BaseException) -> str:
    places = "".join(traceback.format_tb(error.__traceback__))
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return f"{places}{kind}: {error}" if _speaks_of_machines(error) else f"{places}{kind}"


def _speaks_of_machines(error: BaseException) -> bool:
    is_ours = type(error).__module__ == "backend.errors"
    return is_ours or isinstance(error, OSError) or type(error).__name__ == "OperationalError"


def _adopt_uvicorn(level: int) -> None:
    """Give its lines to our renderer, without the addresses that clients have asked for: those
    of `GET /query` have what a person said in them.
    """
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        # An access log without a handler was switched off on the command line.
        logger.propagate = logger.propagate or bool(logger.handlers)
        logger.handlers.clear()
        # Below, it tells the frames and the headers of WebSockets.
        logger.setLevel(level)
        logger.addFilter(_without_query)


def _without_query(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            value.partition("?")[0] if isinstance(value, str) and value.startswith("/") else value
            for value in record.args
        )
    return True
