"""Weather from open-meteo.com: finds a place by its name, then fetches its conditions."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import httpx
import structlog
from pydantic import BaseModel, FiniteFloat

from backend.domain.errors import ToolFailed, ToolRefused, ToolTimedOut
from backend.tools.context import Conditions

logger = structlog.get_logger()

SOURCE = "open-meteo"

MAX_CONNECTIONS = 100
"""The default of httpx. `app.capacity` reserves file descriptors for them."""

# The WMO's code table 4677, as far as Open-Meteo uses it.
CONDITIONS = {
    0: "Clear sky",
    1: "Mainly clear",
    2: "Partly cloudy",
    3: "Overcast",
    45: "Fog",
    48: "Freezing fog",
    51: "Light drizzle",
    53: "Drizzle",
    55: "Dense drizzle",
    56: "Light freezing drizzle",
    57: "Freezing drizzle",
    61: "Light rain",
    63: "Rain",
    65: "Heavy rain",
    66: "Light freezing rain",
    67: "Freezing rain",
    71: "Light snow",
    73: "Snow",
    75: "Heavy snow",
    77: "Snow grains",
    80: "Light rain showers",
    81: "Rain showers",
    82: "Violent rain showers",
    85: "Light snow showers",
    86: "Heavy snow showers",
    95: "Thunderstorm",
    96: "Thunderstorm with light hail",
    99: "Thunderstorm with heavy hail",
}


class _Place(BaseModel):
    name: str
    latitude: FiniteFloat
    longitude: FiniteFloat
    admin1: str | None = None
    country: str | None = None
    country_code: str | None = None

    def is_in(self, region: str) -> bool:
        regions = (self.admin1, self.country, self.country_code)
        return region.casefold() in {name.casefold() for name in regions if name}

    @property
    def full_name(self) -> str:
        return ", ".join(name for name in (self.name, self.admin1, self.country) if name)


class _Search(BaseModel):
    """The places that were found. Without any, the response has no `results` at all."""

    results: list[_Place] = []


class _Current(BaseModel):
    temperature_2m: FiniteFloat
    weather_code: int


class _Forecast(BaseModel):
    current: _Current


class OpenMeteo:
    """A `WeatherProvider` over HTTP. It owns its client, even a given one: call `aclose`.

    The weather of a city is cached for `cache_seconds`. Concurrent callers share one request.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        geocoding_url: str = "https://geocoding-api.open-meteo.com",
        forecast_url: str = "https://api.open-meteo.com",
        timeout_seconds: float = 5.0,
        cache_seconds: float = 300.0,
        cache_size: int = 256,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Half of the time for each request, so that a silent server leaves time for a retry.
        self._client = client or httpx.AsyncClient(
            timeout=timeout_seconds / 2,
            limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20),
        )
        self._search_url = f"{geocoding_url}/v1/search"
        self._forecast_url = f"{forecast_url}/v1/forecast"
        self._timeout_seconds = timeout_seconds
        self._cache_seconds = cache_seconds
        self._cache_size = cache_size
        self._clock = clock
        self._cache: dict[str, tuple[float, Conditions]] = {}
        self._asking: dict[str, asyncio.Task[Conditions]] = {}

    async def current(self, city: str) -> Conditions:
        key = " ".join(city.casefold().split())
        expires, conditions = self._cache.get(key, (0.0, None))
        if conditions is not None and self._clock() < expires:
            return conditions
        # Other callers may wait for the same request, so a cancelled one must not cancel it.
        return await asyncio.shield(self._ask_once(key, city))

    async def aclose(self) -> None:
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._client.aclose()

    def _ask_once(self, key: str, city: str) -> asyncio.Task[Conditions]:
        if key not in self._asking:
            task = asyncio.create_task(self._ask(key, city))
            self._asking[key] = task
            task.add_done_callback(partial(self._asked, key))
        return self._asking[key]

    def _asked(self, key: str, task: asyncio.Task[Conditions]) -> None:
        del self._asking[key]
        if not task.cancelled():
            # Mark the exception as retrieved. If nobody waits any more, asyncio would log it, and
            # it names the city.
            task.exception()

    async def _ask(self, key: str, city: str) -> Conditions:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                conditions = await self._observe(city)
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            logger.warning("weather_unavailable", reason=type(error).__name__)
            is_late = isinstance(error, TimeoutError | httpx.TimeoutException)
            raise (ToolTimedOut if is_late else ToolFailed)(
                "The weather service does not answer at the moment.", code="weather_unavailable"
            ) from error
        self._keep(key, conditions)
        return conditions

    async def _observe(self, city: str) -> Conditions:
        name, _, region = (part.strip() for part in city.partition(","))
        place = await self._place(name, region)
        if place is None:
            raise ToolRefused(
                f"The weather service knows no city {city!r}. Its English name may help.",
                code="unknown_city",
            )
        current = await self._current(place)
        return Conditions(
            # The full name tells the reader whether "Paris, Texas" was found, or another Paris.
            city=place.full_name if region else place.name,
            temperature_celsius=current.temperature_2m,
            conditions=CONDITIONS.get(current.weather_code, "Not reported"),
            source=SOURCE,
        )

    async def _place(self, name: str, region: str) -> _Place | None:
        """Find a place. The search only accepts bare names, so `region` selects from the hits."""
        count = 10 if region else 1
        answer = await self._get(
            self._search_url, name=name, count=count, language="en", format="json"
        )
        places = _Search.model_validate_json(answer).results
        first = places[0] if places else None
        return next((place for place in places if place.is_in(region)), first)

    async def _current(self, place: _Place) -> _Current:
        answer = await self._get(
            self._forecast_url,
            latitude=place.latitude,
            longitude=place.longitude,
            current="temperature_2m,weather_code",
        )
        return _Forecast.model_validate_json(answer).current

    async def _get(self, url: str, **params: str | float) -> bytes:
        """Fetch, with one retry after a 5xx or a transport error.

        Both requests and the second look-up must fit into `timeout_seconds`.
        """
        try:
            response = await self._client.get(url, params=params)
            if response.status_code < 500:
                return response.raise_for_status().content
        except httpx.TransportError:
            pass
        response = await self._client.get(url, params=params)
        return response.raise_for_status().content

    def _keep(self, key: str, conditions: Conditions) -> None:
        self._cache.pop(key, None)
        if len(self._cache) >= self._cache_size:
            del self._cache[next(iter(self._cache))]  # the oldest, because dicts keep their order
        self._cache[key] = (self._clock() + self._cache_seconds, conditions)
