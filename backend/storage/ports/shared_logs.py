"""The logs of turns while they run, where all workers can read them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class SharedBatch:
    """Encoded events of a turn, from behind position `after` up to position `last`."""

    turn_id: str
    after: int
    last: int
    events: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """Events of other workers, and whether one of them nudged this one."""

    batches: Sequence[SharedBatch] = ()
    is_nudged: bool = False


class SharedLogStore(Protocol):
    """The logs of turns while they run, where all workers can read them.

    They may be lost at any moment: the session store is what counts, and this is quicker.
    """

    async def write(
        self,
        batches: Sequence[SharedBatch],
        *,
        nudged: Collection[str] = (),
        forgotten: Collection[str] = (),
    ) -> None:
        """Add what is not there yet, tell workers to look at the session store, and keep nothing
        of turns that are to be forgotten.

        After a `StorageError` nothing is known of what was written; to write it again does
        no harm.
        """
        ...

    async def check(self) -> None:
        """Do once what `write` does, and leave nothing behind.

        Raises:
            StorageError: any part of it is refused. Its message names the cause.
        """
        ...

    async def read(self, worker: str, after: Mapping[str, int]) -> Received:
        """Wait a moment for a nudge to this worker, or for events of turns behind a position."""
        ...

    async def close(self) -> None: ...
