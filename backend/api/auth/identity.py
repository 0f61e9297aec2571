"""Whom a credential speaks for, and the port to what can tell."""

import re
from dataclasses import dataclass
from typing import Protocol

_USER_ID = re.compile(r"[\x21-\x7e]{1,255}")


def is_user_id(text: str) -> bool:
    """As OpenID Connect has it: up to 255 characters of ASCII. Blanks are in none."""
    return _USER_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is known from a credential, and what a cookie keeps of it.

    `user_id` is None for a trusted key, which says with each request for whom it asks.
    `expires_at` is in seconds since 1970. `key` is the hash of the API key that vouches.
    """

    user_id: str | None
    expires_at: float | None = None
    key: str | None = None


class Authority(Protocol):
    async def identify(self, credential: str) -> Identity:
        """Raises: NotAuthenticated, IdentityUnavailable."""
        ...

    def still_vouches(self, identity: Identity) -> bool:
        """Whether what was identified a while ago, and has not expired, still holds."""
        ...
