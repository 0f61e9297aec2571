"""No link of the documents leads nowhere. Those to other hosts are not followed."""

import re

import pytest

from tests.documents.markdown import DOCUMENTS, anchors, without_code
from tests.processes import ROOT


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(name: str) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(DOCUMENTS[name]))

    assert [link for link in links if is_broken(link, of=name)] == []


def is_broken(link: str, *, of: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return False
    path, _, fragment = link.partition("#")
    target = (ROOT / of).parent / path if path else ROOT / of
    if not target.exists():
        return True
    return bool(fragment) and fragment not in anchors(target.read_text())


def test_every_document_is_linked_from_another() -> None:
    """A page that no other page leads to is not found."""
    linked = {
        (ROOT / name).parent.joinpath(path).resolve().relative_to(ROOT).as_posix()
        for name, text in DOCUMENTS.items()
        for path in re.findall(r"\]\(([^)\s:#]+)", without_code(text))
    }

    assert set(DOCUMENTS) - linked - {"README.md"} == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_heading_stands_twice_in_a_document(name: str) -> None:
    """A link to the second would lead to the first."""
    found = anchors(DOCUMENTS[name])

    assert sorted(found) == sorted(set(found))
