"""The settings of the provider that runs the models."""

import re
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from backend.settings.urls import ENCODE, is_upstream


class ProviderSettings(BaseSettings):
    provider: str = "groq"
    """The name of a provider in `app.llm_providers`, which refuses other names."""
    groq_api_key: SecretStr | None = None
    groq_base_url: str = Field("https://api.groq.com", repr=False)
    prices_file: Path | None = None

    @field_validator("groq_api_key")
    @classmethod
    def _strip_key(cls, value: SecretStr | None) -> SecretStr | None:
        """Drop the spaces and line ends that are often copied along with a key."""
        if value is None:
            return None
        key = value.get_secret_value().strip()
        if not re.fullmatch(r"[!-~]+", key):
            raise ValueError("a key consists of printable ASCII characters without spaces")
        return SecretStr(key)

    @field_validator("groq_base_url")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if not is_upstream(value):
            raise ValueError(
                f"it must be like https://host, without a path (the SDK adds it); {ENCODE}"
            )
        return value

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.provider == "groq" and self.groq_api_key is None:
            raise ValueError(
                "GROQ_API_KEY is not set. Put a key into the environment or .env, "
                "or use `make run`, which starts a stand-in for Groq if there is no key"
            )
        return self
