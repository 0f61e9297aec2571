from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.domain.showroom import Dealership, OpenHours
from backend.tools.registry import ToolOutcome
from backend.tools.slots import free_slots, nearest
from tests.unit.tools.fakes import MANHATTAN, MONDAY, SATURDAY, a_context, appointment, diary, use

TOOL = "check_appointment_availability"


async def test_the_slots_of_a_day_are_its_opening_hours() -> None:
    result = await use(TOOL, dealership_id="manhattan", date="2026-11-23")

    assert result.outcome is ToolOutcome.OK
    assert result.output == {
        "dealership_id": "manhattan",
        "date": "2026-11-23",
        "time_zone": "America/New_York",
        "slots": [f"{hour:02}:00" for hour in range(9, 18)],
    }


async def test_booked_slots_are_not_offered() -> None:
    booked = diary(appointment(MONDAY, time(9)), appointment(MONDAY, time(11), user_id="other"))

    result = await use(
        TOOL, a_context(diary=booked), dealership_id="manhattan", date=MONDAY.isoformat()
    )

    assert result.output["slots"][:3] == ["10:00", "12:00", "13:00"]


async def test_slots_that_have_begun_are_not_offered() -> None:
    result = await use(TOOL, dealership_id="manhattan", date=SATURDAY.isoformat())

    assert result.output["slots"] == ["16:00"]


async def test_a_day_whose_slots_are_all_gone_has_none() -> None:
    evening = datetime(2026, 11, 22, 1, tzinfo=UTC)

    result = await use(
        TOOL, a_context(now=evening), dealership_id="manhattan", date=SATURDAY.isoformat()
    )

    assert result.outcome is ToolOutcome.OK
    assert result.output["slots"] == []


async def test_today_is_today_at_the_dealership() -> None:
    result = await use(TOOL, dealership_id="ginza", date=SATURDAY.isoformat())

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"] == {
        "code": "date_in_past",
        "message": "2026-11-21 is in the past: at SuperCar Ginza it is Sunday 2026-11-22.",
        "today": "2026-11-22",
    }


async def test_a_closed_day_is_refused_with_the_next_open_one() -> None:
    result = await use(TOOL, dealership_id="manhattan", date="2026-11-22")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"] == {
        "code": "closed",
        "message": "SuperCar Manhattan is closed on Sundays. "
        "Its hours: Mon-Fri 09:00-18:00, Sat 10:00-17:00, Sun closed. "
        "The next open day is Monday 2026-11-23.",
        "next_open_date": "2026-11-23",
    }


async def test_a_dealership_that_never_opens_promises_no_day() -> None:
    result = await use(TOOL, dealership_id="shut", date="2026-11-23")

    assert result.output["error"]["code"] == "closed"
    assert "next open day" not in result.output["error"]["message"]


async def test_days_too_far_ahead_are_refused_with_the_last_one() -> None:
    last = await use(TOOL, dealership_id="manhattan", date="2027-02-19")
    beyond = await use(TOOL, dealership_id="manhattan", date="2027-02-20")

    assert last.outcome is ToolOutcome.OK
    assert beyond.outcome is ToolOutcome.REFUSED
    assert beyond.output["error"]["code"] == "date_too_far"
    assert beyond.output["error"]["latest_date"] == "2027-02-19"


@pytest.mark.parametrize(
    ("day", "code"), [("0001-01-01", "date_in_past"), ("9999-12-31", "date_too_far")]
)
async def test_the_ends_of_the_calendar_are_refused_too(day: str, code: str) -> None:
    result = await use(TOOL, dealership_id="manhattan", date=day)

    assert result.output["error"]["code"] == code


@pytest.mark.parametrize(
    "written",
    [
        "tomorrow",
        "24.11.2026",
        "2026-11-24T10:00",
        "1795478400",
        1795478400,
        20261124,
        None,
        "",
        [],
        "\uff12026-11-24",
    ],
)
async def test_a_malformed_date_is_told_the_format(written: object) -> None:
    result = await use(TOOL, dealership_id="manhattan", date=written)

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"] == {
        "code": "invalid_arguments",
        "message": "`date` must be YYYY-MM-DD, for example 2026-11-24.",
    }


async def test_a_day_that_is_in_no_calendar_is_told_so() -> None:
    result = await use(TOOL, dealership_id="manhattan", date="2026-02-30")

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"]["message"].startswith("`date` should be a valid date")


async def test_everything_wrong_is_said_at_once() -> None:
    result = await use(TOOL, dealership_id="", date="soon")

    message = result.output["error"]["message"]
    assert "`dealership_id` should have" in message
    assert "; `date` must be" in message


ZONES = [
    "America/New_York",
    "Europe/London",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "America/St_Johns",
]
DAYS_THAT_CHANGE_CLOCKS = [
    date(2026, month, day) for month, day in [(3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1)]
]

days = st.sampled_from(DAYS_THAT_CHANGE_CLOCKS) | st.dates(date(2026, 1, 1), date(2027, 12, 31))
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
hours = st.tuples(times, times).map(lambda pair: OpenHours(*sorted(pair)))
offsets = st.timedeltas(timedelta(hours=-30), timedelta(hours=30))


@st.composite
def dealerships(draw: st.DrawFn) -> Dealership:
    week = draw(st.tuples(*[st.none() | hours] * 7))
    return replace(MANHATTAN, time_zone=draw(st.sampled_from(ZONES)), hours=week)


@given(
    dealership=dealerships(),
    day=days,
    offset=offsets,
    booked=st.sets(st.integers(0, 23).map(time) | times, max_size=12),
)
async def test_a_free_slot_is_ahead_within_opening_hours_and_not_booked(
    dealership: Dealership, day: date, offset: timedelta, booked: set[time]
) -> None:
    noon = datetime.combine(day, time(12), tzinfo=ZoneInfo(dealership.time_zone))
    now = noon.astimezone(UTC) + offset
    bookings = diary(*(appointment(day, each) for each in booked))

    free = await free_slots(a_context(now=now, diary=bookings), dealership, day)

    open_hours = dealership.hours[day.weekday()]
    assert open_hours is not None or not free
    assert free == sorted(set(free))
    for slot in free:
        begins = datetime.combine(day, slot, tzinfo=ZoneInfo(dealership.time_zone))
        assert begins.timestamp() > now.timestamp()
        assert slot not in booked
        assert open_hours is not None
        assert open_hours.opens <= slot < open_hours.closes


@given(free=st.sets(st.integers(0, 23).map(time)), wanted=times)
def test_the_nearest_slots_are_a_few_in_the_order_of_the_day(free: set[time], wanted: time) -> None:
    def minutes(slot: time) -> int:
        return abs(slot.hour * 60 + slot.minute - wanted.hour * 60 - wanted.minute)

    near = nearest(sorted(free), wanted)

    assert near == sorted(near)
    assert len(near) == min(3, len(free))
    assert all(minutes(kept) <= minutes(left) for kept in near for left in free - set(near))
