"""The progress of an installation, read from pip's output."""

from pathlib import Path

import pytest

from infrastructure.install import failure, follow, packages_in

ROOT = Path(__file__).parents[2]

FOUND = [
    "Collecting alembic==1.20.0 (from -r requirements.txt (line 1))\n",
    "  Downloading alembic-1.20.0-py3-none-any.whl (248 kB)\n",
    "Requirement already satisfied: idna==3.11 in ./.venv (from -r requirements.txt (line 2))\n",
    "Installing collected packages: alembic\n",
    "Successfully installed alembic-1.20.0\n",
]


def test_packages_are_counted() -> None:
    locked = "alembic==1.2 \\\n    --hash=sha256:00\npsycopg[binary]==3 ; x\n# a==1\n"

    assert packages_in(locked) == 2
    assert packages_in((ROOT / "requirements/runtime.txt").read_text()) > 40


def test_each_package_is_told_and_when_all_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    follow(FOUND, 2, every_seconds=0)

    assert capsys.readouterr().out.splitlines() == [
        "  1 of 2: alembic",
        "  1 of 2",
        "  2 of 2: idna",
        "  All packages are downloaded; installing them.",
        "  All packages are installed.",
    ]


def test_on_a_fast_line_little_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    follow(FOUND, 2, every_seconds=60)

    assert capsys.readouterr().out == "  All packages are downloaded; installing them.\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("WARNING: Retrying (Retry(total=4)) after connection broken by 'X'", "cannot be reached"),
        ("[Errno -3] Temporary failure in name resolution", "cannot be reached"),
        ("ReadTimeoutError: HTTPSConnectionPool(host='files')", "cannot be reached"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "its output is above"),
    ],
)
def test_the_last_line_names_the_cause(line: str, told: str) -> None:
    assert told in failure(["Collecting a\n", f"{line}\n"], Path("requirements/runtime.txt"))
