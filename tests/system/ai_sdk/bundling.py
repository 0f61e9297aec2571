"""Bundles a page with the packages that it imports."""

import asyncio
from pathlib import Path

from tests.processes import environment
from tests.system.vendors import NODE, PACKAGES

HERE = Path(__file__).parent


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
