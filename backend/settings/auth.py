"""The settings of authentication, and those that each kind of `AUTH` needs or forbids."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from backend.settings.types import CommaSeparated, Hours, ListOrNone, split
from backend.settings.urls import is_page

SHARED = ("HS256", "HS384", "HS512")
PUBLIC = (
    *("RS256", "ES256", "RS384", "RS512", "ES384", "ES512"),
    *("PS256", "PS384", "PS512", "EdDSA"),
)
"""Signature algorithms. With a `SHARED` one, the key that verifies a token can also sign one."""

SECRET_CHARACTERS = 32


class AuthSettings(BaseSettings):
    cors_origins: ListOrNone = ("http://localhost:3000",)
    allowed_hosts: ListOrNone = ()
    auth: Literal["none", "api_key", "jwt"] = "none"
    allow_anonymous: bool = False
    api_keys_file: Path | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_url: str | None = Field(None, repr=False)
    jwt_secret: SecretStr | None = None
    # Not `ListOrNone`: here the word `none` would name JWT's unsigned algorithm, which is refused.
    jwt_algorithms: CommaSeparated = ()
    jwt_roles_claim: str = Field("roles", min_length=1)
    jwt_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30
    session_cookie_secret: SecretStr | None = None
    session_cookie_hours: Hours = 12

    @field_validator("jwt_jwks_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value and not is_page(value):
            raise ValueError("it must be a URL like https://issuer/keys")
        return value

    @model_validator(mode="after")
    def _check_auth(self) -> Self:
        if problem := _problem(self):
            raise ValueError(problem)
        return self

    @property
    def signing_algorithms(self) -> tuple[str, ...]:
        """The algorithms that tokens may use: `JWT_ALGORITHMS`, or the default for their keys."""
        return self.jwt_algorithms or (SHARED[:1] if self.jwt_secret else PUBLIC[:2])

    @property
    def session_cookie_secrets(self) -> tuple[str, ...]:
        """The first seals new cookies; the others are older ones that still open cookies."""
        secret = self.session_cookie_secret
        parts: tuple[str, ...] = split(secret.get_secret_value()) if secret else ()
        return parts


def _problem(settings: AuthSettings) -> str | None:
    """Name the first variable that is missing for the chosen `AUTH` or contradicts it.

    None if all fit. The text starts with the name of the variable.
    """
    auth = settings.auth
    if auth == "none":
        return None
    if "*" in settings.cors_origins:
        return f"CORS_ORIGINS cannot be * with AUTH={auth}: list the origins that may call"
    secrets = settings.session_cookie_secrets
    if not secrets or min(map(len, secrets)) < SECRET_CHARACTERS:
        return (
            f"SESSION_COOKIE_SECRET must have at least {SECRET_CHARACTERS} characters with "
            f"AUTH={auth}: create one for all workers with `openssl rand -hex 32`"
        )
    if auth == "jwt":
        return _jwt_problem(settings)
    return None if settings.api_keys_file else "API_KEYS_FILE is not set, and AUTH=api_key needs it"


def _jwt_problem(settings: AuthSettings) -> str | None:
    for name in ("jwt_issuer", "jwt_audience"):
        if not getattr(settings, name):
            return f"{name.upper()} is not set, and AUTH=jwt needs it"
    secret = settings.jwt_secret
    if (secret is None) == (settings.jwt_jwks_url is None):
        return "JWT_JWKS_URL or JWT_SECRET must be set with AUTH=jwt, but not both"
    keys, usable = ("JWT_SECRET", SHARED) if secret else ("JWT_JWKS_URL", PUBLIC)
    for algorithm in settings.jwt_algorithms:
        if algorithm not in usable:
            allowed = ", ".join(usable)
            return f"JWT_ALGORITHMS cannot include {algorithm} with {keys}: choose from {allowed}"
    # PyJWT refuses a key with fewer bytes than the algorithm's digest.
    needed = max(int(each[2:]) // 8 for each in settings.signing_algorithms) if secret else 0
    if secret and len(secret.get_secret_value().encode()) < needed:
        algorithms = ", ".join(settings.signing_algorithms)
        return f"JWT_SECRET must have at least {needed} bytes for {algorithms}"
    return None
