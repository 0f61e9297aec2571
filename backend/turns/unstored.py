"""Endings that the store would not take when they came, until it has them."""

import asyncio
from dataclasses import dataclass

import structlog

from backend.domain.errors import NotStorable, StorageError
from backend.storage.ports.sessions import Ending, SessionStore
from backend.turns.endings import minimal_ending

logger = structlog.get_logger()

WHOLE_TRIES = 3
"""So often an ending that is at fault is offered again as it is."""


@dataclass
class _Unstored:
    ending: Ending
    refusals: int = 0
    """Times that the store did not take it, and took other things right before and after."""


class UnstoredEndings:
    """Until they are stored their sessions stay busy, since this worker lives and holds them."""

    def __init__(self, sessions: SessionStore, *, worker: str) -> None:
        self._sessions = sessions
        self._worker = worker
        self._unstored: list[_Unstored] = []
        self._storing = asyncio.Lock()
        """A shutdown stores them, too, and may come while a renewal of the lease is at it."""

    def add(self, ending: Ending) -> None:
        self._unstored.append(_Unstored(ending))

    async def store(self) -> None:
        """Offer them again, if the store takes anything. One that is itself at fault is closed
        with nothing in it; one that came at a bad time is kept, however long that lasts.
        """
        async with self._storing:
            if not self._unstored or not await self._check_store():
                return
            for unstored in list(self._unstored):
                try:
                    is_stored = await self._try(unstored)
                except StorageError as error:
                    # The store went away, and each attempt may take as long as it waits.
                    _warn(unstored, error)
                    self._begin_with_others(unstored)
                    return
                if is_stored:
                    self._unstored.remove(unstored)

    def _begin_with_others(self, unstored: _Unstored) -> None:
        """Next time. If the store only fails over this one, it must not hold up the others."""
        self._unstored.remove(unstored)
        self._unstored.append(unstored)

    async def _try(self, unstored: _Unstored) -> bool:
        """Offer it; whether nothing is left to store of it. Raises: StorageError, if the store
        is at fault.
        """
        try:
            await self._offer(unstored.ending)
        except NotStorable as error:
            _warn(unstored, error)
            # The store worked before this, or nothing would have been offered.
            return await self._check_store() and await self._give_up(unstored)
        return True

    async def _give_up(self, unstored: _Unstored) -> bool:
        """Store the least of it, if it was refused too often; whether that was done."""
        unstored.refusals += 1
        if unstored.refusals <= WHOLE_TRIES:
            return False
        ending = unstored.ending
        try:
            await self._offer(minimal_ending(ending.turn_id, ending.outcome, ending.error_code))
        except NotStorable as error:
            _warn(unstored, error)
            return False
        logger.error("turn_given_up", turn=ending.turn_id, outcome=ending.outcome)
        return True

    async def _check_store(self) -> bool:
        try:
            await self._sessions.renew_lease(self._worker)
        except StorageError as error:
            logger.warning("turns_still_not_stored", turns=len(self._unstored), error=str(error))
            return False
        return True

    async def _offer(self, ending: Ending) -> None:
        """Raises: StorageError, which is NotStorable if the ending is at fault."""
        try:
            await self._sessions.finish(ending)
        except StorageError:
            raise
        except (OSError, MemoryError) as error:
            raise StorageError from error
        except Exception as error:
            # Whatever one ending does to the store, the next one must have its turn.
            raise NotStorable from error


def _warn(unstored: _Unstored, error: StorageError) -> None:
    cause = error.__cause__
    logger.warning(
        "turn_still_not_stored",
        turn=unstored.ending.turn_id,
        error=str(error),
        is_at_fault=isinstance(error, NotStorable),
        cause=None if cause is None else type(cause).__name__,
    )
