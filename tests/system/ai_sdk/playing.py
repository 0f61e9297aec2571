"""Runs scripts with the AI SDK of npm, unmodified: in one process of Node each, or in a browser."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.processes import ROOT, environment

PACKAGES = ROOT / ".venv/npm/clients/node_modules"
NODE = ROOT / ".venv/bin/node"
HERE = Path(__file__).parent


async def play(script: str, *arguments: str, given: bytes = b"") -> Any:
    """Return what the script prints."""
    assert PACKAGES.exists(), "the clients are missing: make test-system fetches them"
    running = await asyncio.create_subprocess_exec(
        *(str(NODE), str(HERE / script), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(PACKAGES=str(PACKAGES)),
    )
    said, warned = await running.communicate(given)
    assert running.returncode == 0, warned.decode()
    return json.loads(said)


async def bundle(page: str, *, lex: Path, to: Path) -> str:
    """Return a page's script with all packages in it. The page imports the file `lex` as "lex"."""
    bundled = to / "bundle.js"
    running = await asyncio.create_subprocess_exec(
        *(str(NODE), str(PACKAGES / "esbuild/bin/esbuild"), str(HERE / page)),
        *("--bundle", "--format=esm", "--target=es2022", "--jsx=automatic", "--log-level=error"),
        *(
            f"--alias:lex={lex}",
            f"--outfile={bundled}",
            '--define:process.env.NODE_ENV="production"',
        ),
        env=environment(NODE_PATH=str(PACKAGES)),
    )
    assert await running.wait() == 0
    return bundled.read_text()
