"""The journal of a turn: its messages up to what it did to the world, in case that its worker dies.

A turn that ends stores its messages itself, and has no journal any more.
"""

from collections.abc import Sequence
from itertools import takewhile

from backend.domain.conversation import INTERRUPTED, Message, Role, as_json, unanswered


def with_output(
    messages: Sequence[Message], output: Message, *, kept: Sequence[Message]
) -> tuple[Message, ...]:
    """The journal after a call that was made when the turn had these messages. `kept` is the one
    before it, which may know more: outputs of calls that ran beside this one, or later rounds.
    To those the turn went on without an answer of this call, and told the model so.
    """
    if _rounds(kept) > _rounds(messages):
        return tuple(kept)
    known = {message.tool_call_id for message in (*_outputs(messages), output)}
    beside = _outputs(kept) if _rounds(kept) == _rounds(messages) else []
    siblings = [each for each in beside if each.tool_call_id not in known]
    return (*messages, *siblings, output)


def closed(journal: Sequence[Message]) -> tuple[Message, ...]:
    """The same for the history: every call has an output."""
    interrupted = as_json(INTERRUPTED)
    return (*journal, *(Message.tool(call, interrupted) for call in unanswered(journal)))


def _outputs(messages: Sequence[Message]) -> list[Message]:
    """Those of the newest round. Ids of calls are unique in a round, and not beyond."""
    newest = takewhile(lambda message: message.role is Role.TOOL, reversed(messages))
    return list(newest)[::-1]


def _rounds(messages: Sequence[Message]) -> int:
    return sum(message.role is Role.ASSISTANT for message in messages)
