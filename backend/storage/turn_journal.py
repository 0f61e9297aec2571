"""The journal of a turn: its messages up to its latest side effect.

If the worker dies, the next turn finds these messages in the history. A turn that ends stores its
messages itself, and its journal is dropped.
"""

from collections.abc import Sequence
from itertools import takewhile

from backend.domain.conversation import INTERRUPTED, Message, Role, as_json, unanswered


def with_output(
    messages: Sequence[Message], output: Message, *, kept: Sequence[Message]
) -> tuple[Message, ...]:
    """Return the journal with one more tool output.

    `messages` are the turn's messages when the call started, `kept` is the journal so far. Parallel
    calls may have added their outputs to `kept` meanwhile; those stay. If `kept` has reached a
    later round, the turn already told the model that this call has no output: `kept` stays as is.
    """
    if _rounds(kept) > _rounds(messages):
        return tuple(kept)
    known = {message.tool_call_id for message in (*_outputs(messages), output)}
    beside = _outputs(kept) if _rounds(kept) == _rounds(messages) else []
    siblings = [each for each in beside if each.tool_call_id not in known]
    return (*messages, *siblings, output)


def closed(journal: Sequence[Message]) -> tuple[Message, ...]:
    """Return the journal as the history needs it: calls without an output get `INTERRUPTED`."""
    interrupted = as_json(INTERRUPTED)
    return (*journal, *(Message.tool(call, interrupted) for call in unanswered(journal)))


def _outputs(messages: Sequence[Message]) -> list[Message]:
    """The tool outputs of the newest round. Call ids are only unique within a round."""
    newest = takewhile(lambda message: message.role is Role.TOOL, reversed(messages))
    return list(newest)[::-1]


def _rounds(messages: Sequence[Message]) -> int:
    return sum(message.role is Role.ASSISTANT for message in messages)
