"""The kinds of turns: those that are stored in their session, and those that are not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from backend.agent.loop import Turn
from backend.domain.conversation import Caller
from backend.storage.ports.usage import UsageStore
from backend.turns.ephemeral import Ephemeral
from backend.turns.turn_task import ClaimSession, TurnStore

OpenTurn = Callable[[Caller, str], Turn]
"""Creates the turn of a caller and a query, without starting it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a kind of turn is opened, claimed and finished."""

    open_turn: OpenTurn
    claim: ClaimSession
    store: TurnStore

    @classmethod
    def ephemeral(cls, open_turn: OpenTurn, usage: UsageStore) -> Self:
        """Turns that are not stored. Only their calls are, in the ledger."""
        store = Ephemeral(usage)
        return cls(open_turn=open_turn, claim=store.claim, store=store)
