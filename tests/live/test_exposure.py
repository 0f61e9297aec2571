"""Exposure: public addresses without authentication, and foreign host names."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from backend.network.exposure import REFUSAL, WARNING
from infrastructure.ports import free_port
from tests.credentials import COOKIE_SECRET, key_file
from tests.deploy.servers import GUNICORN, PLAIN
from tests.processes import NO_TLS, ROOT, ended, environment, process, ready
from tests.raw import wire
from tests.serving import Lex, lex

UVICORN = ("-m", "uvicorn", "backend.main:app")
EVERYWHERE = "0.0.0.0"  # noqa: S104 - the test shows that it refuses to start there

both = pytest.mark.parametrize("command", [PLAIN, GUNICORN], ids=["plain", "gunicorn"])


@asynccontextmanager
async def served(
    *command: str, folder: Path, **variables: str
) -> AsyncIterator[tuple[httpx.AsyncClient, Path]]:
    """Start a service; yield a client for it, and its log file."""
    port, log = free_port(), folder / "log"
    given = {
        "PORT": str(port),
        "UVICORN_PORT": str(port),
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        "DRAIN_ACCEPT_SECONDS": "0",
        **variables,
    }
    with log.open("wb") as stderr:
        async with (
            process(*command, variables=given, stderr=stderr) as running,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=30, verify=NO_TLS
            ) as client,
        ):
            await ready(client, running)
            yield client, log


def logged(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize(
    ("command", "host"),
    [
        (PLAIN, EVERYWHERE),
        (PLAIN, "::"),
        (GUNICORN, EVERYWHERE),
        (GUNICORN, "::"),
        (GUNICORN, "::ffff:0.0.0.0"),  # uvicorn cannot listen there
    ],
)
async def test_nobody_is_let_in_unasked_where_others_can_come(
    command: tuple[str, ...], host: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/lex.db"
    finished = await ended(
        *command, folder=tmp_path, HOST=host, PORT=str(free_port()), DATABASE_URL=url
    )

    lines = [line for line in finished.stderr.splitlines() if "lex: " in line]
    assert finished.code != 0
    assert len(lines) == 1
    assert REFUSAL in lines[0]
    assert not (tmp_path / "lex.db").exists()


@both
async def test_allowed_anonymous_access_is_served_with_a_warning(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    variables = {"HOST": EVERYWHERE, "ALLOW_ANONYMOUS": "true"}
    async with served(*command, folder=tmp_path, **variables) as (client, log):
        readiness = await client.get("/readyz")
        strange = await client.get("/", headers={"Host": "lex.example.com"})

    assert (readiness.status_code, readiness.json()["warnings"]) == (200, [WARNING])
    assert [line["note"] for line in logged(log, "anonymous_access")] == [WARNING]
    assert strange.status_code == 200


@both
async def test_a_server_with_authentication_may_listen_anywhere(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    variables = {
        "HOST": EVERYWHERE,
        "AUTH": "api_key",
        "API_KEYS_FILE": str(key_file(tmp_path / "keys", key="123")),
        "SESSION_COOKIE_SECRET": COOKIE_SECRET,
    }
    async with served(*command, folder=tmp_path, **variables) as (client, log):
        readiness = (await client.get("/readyz")).json()

    assert "warnings" not in readiness
    assert logged(log, "anonymous_access") == []


async def test_a_unix_socket_is_no_public_address(tmp_path: Path) -> None:
    path = tmp_path / "lex.sock"
    command = (*GUNICORN, "--bind", f"unix:{path}")
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/lex.db"}
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with (
        process(*command, variables=variables) as running,
        httpx.AsyncClient(base_url="http://lex.example.com", transport=transport) as client,
    ):
        await ready(client, running)
        readiness = (await client.get("/readyz")).json()
        page = await client.get("/")

    assert "warnings" not in readiness
    assert page.status_code == 200


async def test_an_inherited_socket_is_looked_at_too(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind((EVERYWHERE, 0))
        listener.listen()
        listener.set_inheritable(True)
        variables = {"DATABASE_URL": f"sqlite:///{tmp_path}/lex.db"}
        command = (*GUNICORN, "--bind", f"fd://{listener.fileno()}")
        finished = await inherited(*command, descriptor=listener, **variables)

    assert REFUSAL in finished


async def inherited(*command: str, descriptor: socket.socket, **variables: str) -> str:
    """Start a service on an inherited socket, and return what it prints."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=ROOT,
        env=environment(**variables),
        stderr=asyncio.subprocess.PIPE,
        pass_fds=[descriptor.fileno()],
    )
    _, told = await running.communicate()
    return told.decode()


async def test_uvicorn_cannot_know_its_address_and_warns(tmp_path: Path) -> None:
    async with served(*UVICORN, folder=tmp_path) as (client, log):
        strange = await client.get("/", headers={"Host": "lex.example.com"})

    (line,) = logged(log, "anonymous_access")
    assert line["level"] == "warning"
    assert "ALLOW_ANONYMOUS" in line["note"]
    assert strange.status_code == 200


@both
async def test_on_loopback_only_names_of_this_machine_are_answered(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    metrics_port = free_port()
    variables = {"METRICS_PORT": str(metrics_port)}
    async with served(*command, folder=tmp_path, **variables) as (client, _):
        port = client.base_url.port
        own = [
            (await client.get("/", headers={"Host": host})).status_code
            for host in ("localhost", f"LOCALHOST.:{port}", "[::1]", "lex.localhost", "127.0.0.2")
        ]
        strange = [
            await client.get(path, headers={"Host": "evil.example"})
            for path in ("/", "/openapi.json", "/nowhere", "/metrics")
        ]
        posted = await client.post(
            "/query", json={"query": "Hello"}, headers={"Host": "localhost.evil.example"}
        )
        probes = [
            (await client.get(path, headers={"Host": "10.1.2.3:8000"})).status_code
            for path in ("/livez", "/readyz", "/health")
        ]
        scraped = await client.get(
            f"http://127.0.0.1:{metrics_port}/metrics", headers={"Host": "lex-metrics"}
        )

    assert own == [200] * 5
    assert [answer.status_code for answer in strange] == [421, 421, 421, 404]
    assert (posted.status_code, posted.json()["code"]) == (421, "wrong_host")
    assert posted.headers["content-type"] == "application/problem+json"
    assert probes == [200] * 3
    assert scraped.status_code == 200


@pytest.fixture
async def listed() -> AsyncIterator[Lex]:
    async with lex(allowed_hosts="lex.example.com,*.example.org:8000,10.0.0.1") as service:
        yield service


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("lex.example.com", 200),
        ("LEX.EXAMPLE.COM.:99", 200),
        ("a.example.org:8000", 200),
        ("10.0.0.1", 200),
        ("a.example.org", 421),
        ("example.org:8000", 421),
        ("lex.example.com.evil.example", 421),
        ("localhost", 421),
        ("lex.example.com, evil.example", 421),
        ("user@lex.example.com", 421),
        ("", 421),
    ],
)
async def test_a_list_is_all_that_is_answered(listed: Lex, host: str, status: int) -> None:
    answer = await listed.client.get("/", headers={"Host": host})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("trusted", "scheme", "status"),
    [
        ("127.0.0.1", "https", 200),
        ("127.0.0.1", "http", 421),
        ("10.0.0.1", "https", 421),
    ],
)
async def test_behind_a_trusted_proxy_the_port_of_a_host_is_that_of_its_scheme(
    trusted: str, scheme: str, status: int
) -> None:
    headers = {"Host": "lex.example.com", "X-Forwarded-Proto": scheme}
    async with lex(allowed_hosts="lex.example.com:443", forwarded_allow_ips=trusted) as service:
        answer = await service.client.get("/", headers=headers)

    assert answer.status_code == status


async def test_a_handshake_with_an_unlisted_host_is_refused_with_a_problem(listed: Lex) -> None:
    url = f"{listed.url}/ws/sessions/s1".replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, proxy=None):
            pass
    port = listed.client.base_url.port
    async with connect(
        "ws://lex.example.com/ws/sessions/s1", host="127.0.0.1", port=port, proxy=None
    ) as socket_:
        await socket_.send("Hello")
        first = json.loads(await socket_.recv())

    response = refused.value.response
    assert response.status_code == 421
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(response.body or b"{}")["code"] == "wrong_host"
    assert first["type"] == "chunk"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: lex.example.com\r\n", b"421"),
        (b"GET http://lex.example.com/ HTTP/1.1\r\nHost: evil.example\r\n", b"200"),
        (b"GET http://a@lex.example.com:80/ HTTP/1.1\r\nHost: evil.example\r\n", b"200"),
        (b"GET http://evil.example/ HTTP/1.0\r\n", b"421"),
        (b"GET / HTTP/1.0\r\n", b"421"),
        (b"GET / HTTP/1.1\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: lex.example.com\r\nHost: lex.example.com\r\n", b"400"),
        (b"GET /livez HTTP/1.0\r\n", b"200"),
    ],
)
async def test_an_address_that_is_written_out_counts_and_one_host_is_needed(
    listed: Lex, request_: bytes, status: bytes
) -> None:
    async with wire(listed) as opened:
        await opened.send(request_ + b"Connection: close\r\n\r\n")
        answer = await opened.rest()

    assert answer.split(b" ")[1] == status
