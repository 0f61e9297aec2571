import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile

import pytest

from backend.agent.prompt import EARLIER, GIVEN, Prompt, told
from backend.domain.conversation import ANONYMOUS, Caller
from backend.storage.ports.appointments import Appointment, Booking
from backend.storage.ports.sessions import Earlier
from backend.tools import TOOLS
from tests.unit.tools.fakes import NOW, SHOWROOM

SIGNED_IN = Caller(owner="someone", user_id="123")


def filled(now: datetime = NOW, caller: Caller = ANONYMOUS) -> str:
    return Prompt.load().fill(SHOWROOM, now, caller)


def common_beginning(one: str, other: str) -> str:
    pairs = zip(one, other, strict=False)
    return "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def test_each_dealership_has_a_line_and_later_its_own_date() -> None:
    lines = [line for line in filled().splitlines() if line.startswith("- `")]

    number = len(SHOWROOM.dealerships)
    assert lines[0] == (
        "- `manhattan`: SuperCar Manhattan, 1 Example Avenue, New York, NY 10001, "
        "time zone America/New_York"
    )
    assert lines[number:][:2] == [
        "- `manhattan`: today is Saturday 2026-11-21",
        "- `ginza`: today is Sunday 2026-11-22",
    ]
    assert len(lines) == 2 * number


def test_the_car_line_is_listed() -> None:
    assert "- Aurora: electric coupe\n- Vulcan: V8 roadster\n" in filled()


def test_nothing_is_left_to_fill_in() -> None:
    assert "$" not in filled()


def test_who_is_signed_in_is_not_asked_for_an_id() -> None:
    assert "do not ask for it" in filled(caller=SIGNED_IN)
    assert "ask for the user id" in filled(caller=ANONYMOUS)


def test_the_prompt_stays_the_same_for_a_day_and_for_all_who_are_signed_in() -> None:
    noon = datetime(2026, 11, 21, 12, tzinfo=UTC)
    other = Caller(owner="another", user_id="456")

    assert filled(noon, SIGNED_IN) == filled(noon + timedelta(hours=2), other)
    assert filled(noon) != filled(noon + timedelta(days=1))


def test_all_turns_of_a_day_share_one_prompt() -> None:
    prompt, later = Prompt.load(), NOW + timedelta(minutes=1)

    for caller in (ANONYMOUS, SIGNED_IN):
        assert prompt.fill(SHOWROOM, NOW, caller) is prompt.fill(SHOWROOM, later, caller)
        assert prompt.fill(SHOWROOM, NOW, caller) == filled(NOW, caller)


def test_a_shared_prompt_follows_the_day_of_each_dealership_and_the_showroom() -> None:
    prompt = Prompt.load()
    other = replace(SHOWROOM, car_models=SHOWROOM.car_models[:1])

    for hours in range(0, 48, 3):
        now = NOW + timedelta(hours=hours)
        assert prompt.fill(SHOWROOM, now, ANONYMOUS) == filled(now)
    assert prompt.fill(other, NOW, ANONYMOUS) == Prompt.load().fill(other, NOW, ANONYMOUS)
    assert prompt.fill(SHOWROOM, NOW, ANONYMOUS) == filled()


def test_what_changes_comes_last() -> None:
    """So the provider's cache keeps everything before it."""
    anonymous, signed_in, tomorrow = (
        filled(),
        filled(caller=SIGNED_IN),
        filled(NOW + timedelta(days=1)),
    )
    rules = Prompt.load("\nRules of a profile.\n").fill(SHOWROOM, NOW, ANONYMOUS)

    assert common_beginning(anonymous, signed_in).endswith("## The customer\n\nThe customer is ")
    assert "## Cars" in common_beginning(anonymous, tomorrow)
    assert rules.index("Rules of a profile.") < rules.index("## Today")


def test_dates_in_the_text_come_from_the_clock_alone() -> None:
    written = Prompt.load().fill(SHOWROOM, datetime(2030, 5, 6, 12, tzinfo=UTC), ANONYMOUS)

    assert set(re.findall(r"\d{4}-\d\d-\d\d", written)) == {"2030-05-06"}


def test_no_tool_is_promised_that_does_not_exist() -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", filled(caller=SIGNED_IN)))

    assert named <= {tool.name for tool in TOOLS} | {"user_id"}


BOOKING = Booking(
    "TD-7Q2M",
    Appointment(
        user_id="123",
        dealership_id="ginza",
        date=date(2026, 11, 28),
        time=time(10, 30),
        car_model="Aurora",
    ),
)


def test_nothing_is_told_of_a_session_that_was_never_cut() -> None:
    assert told(Earlier()) == ""


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        (Earlier(summary="They like red."), ["They like red."]),
        (
            Earlier(bookings=[BOOKING]),
            ["Booked in it:\n- TD-7Q2M: Aurora at `ginza` on Saturday 2026-11-28 at 10:30"],
        ),
        (
            Earlier(summary="They like red.", bookings=[BOOKING, BOOKING]),
            [
                "They like red.",
                "Booked in it:\n"
                + "\n".join(["- TD-7Q2M: Aurora at `ginza` on Saturday 2026-11-28 at 10:30"] * 2),
            ],
        ),
    ],
)
def test_summary_and_bookings_stand_for_what_was_cut(earlier: Earlier, expected: list[str]) -> None:
    assert told(earlier) == "\n" + "\n\n".join([EARLIER, *expected]) + "\n"


def test_the_model_is_told_that_given_messages_are_the_word_of_the_caller() -> None:
    assert told(Earlier(is_given=True)) == f"\n{GIVEN}\n"
    assert told(Earlier(is_given=True, summary="Red.")) == f"\n{GIVEN}\n\n{EARLIER}\n\nRed.\n"
