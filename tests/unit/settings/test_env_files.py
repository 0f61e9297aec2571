"""Misspelt settings in `.env`, and the secrets that a warning about them must not show."""

import re
from pathlib import Path

import pytest

from backend.settings import Settings
from backend.settings.env_files import UnknownName, unknown_names, unreadable_file

KNOWN = [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MAX_ROUNDZ", "MAX_ROUNDS"),
        ("max_rounds_", "MAX_ROUNDS"),
        ("GROQ_APIKEY", "GROQ_API_KEY"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("ALOWED_HOSTS", "ALLOWED_HOSTS"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_that_is_known(
    name: str, nearest: str, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# a comment\nexport LOG_LEVEL=DEBUG\n\n{name}=3\n")

    assert list(unknown_names(KNOWN, [str(file)])) == [UnknownName(str(file), 4, name, nearest)]


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("gsk_0123456789abcdefghijABCDEFGHIJ", 2),
        ("export gsk_0123456789abcdefghijABCDEFGHIJ", 2),
        ("\n\n  s3cret", 4),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7", 2),
        ("q8xAo+zK/ZdV3yCw0Q==", 2),
        ("q8xAoZdV3yCw0Q=", 2),
        ("JWT_SECRETs+/=", 2),
        ("FAVOURITE_COLOUR=3", 2),
        ("GROQ_API_KEYS", 2),
    ],
)
def test_what_may_be_part_of_a_secret_is_told_by_its_line_alone(
    line: str, number: int, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(f"LOG_LEVEL=DEBUG\n{line}\nMAX_ROUNDS=3\n")

    assert list(unknown_names(KNOWN, [str(file)])) == [UnknownName(str(file), number)]


def test_known_names_in_any_case_and_those_of_others_are_not_told(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "groq_api_key=a\nMax_Rounds=3\nPORT=8080\nOTEL_SERVICE_NAME=x\nCOMPOSE_PROFILES=y\n"
        "HTTPS_PROXY=http://proxy:3128\n"
    )

    assert list(unknown_names(KNOWN, [str(file), str(tmp_path / "nowhere")])) == []


def test_the_sample_has_no_unknown_name(tmp_path: Path) -> None:
    sample = Path(__file__).parents[3] / "backend" / ".env.sample"
    file = tmp_path / ".env"
    lines = re.findall(r"^#?(\w+=.*)", sample.read_text(), re.MULTILINE)
    file.write_text("\n".join(lines))

    assert len(lines) > 50
    assert list(unknown_names(KNOWN, [str(file)])) == []


def test_a_file_that_is_no_text_is_found(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("MODEL_NAME=é\n")
    other.write_bytes(b"MODEL_NAME=\xff\xfe\n")

    assert unreadable_file([str(text), str(tmp_path / "nowhere")]) is None
    assert unreadable_file([str(text), str(other)]) == str(other)
