"""Finds the free slots of a day, and words the refusals of days and slots.

All times are local to the dealership. "Now" is the context's `now`.
"""

import calendar
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta

from backend.domain.errors import ToolRefused
from backend.domain.showroom import Dealership
from backend.tools.context import ToolContext
from backend.tools.dealership import opening_hours

DAYS_AHEAD = 90
SLOTS_OFFERED = 3


async def free_slots(context: ToolContext, dealership: Dealership, day: date) -> list[time]:
    """Return the slots within opening hours that are not booked and have not begun."""
    taken = await context.appointments.taken(dealership.id, day)
    return [
        slot
        for slot in dealership.slots(day)
        if slot not in taken and dealership.begins(day, slot) > context.now
    ]


def check_day(context: ToolContext, dealership: Dealership, day: date) -> None:
    """Raises: ToolRefused, if the day is past, too far ahead, or the dealership is closed."""
    today = dealership.today(context.now)
    latest = today + timedelta(days=DAYS_AHEAD)
    if day < today:
        raise ToolRefused(
            f"{day} is in the past: at {dealership.name} it is {named(today)}.",
            code="date_in_past",
            today=today.isoformat(),
        )
    if day > latest:
        raise ToolRefused(
            f"{day} is too far ahead. Test drives can be booked until {named(latest)}.",
            code="date_too_far",
            latest_date=latest.isoformat(),
        )
    if dealership.hours[day.weekday()] is None:
        raise closed(dealership, day)


def closed(dealership: Dealership, day: date) -> ToolRefused:
    following = next_open_day(dealership, day)
    return ToolRefused(
        f"{dealership.name} is closed on {calendar.day_name[day.weekday()]}s. "
        f"Its hours: {opening_hours(dealership)}."
        + (f" The next open day is {named(following)}." if following else ""),
        code="closed",
        next_open_date=following and following.isoformat(),
    )


def next_open_day(dealership: Dealership, day: date) -> date | None:
    week = (day + timedelta(days=ahead) for ahead in range(1, 8))
    return next((each for each in week if dealership.hours[each.weekday()]), None)


async def check_slot(context: ToolContext, dealership: Dealership, day: date, slot: time) -> None:
    """Raises: ToolRefused, if the slot does not exist or has begun. Ignores bookings."""
    check_day(context, dealership, day)
    if slot not in dealership.slots(day):
        why = f"No test drive begins at {slot:%H:%M} at {dealership.name}"
        raise await refused_slot(context, dealership, day, slot, code="no_such_slot", why=why)
    if dealership.begins(day, slot) <= context.now:
        why = f"{slot:%H:%M} on {day} has passed at {dealership.name}"
        raise await refused_slot(context, dealership, day, slot, code="slot_in_past", why=why)


async def refused_slot(
    context: ToolContext, dealership: Dealership, day: date, slot: time, *, code: str, why: str
) -> ToolRefused:
    """A refusal that names the nearest free slots of the same day."""
    free = await free_slots(context, dealership, day)
    near = [f"{each:%H:%M}" for each in nearest(free, slot)]
    offer = f"The nearest free: {', '.join(near)}." if near else "Nothing else is free that day."
    return ToolRefused(f"{why}. {offer}", code=code, nearest_slots=near)


def nearest(free: Iterable[time], wanted: time) -> list[time]:
    """Return the `SLOTS_OFFERED` free slots closest to the wanted time, in the order of the day."""

    def distance(slot: time) -> timedelta:
        return abs(datetime.combine(date.min, slot) - datetime.combine(date.min, wanted))

    return sorted(sorted(free, key=distance)[:SLOTS_OFFERED])


def named(day: date) -> str:
    return f"{day:%A} {day}"
