"""Test drives: which slots of a day are free, and the booking of one."""

import datetime as dt

from pydantic import Field

from backend.storage.ports.appointments import Appointment, Booking, SlotTaken
from backend.tools.arguments import Clock, Day, UserId
from backend.tools.dealership import DealershipArguments
from backend.tools.desk import Desk
from backend.tools.registry import Output, tool
from backend.tools.slots import check_day, check_slot, free_slots, refused_slot


class DayArguments(DealershipArguments):
    date: Day = Field(description="YYYY-MM-DD, a day at the dealership")


class Availability(Output):
    dealership_id: str
    date: dt.date
    time_zone: str
    slots: list[str]


@tool()
async def check_appointment_availability(arguments: DayArguments, desk: Desk) -> Availability:
    """The free test drive slots of a dealership on one day, in the dealership's time zone."""
    dealership = desk.dealership(arguments.dealership_id)
    check_day(desk, dealership, arguments.date)
    free = await free_slots(desk, dealership, arguments.date)
    return Availability(
        dealership_id=dealership.id,
        date=arguments.date,
        time_zone=dealership.time_zone,
        slots=[f"{slot:%H:%M}" for slot in free],
    )


class AppointmentArguments(DayArguments):
    user_id: UserId = Field(None, description="The customer's user id; not if signed in")
    time: Clock = Field(description="HH:MM, one of the day's free slots")
    car_model: str = Field(description="Name of a car model, as in the list you were given")


class Confirmation(Output):
    confirmation_id: str
    user_id: str
    dealership_id: str
    dealership: str
    date: dt.date
    time: str
    time_zone: str
    car_model: str


@tool(is_lasting=True)
async def schedule_appointment(arguments: AppointmentArguments, desk: Desk) -> Confirmation:
    """Book a test drive. The same booking again returns the same confirmation."""
    wanted = _appointment(arguments, desk)
    booking = await _booked_before(wanted, desk) or await _book(wanted, desk)
    return _confirmation(booking, desk)


def _appointment(arguments: AppointmentArguments, desk: Desk) -> Appointment:
    return Appointment(
        user_id=desk.acting_user(arguments.user_id),
        dealership_id=desk.dealership(arguments.dealership_id).id,
        date=arguments.date,
        time=arguments.time,
        car_model=desk.car_model(arguments.car_model).name,
    )


async def _booked_before(wanted: Appointment, desk: Desk) -> Booking | None:
    """Looked up first: a repeated call must not be refused because its slot has begun since."""
    bookings = await desk.appointments.of_user(wanted.user_id)
    return next((booking for booking in bookings if booking.appointment == wanted), None)


async def _book(wanted: Appointment, desk: Desk) -> Booking:
    dealership, day, slot = desk.dealership(wanted.dealership_id), wanted.date, wanted.time
    await check_slot(desk, dealership, day, slot)
    try:
        return await desk.appointments.book(wanted)
    except SlotTaken as error:
        why = f"{slot:%H:%M} on {day} is already booked at {dealership.name}"
        raise await refused_slot(desk, dealership, day, slot, code="slot_taken", why=why) from error


def _confirmation(booking: Booking, desk: Desk) -> Confirmation:
    appointment = booking.appointment
    dealership = desk.dealership(appointment.dealership_id)
    return Confirmation(
        confirmation_id=booking.confirmation_id,
        user_id=appointment.user_id,
        dealership_id=dealership.id,
        dealership=dealership.name,
        date=appointment.date,
        time=f"{appointment.time:%H:%M}",
        time_zone=dealership.time_zone,
        car_model=appointment.car_model,
    )
