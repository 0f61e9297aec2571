"""All storage ports together."""

from typing import Protocol

from backend.storage.ports.appointments import AppointmentStore
from backend.storage.ports.budgets import BudgetStore
from backend.storage.ports.profiles import ProfileStore
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.showrooms import ShowroomStore
from backend.storage.ports.summaries import SummaryStore
from backend.storage.ports.usage import UsageStore


class Stores(Protocol):
    """The opened stores. The code that opens them must call `close`."""

    sessions: SessionStore
    summaries: SummaryStore
    appointments: AppointmentStore
    profiles: ProfileStore
    showrooms: ShowroomStore
    usage: UsageStore
    budgets: BudgetStore

    async def ping(self) -> None:
        """Raises: StorageError."""
        ...

    async def maintain(self) -> None:
        """Prepare the storage of the next days. Call it at least daily. Raises: StorageError."""
        ...

    async def close(self) -> None: ...
