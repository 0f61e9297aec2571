"""The model providers that `PROVIDER` can select. No other module knows which ones exist.

To add one, add a folder beside `llm/groq`, its settings to `settings/llm_provider.py`, and an entry
to `PROVIDERS`.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pydantic import SecretStr

from backend.agent.summaries import AT_ONCE
from backend.llm.groq.client import open_client
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.model import GroqModel
from backend.llm.groq.tool_call_repair import ToolCallRepair
from backend.llm.port import Allowance, NamedModel
from backend.settings import Settings
from backend.telemetry import metrics
from backend.telemetry.redaction import without_credentials


class MakeModel(Protocol):
    def __call__(self, name: str, *, on_allowance: Callable[[Allowance], None]) -> NamedModel:
        """Return a model that makes each call once, without retries.

        It calls `on_allowance` with the rate limits that the provider reports.
        """
        ...


@dataclass(frozen=True, slots=True)
class OpenProvider:
    """A provider that is ready for calls.

    `repair` wraps a model to repair flaws of this provider's answers: around an attempt with its
    circuit breaker and rate budget, but inside retries.
    """

    make_model: MakeModel
    repair: Callable[[NamedModel], NamedModel] = lambda model: model


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider. `name` is also used in spans. `open` pushes what must be closed on the stack."""

    name: str
    address_of: Callable[[Settings], str]
    """Returns the base URL for display, without credentials."""
    open: Callable[[Settings, AsyncExitStack], OpenProvider]


def _open_groq(settings: Settings, stack: AsyncExitStack) -> OpenProvider:
    client = open_client(
        api_key=settings.groq_api_key or SecretStr(""),
        base_url=settings.groq_base_url,
        connect_seconds=settings.upstream_connect_seconds,
        # One for each turn, and one for each summary that is made at the same time.
        max_connections=settings.max_streams + AT_ONCE,
    )
    stack.push_async_callback(client.close)
    make_model = partial(
        GroqModel,
        client,
        max_completion_tokens=settings.max_completion_tokens,
        first_byte_seconds=settings.upstream_first_byte_seconds,
        first_delta_seconds=settings.upstream_first_delta_seconds,
        gap_seconds=settings.upstream_gap_seconds,
        bounds=CompletionBounds(
            max_tool_calls=settings.max_tool_calls,
            max_argument_bytes=settings.max_argument_bytes,
            max_completion_bytes=settings.max_completion_bytes,
        ),
    )
    return OpenProvider(make_model, partial(ToolCallRepair, on_repair=metrics.tool_call_repaired))


PROVIDERS = (
    Provider("groq", lambda settings: without_credentials(settings.groq_base_url), _open_groq),
)


def chosen(settings: Settings, providers: Sequence[Provider] = PROVIDERS) -> Provider:
    """Return the provider that `PROVIDER` selects.

    Raises: SystemExit, with one line that lists the existing providers.
    """
    for provider in providers:
        if provider.name == settings.provider:
            return provider
    names = ", ".join(provider.name for provider in providers)
    raise SystemExit(f"lex: PROVIDER cannot be used: set it to one of: {names}.")
