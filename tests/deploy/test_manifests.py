"""checkov's findings in a production release; each accepted finding has its reason here."""

import json
import subprocess
import sys
from pathlib import Path

from tests.deploy.chart import RELEASES, texts

ACCEPTED = {
    "CKV_K8S_11": "no limit of CPU: it would pause all streams of a pod at once",
    "CKV_K8S_15": "a version never changes, so it need not be pulled again",
    "CKV_K8S_35": "settings are read from the environment, and some of them are secret",
    "CKV_K8S_43": "the tag is a version; a digest is given by whoever has the image",
}
ACCEPTED_OF_TESTS = {
    "CKV_K8S_8": "a pod of `helm test` ends within a minute",
    "CKV_K8S_9": "nobody sends anything to it",
    "CKV2_K8S_6": "it only asks the service, with its image",
}


def test_checkov_finds_nothing_without_a_reason(tmp_path: Path) -> None:
    for path, text in texts(RELEASES["prod"]).items():
        if path.endswith(".yaml"):
            (tmp_path / path.replace("/", "-")).write_text(text)

    failed = checkov(tmp_path)

    of_tests = {check for check, resource in failed if resource.startswith("Pod.shop.lex-")}
    of_the_release = {check for check, resource in failed if not resource.startswith("Pod.")}
    assert of_the_release == set(ACCEPTED)
    assert of_tests - set(ACCEPTED) == set(ACCEPTED_OF_TESTS)


def checkov(folder: Path) -> set[tuple[str, str]]:
    """The failed checks, each with its resource."""
    program = Path(sys.prefix) / "manifests" / "bin" / "checkov"
    assert program.exists(), "checkov is missing: make .venv/manifests"
    options = ("--framework", "kubernetes", "--skip-download", "--output", "json", "--quiet")
    ran = subprocess.run(
        [program, "--directory", folder, *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = json.loads(ran.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] > 5
    return {(check["check_id"], check["resource"]) for check in report["results"]["failed_checks"]}
