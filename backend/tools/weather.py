"""The tool for the weather in a city. Its source is `sample_weather` or `open_meteo`."""

from pydantic import Field

from backend.tools.arguments import Arguments
from backend.tools.context import ToolContext
from backend.tools.registry import Output, tool


class CityArguments(Arguments):
    city: str = Field(description="The city's name in English, for example New York")


class Weather(Output):
    temperature: str
    conditions: str
    city: str
    source: str


@tool()
async def get_weather(arguments: CityArguments, context: ToolContext) -> Weather:
    """The weather in a city at this moment. There is no forecast for later days."""
    observed = await context.weather.current(arguments.city)
    return Weather(
        temperature=f"{round(observed.temperature_celsius)}°C",
        conditions=observed.conditions,
        city=observed.city,
        source=observed.source,
    )
