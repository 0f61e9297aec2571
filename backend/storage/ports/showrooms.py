"""The dealerships and the car models."""

from typing import Protocol

from backend.domain.showroom import Showroom


class ShowroomStore(Protocol):
    async def showroom(self) -> Showroom:
        """Return the dealerships and the car models. The app reads them once, at start."""
        ...
