"""The part of the changelog about one version: the notes of its release."""

import re
from pathlib import Path

from deploy.release import ROOT, NotReady

CHANGELOG = "CHANGELOG.md"


def notes(version: str, root: Path = ROOT) -> str:
    """Return the text of the changelog about a version, without its heading.

    Raises:
        NotReady: the version has no section, or an empty one.
    """
    _, text = _section(version, root)
    if not text.strip():
        raise NotReady(f"{CHANGELOG} says nothing about {version}.")
    # Links in the notes would be relative to the page of the release.
    return re.sub(r"\[([^\]]+)\]\((?!https:)[^)]*\)", r"\1", text.strip()) + "\n"


def check(version: str, *, is_tagged: bool, root: Path = ROOT) -> str:
    """Find the notes of a version; once it is tagged, they have a date.

    Raises:
        NotReady: see `notes`; or a tagged version has no date.
    """
    date, _ = _section(version, root)
    lines = notes(version, root).count("\n")
    has_date = re.fullmatch(r"\d{4}-\d\d-\d\d", date) is not None
    if is_tagged and not has_date:
        raise NotReady(f"{CHANGELOG} has no date for {version}, but {date!r}: write the day.")
    return f"{lines} lines about {version}" + ("" if has_date else ", without a date yet")


def _section(version: str, root: Path) -> tuple[str, str]:
    text = (root / CHANGELOG).read_text()
    heading = rf"^## \[{re.escape(version)}\] - (\S+)\n(.*?)(?=^## |\Z)"
    found = re.search(heading, text, re.MULTILINE | re.DOTALL)
    if not found:
        raise NotReady(f"{CHANGELOG} has no section `## [{version}] - DATE`.")
    return found[1], found[2]
