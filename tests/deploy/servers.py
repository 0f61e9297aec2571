"""The service as it is deployed, clients that read streams to the end, and the kernel's sockets."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.processes import NO_TLS, Process, process, ready
from tests.serving import parse
from tests.waiting import waiting, within_limit

GUNICORN = ("-m", "gunicorn", "-c", "deploy/gunicorn.conf.py")
PLAIN = ("-m", "backend.server")


@dataclass(frozen=True)
class Deployed:
    """A running service, with a client, its first process and its log."""

    client: httpx.AsyncClient
    process: Process
    log: Path

    @property
    def port(self) -> int:
        return int(self.client.base_url.port or 0)

    @property
    def workers(self) -> list[int]:
        """The serving processes: the children of the arbiter, or the only process."""
        return children(self.process.pid) or [self.process.pid]

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        return await within_limit(self.process.wait())

    async def until_said(self, event: str, *, times: int) -> None:
        async with waiting():
            while len(self.lines(event)) < times:
                await asyncio.sleep(0.05)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The log lines with this event name."""
        text = self.log.read_text()
        logged = [line for line in text.splitlines(keepends=True) if line[0] + line[-1] == "{\n"]
        return [line for line in map(json.loads, logged) if line["event"] == event]


@asynccontextmanager
async def deployed(
    command: Sequence[str], standin: Standin, folder: Path, **variables: str
) -> AsyncIterator[Deployed]:
    port = free_port()
    variables = {
        "PORT": str(port),
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        "WEB_CONCURRENCY": "2",
        "DRAIN_ACCEPT_SECONDS": "0",
        **variables,
    }
    limits = httpx.Limits(max_connections=None)
    log = folder / f"{port}.log"
    with log.open("wb") as stderr:
        async with (
            process(*command, variables=variables, stderr=stderr) as running,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=60, limits=limits, verify=NO_TLS
            ) as client,
        ):
            await ready(client, running)
            service = Deployed(client, running, log)
            # One worker may be ready before the others have started.
            workers = int(variables["WEB_CONCURRENCY"]) if GUNICORN[-1] in command else 1
            await service.until_said("lex_started", times=workers)
            yield service


@dataclass
class Reading:
    """One stream as its client saw it."""

    received: str = ""
    close_code: int | None = None
    """The code with which the WebSocket was closed."""
    turn_id: str = ""
    is_truncated: bool = False
    ended_at: float = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def events(self) -> list[tuple[str, str]]:
        return parse(self.received)

    @property
    def ends_well(self) -> bool:
        """Whether the stream has no `error` and ends with `outcome` and one `end`."""
        names = [name for name, _ in self.events]
        return self.ends and "error" not in names and names[-2] == "outcome"

    @property
    def ends(self) -> bool:
        names = [name for name, _ in self.events]
        return not self.is_truncated and names.count("end") == 1 and names[-1] == "end"


async def read(client: httpx.AsyncClient, reading: Reading, session_id: str) -> Reading:
    body = {"query": "Count", "session_id": session_id}
    try:
        async with client.stream("POST", "/query", json=body) as stream:
            assert stream.status_code == 200, await stream.aread()
            reading.turn_id = stream.headers["x-turn-id"]
            async for text in stream.aiter_text():
                reading.received += text
                reading.begun.set()
    except httpx.TransportError:
        reading.is_truncated = True
    reading.ended_at = time.monotonic()
    return reading


async def converse(client: httpx.AsyncClient, reading: Reading, session_id: str) -> Reading:
    """Ask over a WebSocket, which stays open until the server closes it."""
    url = f"{client.base_url}/ws/sessions/{session_id}".replace("http", "ws", 1)
    async with connect(url, proxy=None) as socket:
        await socket.send("Count")
        async for text in socket:
            event = json.loads(text)
            reading.received += f"event: {event['type']}\ndata: {event['data']}\n\n"
            reading.begun.set()
            if event["type"] == "end":
                reading.ended_at = time.monotonic()
    reading.is_truncated = not reading.ended_at
    reading.close_code = socket.close_code
    return reading


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient, streams: int, *, sockets: int = 0
) -> AsyncIterator[list[Reading]]:
    """Open this many streams and WebSockets, and yield when all have begun.

    At the end of the block, all have ended. WebSockets come last in the list.
    """
    readings = [Reading() for _ in range(streams + sockets)]
    async with asyncio.TaskGroup() as tasks:
        for number, each in enumerate(readings):
            how = read if number < streams else converse
            tasks.create_task(how(client, each, f"s{number}"))
        for each in readings:
            await within_limit(each.begun.wait())
        yield readings


@dataclass(frozen=True)
class Probe:
    """The answers of a service to one round of requests; 0 means no answer."""

    begun: float
    readiness: int = 0
    metrics: int = 0
    turn: str = ""
    """`taken`, or the error code with which the turn was refused."""
    failure: str = ""


@asynccontextmanager
async def probing(service: Deployed) -> AsyncIterator[list[Probe]]:
    """Keep asking, on new connections, for readiness and for a turn."""
    probes: list[Probe] = []
    asking = asyncio.create_task(_probe(str(service.client.base_url), probes))
    try:
        yield probes
    finally:
        asking.cancel()
        await asyncio.wait([asking])


async def _probe(url: str, probes: list[Probe]) -> None:
    # A leaving server could close a kept connection just as the next request is sent.
    unkept = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=unkept, verify=NO_TLS) as client:
        while True:
            begun = time.monotonic()
            try:
                readiness = (await client.get("/readyz")).status_code
                metrics = (await client.get("/metrics")).status_code
                answer = await client.post("/query", json={"query": "Hello"})
            except httpx.TransportError as error:
                probes.append(Probe(begun, failure=repr(error)))
            else:
                turn = "taken" if answer.status_code == 200 else answer.json()["code"]
                probes.append(Probe(begun, readiness, metrics, turn))
            await asyncio.sleep(0.1)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def connected_peers(port: int) -> set[int]:
    """The remote ports of all sockets of this port in the kernel, in any state."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [line.split()[1:3] for line in lines]
    return {int(peer[9:], 16) for own, peer in ends if own == f"0100007F:{port:04X}"}


def open_sockets(pid: int) -> int:
    links = Path(f"/proc/{pid}/fd").iterdir()
    return sum("socket:" in str(link.readlink()) for link in links)


def memory_bytes(pid: int) -> int:
    (line,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    ]
    return int(line.split()[1]) * 1024


def count_for(standin: Standin, seconds: float) -> None:
    """Have every `Count` answered over this many seconds, and every `Hello` at once."""
    words = " ".join(str(number) for number in range(int(seconds * 5)))
    standin.script({"text": words, "tokens_per_second": 5}, contains="Count", times=None)
    standin.script({"text": "Hi."}, contains="Hello", times=None)
