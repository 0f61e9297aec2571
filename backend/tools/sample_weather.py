"""Built-in weather that never changes, for deployments without access to the internet."""

import unicodedata

from backend.domain.errors import ToolRefused
from backend.tools.context import Conditions

SOURCE = "sample"

CITIES = {
    "Amsterdam": (12, "Cloudy"),
    "Austin": (31, "Sunny"),
    "Barcelona": (22, "Sunny"),
    "Beijing": (16, "Clear"),
    "Berlin": (11, "Cloudy"),
    "Boston": (14, "Partly cloudy"),
    "Chicago": (9, "Windy"),
    "Dallas": (28, "Sunny"),
    "Denver": (13, "Clear"),
    "Dubai": (36, "Sunny"),
    "Hong Kong": (26, "Humid"),
    "Houston": (29, "Partly cloudy"),
    "Istanbul": (17, "Partly cloudy"),
    "Las Vegas": (33, "Sunny"),
    "London": (13, "Rainy"),
    "Los Angeles": (24, "Sunny"),
    "Madrid": (21, "Sunny"),
    "Melbourne": (19, "Partly cloudy"),
    "Mexico City": (20, "Partly cloudy"),
    "Miami": (30, "Thunderstorms"),
    "Milan": (18, "Hazy"),
    "Montreal": (7, "Cloudy"),
    "Mumbai": (32, "Humid"),
    "Munich": (10, "Partly cloudy"),
    "New York": (34, "Sunny"),
    "Oslo": (4, "Snow"),
    "Paris": (18, "Partly cloudy"),
    "Phoenix": (38, "Sunny"),
    "Rome": (23, "Sunny"),
    "San Francisco": (17, "Foggy"),
    "Sao Paulo": (25, "Rain showers"),
    "Seattle": (12, "Rainy"),
    "Singapore": (31, "Thunderstorms"),
    "Stockholm": (6, "Cloudy"),
    "Sydney": (22, "Sunny"),
    "Tokyo": (20, "Clear"),
    "Toronto": (10, "Cloudy"),
    "Vienna": (14, "Partly cloudy"),
    "Zurich": (11, "Rainy"),
}
OTHER_NAMES = {
    "beverly hills": "Los Angeles",
    "manhattan": "New York",
    "munchen": "Munich",
    "new york city": "New York",
    "nyc": "New York",
}
SHOWN = ("New York", "London", "Paris", "Tokyo", "Sydney")


class SampleWeather:
    """A `WeatherProvider` for a fixed list of cities. For any other city it names some of them."""

    def __init__(self) -> None:
        self._cities = {_plain(city): city for city in CITIES} | OTHER_NAMES

    async def current(self, city: str) -> Conditions:
        # The second look-up finds `Paris` for `Paris, France`.
        known = self._cities.get(_plain(city)) or self._cities.get(_plain(city.partition(",")[0]))
        if known is None:
            raise ToolRefused(
                f"The built-in sample has no weather for {city!r}. It has {len(CITIES)} cities, "
                f"among them {', '.join(SHOWN)}.",
                code="unknown_city",
                known_cities=list(SHOWN),
            )
        celsius, conditions = CITIES[known]
        return Conditions(
            city=known, temperature_celsius=celsius, conditions=conditions, source=SOURCE
        )


def _plain(name: str) -> str:
    """Normalize to lower case without accents, so that `sao paulo` finds `São Paulo`."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())
