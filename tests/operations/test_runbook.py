"""The runbook has a section for each alert, and names existing panels."""

import re

import pytest

from tests.operations.boards import BOARDS, panels
from tests.operations.rules import ALERTS, DEPLOY

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert set(SECTIONS) == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_says_what_it_means_for_users_where_to_look_and_what_to_do(name: str) -> None:
    said = re.findall(r"^\*\*([\w ]+):\*\*", SECTIONS[name], re.MULTILINE)

    assert said == ["It means", "Users notice", "Look at", "Do"]
    assert named_panels(SECTIONS[name])


def named_panels(text: str) -> set[str]:
    return set(re.findall(r"\*([A-Z]\w+ / [^*]+)\*", text))


def test_every_panel_that_is_named_exists() -> None:
    titles = {
        f"{board['title'].removeprefix('Lex: ')} / {panel['title']}"
        for board in BOARDS
        for panel in panels(board)
    }

    assert named_panels(RUNBOOK) - {"Dashboard / Panel"} - titles == set()


def test_every_section_that_is_linked_exists() -> None:
    linked = set(re.findall(r"\(#(\w+)\)", RUNBOOK))

    assert linked <= {name.lower() for name in SECTIONS}
