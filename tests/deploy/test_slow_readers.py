"""Clients that stop reading: they are cut, and nobody else notices."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from infrastructure.groq_standin import Standin
from tests.deploy.restarts import assert_no_force
from tests.deploy.servers import (
    PLAIN,
    Deployed,
    connections,
    count_for,
    deployed,
    memory_bytes,
    open_sockets,
)

SEND_TIMEOUT_SECONDS = 1.5
PATIENCE = {"SEND_TIMEOUT_SECONDS": str(SEND_TIMEOUT_SECONDS)}


@contextmanager
def stalled(port: int, clients: int) -> Iterator[list[socket.socket]]:
    """So many clients that ask and do not read."""
    with ExitStack() as stack:
        yield [_stalled(stack.enter_context(socket.socket()), port) for _ in range(clients)]


def _stalled(client: socket.socket, port: int) -> socket.socket:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    body = json.dumps({"query": "Tell me everything"}).encode()
    client.sendall(
        b"POST /query HTTP/1.1\r\nhost: lex\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    return client


def say_everything(standin: Standin, *, words_per_second: int) -> None:
    """Two kilobytes a word, and no end of them."""
    text = " ".join(["x" * 2048] * 20_000)
    standin.script(
        {"text": text, "tokens_per_second": words_per_second}, contains="everything", times=None
    )


async def until_gone(service: Deployed, clients: Sequence[socket.socket]) -> None:
    """Until the kernel has no socket of the service's towards any of them."""
    ports = [client.getsockname()[1] for client in clients]
    async with asyncio.timeout(6 * SEND_TIMEOUT_SECONDS):
        while any(connections(service.port, port) for port in ports):
            await asyncio.sleep(0.05)


async def drip(client: socket.socket) -> None:
    """Read, but far more slowly than is sent: the kernel sees a reader all the time."""
    client.setblocking(False)
    with suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(client, 2048):
            await asyncio.sleep(0.1)


async def test_clients_that_read_nothing_are_cut_and_nobody_else_notices(
    standin: Standin, tmp_path: Path
) -> None:
    """The kernel sees them first."""
    say_everything(standin, words_per_second=1500)
    count_for(standin, 4)

    async with deployed(PLAIN, standin, tmp_path, **PATIENCE) as service:
        pid = service.process.pid
        await service.client.post("/query", json={"query": "Hello"})
        sockets, memory, peak, gaps = open_sockets(pid), memory_bytes(pid), 0, list[float]()
        with stalled(service.port, 10) as clients:
            async with service.client.stream("POST", "/query", json={"query": "Count"}) as stream:
                last = time.monotonic()
                async for _ in stream.aiter_bytes():
                    gaps.append(time.monotonic() - last)
                    last = time.monotonic()
                    peak = max(peak, memory_bytes(pid))
            await until_gone(service, clients)

        assert [line["logger"] for line in service.lines("slow_client")] == ["backend.server"] * 10
        assert max(gaps[2:]) < 0.5, "a word comes every 0.2 s"
        assert peak - memory < 60e6
        assert standin.stats.open_streams == 0
        assert open_sockets(pid) <= sockets
        assert_no_force(service)


async def test_clients_that_read_far_too_slowly_are_cut(standin: Standin, tmp_path: Path) -> None:
    """To the kernel they are readers: it is the send that takes too long."""
    say_everything(standin, words_per_second=1500)

    async with (
        deployed(PLAIN, standin, tmp_path, **PATIENCE) as service,
        asyncio.TaskGroup() as tasks,
    ):
        with stalled(service.port, 3) as clients:
            for client in clients:
                tasks.create_task(drip(client))
            await standin.stats.until(lambda stats: stats.open_streams == 3, seconds=5)
            await until_gone(service, clients)

        assert [line["logger"] for line in service.lines("slow_client")] == ["backend.stream"] * 3
        await standin.stats.until(lambda stats: stats.open_streams == 0, seconds=1)
        assert_no_force(service)
