"""Clients and sessions are named by keyed hashes, which an operator can compute."""

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from backend.telemetry import identity
from tests.documents.markdown import section
from tests.processes import ROOT

KEY = "a key of the operator with more than 32 characters"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    identity.begin()
    identity.use_key(None)


def printed(*names: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.telemetry.identity", *names],
        cwd=ROOT,
        env={"LOG_HASH_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_prints_the_hashes_of_log_lines() -> None:
    identity.use_key(KEY)
    identity.note_session("web-17")
    identity.note_client("user:alice", key_name="the shop")

    known = identity.known()
    finished = printed("session:web-17", "user:alice")

    assert finished.stdout.split() == [known["session_hash"], known["client_hash"]]
    assert known["client"] == "the shop"
    assert all(re.fullmatch("[0-9a-f]{16}", known[name]) for name in identity.EXEMPLARS)


def test_the_documented_line_of_openssl_prints_the_same_hash() -> None:
    (line,) = re.findall(
        r"^\$ (.*openssl dgst.*)$",
        section("docs/observability.md", "Whose request was it?"),
        re.MULTILINE,
    )
    finished = subprocess.run(  # noqa: S602 - it is our own page
        line, shell=True, env={"LOG_HASH_KEY": KEY, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert finished.stdout == printed("session:web-17").stdout


@pytest.mark.parametrize(("names", "key"), [((), KEY), (("session:s1",), "")])
def test_the_command_explains_itself(names: tuple[str, ...], key: str) -> None:
    finished = printed(*names, key=key)

    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == identity.USAGE


def test_without_a_key_of_its_own_a_hash_differs_in_each_process() -> None:
    program = "from backend.telemetry import identity; print(identity.hash_of_session('s1'))"
    command = [sys.executable, "-c", program]
    told = [subprocess.check_output(command, cwd=ROOT, text=True) for _ in range(2)]

    assert told[0] != told[1]


def test_a_request_begins_without_the_names_of_the_one_before() -> None:
    identity.note_session("s1")
    identity.begin()

    assert identity.known() == {}


def test_an_exemplar_has_room_for_the_names() -> None:
    identity.note_session("s" * 128)
    identity.note_client("user:" + "a" * 255, key_name="k" * 100)

    known = identity.known()
    labels = {"trace_id": 32 * "0", **{name: known[name] for name in identity.EXEMPLARS}}
    assert sum(len(name) + len(value) for name, value in labels.items()) <= 128
