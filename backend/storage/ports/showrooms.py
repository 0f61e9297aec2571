"""The dealerships and the car line."""

from typing import Protocol

from backend.domain.showroom import Showroom


class ShowroomStore(Protocol):
    async def showroom(self) -> Showroom:
        """The dealerships and the car line; read once, at start: a change takes a restart."""
        ...
