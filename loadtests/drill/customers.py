"""Customers who ask all the time, while something is at fault or not."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import httpx

from loadtests.drill.stage import Stage
from loadtests.drill.weather import CITIES

CUSTOMERS = 10
THINKING_SECONDS = 0.5
"""The mean pause of a customer between two questions."""


def script(*rounds: dict[str, object]) -> str:
    return f"Hello? [[script {json.dumps({'rounds': rounds})}]]"


ANSWER: dict[str, object] = {"tokens": 60, "tokens_per_second": 300, "first_token_after": 0.15}
ADDRESS = {"name": "get_dealership_address", "arguments": {"dealership_id": "manhattan"}}
ASKED = {
    "text": script(ANSWER),
    "address": script({"calls": [ADDRESS]}, ANSWER),
}
SHARES = {"text": 6, "weather": 3, "address": 1}


@dataclass
class Customers:
    """`patience_seconds` is how long the impatient share waits for the first chunk."""

    stage: Stage
    number: int = CUSTOMERS
    thinking_seconds: float = THINKING_SECONDS
    impatient_share: float = 0.0
    patience_seconds: float = 2.5
    told: Counter[str] = field(default_factory=Counter)
    """The ends that customers saw: `answer`, `error`, `refused`, `left` or `broken`."""
    _sessions: "count[int]" = field(default_factory=count)
    _chance: random.Random = field(default_factory=lambda: random.Random(1))

    async def ask_forever(self) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / self.thinking_seconds))
            self.told[await self._ask()] += 1

    def _question(self, kind: str) -> str:
        if kind != "weather":
            return ASKED[kind]
        # Lex caches the weather of a city for five minutes, so each customer asks for another one.
        city = self._chance.choice(CITIES)
        call = {"name": "get_weather", "arguments": {"city": city}}
        return script({"calls": [call]}, ANSWER)

    async def _ask(self) -> str:
        [kind] = self._chance.choices(list(SHARES), list(SHARES.values()))
        body = {"query": self._question(kind), "session_id": f"drill-{next(self._sessions)}"}
        is_impatient = self._chance.random() < self.impatient_share
        try:
            async with self.stage.service.client.stream("POST", "/query", json=body) as stream:
                if stream.status_code != 200:
                    return "refused"
                return await self._read(stream, is_impatient=is_impatient)
        except httpx.HTTPError:
            return "broken"

    async def _read(self, stream: httpx.Response, *, is_impatient: bool) -> str:
        read = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience_seconds if is_impatient else None) as patience:
                async for text in stream.aiter_text():
                    read += text
                    if "event: chunk" in read:
                        patience.reschedule(None)
        if "event: end" not in read:
            return "left"
        return "error" if "event: error" in read else "answer"


@asynccontextmanager
async def asking(customers: Customers) -> AsyncIterator[Customers]:
    """Let the customers ask while the block runs."""
    asked = [asyncio.create_task(customers.ask_forever()) for _ in range(customers.number)]
    try:
        yield customers
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
