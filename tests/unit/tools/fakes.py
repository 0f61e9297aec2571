"""A showroom of three, stores in memory, and a context at a known instant.

It is Saturday 2026-11-21, 15:30 in New York and already Sunday 05:30 in Tokyo.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

from backend.domain.conversation import ANONYMOUS, Caller, ToolCall, as_json
from backend.domain.showroom import CarModel, Dealership, OpenHours, Showroom
from backend.storage.ports.appointments import Appointment, BookedBy, Booking, SlotTaken
from backend.storage.ports.profiles import Profile
from backend.tools import TOOLS
from backend.tools.context import ToolContext, WeatherProvider
from backend.tools.registry import Toolbox, ToolResult
from backend.tools.sample_weather import SampleWeather

NOW = datetime(2026, 11, 21, 20, 30, tzinfo=UTC)
SATURDAY, SUNDAY, MONDAY = date(2026, 11, 21), date(2026, 11, 22), date(2026, 11, 23)

WEEKDAY = OpenHours(time(9), time(18))
SHORT = OpenHours(time(10), time(17))

MANHATTAN = Dealership(
    id="manhattan",
    name="SuperCar Manhattan",
    address="1 Example Avenue, New York, NY 10001",
    phone="+1 212 555 0100",
    time_zone="America/New_York",
    hours=(*[WEEKDAY] * 5, SHORT, None),
)
GINZA = Dealership(
    id="ginza",
    name="SuperCar Ginza",
    address="1-1 Example, Chuo, Tokyo",
    phone="+81 3 0000 0100",
    time_zone="Asia/Tokyo",
    hours=(None, None, *[WEEKDAY] * 3, SHORT, SHORT),
)
SHUT = Dealership(
    id="shut",
    name="SuperCar Shut",
    address="0 Example Road, London",
    phone="+44 20 7946 0100",
    time_zone="Europe/London",
    hours=(None,) * 7,
)
SHOWROOM = Showroom(
    dealerships=(MANHATTAN, GINZA, SHUT),
    car_models=(CarModel("Aurora", "electric coupe"), CarModel("Vulcan", "V8 roadster")),
)


@dataclass
class Diary:
    """An `AppointmentStore`."""

    bookings: list[Booking] = field(default_factory=list)

    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        booked = (booking.appointment for booking in self.bookings)
        return frozenset(
            each.time for each in booked if (each.dealership_id, each.date) == (dealership_id, day)
        )

    async def book(self, appointment: Appointment, *, by: BookedBy | None = None) -> Booking:  # noqa: ARG002 - the port's
        for booking in self.bookings:
            if booking.appointment == appointment:
                return booking
        if appointment.time in await self.taken(appointment.dealership_id, appointment.date):
            raise SlotTaken
        booking = Booking(f"SC-{len(self.bookings) + 1}", appointment)
        self.bookings.append(booking)
        return booking

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        mine = [booking for booking in self.bookings if booking.appointment.user_id == user_id]
        return sorted(mine, key=lambda each: (each.appointment.date, each.appointment.time))


@dataclass
class Profiles:
    """A `ProfileStore`."""

    known: tuple[Profile, ...] = (Profile("123", "Sample Customer", "manhattan"),)

    async def profile(self, user_id: str) -> Profile | None:
        return next((profile for profile in self.known if profile.user_id == user_id), None)


def appointment(
    day: date,
    slot: time,
    *,
    user_id: str = "123",
    dealership_id: str = "manhattan",
    car_model: str = "Aurora",
) -> Appointment:
    return Appointment(
        user_id=user_id, dealership_id=dealership_id, date=day, time=slot, car_model=car_model
    )


def diary(*appointments: Appointment) -> Diary:
    return Diary([Booking(f"SC-{n}", each) for n, each in enumerate(appointments, start=1)])


def a_context(
    *,
    now: datetime = NOW,
    caller: Caller = ANONYMOUS,
    diary: Diary | None = None,
    showroom: Showroom = SHOWROOM,
    weather: WeatherProvider | None = None,
) -> ToolContext:
    return ToolContext(
        caller=caller,
        showroom=showroom,
        appointments=diary or Diary(),
        profiles=Profiles(),
        weather=weather or SampleWeather(),
        now=now,
    )


TOOLBOX = Toolbox(TOOLS, timeout_seconds=5)


async def use(tool: str, at: ToolContext | None = None, **arguments: object) -> ToolResult:
    return await TOOLBOX.run(ToolCall("call_1", tool, as_json(arguments)), at or a_context())
