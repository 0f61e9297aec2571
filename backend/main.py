"""The composition root: everything is made, opened and closed here, and only here.

`uvicorn backend.main:app` reads the environment and starts the service; importing this
module does neither.
"""

import gc
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend import __version__
from backend.api import docs, errors, event_source, health, page, query, realtime, sessions, turns
from backend.api import metrics as metrics_route
from backend.api.access_log import AccessLog
from backend.api.arrivals import Arrivals
from backend.api.auth import exchange
from backend.api.auth.api_keys import UnusableKeyFile
from backend.api.auth.described import exchanging, guarded
from backend.api.body_limit import BodyLimit
from backend.api.bounds import describe_bounds
from backend.api.dependencies import State
from backend.api.opening import open_admissions
from backend.api.request_ids import RequestIds
from backend.api.shell import Shell
from backend.api.trusted_proxies import TrustedProxies
from backend.conversation import Caller, now
from backend.errors import StorageError
from backend.legacy import OlderPage
from backend.opening.duties import keep, summarize, take_lease
from backend.opening.identity import open_authentication
from backend.opening.upstream import open_models
from backend.prompt import Prompt
from backend.settings import Settings
from backend.sharing import Sharing
from backend.showroom import Showroom
from backend.storage.opening import open_stores
from backend.storage.ports.stores import Stores
from backend.storage.redis import RedisLogs
from backend.stream import Plain, StreamOptions
from backend.telemetry import loop_lag, metrics
from backend.telemetry.exporting import open_exporting
from backend.telemetry.logging import configure_logging
from backend.tools import TOOLS
from backend.tools.desk import Desk, WeatherProvider
from backend.tools.open_meteo import OpenMeteo
from backend.tools.registry import Tool, Toolbox
from backend.tools.sample_weather import SampleWeather
from backend.turn import Assistant, Turn
from backend.turns import OpenTurn, Turns

logger = structlog.get_logger()

ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "Last-Event-ID",
    "X-Request-Id",
    "traceparent",
    "tracestate",
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
)


def create_app(
    settings: Settings,
    *,
    tools: Sequence[Tool] = TOOLS,
    on_open: Callable[[], None] = lambda: None,
) -> FastAPI:
    """`on_open` is called when everything is there and nobody has been served yet."""
    app = FastAPI(
        title="Lex",
        summary="The sales assistant of the SuperCar dealerships.",
        version=__version__,
        debug=settings.debug,
        lifespan=_lifespan(settings, tools, on_open),
        responses=errors.ALWAYS,
        openapi_url="/openapi.json" if settings.api_docs else None,
        # `docs` is our own.
        docs_url=None,
        redoc_url=None,
        # Each address is one place, and no redirect repeats a `Host` that anybody may send.
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    errors.install(app)
    describe_bounds(app, max_query_chars=settings.max_query_chars)
    for routes in (query, event_source, realtime, sessions, turns):
        app.include_router(routes.router, **guarded(auth=settings.auth))
    app.include_router(exchange.router, **exchanging(auth=settings.auth))
    app.include_router(exchange.leaving)
    app.include_router(health.router)
    app.include_router(metrics_route.router)
    app.include_router(page.router)
    if settings.api_docs:
        app.include_router(docs.router)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "DELETE"],
        # The cookie, which nobody has without authentication.
        allow_credentials=settings.auth != "none",
        allow_headers=ALLOWED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )
    app.add_middleware(TrustedProxies, addresses=settings.forwarded_allow_ips)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    app.add_middleware(Shell)
    if settings.metrics_port is not None:
        app.add_middleware(metrics_route.MetricsPort, port=settings.metrics_port)
    app.add_middleware(AccessLog)
    app.add_middleware(RequestIds)
    app.add_middleware(Arrivals)
    app.add_middleware(OneLineStart)
    return app


def _lifespan(
    settings: Settings, tools: Sequence[Tool], on_open: Callable[[], None]
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        async with AsyncExitStack() as stack:
            exporting = open_exporting(app, version=__version__, instance=worker)
            if exporting is not None:
                stack.push_async_callback(exporting.close)
            try:
                state = await _open(settings, tools, worker, stack)
            except StorageError as error:
                raise SystemExit(_one_line(error)) from None
            except UnusableKeyFile as error:
                raise SystemExit(f"lex: API_KEYS_FILE cannot be used: {error}") from None
            on_open()
            yield state

    return lifespan


def _one_line(error: StorageError) -> str:
    cause = str(error.__cause__ or "").partition("\n")[0]
    return " ".join(f"lex: DATABASE_URL cannot be used: {error} {cause}".split())


class OneLineStart:
    """Plain ASGI. A start that fails says why in one line, not in a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_shortened(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                *_, last = message["message"].strip().splitlines()
                if last.startswith("SystemExit: "):
                    message = {**message, "message": last.removeprefix("SystemExit: ")}
            await send(message)

        await self._app(scope, receive, send_shortened if scope["type"] == "lifespan" else send)


async def _open(
    settings: Settings, tools: Sequence[Tool], worker: str, stack: AsyncExitStack
) -> State:
    """Open everything. `stack` closes it in reverse: turns first, the store last."""
    metrics.prepare_build(version=__version__, revision=settings.lex_revision)
    page.prepare()
    keep(loop_lag.watch(), stack)
    stores = await open_stores(
        settings.database_url,
        lease_seconds=settings.lease_seconds,
        migrate=settings.migrate_on_start,
    )
    stack.push_async_callback(stores.close)
    authentication = await open_authentication(settings, stack)
    admissions = await stack.enter_async_context(
        open_admissions(
            redis_url=settings.redis_url,
            per_session=settings.rate_limit_session,
            per_client=settings.rate_limit_client,
            most_streams=settings.max_streams_per_client,
        )
    )
    models = open_models(settings, stack)
    assistant = Assistant(
        model=models,
        toolbox=Toolbox(tools, timeout_seconds=settings.tool_timeout_seconds),
        max_rounds=settings.max_rounds,
        history_tokens=settings.history_tokens,
        flush_seconds=settings.chunk_flush_ms / 1000,
    )
    showroom = await stores.showrooms.showroom()
    sharing = _sharing(settings, worker, stack)
    running = Turns(
        check=models.check,
        sessions=stores.sessions,
        open_turn=_opener(assistant, stores, showroom, _weather(settings, stack)),
        worker=worker,
        timeout_seconds=settings.turn_timeout_seconds,
        max_streams=settings.max_streams,
        grace_seconds=settings.disconnect_grace_seconds,
        patience_seconds=settings.lease_seconds,
        sharing=sharing,
        on_drain=summarize(settings, stores, models, stack),
    )
    await take_lease(settings, stores, running, worker, stack)
    stack.push_async_callback(running.close)
    logger.info(
        "lex_started",
        version=__version__,
        upstream=settings.groq_base_url,
        models=[candidate.name for candidate in models.in_use],
        store=settings.database_url.get_secret_value().partition(":")[0],
        auth=settings.auth,
        tools_act_for="whom the model names" if settings.auth == "none" else "the caller",
    )
    return State(
        authentication=authentication,
        turns=running,
        admissions=admissions,
        stores=stores,
        models=models,
        sharing=sharing,
        stream_options=StreamOptions(
            heartbeat_seconds=settings.heartbeat_seconds,
            send_timeout_seconds=settings.send_timeout_seconds,
            plain_framing=OlderPage if settings.client_profile == "legacy" else Plain,
        ),
        max_query_chars=settings.max_query_chars,
        max_body_bytes=settings.max_body_bytes,
        upstream=settings.groq_base_url,
        drain_accept_seconds=settings.drain_accept_seconds,
        drain_seconds=settings.drain_seconds,
        send_timeout_seconds=settings.send_timeout_seconds,
        metrics_port=settings.metrics_port,
    )


def _sharing(settings: Settings, worker: str, stack: AsyncExitStack) -> Sharing | None:
    if settings.redis_url is None:
        return None
    # A log is of no use any more when its turn must have ended long ago.
    kept_seconds = 2 * settings.turn_timeout_seconds
    logs = RedisLogs(settings.redis_url.get_secret_value(), kept_seconds=kept_seconds)
    sharing = Sharing(logs, worker=worker)
    sharing.open()
    stack.push_async_callback(sharing.close)
    return sharing


def _weather(settings: Settings, stack: AsyncExitStack) -> WeatherProvider:
    if settings.weather_provider == "sample":
        return SampleWeather()
    provider = OpenMeteo()
    stack.push_async_callback(provider.aclose)
    return provider


def _opener(
    assistant: Assistant, stores: Stores, showroom: Showroom, weather: WeatherProvider
) -> OpenTurn:
    prompt = Prompt.load()

    def open_turn(caller: Caller, asked: str) -> Turn:
        desk = Desk(
            caller=caller,
            showroom=showroom,
            appointments=stores.appointments,
            profiles=stores.profiles,
            weather=weather,
            now=now(),
        )
        filled = prompt.fill(showroom, desk.now, caller)
        return Turn(assistant, desk=desk, prompt=filled, query=asked)

    return open_turn


def __getattr__(name: str) -> FastAPI:
    """`app` is made when a server asks for it, so that an import has no effects."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = Settings.read()
    configure_logging(level=settings.log_level, style=settings.log_format)
    app = globals()["app"] = create_app(settings, on_open=_settle)
    return app


GARBAGE_COLLECTION = 10_000, 10, 10
"""How many objects more than before are looked through for garbage, and how often those that stay.
With CPython's 700 a turn spends 0.77 ms on it, with 10,000 0.31; the longest pauses are alike."""


def _settle() -> None:
    """What has been made by now stays. Each look of the garbage collector through it would hold up
    every stream of the worker, by 0.3 seconds where that was measured.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_COLLECTION)
