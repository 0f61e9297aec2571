"""A local server that answers in Open-Meteo's formats and can simulate faults."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.listening import listening

PARIS = {
    "id": 2988507,
    "name": "Paris",
    "latitude": 48.85341,
    "longitude": 2.3488,
    "country_code": "FR",
    "admin1": "Île-de-France",
    "country": "France",
    "timezone": "Europe/Paris",
}
PARIS_IN_TEXAS = {
    "id": 4717560,
    "name": "Paris",
    "latitude": 33.66094,
    "longitude": -95.55551,
    "country_code": "US",
    "admin1": "Texas",
    "country": "United States",
    "timezone": "America/Chicago",
}
NEW_YORK = {
    "id": 5128581,
    "name": "New York",
    "latitude": 40.71427,
    "longitude": -74.00597,
    "country_code": "US",
    "admin1": "New York",
    "country": "United States",
    "timezone": "America/New_York",
}


@dataclass
class OpenMeteoServer:
    """The fake server.

    `fault`, a status and a body, replaces all answers, or the first `fault_times`. While `is_open`
    is cleared, answers are held back.
    """

    url: str = ""
    places: list[dict[str, Any]] = field(default_factory=lambda: [PARIS, PARIS_IN_TEXAS, NEW_YORK])
    temperature: float = 18.4
    weather_code: int = 2
    fault: tuple[int, str] | None = None
    fault_times: int | None = None
    is_open: asyncio.Event = field(default_factory=asyncio.Event)
    was_asked: asyncio.Event = field(default_factory=asyncio.Event)
    searches: list[dict[str, str]] = field(default_factory=list)
    forecasts: list[dict[str, str]] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            status, body = self._answer_to(head.split(" ")[1])
            self.was_asked.set()
            await self.is_open.wait()
            writer.write(_response(status, body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left, which some tests make it do
        finally:
            writer.close()

    def _answer_to(self, target: str) -> tuple[int, str]:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match url.path:
            case "/v1/search":
                self.searches.append(query)
                answer = self._search(query)
            case "/v1/forecast":
                self.forecasts.append(query)
                answer = self._forecast(query)
            case _:
                return 404, json.dumps({"error": True, "reason": "Not Found"})
        return self._fault() or (200, json.dumps(answer, ensure_ascii=False))

    def _fault(self) -> tuple[int, str] | None:
        if self.fault_times is not None:
            self.fault_times -= 1
            if self.fault_times < 0:
                return None
        return self.fault

    def _search(self, query: dict[str, str]) -> dict[str, Any]:
        wanted = query["name"].casefold()
        found = [place for place in self.places if place["name"].casefold() == wanted]
        shown = found[: int(query["count"])]
        # Like the real service: without results there is no `results`.
        return {"results": shown, "generationtime_ms": 0.6} if shown else {"generationtime_ms": 0.4}

    def _forecast(self, query: dict[str, str]) -> dict[str, Any]:
        return {
            "latitude": float(query["latitude"]),
            "longitude": float(query["longitude"]),
            "generationtime_ms": 0.02,
            "utc_offset_seconds": 0,
            "timezone": "GMT",
            "timezone_abbreviation": "GMT",
            "elevation": 38.0,
            "current_units": {
                "time": "iso8601",
                "interval": "seconds",
                "temperature_2m": "°C",
                "weather_code": "wmo code",
            },
            "current": {
                "time": "2026-11-21T12:00",
                "interval": 900,
                "temperature_2m": self.temperature,
                "weather_code": self.weather_code,
            },
        }


def _response(status: int, body: str) -> bytes:
    content = body.encode()
    head = (
        f"HTTP/1.1 {status} Whatever\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(content)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + content


@asynccontextmanager
async def open_meteo_server() -> AsyncIterator[OpenMeteoServer]:
    """Serve on a free loopback port. Connections that are open at the end are cut."""
    server = OpenMeteoServer()
    server.is_open.set()
    async with listening(server.answer) as port:
        server.url = f"http://127.0.0.1:{port}"
        yield server
