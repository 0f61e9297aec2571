"""With few file descriptors, a server serves some clients, refuses others, answers all probes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from infrastructure.groq_standin import Standin
from tests.deploy.servers import Deployed, deployed
from tests.raw import connected
from tests.waiting import within_limit

LIMIT = 300
ROOM = 86
"""The turns for which 300 descriptors suffice: 172 are left for turns, and each takes two."""

HELD = {"text": "one", "first_token_after": 60}
PROBES = ("/livez", "/readyz", "/metrics")


def limited(module: str, *arguments: str, soft: int = LIMIT, hard: int = LIMIT) -> tuple[str, str]:
    """A command that starts a module under its own descriptor limits."""
    program = (
        "import resource, runpy, sys\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        f"sys.argv[1:] = {arguments!r}\n"
        f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)\n"
    )
    return "-c", program


PLAIN = limited("backend.server")
GUNICORN = limited("gunicorn", "-c", "deploy/gunicorn.conf.py")


@dataclass
class Connections:
    """Connections that stay open, with the first line received on each."""

    port: int
    lines: list[str] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def statuses(self) -> Counter[str]:
        return Counter(line.split()[1] if line else "nothing" for line in self.lines)

    async def send(self, request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        writer.write(request)
        self.lines.append((await reader.readline()).decode())

    async def close(self) -> None:
        writers, self.writers = self.writers, []
        for writer in writers:
            writer.close()
        closing = (writer.wait_closed() for writer in writers)
        await asyncio.gather(*closing, return_exceptions=True)

    async def connect(self) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)


@asynccontextmanager
async def connections(server: Deployed) -> AsyncIterator[Connections]:
    opened = Connections(server.port)
    try:
        yield opened
    finally:
        await opened.close()


def query(number: int) -> bytes:
    body = json.dumps({"query": "Wait", "session_id": f"s{number}"}).encode()
    head = "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def probe(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


@asynccontextmanager
async def probing(server: Deployed) -> AsyncIterator[Connections]:
    """Keep asking the probes, one after the other, on new connections."""
    probes, is_over = Connections(server.port), asyncio.Event()

    async def ask() -> None:
        while not is_over.is_set():
            for path in PROBES:
                await probes.send(probe(path))
                await probes.close()
            await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    yield probes
    is_over.set()
    await within_limit(asking)


@asynccontextmanager
async def limited_server(
    command: tuple[str, ...], folder: Path, **variables: str
) -> AsyncIterator[tuple[Deployed, Standin]]:
    async with Standin.serve() as standin:
        standin.script(HELD, contains="Wait", times=None)
        given = {"WEB_CONCURRENCY": "1", "DRAIN_SECONDS": "0", **variables}
        async with deployed(command, standin, folder, **given) as server:
            yield server, standin


@pytest.mark.parametrize("command", [PLAIN, GUNICORN], ids=["plain", "gunicorn"])
async def test_everybody_gets_a_stream_or_a_503_and_probes_are_answered(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    async with (
        limited_server(command, tmp_path) as (server, standin),
        connections(server) as asked,
        probing(server) as probes,
    ):
        await within_limit(asyncio.gather(*(asked.send(query(number)) for number in range(400))))
        await standin.stats.until(lambda stats: stats.requests == asked.statuses["200"])
        (told,) = server.lines("descriptors_too_few")

    assert set(asked.statuses) == {"200", "503"}
    assert ROOM - 10 <= asked.statuses["200"] <= ROOM
    assert set(probes.statuses) == {"200"}
    assert (told["limit"], told["max_streams"], told["streams"]) == (LIMIT, 2000, ROOM)
    assert told["needed"] == 4128
    assert server.lines("upstream_unreachable") == server.lines("descriptors_used_up") == []


async def test_connections_that_say_nothing_keep_no_probe_out(tmp_path: Path) -> None:
    async with (
        limited_server(PLAIN, tmp_path) as (server, _),
        connections(server) as silent,
        connections(server) as asked,
    ):
        for _ in range(500):
            await within_limit(silent.connect())

        for number, path in enumerate(PROBES):
            await within_limit(asked.send(probe(path)))
            await within_limit(asked.send(query(number)))
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{server.port}/ws/sessions/s1", proxy=None)

    assert [line.split()[1] for line in asked.lines] == ["200", "503"] * 3
    assert refused.value.response.status_code == 503
    assert server.lines("descriptors_used_up") == []


async def test_a_connection_beyond_them_is_closed_after_its_answer_whoever_answers(
    tmp_path: Path,
) -> None:
    asked_for = {
        b"HTTP/1.1 200": "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"HTTP/1.1 503": "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"HTTP/1.1 421": "GET / HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n",
        b"HTTP/1.1 400": "OPTIONS /query HTTP/1.1\r\nHost: localhost\r\nOrigin: http://elsewhere\r\n"
        "Access-Control-Request-Method: POST\r\n\r\n",
    }
    async with limited_server(PLAIN, tmp_path) as (server, _), connections(server) as silent:
        for _ in range(300):
            await within_limit(silent.connect())

        answers = {}
        for start, request in asked_for.items():
            async with connected(server.port) as opened:
                await opened.send(request.encode())
                answers[start] = await opened.rest()

    assert all(answer.startswith(start) for start, answer in answers.items())
    assert all(answer.count(b"connection: close") == 1 for answer in answers.values())


async def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    command = limited("backend.server", soft=128, hard=4200)

    async with limited_server(command, tmp_path) as (server, _):
        soft_and_hard = limits_of(server.process.pid)
        readiness = (await server.client.get("/readyz")).json()

    assert soft_and_hard == ["4200", "4200"]
    assert readiness["free_slots"] == 2000
    assert server.lines("descriptors_too_few") == []


def limits_of(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Max open files")]
    return line.split()[3:5]


async def test_room_comes_back_when_streams_end(tmp_path: Path) -> None:
    async with limited_server(PLAIN, tmp_path) as (server, _):
        for _ in range(2):
            async with connections(server) as asked:
                await within_limit(asyncio.gather(*map(asked.send, map(query, range(150)))))
            assert set(asked.statuses) == {"200", "503"}
            await until_all_slots_are_free(server)


async def until_all_slots_are_free(server: Deployed) -> None:
    async def looked() -> None:
        while (await server.client.get("/readyz")).json()["free_slots"] != ROOM:
            await asyncio.sleep(0.05)

    await within_limit(looked())
