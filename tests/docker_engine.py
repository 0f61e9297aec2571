"""A Docker engine of the tests' own, from Debian's packages, that leaves nothing behind.

It keeps everything in one folder, and changes nothing of the machine's network but for a bridge
for each network of containers: no rules of a firewall, no forwarding. So containers reach each
other and are reached at published ports, and reach nothing outside. Builds use the machine's own
network, for they install packages.
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
    """With the command and all that it said."""


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
        """By paths that hold from `infrastructure/`, as for somebody who is there."""
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
        """The smallest Debian with a Python, in place of the image that cannot be pulled here."""
        archive = self._folder / "base.tar"
        options = ["--quiet", "--variant=minbase", f"--include={_PACKAGES}"]
        # What this machine trusts, the builds have to trust.
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
        """Where a test was broken off, somebody else may be removing the same container still."""
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
    """Layers are of no use to anybody, and larger than all else that tests leave behind. The
    engine itself leaves one mount, for containers on the machine's network.
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
