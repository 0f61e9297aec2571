"""The connections to Groq, against servers that record the bytes of a request."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import groq
import pytest
from pydantic import SecretStr

from backend.llm.groq.client import GroqClient, open_client
from tests.waiting import LIMIT_SECONDS

REFUSAL = {"error": {"message": "No.", "code": "model_not_found"}}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@dataclass
class Recorder:
    """A server that keeps each request, and answers with given bytes."""

    answers: list[bytes]
    url: str = ""
    lines: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in iter(lambda: self.answers.pop(0) if self.answers else None, None):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
            except asyncio.IncompleteReadError:
                self.answers.insert(0, answer)  # for the next connection
                break
            line, *fields = head.strip().split("\r\n")
            headers = dict(each.lower().split(": ", 1) for each in fields)
            self.lines.append(line)
            self.headers.append(headers)
            self.bodies.append(await reader.readexactly(int(headers.get("content-length", 0))))
            writer.write(answer)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def recording(*answers: bytes) -> AsyncIterator[Recorder]:
    recorder = Recorder(list(answers))
    server = await asyncio.start_server(recorder.serve, "127.0.0.1")
    async with server:
        recorder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield recorder


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[GroqClient]:
    client = open_client(
        api_key=SecretStr("gsk_test"),
        base_url=url,
        connect_seconds=LIMIT_SECONDS,
        max_connections=2,
    )
    try:
        yield client
    finally:
        await client.close()


async def asked(client: GroqClient, *, traceparent: str | None = None) -> bytes:
    async with await client.complete(b'{"model":"m"}', traceparent=traceparent) as response:
        return await response.read()


async def test_a_request_has_the_sdks_headers_and_our_body() -> None:
    async with recording(ANSWER, ANSWER) as server, opened(server.url) as client:
        assert await asked(client, traceparent="00-1-2-01") == b"hi"
        assert await asked(client) == b"hi"

    assert server.lines == ["POST /openai/v1/chat/completions HTTP/1.1"] * 2
    assert server.bodies == [b'{"model":"m"}'] * 2
    first, second = server.headers
    assert first["authorization"] == "bearer gsk_test"
    assert first["content-type"] == first["accept"] == "application/json"
    assert first["accept-encoding"] == "identity"
    assert first["user-agent"].startswith("asyncgroq/python")
    assert first["traceparent"] == "00-1-2-01"
    assert "traceparent" not in second
    assert "cookie" not in second


async def test_the_upstream_sets_no_cookies() -> None:
    with_cookie = ANSWER.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n")
    async with recording(with_cookie, ANSWER) as server, opened(server.url) as client:
        await asked(client)
        await asked(client)

    assert "cookie" not in server.headers[1]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("status", [300, 404, 429, 503])
async def test_a_refusal_is_the_sdks_error_with_its_body(status: int, encoding: str) -> None:
    text = json.dumps(REFUSAL).encode()
    content = gzip.compress(text) if encoding == "gzip" else text
    head = (
        f"HTTP/1.1 {status} No\r\nContent-Encoding: {encoding}\r\nRetry-After: 7\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    async with recording(head.encode() + content) as server, opened(server.url) as client:
        with pytest.raises(groq.APIStatusError) as refused:
            await asked(client)

    assert refused.value.status_code == status
    assert refused.value.body == REFUSAL
    assert refused.value.response.headers["retry-after"] == "7"


async def test_an_answer_that_is_compressed_against_our_wish_is_read() -> None:
    content = gzip.compress(b"data: 1")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(content)}\r\n\r\n"
    async with recording(head.encode() + content) as server, opened(server.url) as client:
        assert await asked(client) == b"data: 1"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
async def test_requests_go_through_the_proxy_of_the_environment(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording(ANSWER) as proxy:
        monkeypatch.setenv(variable, proxy.url.replace("//", "//user:secret@"))
        async with opened("http://groq.example") as client:
            assert await asked(client) == b"hi"

    assert proxy.lines == ["POST http://groq.example/openai/v1/chat/completions HTTP/1.1"]
    assert proxy.headers[0]["proxy-authorization"].startswith("basic ")


@pytest.mark.parametrize("excepted", ["127.0.0.1", "*", "other.example,127.0.0.1"])
async def test_no_proxy_names_addresses_that_are_reached_directly(
    excepted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with recording(ANSWER) as server, recording() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", excepted)
        async with opened(server.url) as client:
            assert await asked(client) == b"hi"

    assert proxy.lines == []


async def test_a_user_and_password_in_the_url_replace_the_key() -> None:
    async with recording(ANSWER) as server:
        url = server.url.replace("//", "//me:p%40ss@")
        async with opened(url) as client:
            await asked(client)

    assert server.headers[0]["authorization"] == "basic bwu6cebzcw=="
