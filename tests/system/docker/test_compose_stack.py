"""The compose files, unchanged, with two replicas on Postgres and Redis behind nginx."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from infrastructure.ports import free_port
from tests.deploy.servers import reading
from tests.docker_engine import DockerEngine
from tests.processes import ROOT
from tests.serving import ids_of, parse, text_of, without_ids
from tests.system.images import Images, build_parts
from tests.waiting import waiting

pytestmark = pytest.mark.timeout(900)  # the first test builds the images

FILES = [ROOT / "infrastructure" / f"compose{part}.yaml" for part in ("", ".storage", ".replicas")]
FOR_TESTS = {
    # Ports that bypass nginx, to the replicas and to the stand-in's controls.
    "lex": {
        "ports": ["127.0.0.1::8000"],
        "environment": {
            "RATE_LIMIT_CLIENT": "none",
            "MAX_STREAMS_PER_CLIENT": "1000",
            "MAX_READERS_PER_CLIENT": "1000",
        },
    },
    "standin": {"ports": ["127.0.0.1::9100"]},
}


@dataclass(frozen=True)
class Stack:
    engine: DockerEngine
    files: list[Path]
    port: int
    page_port: int

    @property
    def url(self) -> str:
        """The URL of nginx."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def replicas(self) -> list[str]:
        return self.compose("ps", "--quiet", "lex").split()

    def compose(self, *arguments: str) -> str:
        variables = {"PORT": str(self.port), "PAGE_PORT": str(self.page_port)}
        return self.engine.compose(self.files, *arguments, variables=variables)

    def url_of(self, container: str, port: int) -> str:
        return "http://" + self.engine.docker("port", container, str(port)).split()[0]

    def health(self, container: str) -> str:
        return str(self.engine.inspect(container)["State"]["Health"]["Status"])

    def script(self, contains: str, text: str, *, tokens_per_second: float | None = None) -> None:
        """Set the stand-in's answer to questions that contain this text."""
        (standin,) = self.compose("ps", "--quiet", "standin").split()
        played = {"text": text, "tokens_per_second": tokens_per_second}
        script = {"rounds": [{name: value for name, value in played.items() if value}]}
        body = {**script, "contains": contains, "times": None}
        url = f"{self.url_of(standin, 9100)}/_standin/script"
        httpx.post(url, json=body).raise_for_status()

    def until_healthy(self) -> None:
        deadline = time.monotonic() + 120
        names = self.compose("ps", "--quiet").split()
        while unwell := [name for name in names if self.health(name) != "healthy"]:
            assert time.monotonic() < deadline, self.engine.docker("logs", unwell[0])
            time.sleep(0.2)


@pytest.fixture(scope="module")
def stack(
    engine: DockerEngine,
    images: Images,  # noqa: ARG001 - builds them
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    build_parts(engine)
    added = tmp_path_factory.mktemp("stack") / "compose.tests.yaml"
    added.write_text(yaml.safe_dump({"services": FOR_TESTS}))
    running = Stack(engine, [*FILES, added], free_port(), free_port())
    try:
        running.compose("up", "--detach", "--no-build")
        running.until_healthy()
        running.script("Hello", "Hi.")
        running.script("Count", " ".join(map(str, range(40))), tokens_per_second=5)
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout", "1")


@asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as opened:
        yield opened


@asynccontextmanager
async def both(stack: Stack) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    one, other = (stack.url_of(replica, 8000) for replica in stack.replicas)
    async with client(one) as first, client(other) as second:
        yield first, second


async def test_it_runs_on_what_the_files_say(stack: Stack) -> None:
    async with client(stack.url) as lex:
        ready = (await lex.get("/readyz")).json()
        metrics = await lex.get("/metrics")

    assert (ready["store"], ready["redis"]) == ("up", "up")
    assert [model["name"] for model in ready["models"]] == ["groq-standin"]
    assert metrics.status_code == 404


async def test_the_page_on_its_own_port_may_ask_what_it_is_told_of(stack: Stack) -> None:
    async with client(f"http://localhost:{stack.page_port}") as page, client(stack.url) as lex:
        shown = await page.get("/")
        told = await page.get("/web/config.js")
        script = await page.get("/web/page.js")
        strange = [(await page.get(path)).status_code for path in ("/query", "/web/tsconfig.json")]
        answer = await lex.get("/readyz", headers={"Origin": str(page.base_url).rstrip("/")})

    assert "<title>Lex" in shown.text
    assert told.text == f"export const base = 'http://localhost:{stack.port}';\n"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert strange == [404, 404]
    assert answer.headers["access-control-allow-origin"] == str(page.base_url).rstrip("/")


async def test_a_conversation_goes_on_whichever_replica_is_asked(stack: Stack) -> None:
    async with both(stack) as replicas:
        for number in range(6):
            body = {"query": f"Hello {number}", "session_id": "wandering"}
            answer = await replicas[number % 2].post("/query", json=body)
            assert text_of(parse(answer.text)) == "Hi."
        told = [(await each.get("/sessions/wandering/messages")).json() for each in replicas]

    asked = [each["content"] for each in told[0]["messages"] if each["role"] == "user"]
    assert asked == [f"Hello {number}" for number in range(6)]
    assert told[0] == told[1]


async def test_nginx_asks_both_replicas(stack: Stack) -> None:
    (nginx,) = stack.compose("ps", "--quiet", "nginx").split()
    async with client(stack.url) as lex, waiting():
        while len(addresses(stack.engine.docker("logs", nginx))) < 2:
            await lex.post("/query", json={"query": "Hello"})


def addresses(log: str) -> set[str]:
    return {line.split()[4] for line in log.splitlines() if '"POST /query" 200' in line}


async def test_a_stream_is_read_on_from_the_other_replica(stack: Stack) -> None:
    body = {"query": "Count", "session_id": "resumed", "resume": True}
    async with both(stack) as (one, other):
        received = ""
        async with one.stream("POST", "/query", json=body) as stream:
            turn = stream.headers["x-turn-id"]
            async for text in stream.aiter_text():
                received += text
                if received.count("event: chunk") == 5:
                    break
        seen = received[: received.rindex("\n\n") + 2]
        headers = {"Last-Event-ID": ids_of(seen)[-1]}
        begun = time.monotonic()
        rest = (await other.get(f"/turns/{turn}/events", headers=headers)).text
        seconds = time.monotonic() - begun
        whole = (await one.get(f"/turns/{turn}/events")).text

    assert without_ids(seen) + without_ids(rest) == without_ids(whole)
    assert text_of(parse(without_ids(whole))) == " ".join(map(str, range(40)))
    assert seconds > 2, "it was not read on while it was being written"


async def test_a_session_has_one_limit_on_both_replicas(stack: Stack) -> None:
    """A replica that Redis does not answer in time counts alone, and says so: then ask again."""
    statuses: list[int] = []
    losses = -1
    async with both(stack) as replicas, waiting():
        while losses != (losses := times_alone(stack)):
            session_id = f"limited-{losses}"
            statuses = [
                (await ask_in(replicas[number % 2], session_id)).status_code for number in range(50)
            ]

    assert statuses == [200] * 20 + [429] * 30


async def ask_in(replica: httpx.AsyncClient, session_id: str) -> httpx.Response:
    return await replica.post("/query", json={"query": "Hello", "session_id": session_id})


def times_alone(stack: Stack) -> int:
    """How often a replica has begun to count rate limits alone."""
    return stack.compose("logs", "lex").count("shared_limits_unavailable")


async def test_a_replica_is_replaced_under_load_and_no_stream_is_cut(stack: Stack) -> None:
    before = stack.replicas
    async with client(stack.url) as lex, reading(lex, 40) as readings, asking(lex) as answers:
        await asyncio.to_thread(replace, stack, before[0])
        replaced_at = time.monotonic()
        async with waiting():
            while not any(begun > replaced_at for begun, _ in answers):
                await asyncio.sleep(0.1)
    after = stack.replicas

    assert sum(each.is_truncated for each in readings) == 0
    assert [each for each in readings if not each.ends_well] == []
    assert {status for _, status in answers} == {200}
    assert (len(after), set(after) & set(before)) == (2, {before[1]})


def replace(stack: Stack, replica: str) -> None:
    """Replace a replica as an operator does: stop it, wait, start another."""
    stack.engine.docker("stop", "--time", "120", replica)
    assert stack.engine.inspect(replica)["State"]["ExitCode"] == 0
    stack.engine.docker("rm", replica)
    stack.compose("up", "--detach", "--no-build", "--no-recreate")
    stack.until_healthy()


@asynccontextmanager
async def asking(lex: httpx.AsyncClient) -> AsyncIterator[list[tuple[float, int]]]:
    """Keep asking; yields the times and statuses of the answers."""
    answers: list[tuple[float, int]] = []

    async def ask() -> None:
        while True:
            begun = time.monotonic()
            answer = await lex.post("/query", json={"query": "Hello"})
            answers.append((begun, answer.status_code))
            await asyncio.sleep(0.1)

    task = asyncio.create_task(ask())
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled(), task.exception()
