import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest
from structlog.testing import capture_logs

from backend.domain.errors import ToolFailed, ToolRefused
from backend.tools.open_meteo import OpenMeteo
from backend.tools.registry import ToolOutcome
from tests.open_meteo import OpenMeteoServer, open_meteo_server
from tests.unit.tools.fakes import a_context, use
from tests.waiting import waiting


class Clock:
    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def against(url: str, *, clock: Clock, timeout_seconds: float = 10) -> OpenMeteo:
    return OpenMeteo(
        httpx.AsyncClient(trust_env=False, timeout=timeout_seconds / 2),
        geocoding_url=url,
        forecast_url=url,
        timeout_seconds=timeout_seconds,
        cache_size=2,
        clock=clock,
    )


@pytest.fixture
async def server() -> AsyncIterator[OpenMeteoServer]:
    async with open_meteo_server() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def weather(server: OpenMeteoServer, clock: Clock) -> AsyncIterator[OpenMeteo]:
    weather = against(server.url, clock=clock)
    yield weather
    await weather.aclose()


async def refusal(weather: OpenMeteo, city: str) -> str:
    with capture_logs(), pytest.raises(ToolRefused) as refused:
        await weather.current(city)
    return str(refused.value.details["code"])


async def failure(weather: OpenMeteo, city: str) -> str:
    with capture_logs(), pytest.raises(ToolFailed) as failed:
        await weather.current(city)
    return str(failed.value.details["code"])


async def test_the_weather_is_asked_for_where_the_city_is(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    result = await use("get_weather", a_context(weather=weather), city="paris")

    assert result.outcome is ToolOutcome.OK
    assert result.output == {
        "temperature": "18°C",
        "conditions": "Partly cloudy",
        "city": "Paris",
        "source": "open-meteo",
    }
    assert server.searches == [{"name": "paris", "count": "1", "language": "en", "format": "json"}]
    assert server.forecasts == [
        {"latitude": "48.85341", "longitude": "2.3488", "current": "temperature_2m,weather_code"}
    ]


@pytest.mark.parametrize(
    ("written", "city"),
    [
        ("Paris, Texas", "Paris, Texas, United States"),
        ("Paris, fr", "Paris, Île-de-France, France"),
        ("New York, NY", "New York, New York, United States"),
    ],
)
async def test_a_region_picks_among_cities_of_a_name_and_is_shown(
    weather: OpenMeteo, written: str, city: str
) -> None:
    conditions = await weather.current(written)

    assert conditions.city == city


async def test_a_code_without_words_invents_none(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    server.weather_code = 42

    conditions = await weather.current("Paris")

    assert conditions.conditions == "Not reported"


async def test_a_city_that_nobody_knows_is_refused(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    assert await refusal(weather, "Atlantis") == "unknown_city"
    assert server.forecasts == []


@pytest.mark.parametrize(
    "fault",
    [
        (500, '{"error": true, "reason": "Internal"}'),
        (503, ""),
        (429, '{"error": true, "reason": "Minutely API request limit exceeded."}'),
        (302, ""),
        (200, "<html><body>Bad gateway</body></html>"),
        (200, ""),
        (200, "[]"),
        (200, '{"results": [{"name": "Paris"}]}'),
        (200, '{"results": [{"name": "Paris", "latitude": "NaN", "longitude": 2}]}'),
    ],
)
async def test_an_answer_that_cannot_be_used_is_a_failure_and_not_kept(
    server: OpenMeteoServer, weather: OpenMeteo, fault: tuple[int, str]
) -> None:
    server.fault = fault
    code = await failure(weather, "Paris")
    server.fault = None
    conditions = await weather.current("Paris")

    assert code == "weather_unavailable"
    assert conditions.city == "Paris"


@pytest.mark.parametrize("fault", [(500, ""), (503, "Busy")])
async def test_a_failure_that_passes_is_not_noticed(
    server: OpenMeteoServer, weather: OpenMeteo, fault: tuple[int, str]
) -> None:
    server.fault, server.fault_times = fault, 1

    conditions = await weather.current("Paris")

    assert conditions.city == "Paris"
    assert (len(server.searches), len(server.forecasts)) == (2, 1)


async def test_a_failure_that_stays_is_asked_about_twice(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    server.fault = (500, "")

    await failure(weather, "Paris")

    assert len(server.searches) == 2


async def test_a_request_that_is_wrong_is_not_asked_again(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    server.fault = (429, "")

    await failure(weather, "Paris")

    assert len(server.searches) == 1


async def test_a_first_silence_is_not_noticed(server: OpenMeteoServer, clock: Clock) -> None:
    server.is_open.clear()
    weather = against(server.url, clock=clock, timeout_seconds=4)
    asking = asyncio.create_task(weather.current("Paris"))
    await until_asked(server, times=2)

    server.is_open.set()
    conditions = await asking
    await weather.aclose()

    assert conditions.city == "Paris"


async def until_asked(server: OpenMeteoServer, *, times: int) -> None:
    async with waiting():
        while len(server.searches) < times:
            await asyncio.sleep(0.01)


async def test_a_forecast_without_current_conditions_is_a_failure(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    server.temperature = float("inf")

    assert await failure(weather, "Paris") == "weather_unavailable"


async def test_a_service_that_takes_too_long_has_timed_out_in_words(
    server: OpenMeteoServer, clock: Clock
) -> None:
    server.is_open.clear()
    impatient = against(server.url, clock=clock, timeout_seconds=0.05)

    with capture_logs() as logs:
        result = await use("get_weather", a_context(weather=impatient), city="Paris")
    await impatient.aclose()

    assert result.outcome is ToolOutcome.TIMED_OUT
    assert result.output["error"] == {
        "code": "weather_unavailable",
        "message": "The weather service does not answer at the moment.",
    }
    assert logs == [
        {"event": "weather_unavailable", "reason": "TimeoutError", "log_level": "warning"}
    ]


async def test_a_service_that_is_not_there_has_failed(clock: Clock) -> None:
    async with open_meteo_server() as gone:
        weather = against(gone.url, clock=clock)

    code = await failure(weather, "Paris")
    await weather.aclose()

    assert code == "weather_unavailable"


async def test_a_city_is_asked_for_again_only_after_a_while(
    server: OpenMeteoServer, weather: OpenMeteo, clock: Clock
) -> None:
    await weather.current("Paris")
    clock.seconds += 299
    await weather.current(" PARIS ")
    within = len(server.forecasts)
    clock.seconds += 1
    server.temperature = 3.0
    later = await weather.current("Paris")

    assert within == 1
    assert len(server.forecasts) == 2
    assert later.temperature_celsius == 3.0


async def test_the_cache_forgets_the_oldest_city(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    for city in ("Paris", "New York", "Paris, Texas"):
        await weather.current(city)

    await weather.current("New York")
    kept = len(server.forecasts)
    await weather.current("Paris")

    assert kept == 3
    assert len(server.forecasts) == 4


async def test_those_who_ask_at_the_same_time_share_one_answer(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    answers = await asyncio.gather(*(weather.current("Paris") for _ in range(20)))

    assert len(set(answers)) == 1
    assert len(server.forecasts) == 1


async def test_one_who_leaves_does_not_take_the_answer_from_others(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    server.is_open.clear()
    leaves = asyncio.create_task(weather.current("Paris"))
    stays = asyncio.create_task(weather.current("Paris"))
    await server.was_asked.wait()

    leaves.cancel()
    await asyncio.wait([leaves])
    server.is_open.set()
    conditions = await stays

    assert leaves.cancelled()
    assert conditions.city == "Paris"
    assert len(server.forecasts) == 1


async def test_a_look_up_that_fails_when_nobody_waits_any_more_is_no_error(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    server.is_open.clear()
    leaves = asyncio.create_task(weather.current("Atlantis"))
    await server.was_asked.wait()
    (asking,) = weather._asking.values()

    leaves.cancel()
    await asyncio.wait([leaves])
    server.is_open.set()
    await asyncio.wait([asking])
    del asking
    gc.collect()  # asyncio reports an exception that nobody retrieved at this point

    assert weather._asking == {}
    assert complaints == []


async def test_closing_ends_what_is_still_asked(
    server: OpenMeteoServer, weather: OpenMeteo
) -> None:
    server.is_open.clear()
    waits = asyncio.create_task(weather.current("Paris"))
    await server.was_asked.wait()

    await weather.aclose()

    with pytest.raises(asyncio.CancelledError):
        await waits
