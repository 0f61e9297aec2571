"""The documents of this project, and the parts of one."""

import re

from tests.processes import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
PAGES += [*ROOT.glob("infrastructure/**/*.md"), *ROOT.glob("loadtests/**/*.md")]
PAGES += [ROOT / "tests" / "conformance" / "README.md"]

DOCUMENTS = {page.relative_to(ROOT).as_posix(): page.read_text() for page in sorted(PAGES)}
"""Every Markdown file that people read, by its path from the project. Prompts are Markdown too."""


def section(name: str, title: str) -> str:
    """The text under a heading of a document, up to the next heading of the second level."""
    heading = rf"^##+ {re.escape(title)}\n(.*?)(?=^## |\Z)"
    found = re.search(heading, DOCUMENTS[name], re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of all tables whose first cell is code."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def without_blocks(text: str) -> str:
    """The text without its fenced blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def without_code(text: str) -> str:
    """The text without fenced blocks and without code inside a line."""
    return re.sub(r"`[^`\n]*`", "", without_blocks(text))


def anchors(text: str) -> list[str]:
    """The fragments by which GitHub finds the headings of a page. Headings must differ."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(text), re.MULTILINE)
    bare = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in bare]
