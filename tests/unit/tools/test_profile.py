from datetime import date, time

from backend.domain.conversation import Caller
from backend.tools.profile import PAST_SHOWN
from backend.tools.registry import ToolOutcome
from tests.unit.tools.fakes import MONDAY, SATURDAY, SUNDAY, a_context, appointment, diary, use

TOOL = "fetch_user_profile"


async def test_a_profile_has_name_preference_and_test_drives() -> None:
    booked = diary(appointment(date(2026, 11, 2), time(9)), appointment(MONDAY, time(14)))

    result = await use(TOOL, a_context(diary=booked), user_id="123")

    assert result.outcome is ToolOutcome.OK
    assert result.output == {
        "user_id": "123",
        "name": "Sample Customer",
        "preferred_dealership": {"dealership_id": "manhattan", "name": "SuperCar Manhattan"},
        "coming_test_drives": [
            {
                "confirmation_id": "SC-2",
                "dealership_id": "manhattan",
                "dealership": "SuperCar Manhattan",
                "date": "2026-11-23",
                "time": "14:00",
                "car_model": "Aurora",
            }
        ],
        "past_test_drives": [
            {
                "confirmation_id": "SC-1",
                "dealership_id": "manhattan",
                "dealership": "SuperCar Manhattan",
                "date": "2026-11-02",
                "time": "09:00",
                "car_model": "Aurora",
            }
        ],
    }


async def test_past_and_coming_part_at_now_on_each_dealerships_clock() -> None:
    booked = diary(
        appointment(SATURDAY, time(15)),
        appointment(SATURDAY, time(16)),
        appointment(SATURDAY, time(16), dealership_id="ginza"),
        appointment(SUNDAY, time(10), dealership_id="ginza"),
    )

    result = await use(TOOL, a_context(diary=booked), user_id="123")

    past = [each["confirmation_id"] for each in result.output["past_test_drives"]]
    coming = [each["confirmation_id"] for each in result.output["coming_test_drives"]]
    assert past == ["SC-1", "SC-3"]
    assert coming == ["SC-2", "SC-4"]


async def test_of_many_past_test_drives_the_last_are_shown() -> None:
    booked = diary(*(appointment(date(2026, 10, day), time(9)) for day in range(1, 20)))

    result = await use(TOOL, a_context(diary=booked), user_id="123")

    dates = [each["date"] for each in result.output["past_test_drives"]]
    assert dates == [f"2026-10-{day}" for day in range(20 - PAST_SHOWN, 20)]


async def test_an_unknown_user_is_refused() -> None:
    result = await use(TOOL, user_id="999")

    assert result.outcome is ToolOutcome.REFUSED
    assert result.output["error"] == {"code": "unknown_user", "message": "There is no user '999'."}


async def test_who_booked_without_a_profile_finds_the_booking() -> None:
    booked = diary(appointment(MONDAY, time(14), user_id="999"))

    result = await use(TOOL, a_context(diary=booked), user_id="999")

    assert "name" not in result.output
    assert [each["date"] for each in result.output["coming_test_drives"]] == ["2026-11-23"]


async def test_somebody_elses_profile_is_not_shown_to_who_is_signed_in() -> None:
    signed_in = a_context(caller=Caller(owner="someone", user_id="999"))

    result = await use(TOOL, signed_in, user_id="123")

    assert result.output["error"]["code"] == "unknown_user"


async def test_a_call_for_nobody_is_told_to_ask() -> None:
    result = await use(TOOL)

    assert result.outcome is ToolOutcome.INVALID
    assert "Ask the customer" in result.output["error"]["message"]
