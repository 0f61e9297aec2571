"""The identity behind a credential, and the port to an authority that checks credentials."""

import re
from dataclasses import dataclass
from typing import Protocol

_USER_ID = re.compile(r"[\x21-\x7e]{1,255}")


def is_user_id(text: str) -> bool:
    """1 to 255 ASCII characters, as in OpenID Connect, without spaces."""
    return _USER_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The content of a credential, which a cookie stores as well.

    `user_id` is None for a trusted key, which names its user with each request. `expires_at` is in
    seconds since 1970. `key` and `key_name` are the hash and the name of the API key, if the
    credential is one.
    """

    user_id: str | None
    expires_at: float | None = None
    key: str | None = None
    key_name: str | None = None
    is_operator: bool = False


class Authority(Protocol):
    async def identify(self, credential: str) -> Identity:
        """Raises: NotAuthenticated, IdentityUnavailable."""
        ...

    def still_vouches(self, identity: Identity) -> bool:
        """Whether an identity from an unexpired cookie is still valid: its key may be withdrawn."""
        ...
