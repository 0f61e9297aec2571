"""Booked slots in SQL. A unique constraint decides who gets a slot."""

from datetime import date, time
from typing import Any

from sqlalchemy import Connection, bindparam, select

from backend.storage.confirmation import new_confirmation_id
from backend.storage.ports.appointments import Appointment, BookedBy, Booking, SlotTaken
from backend.storage.sql import journals, locks
from backend.storage.sql.dialects import DatabaseNow, insert
from backend.storage.sql.operations import SqlStore, reading, writing
from backend.storage.sql.rows import booking_of
from backend.storage.sql.tables import appointments

_SLOT = (appointments.c.dealership_id, appointments.c.date, appointments.c.time)
_BOOK = (
    insert(appointments)
    .values(booked_at=DatabaseNow())
    .on_conflict_do_nothing(index_elements=_SLOT)
)
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


def _taken(connection: Connection, dealership_id: str, day: date) -> frozenset[time]:
    rows = connection.scalars(_TAKEN, {"dealership_id": dealership_id, "date": day})
    return frozenset(rows)


def _book(
    connection: Connection, appointment: Appointment, *, by: BookedBy | None = None
) -> Booking:
    if by is None:
        return _booked(connection, appointment, None)
    session = locks.hold(connection, by.call.turn)
    booking = _booked(connection, appointment, by.call.turn.id)
    journals.note(connection, by.call, by.output_of(booking), session=session)
    return booking


def _booked(connection: Connection, appointment: Appointment, turn_id: str | None) -> Booking:
    # Insert first, then look: the row that is there, new or old, tells who has the slot.
    connection.execute(_BOOK, {**_row_of(appointment), "turn_id": turn_id})
    slot = {column.name: getattr(appointment, column.name) for column in _SLOT}
    booking = booking_of(connection.execute(_AT, slot).one())
    if booking.appointment != appointment:
        raise SlotTaken
    return booking


def _of_user(connection: Connection, user_id: str) -> list[Booking]:
    return [booking_of(row) for row in connection.execute(_OF_USER, {"user_id": user_id})]


def _row_of(appointment: Appointment) -> dict[str, Any]:
    return {
        "confirmation_id": new_confirmation_id(),
        "user_id": appointment.user_id,
        "dealership_id": appointment.dealership_id,
        "date": appointment.date,
        "time": appointment.time,
        "car_model": appointment.car_model,
    }


class SqlAppointments(SqlStore):
    taken = reading(_taken)
    book = writing(_book)
    of_user = reading(_of_user)
