"""Clients that stop reading are cut, and other clients notice nothing."""

import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from infrastructure.groq_standin import Standin
from tests.deploy.restarts import assert_no_force
from tests.deploy.servers import PLAIN, Deployed, deployed, memory_bytes, open_sockets
from tests.deploy.stalling import (
    EITHER_WAY,
    PATIENCE,
    QUERY,
    behind,
    drip,
    say_everything,
    stalled,
    until_gone,
)

BRIEFLY = {**PATIENCE, "DISCONNECT_GRACE_SECONDS": "0.5"}
"""A short grace, so that turns on WebSockets, which can be resumed, end soon as well."""

PATIENT = {**BRIEFLY, "SEND_TIMEOUT_SECONDS": "4"}
DRIPPING = {**BRIEFLY, "SEND_TIMEOUT_SECONDS": "3.3"}
"""Too short for a flush of 75 kB at 20 kB a second, and longer than a busy machine stalls a client.
"""


async def test_clients_that_read_nothing_are_cut_and_leave_nothing_behind(
    standin: Standin, tmp_path: Path
) -> None:
    """The kernel notices them. For a WebSocket, it cannot tell whether anything was unread."""
    say_everything(standin, words_per_second=100)

    async with deployed(PLAIN, standin, tmp_path, **BRIEFLY) as service:
        sockets = open_sockets(service.process.pid)
        with stalled(service.port, 20, EITHER_WAY) as clients:
            await until_gone(service, clients)
        await service.until_said("turn_finished", times=20)

        # The kernel knows the route. Our own clock waits equally long, and may be first on a busy
        # machine. Either way, one line tells of each client.
        routes = [line.get("route") for line in service.lines("slow_client")]
        assert len(routes) == 10
        assert "/query" in routes
        assert set(routes) <= {"/query", None}
        assert open_sockets(service.process.pid) <= sockets
        assert_no_force(service)
    assert standin.stats.open_streams == 0


@dataclass
class Reader:
    """A client that does read, and measures the worker meanwhile."""

    service: Deployed
    last_id: str = ""
    reads: list["Read"] = field(default_factory=list)

    async def read(self) -> None:
        body = {"query": QUERY, "resume": True}
        async with self.service.client.stream("POST", "/query", json=body) as stream:
            last = time.monotonic()
            async for data in stream.aiter_bytes():
                memory = memory_bytes(self.service.process.pid)
                for event_id in re.findall(rb"^id: (\S+)\n", data, re.MULTILINE):
                    self.last_id = event_id.decode()
                self.reads.append(Read(time.monotonic() - last, len(data), memory))
                last = time.monotonic()

    async def during(self, seconds: float) -> "Phase":
        begun = len(self.reads)
        await asyncio.sleep(seconds)
        return Phase(self.reads[begun:])


class Read(NamedTuple):
    gap_seconds: float
    size_bytes: int
    memory_bytes: int
    """The memory of the worker."""


@dataclass(frozen=True)
class Phase:
    reads: Sequence[Read]

    @property
    def gap_seconds(self) -> float:
        """The 95th percentile of the gaps between reads."""
        return statistics.quantiles([read.gap_seconds for read in self.reads], n=20)[-1]

    @property
    def size_bytes(self) -> int:
        return sum(read.size_bytes for read in self.reads)

    @property
    def growth_bytes(self) -> int:
        memory = [read.memory_bytes for read in self.reads]
        return max(memory) - memory[0]


async def test_nobody_waits_for_clients_that_read_nothing_and_nothing_is_kept_for_them(
    standin: Standin, tmp_path: Path
) -> None:
    """They follow a turn that another client reads, so its event log costs nothing extra."""
    say_everything(standin, words_per_second=400)

    async with deployed(PLAIN, standin, tmp_path, **PATIENT) as service:
        reader = Reader(service)
        reading = asyncio.create_task(reader.read())
        alone = await reader.during(3)
        with stalled(service.port, 20, [behind(reader.last_id)]) as clients:
            beside = await reader.during(3)
            await until_gone(service, clients)
        reading.cancel()
        await asyncio.wait([reading])

        await service.until_said("slow_client", times=20)
    assert beside.gap_seconds < 2 * alone.gap_seconds
    assert beside.size_bytes > 0.8 * alone.size_bytes
    unread_bytes = 20 * beside.size_bytes
    assert beside.growth_bytes - alone.growth_bytes < unread_bytes / 4


async def test_clients_that_read_far_too_slowly_are_cut(standin: Standin, tmp_path: Path) -> None:
    """The kernel sees that they read. It is the application's send that takes too long.

    A busy machine may keep the clients from reading for a second, which the kernel must not take
    for the end of their reading.
    """
    say_everything(standin, words_per_second=1500)

    async with (
        deployed(PLAIN, standin, tmp_path, **DRIPPING) as service,
        asyncio.TaskGroup() as tasks,
    ):
        with stalled(service.port, 4, EITHER_WAY) as clients:
            for client in clients:
                tasks.create_task(drip(client))
            await standin.stats.until(lambda stats: stats.open_streams == 4)
            await until_gone(service, clients)

        cuts = [line["logger"] for line in service.lines("slow_client")]
        assert sorted(cuts) == ["backend.api.realtime"] * 2 + ["backend.api.sse.response"] * 2
        await standin.stats.until(lambda stats: stats.open_streams == 0)
        assert_no_force(service)
