"""The sample data of a new database, read from seed.json."""

import json
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any

from backend.domain.showroom import CarModel, Dealership, OpenHours, Showroom
from backend.storage.ports.profiles import Profile

_FILE = Path(__file__).with_name("seed.json")


@dataclass(frozen=True, slots=True)
class Seed:
    showroom: Showroom
    profiles: tuple[Profile, ...]


def read_seed() -> Seed:
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    dealerships = tuple(_dealership(**entry) for entry in data["dealerships"])
    car_models = tuple(CarModel(**entry) for entry in data["car_models"])
    return Seed(
        showroom=Showroom(dealerships, car_models),
        profiles=tuple(Profile(**entry) for entry in data["profiles"]),
    )


def _dealership(*, hours: list[list[str] | None], **fields: Any) -> Dealership:
    return Dealership(hours=parse_hours(hours), **fields)


def parse_hours(week: list[list[str] | None]) -> tuple[OpenHours | None, ...]:
    """Parse one `["10:00", "19:00"]` per day, Monday first; None is a closed day."""
    return tuple(OpenHours(*map(time.fromisoformat, day)) if day else None for day in week)


def format_hours(week: tuple[OpenHours | None, ...]) -> list[list[str] | None]:
    return [[f"{day.opens:%H:%M}", f"{day.closes:%H:%M}"] if day else None for day in week]
