"""All storage ports in memory, filled with the sample data."""

from dataclasses import dataclass

from backend.storage.memory.appointments import MemoryAppointments
from backend.storage.memory.budgets import MemoryBudgets
from backend.storage.memory.profiles import MemoryProfiles
from backend.storage.memory.sessions import MemorySessions
from backend.storage.memory.showrooms import MemoryShowrooms
from backend.storage.memory.summaries import MemorySummaries
from backend.storage.ports.appointments import AppointmentStore
from backend.storage.ports.budgets import BudgetStore
from backend.storage.ports.profiles import ProfileStore
from backend.storage.ports.sessions import SessionStore
from backend.storage.ports.showrooms import ShowroomStore
from backend.storage.ports.summaries import SummaryStore
from backend.storage.ports.usage import UsageStore
from backend.storage.seed import read_seed


@dataclass(slots=True)
class MemoryStores:
    sessions: SessionStore
    summaries: SummaryStore
    appointments: AppointmentStore
    profiles: ProfileStore
    showrooms: ShowroomStore
    usage: UsageStore
    budgets: BudgetStore

    async def ping(self) -> None:
        """Does nothing: memory is always there."""

    async def maintain(self) -> None:
        """Does nothing: memory needs no preparation."""

    async def close(self) -> None:
        """Does nothing: there is nothing to close."""


def memory_stores(*, lease_seconds: float) -> MemoryStores:
    seed = read_seed()
    sessions = MemorySessions(lease_seconds=lease_seconds)
    return MemoryStores(
        sessions,
        MemorySummaries(sessions),
        MemoryAppointments(sessions),
        MemoryProfiles(seed.profiles),
        MemoryShowrooms(seed.showroom),
        sessions.usage,
        MemoryBudgets(),
    )
