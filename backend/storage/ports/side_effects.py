"""Tool calls with side effects, and the data that a store needs to record them."""

from dataclasses import dataclass

from backend.domain.conversation import Message, ToolCall
from backend.domain.turn_keys import TurnKey


class ClaimLost(Exception):
    """The turn no longer holds its session: another turn took over, or the session was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideEffect:
    """A tool call, and the turn that makes it.

    `messages` is what the turn would add to the history if it ended now. The last assistant message
    contains the call; outputs of other calls may follow it.
    """

    turn: TurnKey
    call: ToolCall
    messages: tuple[Message, ...]
