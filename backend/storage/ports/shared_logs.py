"""The event logs of running turns, readable by all workers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """The encoded events of a turn after position `after`, up to and including `last`."""

    turn_id: str
    after: int
    last: int
    events: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """Events from other workers, and whether one of those nudged this worker."""

    batches: Sequence[SharedBatch] = ()
    is_nudged: bool = False


class SharedLogStore(Protocol):
    """Shares the logs of running turns between workers.

    The logs may be lost at any time. They only make following faster; the session store decides.
    """

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        """Append batches, nudge workers to look at the session store, and delete forgotten logs.

        Writing a batch twice does no harm. So after a `StorageError`, which leaves open how much
        was written, simply write again.
        """
        ...

    async def check(self) -> None:
        """Try every command that reading and writing use, and leave nothing behind.

        Raises:
            StorageError: Redis refuses one of them. The message names the cause.
        """
        ...

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        """Wait briefly for a nudge to this worker, or for events after a turn's given position.

        `after` maps turn ids to the last position that the caller has. Empty after the time-out.
        """
        ...

    async def close(self) -> None: ...
