"""Turns that other workers run: asking for their end, and waiting for it.

The store has what was asked; a nudge only makes the other worker look at it sooner than at
its next renewal.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from backend.storage.ports.sessions import Holder, SessionStore
from backend.telemetry import tracing

LOOK_SECONDS = 0.05
"""Between two looks whether a turn has ended."""


class Elsewhere:
    """`patience_seconds` is the time in which a living worker has heard of it for certain."""

    def __init__(
        self, sessions: SessionStore, *, nudge: Callable[[str], None], patience_seconds: float
    ) -> None:
        self._sessions = sessions
        self._nudge = nudge
        self._patience_seconds = patience_seconds

    async def stop(self, owner: str, turn_id: str) -> None:
        """Does not wait for it. Raises: TurnNotFound."""
        holder = await self._sessions.request_stop(owner, turn_id)
        tracing.concerns(turn_id, holder.traceparent)
        self._nudge(holder.worker)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """End what a session runs, and wait for it."""
        holder = await self._sessions.request_end(owner, session_id)
        if holder is not None:
            tracing.concerns(holder.turn_id, holder.traceparent)
        await self._ended(holder)

    async def supersede(self, owner: str, session_id: str) -> bool:
        """End what a session runs for nobody. False if it is still read, or does not end."""
        holder = await self._sessions.request_end(owner, session_id, unless_read=True)
        return await self._ended(holder)

    async def _ended(self, holder: Holder | None) -> bool:
        if holder is None:
            return False
        self._nudge(holder.worker)
        is_running = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience_seconds):
                while is_running:
                    await asyncio.sleep(LOOK_SECONDS)
                    is_running = bool(await self._sessions.running([holder.turn_id]))
        return not is_running
