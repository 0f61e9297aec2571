"""Who runs the models: the settings of `PROVIDER`, and what each of its kinds needs."""

import re
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings

from backend.settings.urls import ENCODE, is_upstream


class ProviderSettings(BaseSettings):
    provider: str = "groq"
    """One of `app.llm_providers`, which refuses any other name."""
    groq_api_key: SecretStr | None = None
    groq_base_url: str = Field("https://api.groq.com", repr=False)

    @field_validator("groq_api_key")
    @classmethod
    def _strip_key(cls, value: SecretStr | None) -> SecretStr | None:
        """Without the blanks and line ends that come along when a key is copied."""
        if value is None:
            return None
        key = value.get_secret_value().strip()
        if not re.fullmatch(r"[!-~]+", key):
            raise ValueError("a key has printable ASCII characters alone, and no blank")
        return SecretStr(key)

    @field_validator("groq_base_url")
    @classmethod
    def _check_host(cls, value: str) -> str:
        if not is_upstream(value):
            raise ValueError(
                f"it must be https://host, and the SDK adds the path; with a password, {ENCODE}"
            )
        return value

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.provider == "groq" and self.groq_api_key is None:
            raise ValueError(
                "GROQ_API_KEY is not set. Put a key into the environment or into .env, "
                "or use `make run`, which starts a stand-in when there is no key"
            )
        return self
