"""The cookie that stands for a credential: sealed, so that every worker and pod can open it.

Cookies are not stored. One ends before its time when its API key is withdrawn, or when the secret
that sealed it is removed.
"""

import base64
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from backend.api.auth.identity import Identity
from backend.domain.errors import NotAuthenticated

MAX_CHARACTERS = 4096
"""More than a browser would send back."""


class Sealed(NamedTuple):
    value: str
    seconds: int
    expires_at: datetime


class Cookies:
    """The first secret seals, all of them open: that is how one is replaced.

    `context` is what a cookie holds for: under another one it cannot be opened.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        context: str,
        lifetime_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._seals = MultiFernet([_seal(secret, context) for secret in secrets])
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock

    def seal(self, identity: Identity) -> Sealed:
        """It never outlives the credential. Raises: NotAuthenticated, if that has expired."""
        now = self._clock()
        expires_at = now + self._lifetime_seconds
        if identity.expires_at is not None:
            expires_at = min(expires_at, identity.expires_at)
        if (seconds := int(expires_at - now)) <= 0:
            raise NotAuthenticated
        body = msgspec.json.encode(replace(identity, expires_at=expires_at))
        value = self._seals.encrypt(body).decode()
        return Sealed(value, seconds, datetime.fromtimestamp(expires_at, UTC))

    def open(self, value: str) -> Identity | None:
        """None for what we did not seal, and for what has expired."""
        if len(value) > MAX_CHARACTERS:
            return None
        try:
            body = self._seals.decrypt(value.encode())
            identity = msgspec.json.decode(body, type=Identity)
        except (InvalidToken, msgspec.DecodeError, UnicodeError):
            return None
        is_over = identity.expires_at is None or identity.expires_at <= self._clock()
        return None if is_over else identity


def _seal(secret: str, context: str) -> Fernet:
    key = hmac.digest(secret.encode(), f"lex session cookie {context}".encode(), "sha256")
    return Fernet(base64.urlsafe_b64encode(key))
