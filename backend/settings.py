"""The environment, read once.

A field has one name in three spellings: `model_name` here, `MODEL_NAME` in the
environment, `modelName` in a chart.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

CommaSeparated = Annotated[tuple[str, ...], NoDecode]
Hours = Annotated[float, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


def _of_redis(url: SecretStr) -> SecretStr:
    if not re.match(r"(redis|rediss|unix)://", url.get_secret_value()):
        raise ValueError("it must begin with redis://, rediss:// or unix://")
    return url


RedisUrl = Annotated[SecretStr, AfterValidator(_of_redis)]


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
    redis_url: RedisUrl | None = None
    lease_seconds: Seconds = 15
    event_log_hours: Hours = 24

    max_streams: Count = 2000
    max_query_chars: Count = 4000
    max_body_bytes: Count = 65_536
    cors_origins: CommaSeparated = ("http://localhost:3000",)

    heartbeat_seconds: Seconds = 15
    chunk_flush_ms: Annotated[float, Field(ge=0)] = 25
    send_timeout_seconds: Seconds = 30
    disconnect_grace_seconds: Seconds = 30
    drain_seconds: Annotated[float, Field(ge=0)] = 60
    drain_accept_seconds: Annotated[float, Field(ge=0)] = 2
    turn_timeout_seconds: Seconds = 120
    tool_timeout_seconds: Seconds = 10
    upstream_connect_seconds: Seconds = 5
    upstream_first_byte_seconds: Seconds = 30
    upstream_gap_seconds: Seconds = 20

    weather_provider: Literal["sample", "open-meteo"] = "sample"
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "text"] = "auto"
    api_docs: bool = True
    debug: bool = False
    lex_revision: str = "unknown"

    @field_validator("model_fallbacks", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """An empty variable counts as not set, so the word `none` says that there are none."""
        if not isinstance(value, str):
            return value
        if value.strip().lower() == "none":
            return ()
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("groq_base_url")
    @classmethod
    def _is_a_host(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^/\s]+/?", value):
            raise ValueError("it must be https://host, and the SDK adds the path")
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
    name = str(first["loc"][0]).upper()
    if name == "GROQ_API_KEY" and first["type"] == "missing":
        return (
            "lex: GROQ_API_KEY is not set. Put a key into the environment or into .env, "
            "or use `make run`, which starts a stand-in when there is no key."
        )
    reason = first["msg"].removeprefix("Value error, ")
    return f"lex: {name} cannot be used: {reason}."
