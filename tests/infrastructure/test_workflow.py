"""The workflow of the public host, and the script that it runs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from tests.processes import ROOT

WORKFLOW = ROOT / ".github/workflows/ci.yml"
BIN = Path(sys.executable).parent


def test_the_workflow_fits_its_schema() -> None:
    command = [
        str(BIN / "check-jsonschema"),
        "--builtin-schema",
        "vendor.github-workflows",
        str(WORKFLOW),
    ]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


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


def test_what_others_wrote_is_pinned_by_its_commit() -> None:
    used = re.findall(r"uses: (\S+)", WORKFLOW.read_text())

    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each) for each in used)


def test_shellcheck_finds_nothing() -> None:
    command = [BIN / "shellcheck", ROOT / ".ci/run", ROOT / "tests/system/parts/postgres.sh"]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (checked.returncode, checked.stdout) == (0, "")
