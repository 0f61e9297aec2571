"""Tool calls that change the world, with what a store must know of them."""

from dataclasses import dataclass

from backend.domain.conversation import Message, ToolCall


class ClaimLost(Exception):
    """The turn does not hold its session any more: it was taken over, or its session deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideEffect:
    """A call, and the turn that asks for it.

    `messages` are what the turn would add to the history if it ended now: the newest message of
    the assistant has the call in it, and outputs may follow that one already.
    """

    turn_id: str
    call: ToolCall
    messages: tuple[Message, ...]
