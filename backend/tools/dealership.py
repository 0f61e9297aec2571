"""The tool that tells where a dealership is, how to reach it and when it is open."""

import calendar
from collections.abc import Iterator
from itertools import groupby

from pydantic import Field

from backend.domain.showroom import Dealership
from backend.tools.arguments import Arguments
from backend.tools.context import ToolContext
from backend.tools.registry import Output, tool


class DealershipArguments(Arguments):
    dealership_id: str = Field(description="Id of a dealership, as in the list you were given")


class DealershipAddress(Output):
    dealership_id: str
    name: str
    address: str
    phone: str
    hours: str
    map_link: str
    time_zone: str


@tool()
async def get_dealership_address(
    arguments: DealershipArguments, context: ToolContext
) -> DealershipAddress:
    """Address, phone number, opening hours and map link of a dealership."""
    dealership = context.dealership(arguments.dealership_id)
    return DealershipAddress(
        dealership_id=dealership.id,
        name=dealership.name,
        address=dealership.address,
        phone=dealership.phone,
        hours=opening_hours(dealership),
        map_link=dealership.map_link,
        time_zone=dealership.time_zone,
    )


def opening_hours(dealership: Dealership) -> str:
    """Join days with the same hours: "Mon-Fri 09:00-18:00, Sat 10:00-16:00, Sun closed"."""
    return ", ".join(_entries(dealership))


def _entries(dealership: Dealership) -> Iterator[str]:
    for hours, alike in groupby(zip(calendar.day_abbr, dealership.hours, strict=True), _hours):
        days = [name for name, _ in alike]
        span = days[0] if len(days) == 1 else f"{days[0]}-{days[-1]}"
        yield f"{span} {hours}"


def _hours(entry: tuple[str, object | None]) -> str:
    return str(entry[1] or "closed")
