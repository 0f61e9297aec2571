"""The dealerships and the car models, in memory."""

from backend.domain.showroom import Showroom


class MemoryShowrooms:
    def __init__(self, showroom: Showroom) -> None:
        self._showroom = showroom

    async def showroom(self) -> Showroom:
        return self._showroom
