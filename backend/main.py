"""The composition root: everything is made, opened and closed here, and only here.

`uvicorn backend.main:app` reads the environment and starts the service; importing this
module does neither.
"""

import asyncio
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from functools import partial

import structlog
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend import __version__
from backend.api import errors, event_source, health, query, realtime, sessions, turns
from backend.api import metrics as metrics_route
from backend.api.access_log import AccessLog
from backend.api.arrivals import Arrivals
from backend.api.auth import exchange
from backend.api.auth.api_keys import ApiKeys, UnusableKeyFile
from backend.api.auth.authentication import Authentication, OpenHouse
from backend.api.auth.cookie import Cookies
from backend.api.auth.described import exchanging, guarded
from backend.api.auth.identity import Authority
from backend.api.auth.jwks import Jwks
from backend.api.auth.origins import Origins
from backend.api.auth.tokens import SharedSecret, SigningKeys, Tokens
from backend.api.body_limit import BodyLimit
from backend.api.dependencies import State
from backend.api.opening import open_admissions
from backend.api.request_ids import RequestIds
from backend.api.trusted_proxies import TrustedProxies
from backend.completion import Allowance, ChatModel
from backend.conversation import Caller, now
from backend.errors import StorageError
from backend.llm import GroqModel, open_client
from backend.prompt import Prompt
from backend.recurring import repeat
from backend.resilience.breaker import Breaker
from backend.resilience.budget import Budget
from backend.resilience.fallbacks import Candidate, Fallbacks
from backend.resilience.guard import Attempt, Guarded
from backend.resilience.rescue import Rescuing
from backend.resilience.retries import Retrying, Schedule
from backend.resilience.traced import Traced
from backend.settings import Settings
from backend.sharing import Sharing
from backend.showroom import Showroom
from backend.storage import Stores
from backend.storage.opening import open_stores
from backend.storage.redis import RedisLogs
from backend.stream import StreamOptions
from backend.summaries import AT_ONCE, Summaries, load_prompt
from backend.telemetry import loop_lag, metrics, tracing
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

PURGE_SECONDS = 600.0
SUMMARIES_SECONDS = 10.0
"""Between two looks for sessions that are to be summarized, at most."""
FIRST_PURGE_SECONDS = 5.0
"""At most: a worker may not live long, and those that start together take turns."""

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


def create_app(settings: Settings, *, tools: Sequence[Tool] = TOOLS) -> FastAPI:
    app = FastAPI(
        title="Lex",
        summary="The sales assistant of the SuperCar dealerships.",
        version=__version__,
        debug=settings.debug,
        lifespan=_lifespan(settings, tools),
        openapi_url="/openapi.json" if settings.api_docs else None,
        # Their pages load scripts from a foreign host.
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    errors.install(app)
    for routes in (query, event_source, realtime, sessions, turns):
        app.include_router(routes.router, **guarded(auth=settings.auth))
    app.include_router(exchange.router, **exchanging(auth=settings.auth))
    app.include_router(health.router)
    app.include_router(metrics_route.router)
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
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    if settings.metrics_port is not None:
        app.add_middleware(metrics_route.MetricsPort, port=settings.metrics_port)
    app.add_middleware(AccessLog)
    app.add_middleware(RequestIds)
    app.add_middleware(Arrivals)
    app.add_middleware(OneLineStart)
    return app


def _lifespan(
    settings: Settings, tools: Sequence[Tool]
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
    _keep(loop_lag.watch(), stack)
    stores = await open_stores(
        settings.database_url,
        lease_seconds=settings.lease_seconds,
        migrate=settings.migrate_on_start,
    )
    stack.push_async_callback(stores.close)
    authentication = await _authentication(settings, stack)
    admissions = await stack.enter_async_context(
        open_admissions(
            redis_url=settings.redis_url,
            per_session=settings.rate_limit_session,
            per_client=settings.rate_limit_client,
            most_streams=settings.max_streams_per_client,
        )
    )
    models = _models(settings, stack)
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
        on_drain=_summarize(settings, stores, models, stack),
    )
    await _take_lease(settings, stores, running, worker, stack)
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


async def _authentication(settings: Settings, stack: AsyncExitStack) -> Authentication | OpenHouse:
    origins = Origins(settings.cors_origins)
    if settings.auth == "none":
        return OpenHouse(origins)
    cookies = Cookies(
        settings.session_cookie_secrets,
        context=f"{settings.auth} {settings.jwt_issuer} {settings.jwt_audience}",
        lifetime_seconds=settings.session_cookie_hours * 3600,
    )
    return Authentication(await _authority(settings, stack), cookies, origins)


async def _authority(settings: Settings, stack: AsyncExitStack) -> Authority:
    if settings.api_keys_file is not None and settings.auth == "api_key":
        return await stack.enter_async_context(ApiKeys.watched(settings.api_keys_file))
    return Tokens(
        await _signing_keys(settings, stack),
        issuer=settings.jwt_issuer or "",
        audience=settings.jwt_audience or "",
        algorithms=settings.signing_algorithms,
        leeway_seconds=settings.jwt_leeway_seconds,
    )


async def _signing_keys(settings: Settings, stack: AsyncExitStack) -> SigningKeys:
    if settings.jwt_secret is not None:
        return SharedSecret(settings.jwt_secret.get_secret_value())
    fetched = Jwks.kept(settings.jwt_jwks_url or "", algorithms=settings.signing_algorithms)
    return await stack.enter_async_context(fetched)


def _models(settings: Settings, stack: AsyncExitStack) -> Fallbacks:
    client = open_client(
        api_key=settings.groq_api_key,
        base_url=settings.groq_base_url,
        connect_seconds=settings.upstream_connect_seconds,
        max_connections=settings.max_streams + AT_ONCE,
    )
    stack.push_async_callback(client.close)
    ask = partial(
        GroqModel,
        client,
        max_completion_tokens=settings.max_completion_tokens,
        first_byte_seconds=settings.upstream_first_byte_seconds,
        gap_seconds=settings.upstream_gap_seconds,
    )
    schedule = Schedule(budget_seconds=settings.turn_timeout_seconds / 2)
    return Fallbacks(
        [_candidate(name, ask, schedule) for name in settings.models],
        patience_seconds=settings.turn_timeout_seconds / 2,
        on_retired=metrics.model_retired,
    )


def _candidate(name: str, ask: Callable[..., GroqModel], schedule: Schedule) -> Candidate:
    """A model with all that stands around it, from the inside out."""
    metrics.prepare_model(name)
    budget = Budget()

    def note(allowance: Allowance) -> None:
        budget.note(allowance)
        metrics.budget_noted(
            name, allowance.kind, remaining=allowance.remaining, limit=allowance.limit
        )

    breaker = Breaker(on_change=lambda state: metrics.breaker_changed(name, state))
    asked = ask(name, on_allowance=note)
    traced = Traced(asked) if tracing.is_recording() else asked
    guarded = Guarded(traced, breaker=breaker, budget=budget, on_attempt=_attempted)
    return Candidate(Retrying(Rescuing(guarded, metrics.call_rescued), schedule), breaker)


def _attempted(attempt: Attempt) -> None:
    metrics.upstream_attempted(
        attempt.model,
        attempt.outcome,
        seconds=attempt.seconds,
        first_chunk_seconds=attempt.first_chunk_seconds,
    )
    logger.info("upstream_attempt", **asdict(attempt))


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


async def _take_lease(
    settings: Settings, stores: Stores, running: Turns, worker: str, stack: AsyncExitStack
) -> None:
    logs_kept = timedelta(hours=settings.event_log_hours)
    sessions_kept = timedelta(days=settings.session_retention_days)

    async def renew() -> None:
        try:
            await running.renew()
        except StorageError:
            metrics.store_is_up(is_up=False)
            raise
        metrics.store_is_up(is_up=True)

    async def purge() -> None:
        await stores.sessions.purge_logs(before=now() - logs_kept)
        if sessions_kept:
            await stores.sessions.purge_sessions(before=now() - sessions_kept)

    await renew()
    stack.push_async_callback(stores.sessions.retire, worker)
    # Every third of the lease, so that two renewals may fail in a row.
    _repeat(renew, settings.lease_seconds / 3, stack, sooner=running.news)
    _repeat(running.store_owed, settings.lease_seconds / 3, stack)
    soon = random.uniform(0, FIRST_PURGE_SECONDS)  # noqa: S311 - no secret
    _repeat(purge, PURGE_SECONDS, stack, first_seconds=soon)


def _summarize(
    settings: Settings, stores: Stores, model: ChatModel, stack: AsyncExitStack
) -> Callable[[], None]:
    """Returns what ends it at once."""
    idle_seconds = settings.summary_idle_seconds
    summaries = Summaries(
        store=stores.summaries,
        model=model,
        prompt=load_prompt(),
        idle_seconds=idle_seconds,
        history_tokens=settings.history_tokens,
    )
    every_seconds = min(SUMMARIES_SECONDS, max(0.25, idle_seconds / 4))
    tasks = [
        _repeat(summaries.summarize_due, every_seconds, stack)
        for _ in range(AT_ONCE if idle_seconds else 0)
    ]

    def cease() -> None:
        for task in tasks:
            task.cancel()

    return cease


def _repeat(
    do: Callable[[], Awaitable[None]],
    every_seconds: float,
    stack: AsyncExitStack,
    *,
    first_seconds: float | None = None,
    sooner: asyncio.Event | None = None,
) -> asyncio.Task[None]:
    again = repeat(
        do,
        every_seconds=every_seconds,
        first_seconds=first_seconds,
        sooner=sooner,
        name=do.__name__,
    )
    return _keep(again, stack)


def _keep(endless: Coroutine[None, None, None], stack: AsyncExitStack) -> asyncio.Task[None]:
    """Have it run until its turn comes to be closed."""
    task = asyncio.create_task(endless)

    async def cease() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(cease)
    return task


def __getattr__(name: str) -> FastAPI:
    """`app` is made when a server asks for it, so that an import has no effects."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    settings = Settings.read()
    configure_logging(level=settings.log_level, style=settings.log_format)
    app = globals()["app"] = create_app(settings)
    return app
