"""The dealerships and the car models: plain data, read from the store at start."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

SLOT_MINUTES = 60


@dataclass(frozen=True, slots=True)
class OpenHours:
    opens: time
    closes: time

    def __str__(self) -> str:
        return f"{self.opens:%H:%M}-{self.closes:%H:%M}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealership:
    """A dealership. `hours` has one entry per weekday, Monday first; None is a closed day."""

    id: str
    name: str
    address: str
    phone: str
    time_zone: str
    hours: tuple[OpenHours | None, ...]

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def map_link(self) -> str:
        return f"https://www.openstreetmap.org/search?query={quote_plus(self.address)}"

    def today(self, now: datetime) -> date:
        return now.astimezone(self.zone).date()

    def slots(self, day: date) -> Iterator[time]:
        """Yield the start times of a day's slots. Each slot lies within opening hours."""
        hours = self.hours[day.weekday()]
        if hours is None:
            return
        slot = datetime.combine(day, hours.opens)
        length = timedelta(minutes=SLOT_MINUTES)
        while slot + length <= datetime.combine(day, hours.closes):
            yield slot.time()
            slot += length

    def begins(self, day: date, slot: time) -> datetime:
        return datetime.combine(day, slot, tzinfo=self.zone)


@dataclass(frozen=True, slots=True)
class CarModel:
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Showroom:
    dealerships: tuple[Dealership, ...]
    car_models: tuple[CarModel, ...]

    def dealership(self, dealership_id: str) -> Dealership | None:
        """Find a dealership by id or name, ignoring case."""
        wanted = dealership_id.strip().casefold()
        for dealership in self.dealerships:
            if wanted in (dealership.id.casefold(), dealership.name.casefold()):
                return dealership
        return None

    def car_model(self, name: str) -> CarModel | None:
        """Find a car model by name, ignoring case and a leading brand name."""
        wanted = name.strip().casefold().removeprefix("supercar ")
        return next((car for car in self.car_models if car.name.casefold() == wanted), None)
