"""The workflows and templates of the public host, and the script that CI runs.

`tests/deploy/test_workflows.py` lints the workflows with other programs.
"""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.processes import ROOT

HOST = ROOT / ".github"
WORKFLOW = HOST / "workflows/ci.yml"
RELEASE = HOST / "workflows/release.yml"
WORKFLOWS = sorted((HOST / "workflows").iterdir())
SCHEMAS = {
    **dict.fromkeys(WORKFLOWS, "vendor.github-workflows"),
    HOST / "dependabot.yml": "vendor.dependabot",
    HOST / "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    HOST / "ISSUE_TEMPLATE/change.yml": "vendor.github-issue-forms",
    HOST / "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
}
BIN = Path(sys.executable).parent


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.name)
def test_what_the_host_reads_fits_its_schema(path: Path) -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", SCHEMAS[path], str(path)]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


def test_everything_that_the_host_reads_is_checked() -> None:
    read = {path for path in HOST.rglob("*.yml") if path.is_file()}

    assert read == set(SCHEMAS)


def test_the_workflow_runs_the_script_that_decides_and_nothing_else() -> None:
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()

    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_the_workflow_runs_on_every_python_that_the_project_names_and_the_image_has_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [each.rpartition(" ")[2] for each in project["classifiers"]]
    base = re.search(r"python:(3\.\d+)\.", (ROOT / "deploy/docker/Dockerfile").read_text())
    (job,) = yaml.safe_load(WORKFLOW.read_text())["jobs"].values()

    assert job["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    assert base
    assert base[1] == named[-1]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_others_wrote_is_pinned_by_its_commit(path: Path) -> None:
    """A comment has the version, so that people and dependabot can read it."""
    lines = [line for line in path.read_text().splitlines() if re.search(r"\buses: ", line)]
    pinned = re.compile(r" *(- )?uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

    strange = [line for line in lines if not pinned.fullmatch(line) and "uses: ./" not in line]

    assert lines
    assert strange == []


def test_one_action_has_one_version_in_a_workflow() -> None:
    used = re.findall(r"uses: ([\w/-]+)@(\w+)", RELEASE.read_text())

    assert len(set(used)) == len({name for name, _ in used})


def test_a_release_has_few_permissions_and_each_job_has_its_own() -> None:
    release = yaml.safe_load(RELEASE.read_text())
    granted = {
        name: {scope for scope, right in job["permissions"].items() if right == "write"}
        for name, job in release["jobs"].items()
    }

    assert release["permissions"] == {}
    assert granted == {
        "tests": set(),
        "files": set(),
        "image": {"packages", "id-token", "attestations"},
        "chart": {"packages", "id-token", "attestations"},
        "page": {"contents"},
    }


def test_nothing_is_named_before_the_scan() -> None:
    steps = yaml.safe_load(RELEASE.read_text())["jobs"]["image"]["steps"]
    (build,) = [step for step in steps if step.get("id") == "build"]
    scans = [step for step in steps if "scan-action" in step.get("uses", "")]
    named = [at for at, step in enumerate(steps) if "imagetools create" in step.get("run", "")]

    assert "push-by-digest=true" in build["with"]["outputs"]
    built = build["with"]["platforms"].split(",")
    assert built == ["linux/amd64", "linux/arm64"]
    assert [scan["env"]["GRYPE_PLATFORM"] for scan in scans] == built
    for scan in scans:
        assert scan["with"]["image"].endswith("@${{ steps.build.outputs.digest }}")
        assert (scan["with"]["fail-build"], scan["with"]["only-fixed"]) == (True, True)
        assert scan["with"]["severity-cutoff"] == "critical"
    assert named
    assert all(steps.index(scan) < min(named) for scan in scans)


def test_a_release_needs_the_tests_and_its_files() -> None:
    jobs = yaml.safe_load(RELEASE.read_text())["jobs"]

    assert jobs["image"]["needs"] == ["tests", "files"]
    assert jobs["chart"]["needs"] == ["image"]
    assert jobs["page"]["needs"] == ["chart"]
    assert "workflow_call" in yaml.safe_load(WORKFLOW.read_text())[True]


def test_dependabot_watches_every_kind_of_pin() -> None:
    updates = yaml.safe_load((HOST / "dependabot.yml").read_text())["updates"]
    watched = {
        (update["package-ecosystem"], folder)
        for update in updates
        for folder in update.get("directories", [update.get("directory")])
    }
    dockerfiles = {
        f"/{path.parent.relative_to(ROOT)}"
        for folder in ("deploy", "infrastructure", "loadtests")
        for path in (ROOT / folder).rglob("Dockerfile")
    }

    assert watched == {
        ("pip", "/requirements"),
        ("npm", "/requirements/clients"),
        ("docker-compose", "/infrastructure"),
        ("github-actions", "/"),
        *(("docker", folder) for folder in dockerfiles),
    }


def test_shellcheck_finds_nothing() -> None:
    command = [BIN / "shellcheck", ROOT / ".ci/run", ROOT / "tests/system/parts/postgres.sh"]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")
