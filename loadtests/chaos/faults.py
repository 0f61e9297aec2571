"""The faults. Each function has repaired its damage when it returns."""

import asyncio
import signal
from collections.abc import Awaitable, Callable

from loadtests.chaos.asking import Crowd
from loadtests.chaos.instances import Instance, guest
from loadtests.chaos.plan import Fault
from loadtests.chaos.processes import send
from loadtests.chaos.stage import RETENTION_DAYS, Stage
from loadtests.chaos.waiting import left_after

AWAY_SECONDS = 7.0
"""Long enough for three attempts to store the end of a turn."""
RESETS = 10
CLOCK_DAYS = RETENTION_DAYS + 10


async def kill_worker(crowd: Crowd, fault: Fault) -> None:
    send(_worker(crowd.stage, fault), signal.SIGKILL)


async def freeze_worker(crowd: Crowd, fault: Fault) -> None:
    worker = _worker(crowd.stage, fault)
    send(worker, signal.SIGSTOP)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        send(worker, signal.SIGCONT)


async def reload(crowd: Crowd, fault: Fault) -> None:
    _instance(crowd.stage, fault).reload()
    await asyncio.sleep(fault.seconds)


async def reload_while_postgres_is_away(crowd: Crowd, fault: Fault) -> None:
    await crowd.stage.postgres.stop()
    try:
        _instance(crowd.stage, fault).reload()
        await _until_it_halts(crowd.stage, fault.seconds)
    finally:
        await crowd.stage.postgres.start()


async def kill_worker_while_postgres_is_away(crowd: Crowd, fault: Fault) -> None:
    await crowd.stage.postgres.stop()
    try:
        await kill_worker(crowd, fault)
        await _until_it_halts(crowd.stage, fault.seconds)
    finally:
        await crowd.stage.postgres.start()


async def _until_it_halts(stage: Stage, seconds: float) -> None:
    """Wait until gunicorn halts, or for so long."""
    halts = len(stage.halts)

    async def goes_on() -> bool:
        return len(stage.halts) == halts

    await left_after(seconds, goes_on)


async def restart_postgres(crowd: Crowd, fault: Fault) -> None:
    await crowd.stage.postgres.stop(at_once=fault.place < 0.5)
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await crowd.stage.postgres.start()


async def postgres_comes_back_slowly(crowd: Crowd, fault: Fault) -> None:
    """Postgres is away, then does not answer, then works, as in a failover."""
    store = crowd.stage.postgres
    await store.stop()
    try:
        await asyncio.sleep(AWAY_SECONDS)
        await store.begin_to_start()
        store.freeze()
        await asyncio.sleep(fault.seconds)
    finally:
        await store.start()


async def terminate_backends(crowd: Crowd, _fault: Fault) -> None:
    if crowd.stage.pooler is not None:
        await crowd.stage.pooler.stop(at_once=True)
    await crowd.stage.postgres.terminate_backends()
    if crowd.stage.pooler is not None:
        await crowd.stage.pooler.start()


async def restart_redis(crowd: Crowd, fault: Fault) -> None:
    await crowd.stage.redis.kill()
    try:
        await asyncio.sleep(fault.seconds)
    finally:
        await crowd.stage.redis.start()


async def reset_upstream(crowd: Crowd, fault: Fault) -> None:
    """Some completions are reset, before their first word or in the middle."""
    early = {"rounds": [{"tokens": 20, "fault": {"kind": "reset"}}], "times": RESETS}
    late = {"kind": "reset", "after_tokens": 6}
    in_the_middle = {"rounds": [{"tokens": 20, "fault": late}], "times": RESETS}
    for script in (early, in_the_middle):
        await crowd.stage.push_script(script)
    await asyncio.sleep(fault.seconds)
    await crowd.stage.forget_scripts()


async def cut_clients(crowd: Crowd, _fault: Fault) -> None:
    """All clients are disconnected at once."""
    crowd.cut_all()


async def clock_ahead(crowd: Crowd, fault: Fault) -> None:
    """A worker joins for whose clock every session is too old."""
    stage = crowd.stage
    folder = stage.folder
    async with guest(stage.http, stage.variables, folder, days_ahead=CLOCK_DAYS) as url:
        stage.guests.append(url)
        await asyncio.sleep(fault.seconds)
        stage.guests.remove(url)


def _worker(stage: Stage, fault: Fault) -> int:
    workers = stage.workers
    return workers[int(fault.place * len(workers))]


def _instance(stage: Stage, fault: Fault) -> Instance:
    return stage.instances[int(fault.place * len(stage.instances))]


FAULTS: dict[str, Callable[[Crowd, Fault], Awaitable[None]]] = {
    each.__name__: each
    for each in (
        kill_worker,
        freeze_worker,
        reload,
        reload_while_postgres_is_away,
        kill_worker_while_postgres_is_away,
        restart_postgres,
        postgres_comes_back_slowly,
        terminate_backends,
        restart_redis,
        reset_upstream,
        cut_clients,
        clock_ahead,
    )
}
