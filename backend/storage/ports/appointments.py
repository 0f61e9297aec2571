"""Test drives that are booked. Their times are on the wall of the dealership."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Protocol

from backend.storage.ports.side_effects import SideEffect


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointment:
    """A booked slot, by the dealership's wall clock."""

    user_id: str
    dealership_id: str
    date: date
    time: time
    car_model: str


@dataclass(frozen=True, slots=True)
class Booking:
    """`turn_id` is of the turn that made it, if one did and that was stored at the time."""

    confirmation_id: str
    appointment: Appointment
    turn_id: str | None = None


@dataclass(frozen=True, slots=True)
class BookedBy:
    """The tool call that books, and how its output words the booking."""

    call: SideEffect
    output_of: Callable[[Booking], str]


class SlotTaken(Exception):
    """Somebody else has this slot."""


class AppointmentStore(Protocol):
    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        """The slots that are booked on a day."""
        ...

    async def book(self, appointment: Appointment, *, by: BookedBy | None = None) -> Booking:
        """Book the slot, or return the booking if this very appointment is booked already.

        Atomic across all workers: of many callers, one gets the slot. In the same transaction
        the turn of a call is found to hold its session, and the output is kept for the history
        in case that the turn never ends.

        Raises:
            ClaimLost: that turn does not hold its session any more.
            SlotTaken: the slot belongs to another appointment.
        """
        ...

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        """Past and coming, in order of date and time."""
        ...
