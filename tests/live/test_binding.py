"""A service that cannot listen where it should says so in one line, under every command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.ports import free_port
from tests.deploy.servers import GUNICORN, PLAIN
from tests.listening import listening
from tests.processes import ROOT, Ended, ended, environment

RUN = ("-m", "infrastructure.run")
COMMANDS = {"plain": PLAIN, "gunicorn": GUNICORN, "make run": RUN}

every = pytest.mark.parametrize("command", COMMANDS)


async def start(command: str, folder: Path, **variables: str) -> Ended:
    arguments = COMMANDS[command]
    if arguments is RUN:
        arguments = (*RUN, "--port", variables.pop("PORT", "8000"))
    url = f"sqlite:///{folder}/lex.db"
    return await ended(*arguments, folder=folder, **{"DATABASE_URL": url, **variables})


def told(finished: Ended) -> str:
    """Return our one line. Nothing else is printed, except that gunicorn has started."""
    begun = '"event": "Starting gunicorn'
    (line,) = [line for line in finished.stderr.splitlines() if begun not in line]
    assert line.startswith("lex: ")
    assert finished.code == 1
    return line


@every
async def test_a_port_that_is_taken_is_told_before_anything_is_opened(
    command: str, tmp_path: Path
) -> None:
    async with listening(lambda *_: _nothing()) as port:
        finished = await start(command, tmp_path, PORT=str(port))

    assert told(finished).startswith(f"lex: PORT of {port} cannot be used: another program")
    assert not (tmp_path / "lex.db").exists()


async def _nothing() -> None:
    return None


async def test_so_is_the_port_of_the_metrics(tmp_path: Path) -> None:
    async with listening(lambda *_: _nothing()) as port:
        variables = {"PORT": str(free_port()), "METRICS_PORT": str(port)}
        finished = await start("gunicorn", tmp_path, **variables)

    assert told(finished).startswith(f"lex: METRICS_PORT of {port} cannot be used: ")


@pytest.mark.parametrize(
    ("command", "port"),
    [
        *((command, "abc") for command in COMMANDS),
        *(("plain", port) for port in ("0x50", "-1", "65536", "8000 9000", "\uff18\uff10", "1.5")),
    ],
)
async def test_a_port_that_is_none_is_told_by_its_name(
    command: str, port: str, tmp_path: Path
) -> None:
    finished = await start(command, tmp_path, PORT=port)

    assert told(finished).startswith("lex: PORT cannot be used: it must be a whole number from 1")


@pytest.mark.parametrize(
    ("command", "host"),
    [
        ("plain", "203.0.113.7"),
        ("plain", "a..b"),
        ("plain", "::ffff:0.0.0.0"),
        ("gunicorn", "203.0.113.7"),
        ("gunicorn", "a..b"),
    ],
)
async def test_an_address_that_this_machine_does_not_have_is_told(
    command: str, host: str, tmp_path: Path
) -> None:
    variables = {"HOST": host, "PORT": str(free_port()), "ALLOW_ANONYMOUS": "true"}
    finished = await start(command, tmp_path, **variables)

    assert told(finished).startswith("lex: HOST cannot be used: ")


def test_an_unknown_name_in_a_file_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MAX_ROUNDZ=3\nGROQ_API_KEY=test\n")
    ask = "from backend.main import app"
    variables = {**environment(), "PYTHONPATH": str(ROOT)}
    del variables["GROQ_API_KEY"]
    ran = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )

    line = json.loads(ran.stderr)
    assert (line["event"], line["level"]) == ("unknown_setting", "warning")
    assert (line["name"], line["nearest"], line["file"]) == ("MAX_ROUNDZ", "MAX_ROUNDS", ".env")


async def test_a_wrong_setting_is_told_by_its_name_when_lex_is_run(tmp_path: Path) -> None:
    variables = {"PORT": str(free_port()), "MAX_ROUNDS": "many"}
    finished = await start("make run", tmp_path, **variables)

    assert told(finished).startswith("lex: MAX_ROUNDS cannot be used: ")


def test_without_a_network_the_last_line_of_an_installation_says_so(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"a-package-that-nobody-has==1.0 --hash=sha256:{64 * '0'}\n")
    variables = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "infrastructure.install", str(file)],
        cwd=ROOT,
        env={**os.environ, **variables, "HTTP_PROXY": "", "HTTPS_PROXY": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 1
    assert ran.stdout.startswith(f"Installing 1 packages of {file} into ")
    assert "The package index does not answer; trying again." in ran.stdout
    assert ran.stderr.splitlines()[-1].startswith(f"lex: cannot download the packages of {file}, ")
