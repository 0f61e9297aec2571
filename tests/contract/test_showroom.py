"""The sample data of every new store."""

from datetime import date, time
from zoneinfo import ZoneInfo

from backend.domain.showroom import OpenHours
from backend.storage.ports.profiles import Profile
from backend.storage.ports.stores import Stores


async def test_the_dealerships_come_in_the_order_that_customers_see(stores: Stores) -> None:
    showroom = await stores.showrooms.showroom()

    assert {dealership.id: dealership.zone for dealership in showroom.dealerships} == {
        "manhattan": ZoneInfo("America/New_York"),
        "beverly-hills": ZoneInfo("America/Los_Angeles"),
        "chicago": ZoneInfo("America/Chicago"),
        "london": ZoneInfo("Europe/London"),
        "munich": ZoneInfo("Europe/Berlin"),
        "tokyo": ZoneInfo("Asia/Tokyo"),
        "sydney": ZoneInfo("Australia/Sydney"),
    }
    assert showroom.dealerships[0].name == "SuperCar Manhattan"
    assert [car.name for car in showroom.car_models] == [
        "Apex GT",
        "Veloce Spider",
        "Terra X",
        "Volt E",
        "Corsa R",
    ]


async def test_every_dealership_can_be_visited(stores: Stores) -> None:
    for dealership in (await stores.showrooms.showroom()).dealerships:
        assert len(dealership.hours) == 7
        assert dealership.address
        assert dealership.phone
        assert sum(hours is not None for hours in dealership.hours) >= 5


async def test_hours_are_those_of_the_weekday(stores: Stores) -> None:
    manhattan = (await stores.showrooms.showroom()).dealership("manhattan")
    assert manhattan

    saturday, sunday = date(2030, 5, 4), date(2030, 5, 5)

    assert manhattan.hours[saturday.weekday()] == OpenHours(time(10), time(17))
    assert next(iter(manhattan.slots(saturday))) == time(10)
    assert list(manhattan.slots(sunday)) == []


async def test_the_sample_customers_have_profiles(stores: Stores) -> None:
    showroom = await stores.showrooms.showroom()

    for user_id in ("123", "456", "789"):
        profile = await stores.profiles.profile(user_id)
        assert profile
        assert profile.name.startswith("Sample Customer")
        assert showroom.dealership(profile.preferred_dealership_id or "")
    assert await stores.profiles.profile("123") == Profile(
        "123", "Sample Customer One", "manhattan"
    )
    assert await stores.profiles.profile("unknown") is None
