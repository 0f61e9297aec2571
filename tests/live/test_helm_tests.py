"""The scripts of `helm test`, run against a service on a real socket."""

import asyncio
import os
import sys

from tests.credentials import WITH_SECRET, token
from tests.deploy.chart import RELEASES, manifests
from tests.serving import lex


async def run(name: str, release: str, url: str, **variables: str) -> tuple[int, str]:
    """Run the test pod's command; return its exit code and its log."""
    pods = [made for made in manifests(RELEASES[release]) if made["kind"] == "Pod"]
    (pod,) = [made for made in pods if made["metadata"]["name"] == f"lex-{name}"]
    (container,) = pod["spec"]["containers"]
    _, *options = container["command"]
    arguments = [url if text == "http://lex:80" else text for text in container["args"]]
    assert url in arguments
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        *options,
        *arguments,
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    return running.returncode or 0, said.decode()


async def test_the_health_test_passes() -> None:
    async with lex() as service:
        code, said = await run("health", "defaults", service.url)

    assert code == 0, said


async def test_the_health_test_fails_where_nobody_listens() -> None:
    code, said = await run("health", "defaults", "http://127.0.0.1:9")

    assert code != 0
    assert "refused" in said


async def test_the_query_test_reads_a_stream_to_its_end() -> None:
    async with lex() as service:
        service.standin.script({"text": "Hello, I am Lex."}, contains="Hello")
        code, said = await run("query", "defaults", service.url)

    assert code == 0, said
    assert said.rstrip().endswith("event: end\ndata:")


async def test_the_query_test_fails_with_an_error_in_the_stream() -> None:
    async with lex(model_fallbacks="none") as service:
        service.standin.script({"fault": {"kind": "status", "status": 401}}, times=None)
        code, said = await run("query", "defaults", service.url)

    assert code == 1, said
    assert "event: error" in said


async def test_with_authentication_a_token_is_used() -> None:
    async with lex(**WITH_SECRET) as service:
        service.standin.script({"text": "Hello, I am Lex."}, contains="Hello")
        code, said = await run("query", "jwt-secret", service.url, TOKEN=token())

    assert code == 0, said


async def test_with_authentication_and_no_token_a_refusal_is_right() -> None:
    async with lex(**WITH_SECRET) as service:
        code, said = await run("query", "jwt-secret", service.url)

    assert code == 0, said
    assert said.startswith("401 ")


async def test_a_wrong_token_is_a_failure() -> None:
    async with lex(**WITH_SECRET) as service:
        code, said = await run("query", "jwt-secret", service.url, TOKEN="wrong")

    assert code == 1, said
