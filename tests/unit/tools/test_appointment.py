import asyncio
from datetime import UTC, datetime, time

import pytest

from backend.domain.conversation import Caller
from backend.tools.context import ToolContext
from backend.tools.registry import ToolOutcome, ToolResult
from tests.unit.tools.fakes import MONDAY, SATURDAY, Diary, a_context, appointment, diary, use


async def book(at: ToolContext | None = None, **changes: object) -> ToolResult:
    arguments = {
        "user_id": "123",
        "dealership_id": "manhattan",
        "date": "2026-11-23",
        "time": "14:00",
        "car_model": "Aurora",
    }
    return await use("schedule_appointment", at, **(arguments | changes))


async def test_a_booking_is_stored_and_confirmed() -> None:
    bookings = Diary()

    result = await book(a_context(diary=bookings))

    assert result.outcome is ToolOutcome.OK
    assert result.output == {
        "confirmation_id": "SC-1",
        "user_id": "123",
        "dealership_id": "manhattan",
        "dealership": "SuperCar Manhattan",
        "date": "2026-11-23",
        "time": "14:00",
        "time_zone": "America/New_York",
        "car_model": "Aurora",
    }
    assert [each.appointment for each in bookings.bookings] == [appointment(MONDAY, time(14))]


async def test_names_are_stored_as_the_showroom_spells_them() -> None:
    result = await book(dealership_id="Manhattan", car_model="supercar AURORA", user_id=123)

    assert result.output["dealership_id"] == "manhattan"
    assert result.output["car_model"] == "Aurora"
    assert result.output["user_id"] == "123"


async def test_the_same_booking_again_has_the_same_confirmation() -> None:
    at = a_context()

    first, again = await book(at), await book(at)

    assert again.output == first.output


async def test_the_same_booking_again_is_confirmed_also_when_its_slot_has_begun() -> None:
    bookings = diary(appointment(MONDAY, time(14)))
    later = a_context(diary=bookings, now=datetime(2026, 11, 23, 19, 1, tzinfo=UTC))

    result = await book(later)

    assert result.outcome is ToolOutcome.OK
    assert result.output["confirmation_id"] == "SC-1"


async def test_of_two_who_want_a_slot_one_gets_it() -> None:
    at = a_context()

    results = await asyncio.gather(*(book(at, user_id=user) for user in ("1", "2")))

    assert sorted(result.outcome for result in results) == [ToolOutcome.OK, ToolOutcome.REFUSED]


async def test_a_taken_slot_is_refused_with_the_nearest_free_ones() -> None:
    taken = diary(*(appointment(MONDAY, time(hour), user_id="other") for hour in (13, 14)))

    result = await book(a_context(diary=taken))

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"] == {
        "code": "slot_taken",
        "message": "14:00 on 2026-11-23 is already booked at SuperCar Manhattan. "
        "The nearest free: 12:00, 15:00, 16:00.",
        "nearest_slots": ["12:00", "15:00", "16:00"],
    }


async def test_a_slot_is_taken_for_another_car_too() -> None:
    taken = diary(appointment(MONDAY, time(14), car_model="Vulcan"))

    result = await book(a_context(diary=taken))

    assert result.output["error"]["code"] == "slot_taken"


async def test_a_full_day_offers_nothing_else() -> None:
    full = diary(*(appointment(MONDAY, time(hour), user_id="other") for hour in range(9, 18)))

    result = await book(a_context(diary=full))

    assert result.output["error"]["nearest_slots"] == []
    assert result.output["error"]["message"].endswith("Nothing else is free that day.")


@pytest.mark.parametrize("written", ["14:30", "08:00", "18:00", "00:00"])
async def test_a_time_that_is_no_slot_is_refused_with_the_nearest(written: str) -> None:
    result = await book(time=written)

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"]["code"] == "no_such_slot"
    assert len(result.output["error"]["nearest_slots"]) == 3


async def test_a_slot_that_has_begun_is_refused() -> None:
    result = await book(date=SATURDAY.isoformat(), time="15:00")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"] == {
        "code": "slot_in_past",
        "message": "15:00 on 2026-11-21 has passed at SuperCar Manhattan. The nearest free: 16:00.",
        "nearest_slots": ["16:00"],
    }


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"date": "2026-11-20"}, "date_in_past"),
        ({"date": "2026-11-22"}, "closed"),
        ({"date": "2028-11-22"}, "date_too_far"),
        ({"dealership_id": "atlantis"}, "unknown_dealership"),
        ({"car_model": "Model T"}, "unknown_car_model"),
    ],
)
async def test_what_cannot_be_booked_is_refused_and_not_stored(
    change: dict[str, object], code: str
) -> None:
    bookings = Diary()

    result = await book(a_context(diary=bookings), **change)

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"]["code"] == code
    assert bookings.bookings == []


async def test_an_unknown_car_model_is_refused_with_those_there_are() -> None:
    result = await book(car_model="Model T")

    assert result.output["error"]["message"] == (
        "There is no car model 'Model T'. The models are: Aurora, Vulcan."
    )
    assert result.output["error"]["car_models"] == ["Aurora", "Vulcan"]


@pytest.mark.parametrize("written", ["2pm", "9:00", "14:00Z", "14", 14, 1400, "", None])
async def test_a_malformed_time_is_told_the_format(written: object) -> None:
    result = await book(time=written)

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"]["message"] == (
        "`time` must be HH:MM on the 24-hour clock, for example 14:00."
    )


async def test_seconds_of_zero_do_no_harm() -> None:
    result = await book(time="14:00:00")

    assert result.output["time"] == "14:00"


async def test_an_hour_that_no_clock_has_is_told_so() -> None:
    result = await book(time="25:00")

    assert result.outcome is ToolOutcome.INVALID
    assert result.output["error"]["message"].startswith("`time` should be in a valid time format")


async def test_who_is_signed_in_books_for_that_user_whatever_the_model_says() -> None:
    signed_in = a_context(caller=Caller(owner="someone", user_id="123"))

    result = await book(signed_in, user_id="999")

    assert result.output["user_id"] == "123"


@pytest.mark.parametrize("written", [None, "", "  "])
async def test_a_user_id_is_asked_for_only_when_nobody_is_signed_in(written: str | None) -> None:
    signed_in = a_context(caller=Caller(owner="someone", user_id="123"))

    known, unknown = await book(signed_in, user_id=written), await book(user_id=written)

    assert known.output["user_id"] == "123"
    assert unknown.outcome is ToolOutcome.INVALID
    assert unknown.output["error"]["message"] == ("`user_id` is missing. Ask the customer for it.")
