"""Booked slots in SQL. A unique constraint decides who gets one."""

from collections.abc import Sequence
from datetime import date, time
from typing import Any

from sqlalchemy import Connection, bindparam, select

from backend.conversation import now
from backend.storage.confirmation import new_confirmation_id
from backend.storage.ports.appointments import Appointment, Booking, SlotTaken
from backend.storage.sql.database import Database
from backend.storage.sql.dialects import insert
from backend.storage.sql.rows import AnyRow
from backend.storage.sql.tables import appointments

_SLOT = (appointments.c.dealership_id, appointments.c.date, appointments.c.time)
_BOOK = insert(appointments).on_conflict_do_nothing(index_elements=_SLOT)
_AT = select(appointments).where(*(column == bindparam(column.name) for column in _SLOT))
_TAKEN = select(appointments.c.time).where(
    appointments.c.dealership_id == bindparam("dealership_id"),
    appointments.c.date == bindparam("date"),
)
_OF_USER = (
    select(appointments)
    .where(appointments.c.user_id == bindparam("user_id"))
    .order_by(appointments.c.date, appointments.c.time, appointments.c.booked_at)
)


class SqlAppointments:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        return await self._database.run(_taken, dealership_id, day)

    async def book(self, appointment: Appointment) -> Booking:
        return await self._database.run(_book, appointment)

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        return await self._database.run(_of_user, user_id)


def _taken(connection: Connection, dealership_id: str, day: date) -> frozenset[time]:
    rows = connection.scalars(_TAKEN, {"dealership_id": dealership_id, "date": day})
    return frozenset(rows)


def _book(connection: Connection, appointment: Appointment) -> Booking:
    connection.execute(_BOOK, _row_of(appointment))
    slot = {column.name: getattr(appointment, column.name) for column in _SLOT}
    booking = _booking_of(connection.execute(_AT, slot).one())
    if booking.appointment != appointment:
        raise SlotTaken
    return booking


def _of_user(connection: Connection, user_id: str) -> list[Booking]:
    return [_booking_of(row) for row in connection.execute(_OF_USER, {"user_id": user_id})]


def _row_of(appointment: Appointment) -> dict[str, Any]:
    return {
        "confirmation_id": new_confirmation_id(),
        "user_id": appointment.user_id,
        "dealership_id": appointment.dealership_id,
        "date": appointment.date,
        "time": appointment.time,
        "car_model": appointment.car_model,
        "booked_at": now(),
    }


def _booking_of(row: AnyRow) -> Booking:
    appointment = Appointment(
        user_id=row.user_id,
        dealership_id=row.dealership_id,
        date=row.date,
        time=row.time,
        car_model=row.car_model,
    )
    return Booking(row.confirmation_id, appointment)
