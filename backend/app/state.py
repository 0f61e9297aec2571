"""Open everything that requests need, in order, so that the stack closes it in reverse."""

from contextlib import AsyncExitStack

import structlog

from backend import __version__
from backend.agent.flush_pace import FlushPace
from backend.api import page
from backend.api.dependencies import State
from backend.app.auth import open_authentication
from backend.app.background import forget, forget_budgets, keep, maintain, take_lease
from backend.app.capacity import open_admission
from backend.app.log_level import watch_log_level
from backend.app.models import open_models
from backend.app.store_clock import StoreClock
from backend.app.turn_factory import open_shared_logs, open_turns, typical_input_tokens
from backend.app.worker import Worker
from backend.llm.prices import Prices
from backend.llm.resilience.fallback import Fallback
from backend.llm.resilience.shared_rates import LiveWorkers
from backend.network import file_descriptors
from backend.settings import Settings
from backend.storage.factory import open_stores
from backend.storage.ports.stores import Stores
from backend.telemetry import metrics
from backend.telemetry.loop_lag import LoopLag
from backend.telemetry.loop_watchdog import LoopWatchdog

logger = structlog.get_logger()


async def open_state(worker: Worker, stack: AsyncExitStack) -> State:
    """Open everything. `stack` closes it: turns first, the store last.

    Raises: StorageError, UnusableSetting.
    """
    settings = worker.settings
    pace = FlushPace(settings.chunk_flush_ms / 1000)
    lag = LoopLag(pace.loop_was_late)
    _prepare(settings, lag, stack)
    await watch_log_level(settings, stack)
    stores = await _open_stores(settings, stack)
    clock = StoreClock(stores.sessions, worker=worker.name, clock=worker.clock)
    await clock.look()  # before the first lease: what this worker stores would hide a wrong clock
    authentication = await open_authentication(settings, stack)
    prices = Prices.load(settings.prices_file)
    admission = await open_admission(
        settings,
        stores,
        prices,
        stack,
        typical_input_tokens=await typical_input_tokens(worker, stores),
    )
    live_workers = LiveWorkers()
    models = open_models(
        settings,
        worker.provider,
        stack,
        prices=prices,
        worker=worker.name,
        live_workers=live_workers,
    )
    shared_logs = open_shared_logs(settings, worker.name, stack)
    turns = await open_turns(worker, stores, models, clock.now, shared_logs, lag, pace, stack)
    await take_lease(settings, stores, turns, worker.name, live_workers, stack)
    forget(settings, stores, clock, stack)
    forget_budgets(stores, stack)
    maintain(stores, stack)
    # Pushed last, so it runs first: storing the last endings needs the lease and the store.
    stack.push_async_callback(turns.close)
    _log_start(worker, models)
    return State(
        config=worker.config,
        authentication=authentication,
        turns=turns,
        admissions=admission.admissions,
        sockets=admission.sockets,
        readers=admission.readers,
        stores=stores,
        models=models,
        shared_logs=shared_logs,
    )


def _prepare(settings: Settings, lag: LoopLag, stack: AsyncExitStack) -> None:
    metrics.prepare_build(version=__version__, revision=settings.lex_revision)
    metrics.prepare_drain(limit_seconds=_drain_limit_seconds(settings))
    page.prepare()
    keep(lag.watch(), stack)
    watchdog = LoopWatchdog(lag)
    watchdog.start()
    stack.callback(watchdog.stop)
    keep(file_descriptors.watch(), stack)


def _drain_limit_seconds(settings: Settings) -> float:
    """The time after which no turn runs in a drain: a stopped turn still waits for its tools."""
    turns = settings.drain_accept_seconds + settings.drain_seconds
    return turns + settings.tool_timeout_seconds


async def _open_stores(settings: Settings, stack: AsyncExitStack) -> Stores:
    stores = await open_stores(
        settings.database_url,
        lease_seconds=settings.lease_seconds,
        migrate=settings.migrate_on_start,
        migrate_url=settings.migrate_database_url,
        pool_size=settings.database_pool_size,
        prepared=settings.database_prepared,
    )
    stack.push_async_callback(stores.close)
    return stores


def _log_start(worker: Worker, models: Fallback) -> None:
    settings = worker.settings
    logger.info(
        "lex_started",
        version=__version__,
        upstream=worker.config.upstream,
        models=[candidate.name for candidate in models.in_use],
        store=settings.database_url.get_secret_value().partition(":")[0],
        auth=settings.auth,
        tools_act_for="the user that the model names" if settings.auth == "none" else "the caller",
    )
