"""Inserts the sample data into a new database."""

from typing import Any

from sqlalchemy import Connection, Table

from backend.storage.seed import format_hours, read_seed
from backend.storage.sql.tables import car_models, dealerships, profiles


def insert_sample_data(connection: Connection) -> None:
    """Fill a database that was just created. Later on, all data belongs to its operator."""
    for table, rows in sample_data().items():
        connection.execute(table.insert(), rows)


def sample_data() -> dict[Table, list[dict[str, Any]]]:
    """The rows of each table that has any."""
    seed = read_seed()
    return {
        dealerships: [
            {
                "id": dealership.id,
                "place": place,
                "name": dealership.name,
                "address": dealership.address,
                "phone": dealership.phone,
                "time_zone": dealership.time_zone,
                "hours": format_hours(dealership.hours),
            }
            for place, dealership in enumerate(seed.showroom.dealerships, start=1)
        ],
        car_models: [
            {"name": car.name, "place": place, "description": car.description}
            for place, car in enumerate(seed.showroom.car_models, start=1)
        ],
        profiles: [
            {
                "user_id": profile.user_id,
                "name": profile.name,
                "preferred_dealership_id": profile.preferred_dealership_id,
            }
            for profile in seed.profiles
        ],
    }
