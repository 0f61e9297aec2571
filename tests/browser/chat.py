"""Drives the chat page as a person with a browser does."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, Error, Locator, Page, Request

from tests.waiting import waiting

QUIET = ("Failed to load resource", "WebSocket connection to")
"""Console messages of the browser itself about failed connections and error statuses."""

STANDIN: dict[str, Any] = {"model_name": "groq-standin", "model_fallbacks": "none"}
"""Settings of a service whose model is the stand-in, as with `make run`."""


@dataclass
class Chat:
    page: Page
    broken: list[str] = field(default_factory=list)
    """Errors of scripts and violations of the page's content security policy."""
    requests: list[Request] = field(default_factory=list)
    allowed_hosts: set[str] = field(default_factory=set)

    @classmethod
    async def new(cls, context: BrowserContext) -> "Chat":
        chat = cls(await context.new_page())
        chat.page.on("pageerror", lambda error: chat.broken.append(str(error)))
        chat.page.on("console", lambda message: chat._hear(message.type, message.text))
        # Playwright sets an attribute on its listeners, which a list's method cannot have.
        chat.page.on("request", lambda request: chat.requests.append(request))  # noqa: PLW0108
        return chat

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not text.startswith(QUIET):
            self.broken.append(text)

    @property
    def strangers(self) -> set[str]:
        """Hosts other than the page's own that the page sent requests to."""
        urls = [urlsplit(request.url) for request in self.requests]
        hosts = {url.netloc for url in urls if url.scheme in ("http", "https")}
        return hosts - self.allowed_hosts

    @property
    def navigations(self) -> list[Request]:
        """One request for each time that the page was opened or reloaded."""
        return [request for request in self.requests if request.is_navigation_request()]

    async def open(self, url: str, *, transport: str = "sse", **stored: str) -> None:
        self.allowed_hosts.add(urlsplit(url).netloc)
        stored["lex.realtime"] = str(transport == "websocket").lower()
        await self.store(stored)
        await self.navigate(lambda: self.page.goto(url))
        await self.page.wait_for_selector("#suggestions button", state="attached")

    async def reload(self) -> None:
        await self.navigate(self.page.reload)

    async def navigate(self, there: Callable[[], Awaitable[object]]) -> None:
        """Navigate, and retry if the machine's network changes.

        It changes when containers start on the machine. Chromium then cancels even the request for
        the page, which no script of the page can repair.
        """
        async with waiting():
            while True:
                try:
                    await there()
                    return
                except Error as error:
                    if "net::ERR_NETWORK_CHANGED" not in error.message:
                        raise

    async def store(self, values: Mapping[str, str]) -> None:
        """Put values into the browser's local storage, unless they are there already."""
        await self.page.add_init_script(f"""
            for (const [name, value] of Object.entries({dict(values)!r}))
                if (localStorage.getItem(name) === null) localStorage.setItem(name, value);
        """)

    @property
    def turns(self) -> Locator:
        return self.page.locator(".turn")

    @property
    def last(self) -> Locator:
        return self.turns.last

    @property
    def line(self) -> Locator:
        """The line about the connection."""
        return self.page.locator("#line")

    def card(self, kind: str) -> Locator:
        return self.last.locator(f".card.{kind}")

    def button(self, name: str, *, exact: bool = False) -> Locator:
        return self.page.get_by_role("button", name=name, exact=exact)

    async def say(self, query: str) -> None:
        """Ask without waiting for the answer."""
        count = await self.turns.count()
        await self.page.fill("#question", query)
        await self.page.press("#question", "Enter")
        await self.turns.nth(count).wait_for()

    async def ask(self, query: str) -> str:
        """Ask, and return the complete answer."""
        await self.say(query)
        return await self.answer()

    async def answer(self) -> str:
        """The last answer, once it is complete."""
        await self.settled()
        return await self.said()

    async def settled(self) -> None:
        await self.page.wait_for_selector(
            "#turns:not([aria-busy]) .turn:last-child:not([aria-busy])"
        )

    async def said(self) -> str:
        return "\n".join(await self.last.locator(".said").all_inner_texts())

    async def until_said(self, text: str) -> None:
        await self.last.locator(".said", has_text=text).first.wait_for()

    async def until_line(self, text: str) -> None:
        await self.page.locator("#line", has_text=text).wait_for()

    async def evaluate(self, script: str, argument: Any = None) -> Any:
        return await self.page.evaluate(script, argument)
