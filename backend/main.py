"""The composition root: it builds the application, and its lifespan opens and closes everything.

`uvicorn backend.main:app` reads the environment and starts the service. Importing this module has
no effects.
"""

import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from functools import cache, partial

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from pydantic import SecretStr
from starlette.routing import BaseRoute

from backend import __version__
from backend.api import (
    docs,
    event_source,
    health,
    page,
    problem_details,
    query,
    realtime,
    sessions,
    turns,
    usage,
)
from backend.api import metrics as metrics_route
from backend.api.auth import exchange
from backend.api.dependencies import LifespanState
from backend.api.doors import CHAT_PATHS
from backend.api.doors.ag_ui import routes as ag_ui
from backend.api.doors.ai_sdk import routes as ai_sdk
from backend.api.doors.openai import errors as openai_errors
from backend.api.doors.openai import routes as openai
from backend.api.middleware.access_log import AccessLog
from backend.api.middleware.allowed_hosts import AllowedHosts
from backend.api.middleware.body_limit import BodyLimit
from backend.api.middleware.last_resort import LastResort
from backend.api.middleware.metrics_port import MetricsPort
from backend.api.middleware.overflow_connections import OverflowConnections
from backend.api.middleware.security_headers import SecurityHeaders
from backend.api.middleware.trusted_proxies import TrustedProxies
from backend.api.openapi.document import complete_openapi
from backend.api.openapi.problems import ALWAYS
from backend.api.openapi.security import exchanging, guarded
from backend.api.straight_way import StraightWay
from backend.app.auth import warn_of_anonymous_access
from backend.app.llm_providers import PROVIDERS, Provider, chosen
from backend.app.startup import Start, exit_line
from backend.app.startup_errors import OneLineStart, state_of_server
from backend.app.state import open_state
from backend.app.worker import Worker
from backend.domain.conversation import now
from backend.domain.errors import StorageError, UnusableSetting
from backend.network.exposure import STATE_KEY, Exposure
from backend.settings import Settings
from backend.storage.factory import server_of
from backend.telemetry import identity
from backend.telemetry.exporting import open_exporting
from backend.telemetry.logging import configure_logging
from backend.telemetry.redaction import redacted
from backend.telemetry.tracing import Upstream
from backend.tools import TOOLS
from backend.tools.registry import Tool

logger = structlog.get_logger()

ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "X-Request-Id",
    "X-Session-Id",
    "traceparent",
    "tracestate",
    # The clients of OpenAI and of the AI SDK send these in browsers.
    "User-Agent",
    "X-Stainless-Arch",
    "X-Stainless-Lang",
    "X-Stainless-OS",
    "X-Stainless-Package-Version",
    "X-Stainless-Retry-Count",
    "X-Stainless-Runtime",
    "X-Stainless-Runtime-Version",
    "X-Stainless-Timeout",
)
EXPOSED_HEADERS = (
    "X-Session-Id",
    "X-Turn-Id",
    "X-Request-Id",
    "traceresponse",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "X-Should-Retry",
    "X-Vercel-AI-UI-Message-Stream",
)


def create_app(
    settings: Settings,
    *,
    tools: Sequence[Tool] = TOOLS,
    on_open: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = now,
    providers: Sequence[Provider] = PROVIDERS,
) -> FastAPI:
    """Build the application. Its lifespan opens connections and files, and not before it starts.

    `on_open` is called when everything is open, before the first request that needs it. `clock` is
    the worker's own clock, which may be wrong: the store's clock decides.

    Raises: SystemExit, if `PROVIDER` is not the name of one of the `providers`.
    """
    provider = chosen(settings, providers)
    app = FastAPI(
        title="Lex",
        summary="The sales assistant of the SuperCar dealerships.",
        version=__version__,
        debug=settings.debug,
        lifespan=_lifespan(settings, provider, tools, on_open, clock),
        openapi_url="/openapi.json" if settings.api_docs else None,
        # `api/docs.py` serves our own page at /docs.
        docs_url=None,
        redoc_url=None,
        # Each resource has one URL, and no redirect contains a `Host` that a client has made up.
        redirect_slashes=False,
        # `open_exporting` makes one span per request. FastAPI's own tracing would add three.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problem_details.install(app, forms={f"{openai.PREFIX}/": openai_errors.form})
    complete_openapi(app, max_query_chars=settings.max_query_chars)
    app.router.routes.extend(_routes(auth=settings.auth, api_docs=settings.api_docs))
    _add_middleware(app, settings)
    return app


@cache
def _routes(*, auth: str, api_docs: bool) -> Sequence[BaseRoute]:
    """The routes of every application of this process with these settings.

    They are shared because FastAPI analyses the parameters of all routes at the first request,
    which takes 15 ms, and keeps the result in the routes.
    """
    router = APIRouter(responses=ALWAYS)
    doors = (ai_sdk, ag_ui, openai)
    for routes in (query, event_source, realtime, sessions, turns, usage, *doors):
        router.include_router(routes.router, **guarded(auth=auth))
    router.include_router(exchange.router, **exchanging(auth=auth))
    router.include_router(exchange.leaving)
    router.include_router(health.router)
    router.include_router(metrics_route.router)
    router.include_router(page.router)
    if api_docs:
        router.include_router(docs.router)
    return router.routes


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    # From the inside out: the middleware that is added last sees a request first.
    app.add_middleware(StraightWay, routes=app.router.routes)
    app.add_middleware(LastResort)
    app.add_middleware(OverflowConnections)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        # Credentials are needed for the cookie, which does not exist without authentication.
        allow_credentials=settings.auth != "none",
        allow_headers=(*ALLOWED_HEADERS, *settings.openai_session_headers),
        expose_headers=EXPOSED_HEADERS,
    )
    # Inside `TrustedProxies`, which sets the scheme. The scheme decides whether a host without a
    # port means port 443.
    app.add_middleware(
        AllowedHosts, hosts=settings.allowed_hosts, metrics_port=settings.metrics_port
    )
    app.add_middleware(TrustedProxies, addresses=settings.forwarded_allow_ips)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        larger=dict.fromkeys(CHAT_PATHS, settings.max_chat_body_bytes),
        timeout_seconds=settings.body_timeout_seconds,
    )
    app.add_middleware(SecurityHeaders)
    if settings.metrics_port is not None:
        app.add_middleware(MetricsPort, port=settings.metrics_port)
    app.add_middleware(AccessLog)
    app.add_middleware(OneLineStart, secrets=settings.secrets)


def _lifespan(
    settings: Settings,
    provider: Provider,
    tools: Sequence[Tool],
    on_open: Callable[[], None],
    clock: Callable[[], datetime],
) -> Callable[[FastAPI], AbstractAsyncContextManager[LifespanState]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[LifespanState]:
        name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        async with AsyncExitStack() as stack:
            _choose_hash_key(settings.log_hash_key)
            state = state_of_server(app)
            warnings = warn_of_anonymous_access(settings, state.get(STATE_KEY, Exposure.UNKNOWN))
            upstream = Upstream(
                provider=provider.name,
                model=settings.model_name,
                url=provider.address_of(settings),
            )
            exporting = open_exporting(
                app,
                version=__version__,
                instance=name,
                upstream=upstream,
                follows=settings.trace_context == "follow",
                slow_seconds=settings.trace_slow_seconds,
            )
            if exporting is not None:
                stack.push_async_callback(exporting.close)
            worker = Worker.within_descriptors(
                settings, name=name, provider=provider, tools=tools, clock=clock, warnings=warnings
            )
            start = Start(
                partial(open_state, worker),
                state=state,
                on_open=on_open,
                store=server_of(settings.database_url),
            )
            try:
                await start.begin()
            except (StorageError, UnusableSetting) as error:
                raise SystemExit(redacted(exit_line(error), settings.secrets)) from None
            stack.push_async_callback(start.end)
            yield {"config": worker.config, "start": start}

    return lifespan


def _choose_hash_key(key: SecretStr | None) -> None:
    identity.use_key(None if key is None else key.get_secret_value())
    if key is None:
        note = (
            "Set LOG_HASH_KEY, so that hashes of clients and sessions are the same after a restart."
        )
        logger.info("log_hash_key_is_random", note=note)


def __getattr__(name: str) -> FastAPI:
    """Create `app` when a server asks for it, so that an import has no effects."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = Settings.read()
    configure_logging(level=settings.log_level, style=settings.log_format, secrets=settings.secrets)
    for unknown in settings.unknown_names():
        logger.warning("unknown_setting", **asdict(unknown))
    app = globals()["app"] = create_app(settings, on_open=_freeze_start)
    return app


GARBAGE_COLLECTION = 10_000, 10, 10
"""The thresholds of the three generations. With CPython's default of 700 new objects, a turn spends
0.77 ms in the garbage collector; with 10,000, 0.31 ms. The longest pauses are the same."""


def _freeze_start() -> None:
    """Exclude the objects of the start from garbage collection, because they live until the end.

    A full collection of them would block every stream of the worker, for 0.3 seconds when measured.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_COLLECTION)
