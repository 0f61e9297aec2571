"""Keep endings that a store refused, and store them later."""

import asyncio
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from backend.domain.errors import NotStorable, StorageError
from backend.storage.ports.sessions import Ending, SessionStore
from backend.turns.endings import minimal_ending

logger = structlog.get_logger()

WHOLE_TRIES = 3
"""Retries with the whole ending before a minimal one is stored. An absent store does not count."""


class Finishes(Protocol):
    async def finish(self, ending: Ending) -> bool: ...


@dataclass
class _Unstored:
    ending: Ending
    store: Finishes
    refusals: int = 0
    """How often the store refused this ending although it took other writes before and after."""


class UnstoredEndings:
    """The queue of endings to store. Their sessions stay busy until then."""

    def __init__(self, sessions: SessionStore, *, worker: str) -> None:
        self._sessions = sessions
        self._worker = worker
        self._unstored: list[_Unstored] = []
        self._storing = asyncio.Lock()
        """Guards `store`, which the renewal loop and a shutdown may call at the same time."""

    def add(self, ending: Ending, store: Finishes | None = None) -> None:
        """Keep an ending for the store that refused it, by default the one of sessions."""
        # The store may have run into its time-out and committed all the same.
        ending = replace(ending, may_be_stored=True)
        self._unstored.append(_Unstored(ending, store or self._sessions))

    async def store(self) -> None:
        """Try again to store all endings, if the store is up.

        If the store works but keeps refusing one, a minimal ending replaces it. None is dropped
        because the store is away.
        """
        async with self._storing:
            if not self._unstored or not await self._check_store():
                return
            for unstored in list(self._unstored):
                try:
                    is_stored = await self._try(unstored)
                except StorageError as error:
                    # The store is away. Stop here: each further attempt could take a full time-out.
                    _warn(unstored, error)
                    self._begin_with_others(unstored)
                    return
                if is_stored:
                    self._unstored.remove(unstored)

    def _begin_with_others(self, unstored: _Unstored) -> None:
        """Move this ending to the back: if it alone breaks the store, the others still get in."""
        self._unstored.remove(unstored)
        self._unstored.append(unstored)

    async def _try(self, unstored: _Unstored) -> bool:
        """Whether the ending is now stored. Raises: StorageError, if the store is at fault."""
        try:
            await _offer(unstored.store, unstored.ending)
        except NotStorable as error:
            _warn(unstored, error)
            # If the store takes a write before and after this one, the ending is at fault.
            return await self._check_store() and await self._give_up(unstored)
        return True

    async def _give_up(self, unstored: _Unstored) -> bool:
        """Count a refusal; after `WHOLE_TRIES` of them, store a minimal ending."""
        unstored.refusals += 1
        if unstored.refusals <= WHOLE_TRIES:
            return False
        ending = unstored.ending
        try:
            minimal = minimal_ending(ending.key, ending.outcome, ending.error_code, ending.calls)
            await _offer(unstored.store, minimal)
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


async def _offer(store: Finishes, ending: Ending) -> None:
    """Store it. Raises: NotStorable if the ending is at fault, otherwise StorageError."""
    try:
        await store.finish(ending)
    except StorageError:
        raise
    except (OSError, MemoryError) as error:
        raise StorageError from error
    except Exception as error:
        # An ending with unexpected effects must not block the endings after it.
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
