"""The page on a separate origin, served by nginx as in the compose file."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from playwright.async_api import BrowserContext

from backend.api.page import page_headers
from infrastructure.ports import free_port
from tests.browser.chat import Chat
from tests.credentials import WITH_SECRET, token
from tests.serving import Lex, lex
from tests.shipped_nginx import CONFIGURATION, shipped_nginx


@asynccontextmanager
async def page_server(folder: Path, port: int, service: Lex) -> AsyncIterator[str]:
    api = service.url.replace("127.0.0.1", "localhost")
    (folder / "config.js").write_text(f"export const base = '{api}';\n")
    async with shipped_nginx(folder, service.url, page_port=port) as nginx:
        yield nginx.page


async def test_a_page_of_another_origin_holds_a_conversation(
    chat: Chat, context: BrowserContext, transport: str, tmp_path: Path
) -> None:
    port = free_port()
    words = " ".join(f"word{n}" for n in range(40))
    async with (
        lex(cors_origins=f"http://localhost:{port}") as service,
        page_server(tmp_path, port, service) as url,
    ):
        chat.allowed_hosts.add(service.url.replace("http://127.0.0.1", "localhost"))
        await chat.open(url, transport=transport)
        await chat.ask("What is the weather in Paris?")
        cards = await chat.card("weather").count()
        service.standin.script({"text": words, "tokens_per_second": 30})
        await chat.say("Count")
        await chat.until_said("word5")
        await context.set_offline(True)
        await chat.until_line("You are offline")
        await context.set_offline(False)
        said = await chat.answer()
        await chat.reload()
        await chat.until_said("word39")
        turns = await chat.turns.count()

    assert cards == 1
    assert said == words
    assert turns == 2
    assert service.standin.stats.requests == 3


async def test_who_signs_in_on_another_origin_of_this_site_stays_so(
    chat: Chat, transport: str, tmp_path: Path
) -> None:
    port = free_port()
    async with (
        lex(**WITH_SECRET, cors_origins=f"http://localhost:{port}") as service,
        page_server(tmp_path, port, service) as url,
    ):
        service.standin.script({"text": "Hello, Alice."})
        chat.allowed_hosts.add(service.url.replace("http://127.0.0.1", "localhost"))
        await chat.open(url, transport=transport)
        await chat.say("Hello")
        field = chat.page.get_by_label("Access token or API key")
        await field.fill(token("alice"))
        await field.press("Enter")
        await chat.until_said("Hello, Alice.")
        await chat.reload()
        await chat.until_said("Hello, Alice.")


async def test_its_policy_is_that_of_the_service_but_for_whom_it_calls() -> None:
    """The hash of `loading.js` differs as well: nginx serves it as a file instead of inline."""
    ours = re.sub(r" 'sha256-[^']*'", "", page_headers()["Content-Security-Policy"])
    theirs = ours.replace("connect-src 'self'", "connect-src http://localhost:* ws://localhost:*")

    assert f'add_header Content-Security-Policy "{theirs}" always;' in CONFIGURATION


async def test_nginx_gives_away_no_more_than_the_service(tmp_path: Path) -> None:
    port = free_port()
    paths = ["/web/", "/web/index.html", "/web/tsconfig.json", "/web/vendor/kept.json"]
    paths += ["/web/../main.py", "/web/vendor/marked/marked.d.ts", "/query", "/nothing"]
    async with (
        lex() as service,
        page_server(tmp_path, port, service) as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        statuses = {path: (await client.get(path)).status_code for path in paths}
        script = await client.get("/web/page.js")
        tag = {"If-None-Match": script.headers["etag"]}
        again = await client.get("/web/page.js", headers=tag)

    assert set(statuses.values()) == {404}
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert again.status_code == 304
