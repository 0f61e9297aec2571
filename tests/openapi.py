"""The service against its own description: Schemathesis makes the requests, and checks answers."""

import asyncio
import re
import sys
from pathlib import Path

from tests.processes import environment
from tests.serving import Lex

PROGRAM = Path(sys.executable).parent / "schemathesis"
RULES = Path(__file__).parent / "schemathesis.toml"


async def assert_answers_as_in_openapi(
    service: Lex, folder: Path, *, examples: int, headers: dict[str, str] | None = None
) -> int:
    """All checks, in all phases, conversations of several requests included.

    Returns how many requests were made up.
    """
    given = [f"--header={name}: {value}" for name, value in (headers or {}).items()]
    running = await asyncio.create_subprocess_exec(
        *(str(PROGRAM), f"--config-file={RULES}", "run", f"{service.url}/openapi.json"),
        *(f"--max-examples={examples}", "--request-timeout=20", "--no-color", *given),
        cwd=folder,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await running.communicate())[0].decode()

    assert running.returncode == 0, said
    cases = re.search(r"(\d+) generated", said)
    assert cases, said
    return int(cases[1])
