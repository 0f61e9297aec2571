"""The dealerships and the car models in SQL."""

from sqlalchemy import Connection, select

from backend.domain.showroom import CarModel, Dealership, Showroom
from backend.storage.seed import parse_hours
from backend.storage.sql.operations import SqlStore, reading
from backend.storage.sql.tables import car_models, dealerships

_DEALERSHIPS = select(dealerships).order_by(dealerships.c.place, dealerships.c.id)
_CAR_MODELS = select(car_models).order_by(car_models.c.place, car_models.c.name)


def _showroom(connection: Connection) -> Showroom:
    return Showroom(
        dealerships=tuple(
            Dealership(
                id=row.id,
                name=row.name,
                address=row.address,
                phone=row.phone,
                time_zone=row.time_zone,
                hours=parse_hours(row.hours),
            )
            for row in connection.execute(_DEALERSHIPS)
        ),
        car_models=tuple(
            CarModel(row.name, row.description) for row in connection.execute(_CAR_MODELS)
        ),
    )


class SqlShowrooms(SqlStore):
    showroom = reading(_showroom)
