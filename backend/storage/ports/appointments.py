"""Booked test drives. Dates and times are local to the dealership."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Protocol

from backend.storage.ports.side_effects import SideEffect


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    user_id: str
    dealership_id: str
    date: date
    time: time
    car_model: str


@dataclass(frozen=True, slots=True)
class Booking:
    """An appointment that is stored.

    `turn_id` names the turn that booked it; None if it was booked outside a turn or by a version
    that did not record the turn.
    """

    confirmation_id: str
    appointment: Appointment
    turn_id: str | None = None


@dataclass(frozen=True, slots=True)
class BookedBy:
    """The tool call that books. `output_of` turns the booking into the call's output."""

    call: SideEffect
    output_of: Callable[[Booking], str]


class SlotTaken(Exception):
    """The slot belongs to another appointment."""


class AppointmentStore(Protocol):
    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        """Return the booked slots of one day."""
        ...

    async def book(self, appointment: Appointment, *, by: BookedBy | None = None) -> Booking:
        """Book the slot. Booking the same appointment again returns the first booking.

        Atomic across all workers: exactly one of many callers gets the slot. With `by`, the same
        transaction checks that the turn still holds its session and stores the call's output in
        the turn's journal. So the history knows of the booking even if the worker dies.

        Raises:
            ClaimLost: the turn does not hold its session any more.
            SlotTaken: the slot belongs to another appointment.
        """
        ...

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        """Return past and future bookings, sorted by date and time."""
        ...
