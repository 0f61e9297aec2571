"""Customer profiles."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Profile:
    user_id: str
    name: str
    preferred_dealership_id: str | None = None


class ProfileStore(Protocol):
    async def profile(self, user_id: str) -> Profile | None: ...
