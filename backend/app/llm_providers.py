"""The providers of models, by the name that `PROVIDER` chooses. Nothing else knows who they are.

Another one is a folder beside `llm/groq`, its settings in `settings/llm_provider.py`, and an entry
here.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pydantic import SecretStr

from backend.agent.summaries import AT_ONCE
from backend.llm.groq.client import GroqModel, open_client
from backend.llm.groq.completion_bounds import CompletionBounds
from backend.llm.groq.tool_call_repair import ToolCallRepair
from backend.llm.port import Allowance, NamedModel
from backend.settings import Settings
from backend.telemetry import metrics
from backend.telemetry.redaction import without_credentials


class MakeModel(Protocol):
    def __call__(self, name: str, *, on_allowance: Callable[[Allowance], None]) -> NamedModel:
        """It makes each call once; `on_allowance` hears what the answers say of our rates."""
        ...


@dataclass(frozen=True, slots=True)
class OpenProvider:
    """`repair` mends what the provider's own answers need, around all that is done to one call."""

    make_model: MakeModel
    repair: Callable[[NamedModel], NamedModel] = lambda model: model


@dataclass(frozen=True, slots=True)
class Provider:
    """`name` is also what spans say; `open` leaves on the stack what is to be closed."""

    name: str
    address_of: Callable[[Settings], str]
    """Where it is asked, as people may see it."""
    open: Callable[[Settings, AsyncExitStack], OpenProvider]


def _open_groq(settings: Settings, stack: AsyncExitStack) -> OpenProvider:
    client = open_client(
        api_key=settings.groq_api_key or SecretStr(""),
        base_url=settings.groq_base_url,
        connect_seconds=settings.upstream_connect_seconds,
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
    """Raises: SystemExit, with one line that lists those that exist."""
    for provider in providers:
        if provider.name == settings.provider:
            return provider
    names = ", ".join(provider.name for provider in providers)
    raise SystemExit(f"lex: PROVIDER cannot be used: it must be one of {names}.")
