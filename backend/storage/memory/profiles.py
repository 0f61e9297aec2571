"""Profiles of customers in a dict."""

from collections.abc import Sequence

from backend.storage.ports.profiles import Profile


class MemoryProfiles:
    def __init__(self, profiles: Sequence[Profile]) -> None:
        self._profiles = {profile.user_id: profile for profile in profiles}

    async def profile(self, user_id: str) -> Profile | None:
        return self._profiles.get(user_id)
