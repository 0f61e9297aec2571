"""Checks of restarts, for any number of streams."""

import asyncio
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from infrastructure.groq_standin import Standin
from tests.deploy.servers import GUNICORN, Deployed, count_for, deployed, probing, reading
from tests.waiting import waiting


async def assert_a_reload_loses_nothing(
    standin: Standin, folder: Path, *, streams: int, seconds: float
) -> None:
    """Replace two workers under open streams, while new streams are started."""
    count_for(standin, seconds)
    async with deployed(GUNICORN, standin, folder) as service:
        before = service.workers
        async with (
            reading(service.client, streams, sockets=streams // 10) as readings,
            probing(service) as probes,
        ):
            service.send(signal.SIGHUP)
            await asyncio.sleep(seconds / 2)
            async with waiting():
                while len(probes) < 3:
                    await asyncio.sleep(0.05)
        await _until_only_new_workers(service, before)

    assert sum(each.is_truncated for each in readings) == 0
    assert [each for each in readings if not each.ends_well] == []
    assert {each.close_code for each in readings[streams:]} == {1001}
    refused = [probe for probe in probes if probe.turn != "taken"]
    assert refused == [], refused
    assert {probe.metrics for probe in probes} == {200}
    assert await service.ended() == 0
    assert_no_force(service)


async def _until_only_new_workers(service: Deployed, before: list[int]) -> None:
    async with waiting():
        while set(service.workers) & set(before):
            await asyncio.sleep(0.05)
    assert len(service.workers) == len(before)


async def assert_a_successor_takes_over(
    command: Sequence[str], standin: Standin, folder: Path, *, streams: int, seconds: float
) -> None:
    """Stop a service under open streams after its successor has started."""
    count_for(standin, seconds)
    async with (
        deployed(command, standin, folder, DRAIN_ACCEPT_SECONDS="1.5") as service,
        deployed(command, standin, folder) as successor,
    ):
        async with (
            reading(service.client, streams, sockets=streams // 10) as readings,
            probing(service) as probes,
        ):
            workers = len(service.workers)
            service.send(signal.SIGTERM)
            await service.until_said("server_leaving", times=workers)
            left_at = time.monotonic()
            code = await service.ended()
        ready = await successor.client.get("/readyz")

    open_until = min(each.ended_at for each in readings)
    during = [probe for probe in probes if left_at < probe.begun < open_until - 0.5]
    assert sum(each.is_truncated for each in readings) == 0
    assert [each for each in readings if not each.ends_well] == []
    assert {each.close_code for each in readings[streams:]} == {1001}
    assert {(probe.readiness, probe.metrics) for probe in during} == {(503, 200)}, during
    assert during[0].turn == "taken"
    assert during[-1].turn == "draining"
    assert (code, ready.status_code) == (0, 200)
    assert_no_force(service)


def assert_no_force(service: Deployed) -> None:
    """Check that no worker was killed and that nothing was logged as an error."""
    log = service.log.read_text()
    assert "SIGKILL" not in log
    assert "Traceback" not in log
    assert '"level": "error"' not in log
    assert "Bad file descriptor" not in log
