"""The dealerships and the car models."""

from typing import Protocol

from backend.domain.showroom import Showroom


class ShowroomStore(Protocol):
    async def showroom(self) -> Showroom:
        """Return the showroom. The app reads it once, at start, so a change takes a restart."""
        ...
