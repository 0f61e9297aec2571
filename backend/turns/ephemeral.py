"""Turns that store only their cost: a front end's own requests, such as for a title.

Like all turns, they have slots, limits and budgets, and a drain waits for them.
"""

from backend.domain.context_window import CHARACTERS_PER_TOKEN
from backend.domain.conversation import TurnRecord, in_turns
from backend.domain.errors import TurnNotFound
from backend.domain.turn_keys import TurnKey
from backend.storage.ports.sessions import Claim, Ending, NewTurn
from backend.storage.ports.usage import UsageStore


class Ephemeral:
    """Takes the place of the session store for these turns, and only fills the ledger.

    Each of them has a session of its own, which exists nowhere else.
    """

    def __init__(self, usage: UsageStore) -> None:
        self._usage = usage

    async def claim(
        self,
        new: NewTurn,
        /,
        *,
        history_tokens: int,  # noqa: ARG002 - the turn itself cuts what does not fit
        beside_characters: int,  # noqa: ARG002 - the same
    ) -> Claim:
        """Return the history that the caller sent."""
        return Claim(in_turns(new.given), CHARACTERS_PER_TOKEN)

    async def finish(self, ending: Ending) -> bool:
        await self._usage.enter(ending.owner, ending.calls)
        return True

    async def turn(self, owner: str, turn_id: str, /) -> TurnRecord:  # noqa: ARG002 - the port's
        raise TurnNotFound

    async def is_followed(self, turn: TurnKey) -> bool:  # noqa: ARG002 - the port's
        return False
