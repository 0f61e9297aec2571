"""checkov's findings in the Dockerfiles; each accepted finding has its reason here."""

import json
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT

REASONS = {
    # checkov reads the argument's name. The default, which is pinned, it does not see.
    "CKV_DOCKER_7",
}


def test_checkov_finds_nothing_without_a_reason() -> None:
    files = [ROOT / "deploy/docker/Dockerfile", ROOT / "infrastructure/groq_standin/Dockerfile"]

    passed, failed = checkov(*files)

    assert passed > 100
    assert failed == REASONS


def checkov(*files: Path) -> tuple[int, set[str]]:
    program = Path(sys.prefix) / "manifests" / "bin" / "checkov"
    assert program.exists(), "checkov is missing: make .venv/manifests"
    options = ["--framework", "dockerfile", "--skip-download", "--soft-fail", "--output", "json"]
    named = [part for file in files for part in ("--file", str(file))]
    run = subprocess.run([program, *options, *named], capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    return found["summary"]["passed"], {
        each["check_id"] for each in found["results"]["failed_checks"]
    }
