"""Booked slots in a dict."""

from collections.abc import Sequence
from datetime import date, time

from backend.storage.confirmation import new_confirmation_id
from backend.storage.memory.sessions import MemorySessions
from backend.storage.ports.appointments import Appointment, BookedBy, Booking, SlotTaken


class MemoryAppointments:
    def __init__(self, sessions: MemorySessions) -> None:
        self._sessions = sessions
        self._bookings: dict[tuple[str, date, time], Booking] = {}

    async def taken(self, dealership_id: str, day: date) -> frozenset[time]:
        return frozenset(
            slot
            for house, booked_day, slot in self._bookings
            if (house, booked_day) == (dealership_id, day)
        )

    async def book(self, appointment: Appointment, *, by: BookedBy | None = None) -> Booking:
        # Raises ClaimLost before anything is booked.
        turn_id = None if by is None else self._sessions.held(by.call.turn.id).record.id
        slot = (appointment.dealership_id, appointment.date, appointment.time)
        new = Booking(new_confirmation_id(), appointment, turn_id)
        booking = self._bookings.setdefault(slot, new)
        if booking.appointment != appointment:
            raise SlotTaken
        if by is not None:
            self._sessions.note(by, booking)
        return booking

    async def of_user(self, user_id: str) -> Sequence[Booking]:
        mine = [b for b in self._bookings.values() if b.appointment.user_id == user_id]
        return sorted(mine, key=lambda b: (b.appointment.date, b.appointment.time))
