"""The cookie that stands for a credential. It is encrypted, and any worker or pod can open it.

To revoke a cookie before it expires, withdraw its API key, or remove the secret that sealed it.
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
"""Browsers do not store longer cookies."""


class Sealed(NamedTuple):
    value: str
    seconds: int
    expires_at: datetime


class Cookies:
    """The first secret seals, all of them open, so secrets can be rotated.

    A cookie can only be opened with the `context` that it was sealed with.
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
        """Seal an identity. The cookie expires with the credential, or earlier.

        Raises: NotAuthenticated, if the credential has expired.
        """
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
        """Return the identity in a cookie; None if it is invalid or has expired."""
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
    # The context is part of the key, so a cookie of another issuer or `AUTH` cannot be opened.
    key = hmac.digest(secret.encode(), f"lex session cookie {context}".encode(), "sha256")
    return Fernet(base64.urlsafe_b64encode(key))
