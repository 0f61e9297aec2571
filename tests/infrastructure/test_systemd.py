"""The systemd unit fits the settings, and gunicorn tells it what it waits for."""

import asyncio
import math
import socket
from pathlib import Path

import pytest

from backend.network.file_descriptors import needed
from backend.server.server import FLUSH_SECONDS
from backend.settings import Settings
from backend.telemetry.exporting import CLOSING_SECONDS
from infrastructure.ports import free_port
from tests.processes import ROOT, process
from tests.waiting import within_limit

UNIT = ROOT / "deploy/systemd/lex.service"


def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def environment() -> dict[str, str]:
    words = " ".join(directives()["Environment"]).split()
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def test_a_stop_that_waits_for_a_reload_has_time_to_drain() -> None:
    default = {name: field.default for name, field in Settings.model_fields.items()}
    drain = default["drain_accept_seconds"] + default["drain_seconds"]
    endings = default["tool_timeout_seconds"] + 2 * 10 + CLOSING_SECONDS
    graceful = math.ceil(drain + endings + FLUSH_SECONDS + 3)

    (stop,) = directives()["TimeoutStopSec"]

    assert 2 * graceful < int(stop) < 3 * graceful
    assert environment()["TERMINATION_GRACE_SECONDS"] == stop
    assert f"graceful_timeout of {graceful} s" in UNIT.read_text()
    assert directives()["KillMode"] == ["mixed"], "a worker that gets two SIGTERM cuts its streams"


def test_every_stream_has_its_descriptors() -> None:
    (limit,) = directives()["LimitNOFILE"]

    assert int(limit) > needed(Settings.model_fields["max_streams"].default, others=100)


async def test_gunicorn_tells_systemd_that_it_is_ready(tmp_path: Path) -> None:
    (command,) = directives()["ExecStart"]
    assert directives()["Type"] == ["notify"]
    _, *arguments = command.split()
    variables = {
        **environment(),
        "PORT": str(free_port()),
        "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(variables["NOTIFY_SOCKET"])
        systemd.setblocking(False)

        async with process(*arguments, variables=variables) as lex:
            told = await within_limit(asyncio.get_running_loop().sock_recv(systemd, 1024))
            lex.terminate()
            code = await within_limit(lex.wait())

    assert told.startswith(b"READY=1\n")
    assert code == 0


@pytest.mark.parametrize("name", ["StateDirectory", "EnvironmentFile", "User"])
def test_the_readme_explains_what_the_unit_needs(name: str) -> None:
    (value,) = directives()[name]

    assert value in (ROOT / "deploy/README.md").read_text()
