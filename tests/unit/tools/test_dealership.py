from dataclasses import replace

import pytest

from backend.domain.showroom import OpenHours
from backend.tools.dealership import opening_hours
from backend.tools.registry import ToolOutcome
from tests.unit.tools.fakes import GINZA, MANHATTAN, SHUT, use


async def test_a_dealership_is_shown_with_its_hours_and_a_map() -> None:
    result = await use("get_dealership_address", dealership_id="manhattan")

    assert result.outcome is ToolOutcome.OK
    assert result.output == {
        "dealership_id": "manhattan",
        "name": "SuperCar Manhattan",
        "address": "1 Example Avenue, New York, NY 10001",
        "phone": "+1 212 555 0100",
        "hours": "Mon-Fri 09:00-18:00, Sat 10:00-17:00, Sun closed",
        "map_link": MANHATTAN.map_link,
        "time_zone": "America/New_York",
    }


@pytest.mark.parametrize("written", ["Manhattan", " manhattan ", "SuperCar Manhattan"])
async def test_a_dealership_is_found_as_people_write_it(written: str) -> None:
    result = await use("get_dealership_address", dealership_id=written)

    assert result.output["dealership_id"] == "manhattan"


async def test_an_unknown_dealership_is_refused_with_the_ids_there_are() -> None:
    result = await use("get_dealership_address", dealership_id="atlantis")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"] == {
        "code": "unknown_dealership",
        "message": "There is no dealership 'atlantis'. The ids are: manhattan, ginza, shut.",
        "dealership_ids": ["manhattan", "ginza", "shut"],
    }


async def test_a_call_without_a_dealership_is_told_what_is_missing() -> None:
    result = await use("get_dealership_address")

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"]["message"] == "`dealership_id` is missing."


async def test_a_number_is_taken_for_an_id() -> None:
    result = await use("get_dealership_address", dealership_id=7)

    assert "There is no dealership '7'." in result.output["error"]["message"]


def test_days_that_are_alike_share_an_entry() -> None:
    assert opening_hours(GINZA) == "Mon-Tue closed, Wed-Fri 09:00-18:00, Sat-Sun 10:00-17:00"
    assert opening_hours(SHUT) == "Mon-Sun closed"


def test_a_day_of_its_own_has_its_own_entry() -> None:
    opens = MANHATTAN.hours[0]
    assert opens is not None
    late = OpenHours(opens.opens, opens.closes.replace(hour=20))
    dealership = replace(MANHATTAN, hours=(*[opens] * 3, late, opens, None, None))

    hours = opening_hours(dealership)

    assert hours == "Mon-Wed 09:00-18:00, Thu 09:00-20:00, Fri 09:00-18:00, Sat-Sun closed"
