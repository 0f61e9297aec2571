"""The third-party files of the chat page match their pinned versions, with their licences."""

import json
import re

from infrastructure.npm import KEPT, kept, listed
from tests.processes import ROOT

VENDOR = "backend/web/vendor"
CLIENTS = ROOT / "requirements/clients"


def test_what_is_kept_is_what_is_listed_and_nobody_has_changed_it() -> None:
    written = json.loads((ROOT / VENDOR / KEPT).read_text())

    assert written == kept(VENDOR)
    for name, package in listed()[VENDOR].items():
        assert written[name]["sha256"].keys() == set(package.get("files", {}).values())
        assert "LICENSE" in written[name]["sha256"]


def test_nothing_else_is_kept() -> None:
    there = {path.name for path in (ROOT / VENDOR).iterdir()}

    assert there == {KEPT, *listed()[VENDOR]}


def test_every_package_is_pinned_by_version_and_hash() -> None:
    packages = [package for folder in listed().values() for package in folder.values()]

    assert all(re.fullmatch(r"\d+\.\d+\.\d+", package["version"]) for package in packages)
    assert all(re.fullmatch(r"sha512-[\w+/]{86}==", package["integrity"]) for package in packages)


def test_what_is_only_developed_with_is_not_in_the_repository() -> None:
    folders = listed().keys() - {VENDOR}

    assert all(folder.startswith(".venv/") for folder in folders)


def test_make_fetches_what_is_developed_with() -> None:
    makefile = (ROOT / "Makefile").read_text()
    fetched = re.findall(r"-m infrastructure\.npm (\.venv/\S+)", makefile)

    assert fetched == [folder for folder in listed() if folder != VENDOR]


def test_the_clients_of_system_tests_are_pinned_by_hash_and_without_an_address() -> None:
    wanted = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    locked = json.loads((CLIENTS / "package-lock.json").read_text())["packages"]

    assert locked.pop("")["dependencies"] == wanted
    assert all(
        version == locked[f"node_modules/{name}"]["version"] for name, version in wanted.items()
    )
    assert all(package["integrity"].startswith("sha512-") for package in locked.values())
    assert not any("resolved" in package for package in locked.values())
