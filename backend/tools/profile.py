"""What is known of a customer: the profile, and test drives past and coming."""

import datetime as dt

from pydantic import Field

from backend.errors import ToolRefused
from backend.storage.ports.appointments import Booking
from backend.storage.ports.profiles import Profile
from backend.tools.arguments import Arguments, UserId
from backend.tools.desk import Desk
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
async def fetch_user_profile(arguments: UserArguments, desk: Desk) -> UserProfile:
    """A customer's name, preferred dealership, and test drives past and coming."""
    user_id = desk.acting_user(arguments.user_id)
    profile = await desk.profiles.profile(user_id)
    bookings = await desk.appointments.of_user(user_id)
    if profile is None and not bookings:
        raise ToolRefused(f"There is no user {user_id!r}.", code="unknown_user")
    past = [booking for booking in bookings if _begins(booking, desk) <= desk.now]
    coming = [booking for booking in bookings if booking not in past]
    return UserProfile(
        user_id=user_id,
        name=profile and profile.name,
        preferred_dealership=profile and _preferred(profile, desk),
        coming_test_drives=[_drive(booking, desk) for booking in coming[:COMING_SHOWN]],
        past_test_drives=[_drive(booking, desk) for booking in past[-PAST_SHOWN:]],
    )


def _begins(booking: Booking, desk: Desk) -> dt.datetime:
    appointment = booking.appointment
    dealership = desk.showroom.dealership(appointment.dealership_id)
    if dealership is None:  # it was closed down, and its bookings stay
        return dt.datetime.combine(appointment.date, appointment.time, tzinfo=dt.UTC)
    return dealership.begins(appointment.date, appointment.time)


def _preferred(profile: Profile, desk: Desk) -> DealershipName | None:
    dealership = desk.showroom.dealership(profile.preferred_dealership_id or "")
    if dealership is None:
        return None
    return DealershipName(dealership_id=dealership.id, name=dealership.name)


def _drive(booking: Booking, desk: Desk) -> Drive:
    appointment = booking.appointment
    dealership = desk.showroom.dealership(appointment.dealership_id)
    return Drive(
        confirmation_id=booking.confirmation_id,
        dealership_id=appointment.dealership_id,
        dealership=dealership and dealership.name,
        date=appointment.date,
        time=f"{appointment.time:%H:%M}",
        car_model=appointment.car_model,
    )
