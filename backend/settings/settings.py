"""All settings with their types, limits and defaults.

A setting has one name in three spellings: `model_name` here, `MODEL_NAME` in the environment and
`modelName` in the chart. docs/configuration.md explains each.
"""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from backend.network.host_names import HostPattern
from backend.settings.auth import SECRET_CHARACTERS, AuthSettings
from backend.settings.env_files import FILES, UnknownName, unknown_names, unreadable_file
from backend.settings.llm_provider import ProviderSettings
from backend.settings.redis_urls import unusable_redis
from backend.settings.types import Count, Hours, ListOrNone, Seconds
from backend.settings.urls import ENCODE, unusable_address
from backend.telemetry.redaction import secrets_in_url, secrets_of_environment

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)

_WINDOW = r" ?/ ?([1-9]\d{0,3} ?)?(second|minute|hour|day)s?"
_LIMIT = rf"[1-9]\d{{0,8}}{_WINDOW}"
_COST = rf"(?!0+(\.0+)? ?/)\d{{1,9}}(\.\d{{1,6}})?{_WINDOW}"


class Settings(ProviderSettings, AuthSettings):
    model_config = SettingsConfigDict(
        env_file=FILES, env_ignore_empty=True, extra="ignore", frozen=True
    )

    model_name: str = "llama-3.3-70b-versatile"
    model_fallbacks: ListOrNone = ("openai/gpt-oss-120b", "openai/gpt-oss-20b")
    max_completion_tokens: Count = 2048
    max_rounds: Count = 8
    max_tool_calls: Count = 16
    max_argument_bytes: Count = 65_536
    max_completion_bytes: Count = 1_048_576
    history_tokens: Count = 16_000

    database_url: SecretStr = SecretStr("sqlite:///lex.db")
    database_pool_size: Count = 4
    database_prepared: Literal["auto", "off"] = "auto"
    migrate_on_start: bool = True
    migrate_database_url: SecretStr | None = None
    lease_seconds: Seconds = 15
    event_log_hours: Hours = 24
    session_retention_days: Annotated[float, Field(ge=0)] = 0
    usage_retention_days: Annotated[float, Field(ge=0)] = 0

    redis_url: SecretStr | None = None
    rate_limit_session: str = "20/minute;300/day"
    rate_limit_client: str = "120/minute;2000/day"
    rate_limit_sessions: str = "60/minute"
    token_budget_session: str = ""
    token_budget_client: str | None = None
    cost_budget_client: str = ""
    max_streams_per_client: Count = 20
    max_readers_per_client: Count = 100
    max_sockets_per_client: Count = 50
    forwarded_allow_ips: ListOrNone = ("127.0.0.1",)

    max_streams: Count = 2000
    max_query_chars: Count = 4000
    max_body_bytes: Count = 65_536
    max_chat_body_bytes: Count = 524_288
    body_timeout_seconds: Seconds = 30

    heartbeat_seconds: Seconds = 15
    chunk_flush_ms: Annotated[float, Field(ge=0)] = 25
    send_timeout_seconds: Seconds = 30
    socket_idle_seconds: Seconds = 600
    disconnect_grace_seconds: Seconds = 30
    drain_seconds: Annotated[float, Field(ge=0)] = 60
    drain_accept_seconds: Annotated[float, Field(ge=0)] = 2
    turn_timeout_seconds: Seconds = 120
    tool_timeout_seconds: Seconds = 10
    summary_idle_seconds: Annotated[float, Field(ge=0)] = 60
    upstream_connect_seconds: Seconds = 5
    upstream_first_byte_seconds: Seconds = 30
    upstream_first_delta_seconds: Seconds = 60
    upstream_gap_seconds: Seconds = 20

    openai_session_headers: ListOrNone = ("X-OpenWebUI-Chat-Id", "X-Conversation-Id")
    weather_provider: Literal["sample", "open-meteo"] = "sample"
    client_profile: Literal["standard", "legacy"] = "standard"
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    log_level: LogLevel = "INFO"
    log_level_file: Path | None = None
    log_format: Literal["auto", "json", "text"] = "auto"
    log_hash_key: SecretStr | None = None
    trace_context: Literal["link", "follow"] = "link"
    trace_slow_seconds: Seconds = 10
    api_docs: bool = True
    debug: bool = False
    lex_revision: str = "unknown"

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            HostPattern.read(host)
        return value

    @field_validator("openai_session_headers")
    @classmethod
    def _check_headers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9-]+", name):
                raise ValueError(f"{name!r} is not the name of a header")
        return value

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value and (reason := unusable_redis(value.get_secret_value())):
            raise ValueError(reason)
        return value

    @field_validator("log_hash_key")
    @classmethod
    def _check_hash_key(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse a short key: who knows a hash could try all keys, and then all addresses."""
        if value and len(value.get_secret_value()) < SECRET_CHARACTERS:
            raise ValueError(
                f"it must have at least {SECRET_CHARACTERS} characters: create one for all "
                "workers with `openssl rand -hex 32`"
            )
        return value

    @field_validator("rate_limit_session", "rate_limit_client", "rate_limit_sessions")
    @classmethod
    def _split_limits(cls, value: str) -> str:
        """Check limits that are separated by semicolons; `none` becomes an empty string."""
        if value.strip().lower() == "none":
            return ""
        limits = [limit.strip() for limit in value.split(";")]
        if not all(re.fullmatch(_LIMIT, limit) for limit in limits):
            raise ValueError(f"it must be like 20/minute;300/day, or none, not {value!r}")
        return ";".join(limits)

    @field_validator("token_budget_session", "token_budget_client", "cost_budget_client")
    @classmethod
    def _split_budgets(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Check budgets that are separated by semicolons; `none` becomes an empty string."""
        if value is None or value.strip().lower() in ("", "none"):
            return value and ""
        is_cost = str(info.field_name).startswith("cost")
        pattern, example = (_COST, "2.50/day") if is_cost else (_LIMIT, "100000/day;20000/hour")
        parts = [part.strip() for part in value.split(";")]
        if not all(re.fullmatch(pattern, part) for part in parts):
            raise ValueError(f"it must be like {example}, or none, not {value!r}")
        return ";".join(parts)

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _check_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse anything but addresses, networks and `*`.

        uvicorn would silently take other text for a host name, and trust no proxy.
        """
        for address in value:
            if address != "*":
                ipaddress.ip_network(address)
        return value

    @property
    def models(self) -> tuple[str, ...]:
        """The model and its fallbacks, in the order in which they are tried, each once."""
        return tuple(dict.fromkeys((self.model_name, *self.model_fallbacks)))

    @property
    def secrets(self) -> list[str]:
        """Every value that messages must hide, with those of variables that only libraries read."""
        hidden = [
            self.groq_api_key,
            self.jwt_secret,
            self.session_cookie_secret,
            self.log_hash_key,
        ]
        hidden_urls = [self.database_url, self.migrate_database_url, self.redis_url]
        urls = [self.groq_base_url, self.jwt_jwks_url or ""]
        urls += [each.get_secret_value() for each in hidden_urls if each is not None]
        return [
            *(each.get_secret_value() for each in hidden if each is not None),
            *(secret for url in urls for secret in secrets_in_url(url)),
            *secrets_of_environment(os.environ),
        ]

    @classmethod
    def read(cls) -> Self:
        """Read the environment and the files.

        Raises:
            SystemExit: with one line that names the missing or wrong variable.
        """
        if name := unusable_address(os.environ):
            raise SystemExit(
                f"lex: {name} cannot be used: it must be a URL like "
                f"http://user:password@host:port; {ENCODE}."
            )
        if file := unreadable_file():
            raise SystemExit(f"lex: {file} cannot be read: it is not UTF-8 text. Save it as UTF-8.")
        try:
            return cls()
        except ValidationError as error:
            raise SystemExit(_one_line(error)) from None

    @classmethod
    def unknown_names(cls) -> list[UnknownName]:
        """Misspelt settings in the files.

        The environment is not searched: its names may belong to any program.
        """
        return list(unknown_names([name.upper() for name in cls.model_fields]))


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # settings that do not fit together; the message starts with a name
        return f"lex: {reason}."
    name = str(first["loc"][0]).upper()
    if first["type"] != "value_error":
        # Pydantic's own messages are about numbers, words of a list and booleans, never a secret.
        # Our validators see secrets, and quote a value themselves where that is safe.
        wanted = reason.replace("Input should be", "it must be").partition(", unable to")[0]
        reason = f"{wanted}, not {first['input']!r}"
    return f"lex: {name} cannot be used: {reason}."
