"""Debian's curl, which offers an upgrade to HTTP/2 that the server ignores."""

import asyncio
import shutil

from tests.serving import lex


async def test_curl_asks_for_http_2_and_is_answered() -> None:
    program = shutil.which("curl")
    assert program, "curl is missing: make system-deps"
    asked = ["--http2", "--no-buffer", "--silent", "--noproxy", "*", "--max-time", "20"]
    body = ["--json", '{"query": "What is the weather in Paris?"}']

    async with lex() as service:
        running = await asyncio.create_subprocess_exec(
            program, *asked, *body, f"{service.url}/query", stdout=asyncio.subprocess.PIPE
        )
        said, _ = await running.communicate()

    assert running.returncode == 0
    assert said.startswith(b"event: tool_use\ndata: get_weather\n\n")
    assert said.endswith(b"event: end\ndata: \n\n")
