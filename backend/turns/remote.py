"""Turns that other workers run: asking for their end, waiting for it, claiming their sessions.

The store has what was asked; a nudge only makes the other worker look at it sooner than at
its next renewal.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from backend.domain.errors import SessionBusy
from backend.storage.ports.sessions import Claim, Holder, NewTurn, SessionStore
from backend.telemetry import tracing

LOOK_SECONDS = 0.05
"""Between two looks whether a turn has ended."""


class RemoteTurns:
    """In `timeout_seconds` a living worker has heard of it for certain.

    `is_claimed_here` tells whether this worker holds the session of an owner.
    """

    def __init__(
        self,
        sessions: SessionStore,
        *,
        nudge: Callable[[str], None],
        is_claimed_here: Callable[[str, str], bool],
        timeout_seconds: float,
    ) -> None:
        self._sessions = sessions
        self._nudge = nudge
        self._is_claimed_here = is_claimed_here
        self._timeout_seconds = timeout_seconds

    async def claim(self, new: NewTurn, history_tokens: int) -> Claim:
        """Claim the session; end first what another worker still runs in it for nobody.

        Raises what the store refuses with.
        """
        try:
            return await self._sessions.claim(new, history_tokens=history_tokens)
        except SessionBusy:
            # Unread turns of this worker ended before the claim. The store may not know yet that
            # somebody has come back to one of them, and would ask for its end.
            if self._is_claimed_here(new.owner, new.session_id) or not await self._supersede(new):
                raise
            return await self._sessions.claim(new, history_tokens=history_tokens)

    async def stop(self, owner: str, turn_id: str) -> None:
        """Does not wait for it. Raises: TurnNotFound."""
        holder = await self._sessions.request_stop(owner, turn_id)
        tracing.link_to_turn(turn_id, holder.traceparent)
        self._nudge(holder.worker)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """End what a session runs, and wait for it."""
        holder = await self._sessions.request_end(owner, session_id)
        if holder is not None:
            tracing.link_to_turn(holder.turn_id, holder.traceparent)
        await self._wait_for_end(holder)

    async def _supersede(self, new: NewTurn) -> bool:
        """End what a session runs for nobody. False if it is still read, or does not end."""
        holder = await self._sessions.request_end(new.owner, new.session_id, unless_read=True)
        return await self._wait_for_end(holder)

    async def _wait_for_end(self, holder: Holder | None) -> bool:
        """Whether there was one, and it has ended in time."""
        if holder is None:
            return False
        self._nudge(holder.worker)
        is_running = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                while is_running:
                    await asyncio.sleep(LOOK_SECONDS)
                    is_running = bool(await self._sessions.running([holder.turn_id]))
        return not is_running
