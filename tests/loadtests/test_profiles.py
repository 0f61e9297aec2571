"""The profiles have only options of Locust, and existing scenarios and shapes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

FOLDER = ROOT / "loadtests"
PROFILES = sorted((FOLDER / "profiles").glob("*.conf"))
README = (FOLDER / "README.md").read_text()

PARSE = """
import sys
import loadtests.options
from locust.argument_parser import get_parser
for profile in sys.argv[1:]:
    get_parser(default_config_files=[]).parse_args(["--config", profile])
"""


def told(profile: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z-]+) = (.+)$", profile.read_text(), re.MULTILINE))


def scenarios() -> set[str]:
    tree = ast.parse((FOLDER / "locustfile.py").read_text())
    (listed,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    return set(ast.literal_eval(listed))


def test_locust_knows_every_option() -> None:
    command = [sys.executable, "-c", PARSE, *map(str, PROFILES)]

    parsed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (parsed.returncode, parsed.stderr) == (0, "")


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.stem)
def test_a_profile_names_scenarios_and_files_that_there_are(profile: Path) -> None:
    given = told(profile)

    assert {each.partition(":")[0].strip() for each in given["scenarios"].split(",")} <= scenarios()
    assert all((ROOT / file).is_file() for file in given["locustfile"].split(","))
    assert {"host", "users", "spawn-rate", "run-time", "stop-timeout"} <= given.keys()


def test_the_readme_tells_of_every_profile_scenario_and_shape() -> None:
    shapes = {file.stem for file in (FOLDER / "shapes").glob("*.py")} - {"__init__"}
    names = {profile.stem for profile in PROFILES} | scenarios() | shapes

    assert {name for name in names if f"| `{name}` |" not in README} == set()
