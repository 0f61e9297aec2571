"""Decisions are short records of one form, and ARCHITECTURE.md lists all of them."""

import re

import pytest

from tests.documents.markdown import DOCUMENTS, anchors, section

FOLDER = "docs/decisions/"
PAGES = [name for name in DOCUMENTS if name.startswith(FOLDER)]
PARTS = ["Context", "Decision", "Consequences", "Status"]
STATUS = re.compile(r"(Accepted\.( Supersedes [^.]+.*)?|Superseded by \[[^]]+\]\([^)]+\)\..*)")


def records(name: str) -> dict[str, str]:
    """The text of each decision on a page, by its heading."""
    _, *parts = re.split(r"^## (.*)\n", DOCUMENTS[name], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("name", PAGES)
def test_a_decision_has_four_parts_and_is_short(name: str) -> None:
    for title, text in records(name).items():
        found = re.findall(r"^\*\*(\w+)\.\*\* ", text, re.MULTILINE)
        status = " ".join(text.partition("**Status.**")[2].split())

        assert found == PARTS, title
        assert STATUS.fullmatch(status), title
        assert len(text.split()) <= 170, title


def test_the_index_lists_every_decision_under_its_heading() -> None:
    index = section("ARCHITECTURE.md", "Decisions")
    listed = re.findall(r"^- \[(.*)\]\((.*)\)$", index, re.MULTILINE)
    headings = re.findall(r"^### (.*)$", index, re.MULTILINE)

    pages = list(dict.fromkeys(link.partition("#")[0] for _, link in listed))
    kept = [
        (title, f"{page}#{anchor}")
        for page in pages
        for title, anchor in zip(records(page), anchors(DOCUMENTS[page])[1:], strict=True)
    ]
    assert sorted(pages) == sorted(PAGES)
    assert listed == kept
    assert headings == [heading_of(page) for page in pages]


def heading_of(page: str) -> str:
    """`# Decisions: storage` is listed as Storage."""
    title = DOCUMENTS[page].partition("\n")[0].removeprefix("# Decisions: ")
    return title[0].upper() + title[1:]
