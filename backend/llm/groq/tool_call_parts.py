"""Assembles tool calls from their parts, in linear time.

Groq sends a call in one part. Other servers send its arguments in many parts. They mark the call
that a part belongs to by index, by id, or only by the order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from backend.domain.conversation import ToolCall
from backend.domain.errors import UpstreamGarbled
from backend.domain.text import clean, size_of
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.frame_shapes import CallPart, Function

MAX_NAME = 256
"""Maximum length of a name or an id, in characters. Real ones have about 40."""


class _Call:
    __slots__ = ("argument_bytes", "arguments", "id", "name", "order")

    def __init__(self, order: int) -> None:
        self.order = order
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.argument_bytes = 0

    def is_over_before(self, function: Function) -> bool:
        """Whether a part, possibly without an id, begins the next call.

        It does if it names another function. Some servers repeat the name in each part. Then the
        next call shows in its `{` after the `}` of this one.
        """
        if not function.name or not self.name:
            return False
        if function.name != self.name:
            return True
        is_closed = bool(self.arguments) and self.arguments[-1].rstrip().endswith("}")
        return is_closed and (function.arguments or "").lstrip().startswith("{")


class ToolCallParts:
    """Collects the parts of a completion's tool calls, within the size limits."""

    def __init__(self, bounds: CompletionBounds) -> None:
        self._bounds = bounds
        self._calls: list[_Call] = []
        self._newest: dict[int | None, _Call] = {}
        """The newest call of each index. The key None has the newest call of all."""
        self._by_id: dict[tuple[int | None, str], _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, part: CallPart) -> int:
        """Take one part. Returns how many bytes of it are kept.

        Raises:
            UpstreamGarbled: there are too many calls, or the arguments are too long.
        """
        function = part.function or Function()
        if not (part.id or function.name or function.arguments):
            return 0
        call = self._continued(part, function) or self._begun(part)
        self._newest[part.index] = self._newest[None] = call
        if part.id:
            self._by_id[part.index, part.id] = self._by_id[None, part.id] = call
        kept = 0
        if part.id and not call.id:
            call.id = part.id
            kept += size_of(part.id)
        if function.name and not call.name:
            call.name = function.name
            kept += size_of(function.name)
        return kept + self._add_arguments(call, function.arguments)

    def _continued(self, part: CallPart, function: Function) -> _Call | None:
        """Return the call that this part continues; None if the part begins a new call."""
        call = self._by_id.get((part.index, part.id)) if part.id else None
        call = call or self._newest.get(part.index)
        if call is None or (part.id and call.id and part.id != call.id):
            return None
        return None if call.is_over_before(function) else call

    def _begun(self, part: CallPart) -> _Call:
        if len(self._calls) == self._bounds.max_tool_calls:
            raise UpstreamGarbled("The assistant asked for too many tools at once.")
        if part.index is not None:
            order = part.index
        else:
            # A call without an index goes right behind the call before it.
            order = self._calls[-1].order if self._calls else 0
        call = _Call(order)
        self._calls.append(call)
        return call

    def _add_arguments(self, call: _Call, arguments: str | None) -> int:
        if not arguments:
            return 0
        size = size_of(arguments)
        call.argument_bytes += size
        if call.argument_bytes > self._bounds.max_argument_bytes:
            raise UpstreamGarbled("The arguments of the assistant's tool call are too long.")
        call.arguments.append(arguments)
        return size

    def calls(self) -> list[ToolCall]:
        """Return the calls in the order of their indexes.

        Their ids are unique, because outputs are matched to calls by id.
        """
        # The sort is stable: calls with the same index stay in their order.
        ordered = sorted(self._calls, key=lambda call: call.order)
        ids = [clean(call.id or f"call_{place}")[:MAX_NAME] for place, call in enumerate(ordered)]
        return [
            ToolCall(call_id, clean(call.name)[:MAX_NAME], clean("".join(call.arguments)))
            for call_id, call in zip(_unique(ids), ordered, strict=True)
        ]


def is_complete(call: ToolCall) -> bool:
    """Whether a call from a truncated answer is complete: its arguments are valid JSON."""
    try:
        msgspec.json.decode(call.arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return bool(call.name)


def _unique(ids: Iterable[str]) -> Iterator[str]:
    taken: set[str] = set()
    repeats: Counter[str] = Counter()
    for wanted in ids:
        unique = wanted
        while unique in taken:
            repeats[wanted] += 1
            unique = f"{wanted}_{repeats[wanted]}"
        taken.add(unique)
        yield unique
