import pytest

from backend.tools.context import Conditions
from backend.tools.registry import ToolOutcome
from tests.unit.tools.fakes import a_context, use


async def test_the_weather_is_shown_in_this_order() -> None:
    result = await use("get_weather", city="New York")

    assert result.outcome is ToolOutcome.OK
    assert list(result.output.items()) == [
        ("temperature", "34°C"),
        ("conditions", "Sunny"),
        ("city", "New York"),
        ("source", "sample"),
    ]


@pytest.mark.parametrize(
    ("written", "city"),
    [
        ("new york", "New York"),
        ("NYC", "New York"),
        ("New York, NY", "New York"),
        ("  Paris ", "Paris"),
        ("Paris, France", "Paris"),
        ("São Paulo", "Sao Paulo"),
        ("München", "Munich"),
    ],
)
async def test_the_sample_finds_a_city_as_people_write_it(written: str, city: str) -> None:
    result = await use("get_weather", city=written)

    assert result.output["city"] == city


async def test_the_sample_says_that_it_does_not_know_a_city() -> None:
    result = await use("get_weather", city="Atlantis")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"]["code"] == "unknown_city"
    assert "'Atlantis'" in result.output["error"]["message"]
    assert "Tokyo" in result.output["error"]["known_cities"]


async def test_just_below_zero_is_zero() -> None:
    class Winter:
        async def current(self, city: str) -> Conditions:
            return Conditions(
                city=city, temperature_celsius=-0.4, conditions="Snow", source="a window"
            )

    result = await use("get_weather", a_context(weather=Winter()), city="Oslo")

    assert result.output["temperature"] == "0°C"
    assert result.output["source"] == "a window"


@pytest.mark.parametrize(
    ("city", "message"),
    [
        ("", "`city` should have at least 1 character."),
        ("   ", "`city` should have at least 1 character."),
        (None, "`city` should be a valid string."),
        (["Paris"], "`city` should be a valid string."),
        ("x" * 201, "`city` should have at most 200 characters."),
        ("Par\x00is", "`city` must be one line without control characters."),
        ("Paris\nTokyo", "`city` must be one line without control characters."),
        ("Paris\u2028Tokyo", "`city` must be one line without control characters."),
    ],
)
async def test_what_is_no_city_is_said_in_words(city: object, message: str) -> None:
    result = await use("get_weather", city=city)

    assert result.outcome is ToolOutcome.INVALID
    assert result.output == {"error": {"code": "invalid_arguments", "message": message}}
