"""Test drives that are booked. Their times are on the wall of the dealership."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Protocol


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
    confirmation_id: str
    appointment: Appointment


class SlotTaken(Exception):
    """Somebody else has this slot."""


class AppointmentStore(Protocol):
    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        """The slots that are booked on a day."""
        ...

    async def book(self, appointment: Appointment) -> Booking:
        """Book the slot, or return the booking if this very appointment is booked already.

        Atomic across all workers: of many callers, one gets the slot.

        Raises:
            SlotTaken: the slot belongs to another appointment.
        """
        ...

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        """Past and coming, in order of date and time."""
        ...
