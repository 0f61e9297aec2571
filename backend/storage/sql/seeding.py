"""Inserts the sample data into a new database."""

from sqlalchemy import Connection

from backend.storage.seed import format_hours, read_seed
from backend.storage.sql.tables import car_models, dealerships, profiles


def insert_sample_data(connection: Connection) -> None:
    """Fill a database that was just created. Later on, all data belongs to its operator."""
    seed = read_seed()
    connection.execute(
        dealerships.insert(),
        [
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
    )
    connection.execute(
        car_models.insert(),
        [
            {"name": car.name, "place": place, "description": car.description}
            for place, car in enumerate(seed.showroom.car_models, start=1)
        ],
    )
    connection.execute(
        profiles.insert(),
        [
            {
                "user_id": profile.user_id,
                "name": profile.name,
                "preferred_dealership_id": profile.preferred_dealership_id,
            }
            for profile in seed.profiles
        ],
    )
