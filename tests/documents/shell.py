"""A shell in front of a service, as a reader of the documents has it."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from backend.settings import Settings
from backend.tools import TOOLS
from backend.tools.registry import Tool
from infrastructure.run import STANDIN_NAME
from tests.processes import ROOT
from tests.serving import Lex, lex
from tests.waiting import within_limit

_LIMITS = [name for name in Settings.model_fields if name.startswith(("rate_limit_", "max_"))]
AS_MAKE_RUN_STARTS_IT: dict[str, Any] = {
    "model_name": STANDIN_NAME,
    "model_fallbacks": (),
    **{name: Settings.model_fields[name].default for name in _LIMITS},
}
"""Settings that differ from those of other tests."""

_DONE = "--- done: "


class Failed(Exception):
    """A command failed, or cannot be run."""


class Shell:
    """One bash for all commands of a document, so that variables live on, and the service of the
    last `make run`. `http://localhost:8000` is this service, and port 9100 its stand-in for Groq.
    """

    def __init__(
        self,
        bash: asyncio.subprocess.Process,
        folder: Path,
        stack: AsyncExitStack,
        tools: Sequence[Tool],
    ) -> None:
        self._bash = bash
        self._tools = tools
        self._complaints = folder / "complaints"
        self._stack = stack
        self._service: Lex | None = None
        self._settings: dict[str, str] = {}
        self._real: dict[str, str] = {}

    async def run(self, command: str) -> str:
        """Its output. Raises: Failed."""
        code, output = await self._run(self._meant(command))
        if code != 0:
            raise Failed(f"it ended with {code}:\n{output}{self._complaints.read_text()}")
        return output

    async def start(self, command: str) -> None:
        """What `make run` does, with the variables that the shell would give it."""
        before = await self._settings_in("env")
        settings = before | await self._settings_in(re.sub(r"\bmake run\b.*", "env", command))
        if self._service is None or settings != self._settings:
            await self._serve(settings)

    def learn(self, real: dict[str, str]) -> None:
        """Values that the document shows, and what they were here."""
        self._real |= real

    def with_addresses(self, text: str) -> str:
        """As the text is meant here: with the ports of this test."""
        assert self._service is not None
        ports = {"8000": self._service.url, "9100": self._service.standin.url}
        for port, url in ports.items():
            host = url.removeprefix("http://")
            text = re.sub(rf"\b(?:localhost|127\.0\.0\.1):{port}\b", host, text)
        return text

    async def begin(self) -> None:
        if self._service is None:
            await self._serve({})

    def _meant(self, command: str) -> str:
        command = self.with_addresses(command)
        for shown, real in self._real.items():
            command = command.replace(shown, real)
        return command

    async def _run(self, command: str) -> tuple[int, str]:
        stdin, stdout = self._bash.stdin, self._bash.stdout
        assert stdin
        assert stdout
        stdin.write(f"{{ {command}\n}} </dev/null; echo; echo '{_DONE}'$?\n".encode())
        await stdin.drain()
        output = ""
        while True:
            line = (await within_limit(stdout.readline())).decode()
            if not line:
                raise Failed(f"the shell ended: {self._complaints.read_text()}")
            if line.startswith(_DONE):
                return int(line.removeprefix(_DONE)), output.removesuffix("\n")
            output += line

    async def _settings_in(self, command: str) -> dict[str, str]:
        code, output = await self._run(command)
        if code != 0:
            raise Failed(self._complaints.read_text())
        variables = dict(line.partition("=")[::2] for line in output.splitlines())
        return {
            name.lower(): value
            for name, value in variables.items()
            if name.lower() in Settings.model_fields and os.environ.get(name) != value
        }

    async def _serve(self, settings: dict[str, str]) -> None:
        await self._stack.aclose()
        given: dict[str, Any] = AS_MAKE_RUN_STARTS_IT | settings
        self._service = await self._stack.enter_async_context(lex(tools=self._tools, **given))
        self._settings = settings


@asynccontextmanager
async def shell(folder: Path, tools: Sequence[Tool] = TOOLS) -> AsyncIterator[Shell]:
    """Stopped at the end, and so is its service."""
    variables = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    async with AsyncExitStack() as stack:
        with (folder / "complaints").open("wb") as complaints:
            bash = await asyncio.create_subprocess_exec(
                *("bash", "--noprofile", "--norc"), cwd=folder, env=variables, limit=2**24,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=complaints,
            )  # fmt: skip
        try:
            yield Shell(bash, folder, stack, tools)
        finally:
            await within_limit(bash.communicate(b""))
