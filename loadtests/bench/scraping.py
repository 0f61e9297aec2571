"""Scrapes the metrics like Prometheus, so that the cost of scrapes is included."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

SCRAPE_SECONDS = 5.0

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


async def scrape(url: str) -> None:
    async with (
        aiohttp.ClientSession(headers=OPENMETRICS) as client,
        client.get(f"{url}/metrics") as answer,
    ):
        await answer.read()


@asynccontextmanager
async def scraping(url: str) -> AsyncIterator[None]:
    async def scrape_on() -> None:
        while True:
            await scrape(url)
            await asyncio.sleep(SCRAPE_SECONDS)

    task = asyncio.create_task(scrape_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
