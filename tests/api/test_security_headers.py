"""The security headers of every answer, and the API documentation page."""

import re

import pytest

from tests.serving import Lex, lex


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/nowhere"),
        ("PUT", "/query"),
        ("POST", "/query"),
        ("GET", "/query?query=Hello"),
        ("GET", "/sessions/a%2fb"),
        ("GET", "/docs"),
        ("GET", "/metrics"),
    ],
)
async def test_every_answer_is_guarded(service: Lex, method: str, path: str) -> None:
    answer = await service.client.request(method, path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "x-request-id" in answer.headers


async def test_the_page_of_the_api_loads_from_this_host_alone(service: Lex) -> None:
    page = await service.client.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    files = [await service.client.get(path) for path in loaded]

    assert page.headers["content-type"].startswith("text/html")
    assert "/docs/docs.js" in loaded
    assert all(path.startswith("/") and not path.startswith("//") for path in loaded)
    assert {file.status_code for file in files} == {200}
    assert "<script>" not in page.text
    assert " style=" not in page.text


async def test_without_api_docs_there_is_no_description_of_any_kind() -> None:
    async with lex(api_docs=False) as service:
        for path in ("/openapi.json", "/docs", "/docs/docs.js", "/redoc"):
            assert (await service.client.get(path)).status_code == 404


async def test_a_listed_page_may_read_answers_and_another_may_not(service: Lex) -> None:
    listed = await service.client.get("/health", headers={"Origin": "http://localhost:3000"})
    unlisted = await service.client.get("/health", headers={"Origin": "https://evil.example"})

    assert listed.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "access-control-allow-origin" not in unlisted.headers
    assert "access-control-allow-credentials" not in listed.headers
