import re
from datetime import UTC, datetime, timedelta
from os.path import commonprefix

from backend.agent.prompt import Prompt
from backend.domain.conversation import ANONYMOUS, Caller
from backend.tools import TOOLS
from tests.unit.tools.fakes import NOW, SHOWROOM

SIGNED_IN = Caller(owner="someone", user_id="123")


def filled(now: datetime = NOW, caller: Caller = ANONYMOUS) -> str:
    return Prompt.load().fill(SHOWROOM, now, caller)


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


def test_what_changes_comes_last() -> None:
    """So the provider's cache keeps everything before it."""
    anonymous, signed_in, tomorrow = (
        filled(),
        filled(caller=SIGNED_IN),
        filled(NOW + timedelta(days=1)),
    )
    rules = Prompt.load("\nRules of a profile.\n").fill(SHOWROOM, NOW, ANONYMOUS)

    assert commonprefix([anonymous, signed_in]).endswith("## The customer\n\nThe customer is ")
    assert "## Cars" in commonprefix([anonymous, tomorrow])
    assert rules.index("Rules of a profile.") < rules.index("## Today")


def test_dates_in_the_text_come_from_the_clock_alone() -> None:
    written = Prompt.load().fill(SHOWROOM, datetime(2030, 5, 6, 12, tzinfo=UTC), ANONYMOUS)

    assert set(re.findall(r"\d{4}-\d\d-\d\d", written)) == {"2030-05-06"}


def test_no_tool_is_promised_that_does_not_exist() -> None:
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", filled(caller=SIGNED_IN)))

    assert named <= {tool.name for tool in TOOLS} | {"user_id"}
