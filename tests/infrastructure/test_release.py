"""The parts of a release agree with each other, and are the same wherever they are made."""

import gzip
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from deploy.release import NotReady, bytecode, changelog, chart, sbom, versions
from deploy.release.__main__ import Release, run
from deploy.release.lock import locked
from tests.processes import ROOT

EPOCH = 1_800_000_000
FILES = {versions.SOURCE, *(place.path for place in versions.PLACES), changelog.CHANGELOG}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files that state a version or tell of it."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert re.search(old, text, re.MULTILINE)
    path.write_text(re.sub(old, new, text, flags=re.MULTILINE))


# Versions.


def test_every_place_has_the_version_of_pyproject() -> None:
    assert versions.check().startswith(versions.version())


@pytest.mark.parametrize("place", versions.PLACES, ids=lambda place: place.path)
def test_a_place_with_another_version_is_found_and_repaired(
    place: versions.Place, copy: Path
) -> None:
    (copy / place.path).write_text(place.rewritten(copy, "9.8.7"))

    with pytest.raises(NotReady, match=rf"{place.path} has 9\.8\.7"):
        versions.check(copy)

    (copy / place.path).write_text(place.rewritten(copy, versions.version()))
    assert (copy / place.path).read_text() == (ROOT / place.path).read_text()


def test_no_other_file_states_the_version(copy: Path) -> None:
    """Documents may tell of a version, and locks have those of others."""
    for place in versions.PLACES:
        (copy / place.path).write_text(place.rewritten(copy, "9.8.7"))
    stated = re.compile(rf"(?<![\d.=]){re.escape(versions.version())}(?![\d.])")
    folders = [ROOT / name for name in ("backend", "deploy", "infrastructure", "loadtests")]
    files = [*ROOT.glob("*"), *(path for folder in folders for path in folder.rglob("*"))]
    texts = {
        str(path.relative_to(ROOT)): path
        for path in files
        if path.suffix in {".py", ".yaml", ".yml", ".toml", ".md", ".conf"} or "Docker" in path.name
    }

    left = [
        name
        for name, path in texts.items()
        if stated.search((copy / name if name in FILES else path).read_text())
    ]

    assert set(left) == {versions.SOURCE, changelog.CHANGELOG}


def test_a_place_that_lost_its_version_is_found(copy: Path) -> None:
    edit(copy / "backend/__init__.py", "^__version__ = ", "__revision__ = ")

    with pytest.raises(NotReady, match=r"__init__\.py has none"):
        versions.check(copy)


@pytest.mark.parametrize("form", ["{}", "v{}.1", "v{}-rc1", "V{}", "v1"])
def test_a_tag_is_v_and_the_version(form: str) -> None:
    version = versions.version()
    versions.check(tag=f"v{version}")

    with pytest.raises(NotReady, match="the tag must be v"):
        versions.check(tag=form.format(version))


def test_a_version_is_three_numbers(copy: Path) -> None:
    edit(copy / versions.SOURCE, "^version = .*$", 'version = "1.0rc1"')

    with pytest.raises(NotReady, match="three numbers"):
        versions.version(copy)


# The changelog.


def test_notes_are_the_section_of_the_version() -> None:
    said = changelog.notes(versions.version())

    assert said.startswith("### Added")
    assert "## [" not in said
    assert not re.search(r"\]\((?!https:)", said)


def test_only_a_tagged_version_needs_a_date(copy: Path) -> None:
    edit(copy / changelog.CHANGELOG, r"^## \[0\.1\.0\] - .*$", "## [0.1.0] - Unreleased")
    changelog.check("0.1.0", is_tagged=False, root=copy)
    with pytest.raises(NotReady, match=r"no date for 0\.1\.0"):
        changelog.check("0.1.0", is_tagged=True, root=copy)

    edit(copy / changelog.CHANGELOG, r"^## \[0\.1\.0\] - .*$", "## [0.1.0] - 2030-01-31")
    changelog.check("0.1.0", is_tagged=True, root=copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Changelog\n\n## [0.0.1] - 2030-01-31\n\n- Old.\n", "no section"),
        ("# Changelog\n\n## [0.1.0] - 2030-01-31\n\n## [0.0.1] - 2030-01-30\n- Old.\n", "nothing"),
    ],
)
def test_a_version_without_notes_is_no_release(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / changelog.CHANGELOG).write_text(text)

    with pytest.raises(NotReady, match=said):
        changelog.check("0.1.0", is_tagged=True, root=tmp_path)


# The bill of materials. tests/deploy/test_workflows.py compares it with CycloneDX's own schema.


def test_the_bill_has_all_that_is_locked_and_vendored() -> None:
    bill = json.loads(sbom.bill(EPOCH))
    lock = (ROOT / sbom.LOCK).read_text()
    pins = re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;]+)", lock, re.MULTILINE)
    page = json.loads((ROOT / sbom.PAGE).read_text())

    wanted = {f"pkg:pypi/{name}@{version}" for name, version in pins}
    wanted |= {f"pkg:npm/{name}@{kept['version']}" for name, kept in page.items()}
    assert {component["purl"] for component in bill["components"]} == wanted
    hashes = re.findall(r"sha256:(\w{64})", lock)
    listed = [
        each["content"]
        for component in bill["components"]
        for each in component["externalReferences"][0]["hashes"]
        if each["alg"] == "SHA-256"
    ]
    assert listed == hashes


def test_the_bill_knows_who_needs_whom() -> None:
    bill = json.loads(sbom.bill(EPOCH))
    needs = {each["ref"].split("@")[0]: each["dependsOn"] for each in bill["dependencies"]}
    refs = {component["bom-ref"] for component in bill["components"]}

    assert any(each.startswith("pkg:pypi/groq@") for each in needs["lex"])
    assert any(each.startswith("pkg:pypi/httpx@") for each in needs["pkg:pypi/groq"])
    reached = {each for depends in needs.values() for each in depends}
    # Nothing in the lock is there without a reason.
    assert reached == refs


def test_the_bill_is_the_same_for_the_same_commit() -> None:
    assert sbom.bill(EPOCH) == sbom.bill(EPOCH)
    assert json.loads(sbom.bill(EPOCH))["metadata"]["timestamp"] == "2027-01-15T08:00:00Z"
    assert sbom.bill(EPOCH) != sbom.bill(EPOCH + 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groq==1.7.0\n", "not a package of one version with hashes"),
        ("groq>=1.7.0 \\\n    --hash=sha256:" + 64 * "0" + "\n", "not a package"),
        ("groq==1.7.0 \\\n    # via lex\n", "has no hash"),
        ("groq==1.7.0 \\\n    --hash=md5:00\n", "not a line"),
    ],
)
def test_a_lock_that_does_not_lock_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "runtime.txt"
    path.write_text(text)

    with pytest.raises(NotReady, match=said):
        locked(path)


# The chart.


def test_the_chart_is_packed_alike_from_another_folder_at_another_time(tmp_path: Path) -> None:
    first = chart.packed(EPOCH)
    copy = shutil.copytree(chart.CHART, tmp_path / "lex")
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o755)

    assert chart.packed(EPOCH, copy) == first
    chart.check(EPOCH, first)
    with tarfile.open(fileobj=BytesIO(gzip.decompress(first))) as archive:
        members = archive.getmembers()
    assert {(each.mtime, each.uid, each.uname, each.mode) for each in members} == {
        (EPOCH, 0, "", 0o644)
    }
    names = [each.name for each in members]
    assert names == sorted(names)
    assert {"lex/Chart.yaml", "lex/files/rules/alerts.yml", "lex/templates/_files.tpl"} < set(names)


def linked(folder: Path) -> None:
    (folder / "files" / "more").symlink_to("rules")


def nameless(folder: Path) -> None:
    (folder / "Chart.yaml").write_text("apiVersion: v2\n")


@pytest.mark.parametrize(("spoil", "said"), [(linked, "links"), (nameless, "Helm does not pack")])
def test_a_chart_that_is_broken_is_not_packed(
    spoil: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(chart.CHART, tmp_path / "lex")
    spoil(copy)

    with pytest.raises(NotReady, match=said):
        chart.packed(EPOCH, copy)


def test_another_archive_than_the_charts_is_refused() -> None:
    with pytest.raises(NotReady, match="two results"):
        chart.check(EPOCH, chart.packed(EPOCH + 1))


# All together.


def test_a_release_is_written_and_each_check_says_what_it_has_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = Release(tag="", epoch=EPOCH, output=tmp_path).checks()
    del checks["documents"], checks["bytecode"]  # other tests run them

    assert run(checks) == 0

    version = versions.version()
    written = {f"lex-{version}.tgz", f"lex-{version}.cdx.json", "notes.md"}
    assert {path.name for path in tmp_path.iterdir()} == written
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == [f"ok      {name}" for name in checks]


def test_a_failed_check_fails_the_release_and_the_others_still_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = Release(tag="v9.8.7", epoch=EPOCH, output=tmp_path).checks()

    code = run({name: checks[name] for name in ("versions", "bill of materials")})

    first, second = capsys.readouterr().out.splitlines()
    assert code == 1
    assert first.startswith("FAILED  versions: the tag is v9.8.7")
    assert second.startswith("ok      bill of materials: ")


# Bytecode.


def test_sources_compile_to_the_same_bytes() -> None:
    assert "compiled twice alike" in bytecode.check(ROOT / "backend" / "domain")


def test_a_source_that_does_not_compile_is_found(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("def\n")

    with pytest.raises(NotReady, match="does not compile"):
        bytecode.check(tmp_path)
