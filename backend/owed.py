"""Endings that the store would not take when they came, and still is to have."""

from dataclasses import dataclass

import structlog

from backend.errors import StorageError
from backend.running import bare
from backend.storage.ports.sessions import Ending, SessionStore

logger = structlog.get_logger()

WHOLE_TRIES = 3
"""So often an ending is offered as it is. After that it may be the ending that is at fault."""


@dataclass
class _Owed:
    ending: Ending
    tries: int = 0


class OwedEndings:
    """Until they are stored their sessions stay busy, since this worker lives and holds them."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions
        self._owed: list[_Owed] = []

    def add(self, ending: Ending) -> None:
        self._owed.append(_Owed(ending))

    async def store(self) -> None:
        """Offer them again. One that cannot be stored when others can is closed with nothing
        in it.
        """
        for owed in list(self._owed):
            try:
                await self._store(owed)
            except StorageError as error:
                owed.tries += 1
                logger.warning("turn_still_not_stored", turn=owed.ending.turn_id, error=str(error))
            else:
                self._owed.remove(owed)

    async def _store(self, owed: _Owed) -> None:
        ending = owed.ending
        try:
            await self._offer(ending)
        except StorageError:
            if owed.tries < WHOLE_TRIES:
                raise
            # A store that is away takes this one neither, so nothing is lost for being away long.
            await self._offer(bare(ending.turn_id, ending.outcome, ending.error_code))

    async def _offer(self, ending: Ending) -> None:
        try:
            await self._sessions.finish(ending)
        except Exception as error:
            # Whatever one ending does to the store, the next one must have its turn.
            raise StorageError from error
