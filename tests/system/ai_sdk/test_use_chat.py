"""`useChat` in a browser, with the lines of docs/frontends.md, on a page of another origin."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Page, expect

from tests.chromium import chromium
from tests.processes import ROOT
from tests.serving import lex
from tests.system.ai_sdk.bundling import bundle
from tests.waiting import LIMIT_SECONDS

HTML = """<!DOCTYPE html>
<link rel="icon" href="data:,">
<div id="root"></div>
<script type="module" src="/page.js"></script>
"""

SCRIPTS: dict[str, list[dict[str, Any]]] = {
    "Two tools?": [
        {
            "calls": [
                {"name": "get_weather", "arguments": {"city": "Paris"}},
                {"name": "get_weather", "arguments": {}},
            ]
        },
        {"text": "It is fine."},
    ],
    "Slow?": [{"text": "slow " * 5000, "tokens_per_second": 50}],
}


async def test_a_page_asks_reloads_stops_and_asks_again(tmp_path: Path) -> None:
    files = {"/": ("text/html", HTML)}
    async with (
        _serving(files) as origin,
        lex(cors_origins=[origin]) as service,
        chromium() as browser,
    ):
        for query, rounds in SCRIPTS.items():
            service.standin.script(*rounds, contains=query, times=None)
        script = await bundle("page.jsx", lex=_example(tmp_path, service.url), to=tmp_path)
        files["/page.js"] = ("text/javascript", script)
        page = await browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        expect.set_options(timeout=1000 * LIMIT_SECONDS)
        answer = page.locator("article.assistant")
        await page.goto(f"{origin}/?id=trip")

        await _ask(page, "Two tools?")
        await expect(answer.last).to_contain_text("It is fine.")
        calls = ["tool-get_weather output-available", "tool-get_weather output-error"]
        assert await answer.last.locator("code").all_inner_texts() == calls

        await _ready(page)
        first = await answer.last.get_attribute("id") or ""
        await page.get_by_role("button", name="Again").click()
        await expect(answer.last).not_to_have_id(first)
        await expect(answer.last).to_contain_text("It is fine.")
        await expect(answer).to_have_count(1)

        await _ask(page, "Slow?")
        await expect(answer.last).to_contain_text("slow")
        await page.reload()
        await expect(answer.last).to_contain_text("slow")
        await page.get_by_role("button", name="Stop").click()
        await _ready(page)

        stored = (await service.client.get("/api/chat/trip/messages")).json()
        shown = await answer.evaluate_all("all => all.map((each) => each.id)")
        assert [message["id"] for message in stored[1::2]] == shown
        outcomes = [message["metadata"]["outcome"] for message in stored[1::2]]
        assert outcomes == ["completed", "cancelled"]
        assert await answer.last.inner_text() == stored[-1]["parts"][-1]["text"].strip()
        assert await page.locator("output").inner_text() == ""
        assert errors == []


async def _ready(page: Page) -> None:
    await expect(page.locator("main")).to_have_attribute("data-status", "ready")


async def _ask(page: Page, text: str) -> None:
    await _ready(page)
    await page.locator("input").fill(text)
    await page.locator("input").press("Enter")


@asynccontextmanager
async def _serving(files: Mapping[str, tuple[str, str]]) -> AsyncIterator[str]:
    """Serve files, each with its type, from an origin of their own."""

    async def send(request: web.Request) -> web.Response:
        content_type, text = files[request.path]
        return web.Response(text=text, content_type=content_type)

    app = web.Application()
    app.router.add_get("/{path:.*}", send)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _example(folder: Path, url: str) -> Path:
    """The example of the document, with the address of this service."""
    document = (ROOT / "docs/frontends.md").read_text()
    example = re.search(r"## AI SDK\n.*?```js\n(.*?)```", document, re.DOTALL)
    assert example is not None
    path = folder / "lex.js"
    path.write_text(example[1].replace("http://localhost:8000", url))
    return path
