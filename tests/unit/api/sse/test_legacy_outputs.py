"""Tool outputs as the first backend's strings, parsed the way older pages parse them."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.api.sse.legacy.literal import fenced
from backend.api.sse.legacy.outputs import FORMATS
from backend.api.sse.legacy.sky import degrees, sky
from backend.tools.open_meteo import CONDITIONS
from backend.tools.sample_weather import CITIES
from tests.older_readers import LITERAL_READERS, by_replacing, map_search, weather_card

reader = pytest.mark.parametrize("read", LITERAL_READERS, ids=lambda each: each.__name__)


def test_a_list_is_a_literal_in_a_fence_in_json() -> None:
    assert fenced(["09:00", "10:00"]) == "\"```['09:00', '10:00']```\""


def test_an_object_is_one_too() -> None:
    assert fenced({"hora": "10:00", "modelo": "Élan"}) == (
        "\"```{'hora': '10:00', 'modelo': 'Élan'}```\""
    )


VALUES = [
    "plain",
    "",
    "O'Brien's",
    'the "best" car',
    """both ' and " of them""",
    "a `fence` and ```another```",
    "café, señor, 東京, 🚗",
    "one\ntwo\r\nthree\ttabs",
    "C:\\cars\\new",
    "\\n is no line break, and \\u0041 no letter",
    "nul \x00 bell \x07 escape \x1b delete \x7f next \x85",
    "\u2028 and \u2029 and a hard\xa0space",
    "{'a': ['b']}, None, True",
    "'; DROP TABLE cars; --",
]


@reader
@pytest.mark.parametrize("value", VALUES)
def test_every_page_reads_what_was_said(read: Callable[[str], Any], value: str) -> None:
    assert read(fenced({"mensaje": value})) == {"mensaje": value}
    assert read(fenced([value, value])) == [value, value]


@reader
@given(st.dictionaries(st.text(), st.text()), st.lists(st.text()))
def test_whatever_it_is(
    read: Callable[[str], Any], pairs: dict[str, str], texts: list[str]
) -> None:
    assert read(fenced(pairs)) == pairs
    assert read(fenced(texts)) == texts


def test_a_booking_of_a_car_with_an_apostrophe_can_be_read() -> None:
    said = FORMATS["schedule_appointment"](
        {
            "confirmation_id": "SC-1",
            "dealership": 'O\'Brien "Motors"',
            "date": "2026-11-23",
            "time": "10:00",
            "car_model": "L'Été",
        }
    )

    card = by_replacing(said)

    assert list(card) == ["confirmacion_id", "fecha", "hora", "modelo", "mensaje"]
    assert card["modelo"] == "L'Été"
    assert 'O\'Brien "Motors"' in card["mensaje"]


PICTURES = {
    "sunny": {0, 1},
    "cloudy": {2, 3},
    "foggy": {45, 48},
    "rainy": {51, 53, 55, 56, 57, 61, 63, 65, 66, 67, 80, 81, 82, 95, 96, 99},
    "snowy": {71, 73, 75, 77, 85, 86},
}


def weather(temperature: str, conditions: str) -> str:
    output = {"temperature": temperature, "conditions": conditions, "city": "Oslo"}
    return FORMATS["get_weather"](output)


@pytest.mark.parametrize("code", CONDITIONS)
def test_a_page_finds_a_picture_for_each_code(code: int) -> None:
    (picture,) = [picture for picture, codes in PICTURES.items() if code in codes]

    assert weather_card(weather("4°C", CONDITIONS[code])) == ("4", picture)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ("Sunny", "sunny"),
        ("Partly cloudy", "partly cloudy"),
        ("Overcast", "cloudy (overcast)"),
        ("Clear", "sunny"),
        ("Clear sky", "sunny (clear sky)"),
        ("Snow", "snowy"),
        ("Light snow showers", "snowy (light snow showers)"),
        ("Rain showers", "rainy (rain showers)"),
        ("Freezing drizzle", "rainy (freezing drizzle)"),
        ("Sleet", "snowy and rainy (sleet)"),
        ("Freezing fog", "foggy (freezing fog)"),
        ("Hazy", "foggy (hazy)"),
        ("Thunderstorms", "stormy and rainy (thunderstorms)"),
        ("Thunderstorm with heavy hail", "stormy and rainy (thunderstorm with heavy hail)"),
        ("Windy", "windy"),
        # Pages have no picture for these, so the words stay.
        ("Humid", "humid"),
        ("Not reported", "not reported"),
    ],
)
def test_conditions_keep_their_own_words(conditions: str, said: str) -> None:
    assert sky(conditions) == said


def test_a_page_finds_a_picture_for_nearly_each_city_of_the_sample() -> None:
    without = {
        conditions
        for celsius, conditions in CITIES.values()
        if not _has_picture(weather(f"{celsius}°C", conditions))
    }

    assert without == {"Humid"}


def _has_picture(sentence: str) -> bool:
    try:
        weather_card(sentence)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize(
    ("temperature", "said"),
    [
        ("34°C", "34°C"),
        ("0°C", "0°C"),
        ("-5°C", "5°C below zero"),
        ("-40°C", "40°C below zero"),
        ("\N{MINUS SIGN}5°C", "5°C below zero"),
    ],
)
def test_a_frost_is_said_without_a_sign(temperature: str, said: str) -> None:
    assert degrees(temperature) == said


def test_the_sentence_is_whole_in_a_frost() -> None:
    said = weather("-5°C", "Light snow")

    assert said == "The weather in Oslo is 5°C below zero and snowy (light snow)"
    assert weather_card(said) == ("5", "snowy")


def test_a_page_finds_the_address_alone() -> None:
    address = "1 Example Avenue, New York, NY 10001"
    said = FORMATS["get_dealership_address"](
        {"address": address, "name": "SuperCar", "phone": "+1 212", "hours": "Mon-Sun 09:00-18:00"}
    )

    assert said.startswith(address)
    assert map_search(said) == address
    assert "+1 212" in said
    assert "Mon-Sun 09:00-18:00" in said
