"""nginx with the configuration of the compose files, apart from container names and paths."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.api.page import FOLDER
from infrastructure.ports import free_port
from tests.processes import ROOT
from tests.waiting import waiting

CONFIGURATION = (ROOT / "infrastructure/nginx/nginx.conf").read_text()


@dataclass(frozen=True)
class Nginx:
    """A running nginx, with the addresses of its two servers."""

    lex: str
    page: str


@asynccontextmanager
async def shipped_nginx(
    folder: Path, upstream: str, *, page_port: int | None = None
) -> AsyncIterator[Nginx]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program, "nginx is missing: make system-deps"
    port, page_port = free_port(), page_port or free_port()
    (folder / "nginx.conf").write_text(_here(folder, upstream, port, page_port))
    running = await asyncio.create_subprocess_exec(
        program, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")
    )
    addresses = Nginx(f"http://localhost:{port}", f"http://localhost:{page_port}")
    try:
        await _answers(addresses.page)
        yield addresses
    finally:
        running.terminate()
        await running.wait()


def _here(folder: Path, upstream: str, port: int, page_port: int) -> str:
    there = {
        "/tmp/": f"{folder}/",  # noqa: S108 - a path in the container
        "/srv/web;": f"{FOLDER};",
        "/srv;": f"{FOLDER.parent};",
        "access_log /dev/stdout plain if=$is_said;": "access_log off;",
        "listen 3000;": f"listen 127.0.0.1:{page_port};",
        "listen 8000;": f"listen 127.0.0.1:{port};",
        "set $lex http://lex:8000;": f"set $lex {upstream};",
        "worker_processes 1;": "worker_processes 1; user root; daemon off;",
    }
    text = CONFIGURATION
    for given, here in there.items():
        assert given in text
        text = text.replace(given, here)
    return text


async def _answers(url: str) -> None:
    async with waiting(), httpx.AsyncClient() as client:
        while True:
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
