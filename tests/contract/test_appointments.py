"""Bookings: who gets a slot, and which bookings a store lists."""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import date, time

import pytest

from backend.storage.ports.appointments import Appointment, SlotTaken
from backend.storage.ports.stores import Stores

MINE = Appointment(
    user_id="123",
    dealership_id="manhattan",
    date=date(2030, 5, 6),
    time=time(10, 0),
    car_model="Apex GT",
)


async def test_a_free_slot_is_booked(stores: Stores) -> None:
    booking = await stores.appointments.book(MINE)

    assert booking.appointment == MINE
    assert await stores.appointments.taken("manhattan", MINE.date) == {time(10, 0)}
    assert await stores.appointments.of_user("123") == [booking]


async def test_a_confirmation_id_can_be_read_out_and_not_guessed(stores: Stores) -> None:
    slots = [replace(MINE, time=time(hour, 30)) for hour in range(24)]

    ids = [(await stores.appointments.book(slot)).confirmation_id for slot in slots]

    assert len(set(ids)) == 24
    assert all(len(id_) == 11 and id_.startswith("SC-") for id_ in ids)
    assert not set("".join(id_[3:] for id_ in ids)) & set("01ILO")


async def test_the_same_booking_again_is_the_same_booking(stores: Stores) -> None:
    first = await stores.appointments.book(MINE)

    again = await stores.appointments.book(MINE)

    assert again == first
    assert await stores.appointments.of_user("123") == [first]


@pytest.mark.parametrize("other", [replace(MINE, user_id="456"), replace(MINE, car_model="Volt E")])
async def test_a_slot_belongs_to_one_appointment(stores: Stores, other: Appointment) -> None:
    first = await stores.appointments.book(MINE)

    with pytest.raises(SlotTaken):
        await stores.appointments.book(other)

    assert await stores.appointments.book(MINE) == first
    assert await stores.appointments.of_user("456") == []


async def test_other_slots_stay_free(stores: Stores) -> None:
    await stores.appointments.book(MINE)

    await stores.appointments.book(replace(MINE, user_id="456", time=time(11, 0)))
    await stores.appointments.book(replace(MINE, user_id="456", date=date(2030, 5, 7)))
    await stores.appointments.book(replace(MINE, user_id="456", dealership_id="london"))

    assert await stores.appointments.taken("manhattan", MINE.date) == {time(10, 0), time(11, 0)}
    assert await stores.appointments.taken("manhattan", date(2030, 5, 8)) == frozenset()
    assert await stores.appointments.taken("london", MINE.date) == {time(10, 0)}


async def test_bookings_of_a_user_come_in_order_of_date_and_time(stores: Stores) -> None:
    later = await stores.appointments.book(replace(MINE, date=date(2031, 1, 1), time=time(9, 0)))
    noon = await stores.appointments.book(replace(MINE, time=time(12, 0)))
    morning = await stores.appointments.book(replace(MINE, time=time(8, 30)))
    await stores.appointments.book(replace(MINE, user_id="456", time=time(11, 0)))

    assert await stores.appointments.of_user("123") == [morning, noon, later]
    assert await stores.appointments.of_user("nobody") == []


async def test_of_many_users_one_gets_the_slot(stores: Stores) -> None:
    attempts = [replace(MINE, user_id=f"user-{number}") for number in range(50)]

    results = await asyncio.gather(*map(stores.appointments.book, attempts), return_exceptions=True)

    assert Counter(type(result).__name__ for result in results) == {"Booking": 1, "SlotTaken": 49}


async def test_the_same_booking_many_times_at_once_has_one_confirmation(stores: Stores) -> None:
    bookings = await asyncio.gather(*(stores.appointments.book(MINE) for _ in range(20)))

    assert len(set(bookings)) == 1
