"""Secrets in settings, written in many ways: no message shows any part of them."""

import asyncio
import re
from base64 import b64encode
from pathlib import Path

import httpx
import pytest

from backend.settings import Settings
from backend.storage.sql.migrate import main as migrate
from infrastructure.ports import free_port
from tests.credentials import COOKIE_SECRET
from tests.listening import listening
from tests.processes import NO_TLS, process
from tests.serving import lex
from tests.waiting import waiting

FIRST, SECOND = "hunter", "zebra"

SEPARATORS = ["@", "#", "/", "%", " ", "[", "]", "?", ":", "é", "℀", "\n", "\\", "@/", "@?", "%40"]

URLS = {
    "GROQ_BASE_URL": ["http://user:{}@127.0.0.1:9", "http://user:{}", "{}@127.0.0.1:9"],
    "DATABASE_URL": [
        "postgresql://lex:{}@127.0.0.1:9/lex",
        "postgresql+psycopg://lex:{}/lex",
        "postgresql:///lex:{}@127.0.0.1/lex",
        "postgres:lex:{}@127.0.0.1/lex",
        "mysql://lex:{}@127.0.0.1/lex",
    ],
    "REDIS_URL": [
        "redis://:{}@127.0.0.1:9/0",
        "redis://user:{}:9",
        "unix://:{}@/nowhere/redis",
        "redis+cluster://:{}@127.0.0.1:9,127.0.0.1:8",
        "redis+cluster://:pass@127.0.0.1:9,:{}@127.0.0.1:8",
        "redis+sentinel://127.0.0.1:9,127.0.0.1:8/master?sentinel_password={}",
        "valkey+sentinel://:{}@127.0.0.1:9/master",
    ],
    "HTTPS_PROXY": ["http://user:{}@127.0.0.1:9", "http://user:{}"],
    "OTEL_EXPORTER_OTLP_ENDPOINT": ["http://user:{}@127.0.0.1:9", "http://user:{}"],
}
SHAPES = [(name, url) for name, urls in URLS.items() for url in urls]
WHOLE = [
    (name, url)
    for name, url in SHAPES
    if url.endswith("{}@127.0.0.1:9") or url.startswith("redis+cluster://:{}")
]

STARTED = ["@", "%", "[", "é"]
"""The accepted shapes that are also started as a process, as a sample."""

PLAIN = {
    "GROQ_API_KEY": {},
    "LOG_HASH_KEY": {},
    "SESSION_COOKIE_SECRET": {"AUTH": "api_key", "API_KEYS_FILE": "/nowhere"},
    "JWT_SECRET": {
        "AUTH": "jwt",
        "JWT_ISSUER": "i",
        "JWT_AUDIENCE": "a",
        "SESSION_COOKIE_SECRET": COOKIE_SECRET,
    },
    "JWT_JWKS_URL": {
        "AUTH": "jwt",
        "JWT_ISSUER": "i",
        "JWT_AUDIENCE": "a",
        "SESSION_COOKIE_SECRET": COOKIE_SECRET,
    },
    "OTEL_EXPORTER_OTLP_HEADERS": {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"},
}


def secret(separator: str) -> str:
    return f"{FIRST}{separator}{SECOND}"


def is_told(text: str) -> bool:
    return FIRST in text or SECOND in text


def is_ambiguous(shape: str, separator: str) -> bool:
    """Whether the part after an `@` could be a host, because the URL has no other host."""
    return "@" in separator and "@" not in shape


@pytest.mark.parametrize(("name", "shape"), SHAPES)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_no_setting_is_refused_in_words_that_repeat_it(
    name: str, shape: str, separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "test")
    monkeypatch.setenv(name, shape.format(secret(separator)))
    try:
        told = repr(Settings.read())
    except SystemExit as stopped:
        told = str(stopped)
        assert told.startswith(f"lex: {name} cannot be used: ")
        assert "\n" not in told

    assert not is_told(told)


@pytest.mark.parametrize("shape", URLS["DATABASE_URL"])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_the_migration_tells_no_password(
    shape: str, separator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_ambiguous(shape, separator):
        return
    code = migrate({"DATABASE_URL": shape.format(secret(separator))})

    told = capsys.readouterr().err
    assert code == 1
    assert told.count("\n") == 1
    assert not is_told(told)


async def told_of_a_start(folder: Path, variables: dict[str, str]) -> str:
    """Return everything that a service prints until it exits or is ready."""
    port = free_port()
    variables = {"DATABASE_URL": "memory://", "LOG_LEVEL": "DEBUG", **variables}
    command = ("-m", "uvicorn", "backend.main:app", "--port", str(port))
    with (folder / "stderr").open("w+b") as stderr:
        readiness = ""
        async with (
            process(*command, variables=variables, stderr=stderr) as running,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=NO_TLS
            ) as client,
            waiting(),
        ):
            while running.returncode is None and not readiness:
                try:
                    readiness = (await client.get("/readyz")).text
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
            if readiness:
                await client.post("/query", json={"query": "Hello"})
        stderr.seek(0)
        return readiness + stderr.read().decode(errors="replace")


async def told_of_starts(folder: Path, starts: dict[str, dict[str, str]]) -> dict[str, str]:
    """Start several services at once, because each mostly waits."""
    folders = [folder / str(number) for number in range(len(starts))]
    for each in folders:
        each.mkdir()
    told = await asyncio.gather(*map(told_of_a_start, folders, starts.values()))
    return dict(zip(starts, told, strict=True))


@pytest.mark.parametrize(("name", "shape"), WHOLE)
async def test_a_service_tells_no_password_that_it_was_started_with(
    name: str, shape: str, tmp_path: Path
) -> None:
    told = await told_of_starts(
        tmp_path, {separator: {name: shape.format(secret(separator))} for separator in STARTED}
    )

    assert all(told.values())
    assert {separator: text for separator, text in told.items() if is_told(text)} == {}


@pytest.mark.parametrize("name", PLAIN)
async def test_a_service_tells_no_secret_that_it_was_started_with(
    name: str, tmp_path: Path
) -> None:
    form = "https://{}@127.0.0.1:9/keys" if name == "JWT_JWKS_URL" else "{} " * 3
    told = await told_of_starts(
        tmp_path,
        {
            separator: {**PLAIN[name], name: form.format(*3 * [secret(separator)])}
            for separator in (*STARTED, "\n")
        },
    )

    assert all(told.values())
    assert {separator: text for separator, text in told.items() if is_told(text)} == {}


@pytest.mark.parametrize("given", ["user:hun@ter:2", "user:hun%40ter%3A2"])
async def test_a_password_in_the_address_of_the_upstream_is_sent_and_not_shown(given: str) -> None:
    heads: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))

    async with (
        listening(hear) as port,
        lex(groq_base_url=f"http://{given}@127.0.0.1:{port}", model_fallbacks="none") as service,
    ):
        readiness = (await service.client.get("/readyz")).json()
        await service.ask("Hello")

    assert readiness["upstream"] == f"http://127.0.0.1:{port}"
    basic = b"Basic " + b64encode(b"user:hun@ter:2")
    assert re.findall(rb"(?im)^authorization: (.*)\r$", heads[0]) == [basic]
