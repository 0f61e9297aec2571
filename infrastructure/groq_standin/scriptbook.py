"""The scripts that were pushed, and how often each has been played."""

from collections import OrderedDict
from dataclasses import dataclass

from infrastructure.groq_standin import script as scripts
from infrastructure.groq_standin.asked import Asked
from infrastructure.groq_standin.faults import AnyFault
from infrastructure.groq_standin.script import Round, Script, ScriptError

MAX_PUSHED = 10_000
MAX_COUNTS = 10_000


@dataclass(slots=True, eq=False)
class Pushed:
    """A script in the queue, and for how many more completions; none is for ever."""

    script: Script
    left: int | None
    played: int = 0

    def is_for(self, asked: Asked) -> bool:
        wanted = self.script
        if wanted.model is not None and wanted.model != asked.model:
            return False
        return wanted.contains is None or wanted.contains in asked.query


class ScriptBook:
    """Finds the round for a request: a pushed script that matches, else one in the query."""

    def __init__(self) -> None:
        self._pushed: list[Pushed] = []
        self._counts: OrderedDict[tuple[object, int], int] = OrderedDict()

    def push(self, script: Script) -> Pushed:
        """Put a script at the end of the queue.

        Raises:
            ScriptError: the queue is full.
        """
        if len(self._pushed) >= MAX_PUSHED:
            raise ScriptError(f"{MAX_PUSHED} scripts are waiting already")
        pushed = Pushed(script, script.answers)
        self._pushed.append(pushed)
        return pushed

    def forget(self) -> None:
        self._pushed.clear()
        self._counts.clear()

    def __len__(self) -> int:
        return len(self._pushed)

    def find(self, asked: Asked) -> tuple[Round, AnyFault | None] | None:
        """The round to play and the fault that is due in it.

        Raises:
            ScriptError: the query has a script that is none.
        """
        pushed = next((one for one in self._pushed if one.is_for(asked)), None)
        if pushed is not None:
            self._use(pushed)
            return self._round(pushed.script, asked, key=pushed)
        written = None if asked.wants_summary else scripts.in_query(asked.query)
        if written is None:
            return None
        return self._round(written, asked, key=written.key or asked.query)

    def _use(self, pushed: Pushed) -> None:
        pushed.played += 1
        if pushed.left is not None:
            pushed.left -= 1
            if pushed.left == 0:
                self._pushed.remove(pushed)

    def _round(self, script: Script, asked: Asked, *, key: object) -> tuple[Round, AnyFault | None]:
        played = script.round(asked.round)
        fault = played.fault
        if fault is not None and not self._is_due(fault, asked, (key, asked.round)):
            fault = None
        return played, fault

    def _is_due(self, fault: AnyFault, asked: Asked, place: tuple[object, int]) -> bool:
        if fault.model is not None and fault.model != asked.model:
            return False
        if fault.times is None:
            return True
        count = self._counts.pop(place, 0) + 1
        self._counts[place] = count
        if len(self._counts) > MAX_COUNTS:
            self._counts.popitem(last=False)
        return count <= fault.times
