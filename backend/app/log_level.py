"""The level of the log, which a file can change while the service runs (`LOG_LEVEL_FILE`).

Each worker reads the file once a second, so a change reaches all workers without a signal.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import structlog

from backend.aio.periodic import repeat
from backend.app.background import keep
from backend.settings import Settings
from backend.settings.settings import LOG_LEVELS
from backend.telemetry.logging import use_level

logger = structlog.get_logger()

LOOK_SECONDS = 1.0

MOST_CHARACTERS = 64


async def watch_log_level(settings: Settings, stack: AsyncExitStack) -> None:
    """Apply the level in the file now, and whenever it changes until the stack closes."""
    if settings.log_level_file is None:
        return
    watched = LogLevelFile(settings.log_level_file, default=settings.log_level)
    await watched.look()
    keep(repeat(watched.look, every_seconds=LOOK_SECONDS, name="look_at_log_level"), stack)


class LogLevelFile:
    """Applies the level in the file; `default` if the file is empty, missing or unreadable."""

    def __init__(
        self, path: Path, *, default: str, use_level: Callable[[str], None] = use_level
    ) -> None:
        self._path = path
        self._default = default
        self._use_level = use_level
        self._text = ""
        self._level = default

    async def look(self) -> None:
        """Read the file. A text that is no level is logged once, and the level stays."""
        text = await asyncio.to_thread(self._read)
        if text == self._text:
            return
        self._text = text
        level = text.upper() or self._default
        if level not in LOG_LEVELS:
            allowed = ", ".join(LOG_LEVELS)
            logger.warning("log_level_not_changed", log_level=self._level, allowed=allowed)
        elif level != self._level:
            self._change(level)

    def _change(self, level: str) -> None:
        names = logging.getLevelNamesMapping()
        is_quieter = names[level] > names[self._level]
        # The line is written under the more talkative of the two levels.
        if not is_quieter:
            self._use_level(level)
        logger.warning("log_level_changed", log_level=level)
        if is_quieter:
            self._use_level(level)
        self._level = level

    def _read(self) -> str:
        try:
            with self._path.open(errors="replace") as file:
                return file.read(MOST_CHARACTERS).strip()
        except OSError:
            return ""
