"""Runs Locust in a separate process, because its import patches the standard library."""

import asyncio
import json
import re
import sys
from dataclasses import dataclass

from tests.processes import ROOT

SECONDS = 60

_FAILURE = re.compile(r"^\d+ +(?:SSE|WS) (.+): (\w+\(.*\)) *$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    requests: int
    failures: int
    mean_seconds: float

    @property
    def seconds(self) -> float:
        """The total duration of all requests."""
        return self.requests * self.mean_seconds


@dataclass(frozen=True)
class Ran:
    code: int
    log: str

    @property
    def entries(self) -> dict[str, Entry]:
        begin = self.log.index("[\n    {")
        rows, _ = json.JSONDecoder().raw_decode(self.log, begin)
        return {
            row["name"]: Entry(
                row["num_requests"],
                row["num_failures"],
                row["total_response_time"] / 1000 / row["num_requests"],
            )
            for row in rows
        }

    @property
    def failures(self) -> set[tuple[str, str]]:
        """The failed entries with their reasons."""
        return set(_FAILURE.findall(self.log))


async def locust(host: str, *arguments: str, files: str = "loadtests/locustfile.py") -> Ran:
    """Run Locust without its web page."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "locust", "-f", files, "--headless", "--only-summary", "--json"),
        *("--host", host, "--spawn-rate", "100", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        log, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, log.decode())
