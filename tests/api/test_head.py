"""`HEAD` answers like `GET`, without the body."""

import re

import pytest

from tests.raw import wire
from tests.serving import Lex, lex

OWN = {"date", "x-request-id", "traceresponse"}
"""Headers that differ in each answer."""

PATHS = [
    "/",
    "/livez",
    "/health",
    "/readyz",
    "/metrics",
    "/docs",
    "/docs/docs.js",
    "/docs/docs.css",
    "/openapi.json",
    "/web/page.js",
    "/web/client.js",
]


@pytest.mark.parametrize("path", PATHS)
async def test_it_has_the_headers_of_get_and_no_body(service: Lex, path: str) -> None:
    got = await service.client.get(path)

    head = await service.client.head(path)

    assert head.status_code == got.status_code == 200
    assert head.content == b""
    # The metrics grow with each answer.
    varying = OWN | ({"content-length"} if path == "/metrics" else set())
    theirs, ours = (
        {name: value for name, value in answer.headers.items() if name not in varying}
        for answer in (got, head)
    )
    assert ours == theirs
    assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/livez", "/", "/openapi.json"])
async def test_nothing_is_between_it_and_the_next_answer(service: Lex, path: str) -> None:
    asked = f"HEAD {path} HTTP/1.1\r\nHost: lex\r\n\r\n".encode()
    last = b"GET /livez HTTP/1.1\r\nHost: lex\r\nConnection: close\r\n\r\n"

    async with wire(service) as line:
        await line.send(asked * 2 + last)
        said = await line.rest()

    assert re.fullmatch(rb"(HTTP/1\.1 200 OK\r\n(?:[^\r]+\r\n)+\r\n){3}\{[^}]*\}", said)


async def test_a_page_that_has_not_changed_is_304(service: Lex) -> None:
    tag = (await service.client.head("/")).headers["etag"]

    again = await service.client.head("/", headers={"If-None-Match": tag})

    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/web/nothing.js", "/web/index.html", "/nowhere"])
async def test_a_missing_path_is_404(service: Lex, path: str) -> None:
    assert (await service.client.head(path)).status_code == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/query", "GET, POST"),
        ("/sessions/s1", "GET, PATCH, DELETE"),
        ("/sessions/s1/messages", "POST, GET"),
        ("/turns/0123456789abcdef/events", "GET"),
    ],
)
async def test_routes_that_ask_or_read_a_conversation_have_no_head(
    service: Lex, path: str, allowed: str
) -> None:
    head = await service.client.head(path)

    assert head.status_code == 405
    assert set(head.headers["allow"].split(", ")) == set(allowed.split(", "))


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/docs", "/metrics"])
async def test_another_method_is_told_of_it(service: Lex, path: str) -> None:
    answer = await service.client.put(path)

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


async def test_it_is_not_in_the_openapi_beside_get(service: Lex) -> None:
    openapi = (await service.client.get("/openapi.json")).json()

    assert not any("head" in operations for operations in openapi["paths"].values())


async def test_without_api_docs_it_finds_none() -> None:
    async with lex(api_docs=False) as service:
        statuses = [(await service.client.head(path)).status_code for path in ("/docs", "/docs/x")]

    assert statuses == [404, 404]
