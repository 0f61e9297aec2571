"""The settings and parts that a worker is started with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from backend.api.dependencies import Config
from backend.api.sse import legacy
from backend.api.sse.plain import Plain
from backend.api.sse.response import StreamOptions
from backend.app.capacity import within_descriptors
from backend.app.llm_providers import Provider
from backend.settings import Settings
from backend.tools.registry import Tool


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker. `clock` is its own clock, which may be wrong: the store's clock decides."""

    name: str
    """Unique among all workers, including those that have ended."""
    settings: Settings
    provider: Provider
    config: Config
    tools: Sequence[Tool]
    clock: Callable[[], datetime]

    @classmethod
    def within_descriptors(
        cls,
        settings: Settings,
        *,
        name: str,
        provider: Provider,
        tools: Sequence[Tool],
        clock: Callable[[], datetime],
        warnings: Sequence[str],
    ) -> Self:
        """Create a worker with as many turns and connections as file descriptors allow."""
        bounded, max_connections = within_descriptors(settings)
        config = _config(
            bounded,
            upstream=provider.address_of(bounded),
            warnings=warnings,
            max_connections=max_connections,
        )
        return cls(
            name=name,
            settings=bounded,
            provider=provider,
            config=config,
            tools=tools,
            clock=clock,
        )


def _config(
    settings: Settings, *, upstream: str, warnings: Sequence[str], max_connections: int
) -> Config:
    return Config(
        stream_options=StreamOptions(
            heartbeat_seconds=settings.heartbeat_seconds,
            send_timeout_seconds=settings.send_timeout_seconds,
        ),
        plain_framing=legacy.OlderPage if settings.client_profile == "legacy" else Plain,
        socket_idle_seconds=settings.socket_idle_seconds,
        max_query_chars=settings.max_query_chars,
        max_body_bytes=settings.max_body_bytes,
        openai_session_headers=settings.openai_session_headers,
        upstream=upstream,
        max_connections=max_connections,
        warnings=warnings,
        drain_accept_seconds=settings.drain_accept_seconds,
        drain_seconds=settings.drain_seconds,
        metrics_port=settings.metrics_port,
    )
