"""A Docker engine from Debian's packages, for the tests only, that leaves nothing behind.

It keeps everything in one folder. To the machine's network it adds one bridge per container
network, but no firewall rules and no forwarding. So containers reach each other, and published
ports work, but containers reach nothing outside. Builds use the machine's own network, because
they install packages.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.processes import ROOT

BASE = "base:local"
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_PACKAGES = "python3,python3-pip,ca-certificates"
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class EngineRefused(Exception):
    """A command failed. The message has the command and its whole output."""


class DockerEngine:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            "PATH": _PATH,
            "HOME": str(folder),
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            # Debian's engine has no other builder.
            "DOCKER_BUILDKIT": "0",
        }

    @property
    def daemon(self) -> list[str]:
        folder = self._folder
        return [
            *(_program("dockerd"), "--host", f"unix://{folder}/docker.sock"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/run"),
            *("--pidfile", f"{folder}/docker.pid", "--bridge", "none"),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false"),
        ]

    def docker(self, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        return self._run([_program("docker"), *arguments], variables or {})

    def compose(
        self, files: Sequence[Path], *arguments: str, variables: Mapping[str, str] | None = None
    ) -> str:
        """Run Compose with paths relative to `infrastructure/`, as if started there."""
        named = [part for file in files for part in ("--file", str(file))]
        at = ["--project-directory", str(ROOT / "infrastructure"), "--project-name", "lex"]
        return self._run([_program("docker-compose"), *at, *named, *arguments], variables or {})

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name))
        return found[0]

    def build(
        self, dockerfile: str, tag: str, arguments: Mapping[str, str], *, context: Path = ROOT
    ) -> None:
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        options = ["--quiet", "--network", "host", "--file", str(context / dockerfile)]
        self.docker("build", *options, *given, "--tag", tag, str(context))

    def import_base(self) -> None:
        """Build a minimal Debian with Python to replace the base image, which cannot be pulled."""
        archive = self._folder / "base.tar"
        options = ["--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
        # Builds must trust the same certificate authorities as this machine.
        trust = f"--customize-hook=copy-in {_CERTIFICATES} {_CERTIFICATES.parent}"
        self._run([_program("mmdebstrap"), *options, trust, "bookworm", str(archive)], {})
        self.docker("import", "--change", 'CMD ["python3"]', str(archive), BASE)
        archive.unlink()

    def until_it_answers(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.docker("version")
            except EngineRefused:
                assert time.monotonic() < deadline, (self._folder / "engine.log").read_text()
                time.sleep(0.1)
            else:
                return

    def forget_everything(self) -> None:
        """Remove all containers and networks.

        After an aborted test, another process may still be removing the same container.
        """
        deadline = time.monotonic() + 60
        while containers := self.docker("ps", "--all", "--quiet").split():
            assert time.monotonic() < deadline, containers
            with suppress(EngineRefused):
                self.docker("rm", "--force", "--volumes", *containers)
        self.docker("network", "prune", "--force")

    def _run(self, command: Sequence[str], variables: Mapping[str, str]) -> str:
        environment = {**self._environment, **variables}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise EngineRefused(f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}")
        return ran.stdout


@contextmanager
def running_engine(folder: Path) -> Iterator[DockerEngine]:
    engine = DockerEngine(folder)
    try:
        with _daemon(engine, folder):
            engine.until_it_answers()
            try:
                yield engine
            finally:
                engine.forget_everything()
    finally:
        _remove(folder)


@contextmanager
def _daemon(engine: DockerEngine, folder: Path) -> Iterator[None]:
    environment = {"PATH": _PATH, "HOME": str(folder)}
    with (
        (folder / "engine.log").open("wb") as log,
        subprocess.Popen(engine.daemon, env=environment, stdout=log, stderr=log) as daemon,
    ):
        try:
            yield
        finally:
            daemon.terminate()
            daemon.wait(60)


def _remove(folder: Path) -> None:
    """Remove the engine's folder, which is large because of the image layers.

    The engine leaves one mount, for containers on the machine's network; it is unmounted first.
    """
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):
        if mount.startswith(f"{folder}/"):
            subprocess.run([_program("umount"), mount], check=True)
    shutil.rmtree(folder)


def _program(name: str) -> str:
    program = shutil.which(name, path=_PATH)
    assert program, f"{name} is missing: make system-deps"
    assert os.geteuid() == 0, "an engine needs root"
    return program
