"""The tool that shows a customer's profile, with past and upcoming test drives."""

import datetime as dt

from pydantic import Field

from backend.domain.errors import ToolRefused
from backend.storage.ports.appointments import Booking
from backend.storage.ports.profiles import Profile
from backend.tools.arguments import Arguments, UserId
from backend.tools.context import ToolContext
from backend.tools.registry import Output, tool

PAST_SHOWN = 5
COMING_SHOWN = 20


class UserArguments(Arguments):
    user_id: UserId = Field(None, description="The customer's user id; not if signed in")


class DealershipName(Output):
    dealership_id: str
    name: str


class Drive(Output):
    confirmation_id: str
    dealership_id: str
    dealership: str | None
    date: dt.date
    time: str
    car_model: str


class UserProfile(Output):
    user_id: str
    name: str | None
    preferred_dealership: DealershipName | None
    coming_test_drives: list[Drive]
    past_test_drives: list[Drive]


@tool()
async def fetch_user_profile(arguments: UserArguments, context: ToolContext) -> UserProfile:
    """A customer's name, preferred dealership, and test drives past and coming."""
    user_id = context.acting_user(arguments.user_id)
    profile = await context.profiles.profile(user_id)
    bookings = await context.appointments.of_user(user_id)
    if profile is None and not bookings:
        raise ToolRefused(f"There is no user {user_id!r}.", code="unknown_user")
    past = [booking for booking in bookings if _begins(booking, context) <= context.now]
    coming = [booking for booking in bookings if booking not in past]
    return UserProfile(
        user_id=user_id,
        name=profile and profile.name,
        preferred_dealership=profile and _preferred(profile, context),
        coming_test_drives=[_drive(booking, context) for booking in coming[:COMING_SHOWN]],
        past_test_drives=[_drive(booking, context) for booking in past[-PAST_SHOWN:]],
    )


def _begins(booking: Booking, context: ToolContext) -> dt.datetime:
    appointment = booking.appointment
    dealership = context.showroom.dealership(appointment.dealership_id)
    if dealership is None:  # its entry was deleted, but its bookings stay; the zone is unknown
        return dt.datetime.combine(appointment.date, appointment.time, tzinfo=dt.UTC)
    return dealership.begins(appointment.date, appointment.time)


def _preferred(profile: Profile, context: ToolContext) -> DealershipName | None:
    dealership = context.showroom.dealership(profile.preferred_dealership_id or "")
    if dealership is None:
        return None
    return DealershipName(dealership_id=dealership.id, name=dealership.name)


def _drive(booking: Booking, context: ToolContext) -> Drive:
    appointment = booking.appointment
    dealership = context.showroom.dealership(appointment.dealership_id)
    return Drive(
        confirmation_id=booking.confirmation_id,
        dealership_id=appointment.dealership_id,
        dealership=dealership and dealership.name,
        date=appointment.date,
        time=f"{appointment.time:%H:%M}",
        car_model=appointment.car_model,
    )
