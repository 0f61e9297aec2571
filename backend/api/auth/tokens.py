"""Check JSON Web Tokens. Also the port to the keys that verify their signatures."""

from collections.abc import Collection
from typing import Any, Protocol

import jwt

from backend.api.auth.identity import Identity, is_user_id
from backend.domain.errors import NotAuthenticated


class SigningKeys(Protocol):
    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | bytes:
        """Raises: NotAuthenticated (no such key), IdentityUnavailable (keys not fetched)."""
        ...


class SharedSecret:
    """`SigningKeys` for HS256 and similar: the same secret signs and verifies."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    async def find(self, kid: str | None, algorithm: str) -> bytes:  # noqa: ARG002
        return self._secret


OPERATOR = "operator"
"""The role that sees the usage of all users."""


class Tokens:
    """An `Authority` for tokens.

    It only accepts configured algorithms: the token's `alg` header is an attacker's choice.
    """

    def __init__(
        self,
        keys: SigningKeys,
        *,
        issuer: str,
        audience: str,
        algorithms: Collection[str],
        leeway_seconds: float,
        roles_claim: str = "roles",
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._algorithms = tuple(algorithms)
        self._leeway_seconds = leeway_seconds
        self._roles_claim = roles_claim

    async def identify(self, credential: str) -> Identity:
        """Raises: NotAuthenticated, IdentityUnavailable."""
        try:
            claims = await self._claims(credential)
            identity = Identity(
                user_id=claims["sub"],
                expires_at=float(claims["exp"]),
                is_operator=OPERATOR in _roles(claims.get(self._roles_claim)),
            )
        except (jwt.PyJWTError, UnicodeError, OverflowError) as error:
            raise NotAuthenticated from error
        if not is_user_id(claims["sub"]):
            raise NotAuthenticated
        return identity

    async def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise NotAuthenticated
        claims: dict[str, Any] = jwt.decode(
            token,
            await self._keys.find(header.get("kid"), algorithm),
            algorithms=[algorithm],
            issuer=self._issuer,
            audience=self._audience,
            leeway=self._leeway_seconds,
            options={
                "require": ["exp", "iss", "aud", "sub"],
                "enforce_minimum_key_length": True,
            },
        )
        return claims

    def still_vouches(self, identity: Identity) -> bool:  # noqa: ARG002
        """Always True: tokens cannot be revoked before they expire."""
        return True


def _roles(claimed: Any) -> Collection[str]:
    """Return the roles in a claim: a list, or a text with spaces between, as in `scope`."""
    if isinstance(claimed, str):
        return claimed.split()
    return [role for role in claimed if isinstance(role, str)] if isinstance(claimed, list) else ()
