"""The environment, read once.

A field has one name in three spellings: `model_name` here, `MODEL_NAME` in the
environment, `modelName` in a chart.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CommaSeparated = Annotated[tuple[str, ...], NoDecode]
Hours = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]

SHARED = ("HS256", "HS384", "HS512")
PUBLIC = (
    *("RS256", "ES256", "RS384", "RS512", "ES384", "ES512"),
    *("PS256", "PS384", "PS512", "EdDSA"),
)
"""Algorithms of signatures: who can check one of the first kind can make one as well."""

SECRET_CHARACTERS = 32

_LIMIT = r"[1-9]\d{0,8} ?/ ?([1-9]\d{0,3} ?)?(second|minute|hour|day)s?"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=("backend/.env", ".env"), env_ignore_empty=True, extra="ignore", frozen=True
    )

    groq_api_key: SecretStr
    groq_base_url: str = "https://api.groq.com"
    model_name: str = "llama-3.3-70b-versatile"
    model_fallbacks: CommaSeparated = ("openai/gpt-oss-120b",)
    max_completion_tokens: Count = 2048
    max_rounds: Count = 8
    history_tokens: Count = 16_000

    database_url: SecretStr = SecretStr("sqlite:///lex.db")
    migrate_on_start: bool = True
    lease_seconds: Seconds = 15
    event_log_hours: Hours = 24
    session_retention_days: Annotated[float, Field(ge=0)] = 0

    redis_url: SecretStr | None = None
    rate_limit_session: str = "20/minute;300/day"
    rate_limit_client: str = "120/minute"
    max_streams_per_client: Count = 20
    forwarded_allow_ips: CommaSeparated = ("127.0.0.1",)

    max_streams: Count = 2000
    max_query_chars: Count = 4000
    max_body_bytes: Count = 65_536
    body_timeout_seconds: Seconds = 30
    cors_origins: CommaSeparated = ("http://localhost:3000",)

    auth: Literal["none", "api_key", "jwt"] = "none"
    api_keys_file: Path | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_jwks_url: Annotated[str, Field(pattern=r"^https?://[^/\s]+\S*$")] | None = None
    jwt_secret: SecretStr | None = None
    jwt_algorithms: CommaSeparated = ()
    jwt_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 30
    session_cookie_secret: SecretStr | None = None
    session_cookie_hours: Hours = 12

    heartbeat_seconds: Seconds = 15
    chunk_flush_ms: Annotated[float, Field(ge=0)] = 25
    send_timeout_seconds: Seconds = 30
    disconnect_grace_seconds: Seconds = 30
    drain_seconds: Annotated[float, Field(ge=0)] = 60
    drain_accept_seconds: Annotated[float, Field(ge=0)] = 2
    turn_timeout_seconds: Seconds = 120
    tool_timeout_seconds: Seconds = 10
    summary_idle_seconds: Annotated[float, Field(ge=0)] = 60
    upstream_connect_seconds: Seconds = 5
    upstream_first_byte_seconds: Seconds = 30
    upstream_gap_seconds: Seconds = 20

    weather_provider: Literal["sample", "open-meteo"] = "sample"
    client_profile: Literal["standard", "legacy"] = "standard"
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = "auto"
    api_docs: bool = True
    debug: bool = False
    lex_revision: str = "unknown"

    @field_validator("model_fallbacks", "cors_origins", "forwarded_allow_ips", mode="before")
    @classmethod
    def _split_or_none(cls, value: object) -> object:
        """An empty variable counts as not set, so the word `none` says that there are none."""
        is_none = isinstance(value, str) and value.strip().lower() == "none"
        return () if is_none else _split(value)

    @field_validator("jwt_algorithms", mode="before")
    @classmethod
    def _split_algorithms(cls, value: object) -> object:
        """Here `none` would be an algorithm, and it is none that can be named."""
        return _split(value)

    @field_validator("groq_base_url")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s]+/?", value):
            raise ValueError("it must be https://host, and the SDK adds the path")
        return value

    @model_validator(mode="after")
    def _can_tell_who_asks(self) -> Self:
        if problem := _auth_problem(self):
            raise ValueError(problem)
        return self

    @property
    def signing_algorithms(self) -> tuple[str, ...]:
        """That a token may be signed with: those that were named, or what suits its keys."""
        return self.jwt_algorithms or (SHARED[:1] if self.jwt_secret else PUBLIC[:2])

    @property
    def session_cookie_secrets(self) -> tuple[str, ...]:
        """The first is the one in use; the others were, until a while ago."""
        secret = self.session_cookie_secret
        parts: tuple[str, ...] = _split(secret.get_secret_value()) if secret else ()
        return parts

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not re.match(r"(rediss?|unix)://.", value.get_secret_value()):
            raise ValueError("it must be redis://host:port/0, rediss:// or unix://")
        if value:
            # Raises a ValueError that names the port alone.
            _ = urlsplit(value.get_secret_value()).port
        return value

    @field_validator("rate_limit_session", "rate_limit_client")
    @classmethod
    def _is_a_limit(cls, value: str) -> str:
        """One or several, separated by semicolons; `none` is kept as an empty text."""
        if value.strip().lower() == "none":
            return ""
        limits = [limit.strip() for limit in value.split(";")]
        if not all(re.fullmatch(_LIMIT, limit) for limit in limits):
            raise ValueError("it must be like 20/minute;300/day, or none")
        return ";".join(limits)

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """uvicorn would take whatever is none for a name, and trust nobody."""
        for address in value:
            if address != "*":
                ipaddress.ip_network(address)
        return value

    @property
    def models(self) -> tuple[str, ...]:
        """In the order in which they are tried, without repetition."""
        return tuple(dict.fromkeys((self.model_name, *self.model_fallbacks)))

    @classmethod
    def read(cls) -> Self:
        """Read the environment.

        Raises:
            SystemExit: with one line that names the variable that is missing or wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            raise SystemExit(_one_line(error)) from None


def _auth_problem(settings: Settings) -> str | None:
    """What is missing for the chosen `AUTH`, or contradicts it, told with the variable's name."""
    auth = settings.auth
    if auth == "none":
        return None
    if "*" in settings.cors_origins:
        return f"CORS_ORIGINS cannot be * with AUTH={auth}: name the pages that may call"
    secrets = settings.session_cookie_secrets
    if not secrets or min(map(len, secrets)) < SECRET_CHARACTERS:
        return (
            f"SESSION_COOKIE_SECRET must have {SECRET_CHARACTERS} characters or more with "
            f"AUTH={auth}, the same for all workers: openssl rand -hex 32 makes one"
        )
    if auth == "jwt":
        return _jwt_problem(settings)
    return None if settings.api_keys_file else "API_KEYS_FILE is not set, and AUTH=api_key needs it"


def _jwt_problem(settings: Settings) -> str | None:
    for name in ("jwt_issuer", "jwt_audience"):
        if not getattr(settings, name):
            return f"{name.upper()} is not set, and AUTH=jwt needs it"
    secret = settings.jwt_secret
    if (secret is None) == (settings.jwt_jwks_url is None):
        return "JWT_JWKS_URL or JWT_SECRET must be set with AUTH=jwt, and not both"
    keys, usable = ("JWT_SECRET", SHARED) if secret else ("JWT_JWKS_URL", PUBLIC)
    for algorithm in settings.jwt_algorithms:
        if algorithm not in usable:
            return f"JWT_ALGORITHMS cannot have {algorithm} with {keys}: {', '.join(usable)} can be"
    # As many bytes as the digest has, or PyJWT takes no signature.
    needed = max(int(each[2:]) // 8 for each in settings.signing_algorithms) if secret else 0
    if secret and len(secret.get_secret_value().encode()) < needed:
        return f"JWT_SECRET must have {needed} bytes or more for its algorithm"
    return None


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # what does not fit together; its message begins with the name
        return f"lex: {reason}."
    name = str(first["loc"][0]).upper()
    if name == "GROQ_API_KEY" and first["type"] == "missing":
        return (
            "lex: GROQ_API_KEY is not set. Put a key into the environment or into .env, "
            "or use `make run`, which starts a stand-in when there is no key."
        )
    return f"lex: {name} cannot be used: {reason}."
