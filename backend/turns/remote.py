"""Stop turns that run on other workers, and claim their sessions.

Stop requests are kept in the session store, where a worker finds them when it renews its lease.
A nudge only makes it look sooner.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from backend.domain.errors import SessionBusy
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import Claim, Holder, NewTurn, SessionStore
from backend.telemetry import tracing, turn_clock
from backend.telemetry.turn_clock import Part

LOOK_SECONDS = 0.05
"""The interval at which the store is asked whether a turn has ended."""


class RemoteTurns:
    """Requests to the workers that run the turns.

    Every living worker renews its lease within `timeout_seconds`. `is_claimed_here(owner,
    session_id)` tells whether a turn of this worker holds the session.
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

    async def claim(self, new: NewTurn, *, history_tokens: int, beside_characters: int) -> Claim:
        """Claim the session, after ending a turn of another worker that has no readers.

        Raises: whatever `SessionStore.claim` raises.
        """
        claim = partial(
            self._sessions.claim,
            new,
            history_tokens=history_tokens,
            beside_characters=beside_characters,
        )
        try:
            return await claim()
        except SessionBusy:
            # A turn of this worker that holds the session has readers: unread ones were ended
            # before the claim. The store may not know a reader that has just come back, and would
            # let us stop the turn, so it is not asked.
            if self._is_claimed_here(new.owner, new.session_id) or not await self._supersede(new):
                raise
            return await claim()

    async def stop(self, owner: str, turn_id: str) -> None:
        """Request the stop of a turn, without waiting for it. Raises: TurnNotFound."""
        holder = await self._sessions.request_stop(owner, turn_id)
        tracing.link_to_turn(turn_id, holder.traceparent)
        self._nudge(holder.worker)

    async def stop_session(self, owner: str, session_id: str) -> None:
        """Stop the turn that holds the session, and wait up to `timeout_seconds` for its end."""
        holder = await self._sessions.request_end(owner, session_id)
        if holder is not None:
            tracing.link_to_turn(holder.turn_id, holder.traceparent)
        await self._wait_for_end(owner, holder)

    async def _supersede(self, new: NewTurn) -> bool:
        """End the session's turn if it has no readers. Return whether one ended in time."""
        holder = await self._sessions.request_end(new.owner, new.session_id, unless_read=True)
        return await self._wait_for_end(new.owner, holder)

    async def _wait_for_end(self, owner: str, holder: Holder | None) -> bool:
        """Return whether there was a turn and it ended in time."""
        if holder is None:
            return False
        turn = TurnKey(owner, holder.turn_id)
        self._nudge(holder.worker)
        is_running = True
        with suppress(TimeoutError), turn_clock.part(Part.STORE):
            async with asyncio.timeout(self._timeout_seconds):
                while is_running:
                    await asyncio.sleep(LOOK_SECONDS)
                    is_running = bool(await self._sessions.running([turn]))
        return not is_running
