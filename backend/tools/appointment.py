"""The tools for test drives: look up the free slots of a day, and book one."""

import datetime as dt
from functools import partial

from pydantic import Field

from backend.domain.conversation import as_json
from backend.storage.ports.appointments import Appointment, BookedBy, Booking, SlotTaken
from backend.tools.arguments import Clock, Day, UserId
from backend.tools.context import ToolContext
from backend.tools.dealership import DealershipArguments
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
async def check_appointment_availability(
    arguments: DayArguments, context: ToolContext
) -> Availability:
    """The free test drive slots of a dealership on one day, in the dealership's time zone."""
    dealership = context.dealership(arguments.dealership_id)
    check_day(context, dealership, arguments.date)
    free = await free_slots(context, dealership, arguments.date)
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


@tool(has_side_effects=True)
async def schedule_appointment(
    arguments: AppointmentArguments, context: ToolContext
) -> Confirmation:
    """Book a test drive. The same booking again returns the same confirmation."""
    wanted = _appointment(arguments, context)
    if not await _is_booked(wanted, context):
        await check_slot(
            context, context.dealership(wanted.dealership_id), wanted.date, wanted.time
        )
    return _confirmation(await _book(wanted, context), context)


def _appointment(arguments: AppointmentArguments, context: ToolContext) -> Appointment:
    return Appointment(
        user_id=context.acting_user(arguments.user_id),
        dealership_id=context.dealership(arguments.dealership_id).id,
        date=arguments.date,
        time=arguments.time,
        car_model=context.car_model(arguments.car_model).name,
    )


async def _is_booked(wanted: Appointment, context: ToolContext) -> bool:
    """Whether this booking exists already.

    A repeated call must return its confirmation, even if the slot has begun in the meantime.
    """
    bookings = await context.appointments.of_user(wanted.user_id)
    return any(booking.appointment == wanted for booking in bookings)


async def _book(wanted: Appointment, context: ToolContext) -> Booking:
    dealership, day, slot = context.dealership(wanted.dealership_id), wanted.date, wanted.time
    by = (
        None
        if context.call is None
        else BookedBy(context.call, partial(_output_of, context=context))
    )
    try:
        return await context.appointments.book(wanted, by=by)
    except SlotTaken as error:
        why = f"{slot:%H:%M} on {day} is already booked at {dealership.name}"
        raise await refused_slot(
            context, dealership, day, slot, code="slot_taken", why=why
        ) from error


def _output_of(booking: Booking, *, context: ToolContext) -> str:
    return as_json(_confirmation(booking, context).shown)


def _confirmation(booking: Booking, context: ToolContext) -> Confirmation:
    appointment = booking.appointment
    dealership = context.dealership(appointment.dealership_id)
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
