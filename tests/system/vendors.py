"""Runs scripts with the vendors' clients of npm, unmodified, in one process of Node each."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.processes import ROOT, environment

PACKAGES = ROOT / ".venv/npm/clients/node_modules"
NODE = ROOT / ".venv/bin/node"


async def play(script: Path, *arguments: str, given: bytes = b"") -> Any:
    """Return what the script prints as JSON."""
    assert PACKAGES.exists(), "the clients are missing: make test-system fetches them"
    running = await asyncio.create_subprocess_exec(
        *(str(NODE), str(script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(PACKAGES=str(PACKAGES)),
    )
    said, warned = await running.communicate(given)
    assert running.returncode == 0, warned.decode()
    return json.loads(said)
