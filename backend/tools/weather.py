"""The weather in a city. Who observes it (`sample_weather`, `open_meteo`) is up to the desk."""

from pydantic import Field

from backend.tools.arguments import Arguments
from backend.tools.desk import Desk
from backend.tools.registry import Output, tool


class CityArguments(Arguments):
    city: str = Field(description="The city's name in English, for example New York")


class Weather(Output):
    temperature: str
    conditions: str
    city: str
    source: str


@tool()
async def get_weather(arguments: CityArguments, desk: Desk) -> Weather:
    """The weather in a city at this moment. There is no forecast for later days."""
    observed = await desk.weather.current(arguments.city)
    return Weather(
        temperature=f"{round(observed.temperature_celsius)}°C",
        conditions=observed.conditions,
        city=observed.city,
        source=observed.source,
    )
