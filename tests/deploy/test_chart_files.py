"""The chart brings its files along, and does not render without them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import helm_python
import pytest

from deploy.chart_files import FOLDER, SOURCES, copies
from tests.deploy.chart import CHART, RELEASES, Values, rendered, texts

WATCHED = RELEASES["watched"]


def test_copies_are_those_of_their_sources() -> None:
    kept = {path: path.read_text() for name in SOURCES for path in (FOLDER / name).iterdir()}

    assert kept == copies(), "make dashboards"
    assert {path.parent.name for path in kept} == set(SOURCES)


def test_the_chart_has_no_links() -> None:
    """Some tools drop links, and others pack the text of their target."""
    found = [path for path in CHART.rglob("*") if path.is_symlink()]

    assert found == []


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def emptied(path: Path) -> None:
    path.write_text("\n")


def without_rules(path: Path) -> None:
    path.write_text("groups: []\n")


def linked(path: Path) -> None:
    """As Git does it where links are switched off."""
    shutil.rmtree(path)
    path.write_text("../../../prometheus/rules")


@pytest.mark.parametrize(
    ("spoiled", "path", "values", "said"),
    [
        (removed, "rules", WATCHED, "the chart has no files/rules/*.yml"),
        (linked, "rules", WATCHED, "the chart has no files/rules/*.yml"),
        (removed, "dashboards", WATCHED, "the chart has no files/dashboards/*.json"),
        (emptied, "rules/alerts.yml", WATCHED, "files/rules/alerts.yml is missing or empty"),
        (without_rules, "rules/alerts.yml", WATCHED, "files/rules/alerts.yml has no groups"),
        (emptied, "dashboards/lex-costs.json", WATCHED, "lex-costs.json is missing or empty"),
        (removed, "health.py", {}, "files/health.py is missing or empty"),
        (emptied, "query.py", {}, "files/query.py is missing or empty"),
    ],
)
def test_an_incomplete_chart_does_not_render(
    spoiled: Callable[[Path], None], path: str, values: Values, said: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(CHART, tmp_path / "lex")

    spoiled(copy / "files" / path)

    with pytest.raises(helm_python.HelmError) as refused:
        rendered(helm_python.Chart.load(copy), values)
    assert said in str(refused.value)


def test_a_release_without_rules_needs_no_rules(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "lex")

    for name in SOURCES:
        shutil.rmtree(copy / "files" / name)

    assert rendered(helm_python.Chart.load(copy), {}) == texts({})


def test_a_new_kind_of_file_is_copied_or_belongs_to_the_chart() -> None:
    own = {"health.py", "query.py"}

    assert {path.name for path in FOLDER.iterdir()} == own | set(SOURCES)
