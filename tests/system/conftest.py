"""Programs from Debian's packages that the tests start on free ports."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from infrastructure.ports import free_port
from tests.docker_engine import DockerEngine, running_engine
from tests.redis_cluster import (
    AnyRedis,
    RedisCluster,
    Sentinels,
    running_cluster,
    running_sentinels,
)
from tests.redis_server import RedisServer, running_redis
from tests.system.images import Images, build_images
from tests.waiting import waiting


class Proxying(Protocol):
    def __call__(self, upstream: str, *directives: str) -> AbstractAsyncContextManager[str]: ...


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with running_redis(tmp_path) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def steady_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[RedisCluster]:
    """A cluster for all tests that leave its nodes alone."""
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sentinels(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sentinels]:
    """Sentinels for all tests that leave their master alone."""
    async with running_sentinels(tmp_path_factory.mktemp("sentinels")) as running:
        yield running


@pytest.fixture(params=["one server", "cluster", "sentinels"])
async def any_redis(
    request: pytest.FixtureRequest,
    redis: RedisServer,
    steady_cluster: RedisCluster,
    sentinels: Sentinels,
) -> AnyRedis:
    """A server, a cluster, or the Sentinels of a master, without keys."""
    match request.param:
        case "cluster":
            await steady_cluster.forget()
            return steady_cluster
        case "sentinels":
            await sentinels.forget()
            return sentinels
    return redis


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    """A Docker engine with only a base image, started when the first test asks for it."""
    with running_engine(tmp_path_factory.mktemp("engine")) as running:
        running.import_base()
        yield running


@pytest.fixture(scope="session")
def images(engine: DockerEngine) -> Images:
    return build_images(engine)


@pytest.fixture
def nginx(tmp_path: Path) -> Proxying:
    """`async with nginx(upstream_url) as url`: a proxy with default settings.

    It has no setting for streams, apart from the directives that the test passes.
    """

    @asynccontextmanager
    async def proxying(upstream: str, *directives: str) -> AsyncIterator[str]:
        port = free_port()
        program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert program, "nginx is missing: make system-deps"
        folder = tmp_path / f"nginx-{port}"
        folder.mkdir()
        configuration = folder / "nginx.conf"
        configuration.write_text(_configuration(upstream, port, folder, directives))
        running = await asyncio.create_subprocess_exec(
            program, "-e", str(folder / "error.log"), "-c", str(configuration)
        )
        try:
            await _listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            await running.wait()

    return proxying


def _configuration(upstream: str, port: int, folder: Path, directives: Sequence[str]) -> str:
    given = " ".join(f"{directive};" for directive in directives)
    scratch = " ".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
daemon off; user root; worker_processes 1; pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off; gzip on; gzip_types text/event-stream; {scratch}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {upstream}; proxy_http_version 1.1; {given} }}
  }}
}}
"""


async def _listening(port: int) -> None:
    async with waiting():
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.02)
