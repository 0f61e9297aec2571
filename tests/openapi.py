"""Checks the service against its OpenAPI description with requests made by Schemathesis."""

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
    """Run all checks in all phases, including sequences of several requests.

    Returns the number of generated requests.
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
