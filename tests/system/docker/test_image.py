"""The image, built from its Dockerfile and run like an orchestrator runs it."""

import asyncio
import os
import re
import signal
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import backend
from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.deploy.servers import count_for, reading
from tests.docker_engine import BASE, DockerEngine
from tests.postgres import PostgresServer
from tests.postgres_gate import postgres_gate
from tests.serving import parse, text_of
from tests.system.images import REVISION, Images
from tests.waiting import waiting

pytestmark = pytest.mark.timeout(900)  # the first test builds the images

SCRATCH = ("--tmpfs", "/tmp")  # noqa: S108 - a path in the container
HARDENED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--memory", "512m", *SCRATCH),
)
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Container:
    engine: DockerEngine
    name: str
    client: httpx.AsyncClient

    @property
    def health(self) -> str:
        return str(self.engine.inspect(self.name)["State"]["Health"]["Status"])

    @property
    def data(self) -> Path:
        """The folder of the container's volume on this machine."""
        (mount,) = self.engine.inspect(self.name)["Mounts"]
        return Path(mount["Source"])

    @property
    def log(self) -> str:
        """Standard output and error, read from the engine's log file."""
        return Path(self.engine.inspect(self.name)["LogPath"]).read_text()

    async def until_healthy(self) -> None:
        async with waiting():
            while self.health != "healthy":
                await asyncio.sleep(0.2)

    async def until_said(self, event: str) -> None:
        async with waiting():
            while event not in self.log:
                assert self.engine.inspect(self.name)["State"]["Running"]
                await asyncio.sleep(0.2)

    async def ended(self) -> int:
        async with waiting():
            while (state := self.engine.inspect(self.name)["State"])["Running"]:
                await asyncio.sleep(0.1)
        assert not state["OOMKilled"]
        return int(state["ExitCode"])


@asynccontextmanager
async def container(
    engine: DockerEngine, image: str, *options: str, **variables: str
) -> AsyncIterator[Container]:
    """A container, once it is healthy."""
    async with starting(engine, image, *options, **variables) as running:
        await running.until_healthy()
        yield running


@asynccontextmanager
async def starting(
    engine: DockerEngine, image: str, *options: str, **variables: str
) -> AsyncIterator[Container]:
    """A container on this machine's network, so that it reaches the test's stand-in."""
    port = free_port()
    given = {"GROQ_API_KEY": "test", "HOST": "127.0.0.1", "PORT": str(port), **variables}
    environment = [part for pair in given.items() for part in ("--env", "=".join(pair))]
    options = ("--network", "host", "--health-interval", "1s", *options)
    started = engine.docker("run", "--detach", *options, *environment, image)
    url, limits = f"http://127.0.0.1:{port}", httpx.Limits(max_connections=None)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
            yield Container(engine, started.strip(), client)
    finally:
        engine.docker("rm", "--force", "--volumes", started.strip())


@pytest.fixture
async def standin() -> AsyncIterator[Standin]:
    async with Standin.serve() as running:
        yield running


async def test_told_to_stop_under_fifty_streams_it_cuts_none_and_leaves_in_peace(
    engine: DockerEngine, images: Images, standin: Standin
) -> None:
    count_for(standin, 6)
    variables = {
        "GROQ_BASE_URL": standin.url,
        "MAX_STREAMS_PER_CLIENT": "1000",
        "MAX_READERS_PER_CLIENT": "1000",
    }
    options = (*HARDENED, "--user", "10001:10001")
    async with container(engine, images.lex, *options, **variables) as lex:
        answer = await lex.client.post("/query", json={"query": "Hello"})
        async with reading(lex.client, 50) as readings:
            engine.docker("kill", "--signal", "TERM", lex.name)
        code = await lex.ended()
        written = {path.name for path in lex.data.rglob("*")}
        changed = engine.docker("diff", lex.name)
        log = engine.docker("logs", lex.name)

    assert text_of(parse(answer.text)) == "Hi."
    assert [each for each in readings if not each.ends_well] == []
    assert code == 0
    assert changed == ""
    assert "lex.db" in written
    assert all(name.startswith("lex.db") for name in written)
    assert "Traceback" not in log


async def test_nothing_is_written_elsewhere_even_where_it_could_be(
    engine: DockerEngine, images: Images, standin: Standin
) -> None:
    standin.script({"text": "Hi."}, times=None)
    variables = {"GROQ_BASE_URL": standin.url, "WEB_CONCURRENCY": "2"}
    async with container(engine, images.lex, *SCRATCH, **variables) as lex:
        for number in range(4):
            answer = await lex.client.post("/query", json={"query": f"Hello {number}"})
            assert answer.status_code == 200
        engine.docker("stop", lex.name)
        changed = engine.docker("diff", lex.name)

    assert changed == ""


async def test_it_runs_as_any_user_that_has_a_place_for_its_data(
    engine: DockerEngine, images: Images, standin: Standin
) -> None:
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": "sqlite:////tmp/lex.db"}
    options = (*HARDENED, "--user", "4321:0")
    async with container(engine, images.lex, *options, **variables) as lex:
        answer = await lex.client.post("/query", json={"query": "Weather in Paris?"})

    assert parse(answer.text)[-1] == ("end", "")


async def test_it_says_what_it_was_built_from(engine: DockerEngine, images: Images) -> None:
    labels = engine.inspect(images.lex)["Config"]["Labels"]
    async with container(engine, images.lex, *HARDENED) as lex:
        metrics = (await lex.client.get("/metrics")).text
        version = (await lex.client.get("/readyz")).json()["version"]

    expected = {"version": backend.__version__, "revision": REVISION}
    assert {name: labels[f"org.opencontainers.image.{name}"] for name in expected} == expected
    assert version == backend.__version__
    told = re.search(r"^lex_build_info\{(.*)\} 1", metrics, re.MULTILINE)
    assert told
    assert dict(re.findall(r'(\w+)="([^"]*)"', told[1])) == expected


async def test_it_waits_for_a_database_that_is_away_and_is_not_ill_meanwhile(
    engine: DockerEngine, images: Images, postgres: PostgresServer
) -> None:
    with postgres.database() as behind:
        async with postgres_gate(behind, is_open=False) as gate:
            often = ("--health-retries", "2")
            url = {"DATABASE_URL": gate.url}
            async with starting(engine, images.lex, *HARDENED, *often, **url) as lex:
                await lex.until_said("store_awaited")
                await asyncio.sleep(5)  # longer than the failing checks take
                meanwhile = lex.health
                await gate.open()
                await lex.until_healthy()
                ready = await lex.client.get("/readyz")

    assert meanwhile == "starting"
    assert (ready.status_code, ready.json()["store"]) == (200, "up")


async def test_a_service_that_hangs_is_not_healthy(engine: DockerEngine, images: Images) -> None:
    often = ("--health-timeout", "1s", "--health-retries", "2")
    async with container(engine, images.lex, *HARDENED, *often) as lex:
        for pid in engine.docker("top", lex.name, "-o", "pid").split()[1:]:
            os.kill(int(pid), signal.SIGSTOP)
        async with waiting():
            while lex.health != "unhealthy":
                await asyncio.sleep(0.2)


def test_it_is_small_and_so_is_the_stand_in(engine: DockerEngine, images: Images) -> None:
    def size(image: str) -> int:
        return int(engine.inspect(image)["Size"])

    assert size(images.lex) - size(BASE) < 250 * MEGABYTE
    assert size(images.standin) - size(BASE) < 40 * MEGABYTE


@dataclass(frozen=True)
class Contents:
    """All files of an image."""

    members: list[tarfile.TarInfo]

    @property
    def paths(self) -> set[str]:
        return {member.name for member in self.members}

    def under(self, folder: str) -> list[tarfile.TarInfo]:
        return [each for each in self.members if each.name.startswith(f"{folder}/")]

    def names_in(self, folder: str) -> set[str]:
        """The names directly in a folder."""
        return {each.name.split("/")[folder.count("/") + 1] for each in self.under(folder)}


@pytest.fixture(scope="module")
def contents(
    engine: DockerEngine, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Contents:
    name = engine.docker("create", images.lex).strip()
    archive = tmp_path_factory.mktemp("contents") / "lex.tar"
    engine.docker("export", "--output", str(archive), name)
    engine.docker("rm", "--volumes", name)
    with tarfile.open(archive) as opened:
        listed = Contents(opened.getmembers())
    archive.unlink()
    return listed


def test_it_has_what_it_needs_and_nothing_of_what_made_or_tests_it(contents: Contents) -> None:
    folders = ("usr/bin", "usr/local/bin", "bin", "opt/lex/python/bin")
    programs = {name for folder in folders for name in contents.names_in(folder)}
    (python,) = contents.names_in("opt/lex/python/lib")
    packages = contents.names_in(f"opt/lex/python/lib/{python}/site-packages")

    assert contents.names_in("opt/lex") == {"LICENSE", "backend", "deploy", "python"}
    assert contents.names_in("opt/lex/deploy") == {"__pycache__", "alive.py", "gunicorn.conf.py"}
    assert programs & {"gcc", "cc", "g++", "clang", "ld", "make", "rustc"} == set()
    assert packages & {"pip", "setuptools", "pytest", "hypothesis", "uv"} == set()
    assert {"fastapi", "gunicorn", "uvloop", "httptools"} <= packages
    assert [path for path in contents.paths if "groq_standin" in path] == []
    assert [path for path in contents.paths if path.endswith((".env", "lex.db"))] == []


def test_what_it_runs_nobody_in_it_can_change(contents: Contents) -> None:
    changeable = [
        member.name
        for member in contents.under("opt/lex")
        if (member.uid, member.gid) != (0, 0) or (member.mode & 0o022 and not member.issym())
    ]

    assert changeable == []


def test_its_bytecode_is_there_for_every_module(contents: Contents) -> None:
    sources = [member.name for member in contents.under("opt/lex/backend")]
    modules = [path for path in sources if path.endswith(".py")]

    def compiled(path: str) -> str:
        folder, _, name = path.rpartition("/")
        return f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc"

    assert modules
    assert [path for path in modules if compiled(path) not in contents.paths] == []


def test_no_shell_stands_between_a_signal_and_the_server(
    engine: DockerEngine, images: Images
) -> None:
    configured = engine.inspect(images.lex)["Config"]

    assert configured["Entrypoint"] is None
    assert configured["Cmd"][:3] == ["python", "-m", "gunicorn"]
    assert configured["User"] == "10001:10001"
