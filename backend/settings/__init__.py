"""The environment, read once.

A field has one name in three spellings: `model_name` here, `MODEL_NAME` in the
environment, `modelName` in a chart.
"""

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from backend.settings.auth import AuthSettings
from backend.settings.kinds import Count, Hours, ListOrNone, Seconds

_LIMIT = r"[1-9]\d{0,8} ?/ ?([1-9]\d{0,3} ?)?(second|minute|hour|day)s?"


class Settings(AuthSettings):
    model_config = SettingsConfigDict(
        env_file=("backend/.env", ".env"), env_ignore_empty=True, extra="ignore", frozen=True
    )

    groq_api_key: SecretStr
    groq_base_url: str = "https://api.groq.com"
    model_name: str = "llama-3.3-70b-versatile"
    model_fallbacks: ListOrNone = ("openai/gpt-oss-120b",)
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
    forwarded_allow_ips: ListOrNone = ("127.0.0.1",)

    max_streams: Count = 2000
    max_query_chars: Count = 4000
    max_body_bytes: Count = 65_536
    body_timeout_seconds: Seconds = 30

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

    @field_validator("groq_base_url")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s]+/?", value):
            raise ValueError("it must be https://host, and the SDK adds the path")
        return value

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
