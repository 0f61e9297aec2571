"""One line an event: for people in a terminal, JSON everywhere else."""

import logging
import sys
from typing import Any, Literal

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
    logging.basicConfig(handlers=[handler], level=level, force=True)
    _adopt_libraries()
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
        # The default formatter prints local variables, and with them what people said.
        return [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _adopt_libraries() -> None:
    """Give uvicorn's lines to our renderer, and let nobody tell what people said.

    At the level DEBUG, the SDK logs whole requests and sse-starlette whole frames.
    """
    for name in ("aiohttp", "alembic", "groq", "httpcore", "httpx", "sse_starlette"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").addFilter(_without_query)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        # An access log without a handler was switched off on the command line.
        logger.propagate = logger.propagate or bool(logger.handlers)
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


def _without_query(record: logging.LogRecord) -> bool:
    """`GET /query` has in its address what a person said."""
    match record.args:
        case (client, method, str(path), *rest):
            record.args = (client, method, path.partition("?")[0], *rest)
    return True
